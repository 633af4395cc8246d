"""Rows as the hub's copies have them: real `datasets` rows, the download alone left out."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from paraclip_bench.data.source import HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.tasks import sts, visual_genome


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


CASES: dict[str, list[Any]] = {
    "image": [{"bytes": png((i // 2, 0, 0)), "path": None} for i in range(30)],
    "true_caption": ["the red cup and the blue hat"] * 30,
    "false_caption": ["the blue cup and the red hat"] * 30,
}
BOXES = {"bbox_x": [1] * 30, "bbox_y": [0] * 30, "bbox_w": [3] * 29 + [9], "bbox_h": [4] * 30}


def test_images_are_read_when_needed(hub: Callable[..., None]) -> None:
    hub(**CASES)
    examples = visual_genome.VGAttribution().load(HubSource(), "mteb")
    images = [case.image for case in examples]
    assert images[4].open().getpixel((0, 0)) == (2, 0, 0)
    assert all(image.data is None for image in images)
    there = pickle.loads(pickle.dumps(images[4]))
    assert there.open().tobytes() == images[4].open().tobytes()
    assert len(pickle.dumps(images[4])) < 1000 < len(CASES["image"]) * len(png((0, 0, 0)))
    assert len({image.sha256 for image in images}) == 15
    assert examples.id == "mteb/ARO-Visual-Attribution"
    assert len(examples.revision) == 40
    assert examples.notes == {}


def test_aro_needs_boxes_and_recovers_attributes(hub: Callable[..., None]) -> None:
    task = visual_genome.VGAttribution()
    hub(**CASES)
    with pytest.raises(DataError, match=r"lacks bbox_h, bbox_w, bbox_x, bbox_y, .*--data-dir"):
        task.load(HubSource(), "aro")
    hub(**CASES, **BOXES)
    examples = task.load(HubSource(), "aro")
    assert {case.group for case in examples} == {"red_blue"}
    assert examples.notes == {
        "boxes_partly_outside": 1,
        "group": "recovered from the captions",
    }
    hub(**CASES, **BOXES, attributes=[["wet", "dry"]] * 30)
    examples = task.load(HubSource(), "aro")
    assert {case.group for case in examples} == {"wet_dry"}
    assert "group" not in examples.notes


def test_bad_rows_are_named(hub: Callable[..., None]) -> None:
    bad = {**CASES, "false_caption": ["x"] * 29 + [None]}
    hub(**bad)
    with pytest.raises(DataError, match="vg-attribution of the hub, row 29: 'false_caption'"):
        visual_genome.VGAttribution().load(HubSource(), "mteb")
    hub(**{k: v for k, v in CASES.items() if k != "image"})
    with pytest.raises(DataError, match="lacks image, which the mteb protocol needs"):
        visual_genome.VGAttribution().load(HubSource(), "mteb")


def test_sts_rows(hub: Callable[..., None]) -> None:
    hub(score=[1.0, 5.0], sentence1=["a", "b"], sentence2=["c", "d"])
    examples = sts.STS12().load(HubSource(), "all")
    assert [(p.sentence1, p.sentence2, p.score) for p in examples] == [("a", "c", 1), ("b", "d", 5)]
    assert examples.id == "mteb/sts12-sts"
    assert examples.notes == {"text": "as the hub's copy has it"}
    hub(score=[1.0, None], sentence1=["a", "b"], sentence2=["c", "d"])
    with pytest.raises(DataError, match="STS12 of the hub, row 1: the score None"):
        sts.STS12().load(HubSource(), "all")
    hub(score=[1.0], sentence1=["a"])
    with pytest.raises(DataError, match="no column 'sentence2'"):
        sts.STS12().load(HubSource(), "all")
