"""Pictures are deterministic, and boxes lie where the things are."""

import numpy as np
import pytest

from paraclip_bench.demo.render import SIDE, render
from paraclip_bench.demo.scenes import Scene, sample

SCENES = sample("test", 120, seed=5)


def test_the_same_scene_gives_the_same_picture_and_another_seed_another() -> None:
    scene = SCENES[0]
    again = render(Scene(scene.content, scene.seed))
    assert render(scene).image.tobytes() == again.image.tobytes()
    other = render(Scene(scene.content, scene.seed + 1))
    assert render(scene).image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_boxes_hold_the_things(scene: Scene) -> None:
    picture = render(scene)
    assert picture.image.size == (SIDE, SIDE)
    assert picture.image.mode == "RGB"
    for left, top, right, bottom in (picture.first, picture.second, picture.box()):
        assert 0 <= left < right <= SIDE
        assert 0 <= top < bottom <= SIDE
    # Outside of the common box there is background only.
    pixels = np.asarray(picture.image).copy()
    left, top, right, bottom = picture.box()
    ground = pixels[0, 0].copy()
    pixels[top:bottom, left:right] = ground
    assert (pixels == ground).all()


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_the_picture_shows_the_relation(scene: Scene) -> None:
    picture = render(scene)
    (ax, ay), (bx, by) = (
        ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (picture.first, picture.second)
    )
    if scene.content.relation == "left":
        assert ax < bx - 10 > 0
        assert abs(ay - by) < bx - ax
    elif scene.content.relation == "above":
        assert ay < by - 10 > 0
        assert abs(ax - bx) < by - ay
    else:
        a, b = picture.first, picture.second
        assert max(a[0], b[0]) < min(a[2], b[2])
        assert max(a[1], b[1]) < min(a[3], b[3])
