"""One place opens images, and what it cannot open it names."""

import functools
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.data.images import ImageRef, checked_box
from paraclip_bench.errors import DataError


def noise(size: tuple[int, int] = (24, 20)) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(form: str, image: Image.Image | None = None) -> bytes:
    buffer = io.BytesIO()
    (image or noise()).save(buffer, form)
    return buffer.getvalue()


def test_an_image_that_changed_since_it_was_hashed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    ref = ImageRef("a.png", path=tmp_path / "a.png")
    assert ref.sha256
    there = pickle.loads(pickle.dumps(ref))
    (tmp_path / "a.png").write_bytes(encoded("PNG", noise().rotate(90)))
    for each in (ref, there):
        with pytest.raises(DataError, match=r"a\.png changed while it was used"):
            each.open()


def test_bytes_and_path_are_one_image(tmp_path: Path) -> None:
    data = encoded("PNG")
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    refs = [
        ImageRef("one", path=tmp_path / "a.png"),
        ImageRef("two", path=tmp_path / "b.png"),
        ImageRef("three", data=data),
        ImageRef("four", read=functools.partial(bytes, data)),
    ]
    assert len({ref.sha256 for ref in refs}) == 1
    assert len({ref.content for ref in refs}) == 1
    boxed = ImageRef("one", data=data, box=(0, 0, 5, 5))
    assert boxed.sha256 == refs[0].sha256
    assert refs[3].cropped((0, 0, 5, 5)).content == boxed.content
    assert boxed.content != refs[0].content
    assert boxed.content != ImageRef("one", data=data, box=(0, 0, 5, 6)).content
    for ref in refs:
        assert ref.size() == (24, 20)
        assert np.array_equal(np.asarray(ref.open()), np.asarray(noise()))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_cut_off_image_is_named(tmp_path: Path, form: str) -> None:
    data = encoded(form)
    path = tmp_path / f"cut.{form.lower()}"
    for length in range(0, int(len(data) * 0.9), 37):
        path.write_bytes(data[:length])
        with pytest.raises(DataError) as caught:
            ImageRef("cut", path=path).open()
        assert str(path) in str(caught.value)
        assert "replace the file" in str(caught.value)


def test_what_is_no_image(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("this is a text")
    for ask in ("open", "size"):
        with pytest.raises(DataError, match=r"text\.jpg is not an image"):
            getattr(ImageRef("t", path=text), ask)()
        with pytest.raises(DataError, match=r"none\.jpg does not exist"):
            getattr(ImageRef("n", path=tmp_path / "none.jpg"), ask)()
        with pytest.raises(DataError, match="image 'n' is not an image"):
            getattr(ImageRef("n", data=b"no"), ask)()
        with pytest.raises(DataError, match="neither a path nor bytes"):
            getattr(ImageRef("n"), ask)()
    with pytest.raises(DataError, match=r"none\.jpg does not exist"):
        _ = ImageRef("n", path=tmp_path / "none.jpg").sha256
    with pytest.raises(DataError, match="neither a path nor bytes"):
        _ = ImageRef("n").sha256


def test_an_image_that_would_fill_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded("PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="image 'big' is damaged"):
        ImageRef("big", data=data).size()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_every_mode_opens_as_rgb(mode: str) -> None:
    image = Image.new(mode, (6, 4)) if mode == "I;16" else noise((6, 4)).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    opened = ImageRef("m", data=encoded(form, image)).open()
    assert (opened.mode, opened.size) == ("RGB", (6, 4))


def test_crop_is_that_of_pil() -> None:
    whole = noise()
    ref = ImageRef("c", data=encoded("PNG"), box=(20, 15, 30, 25))
    pixels = np.asarray(ref.open())
    assert pixels.shape == (10, 10, 3)
    assert np.array_equal(pixels[:5, :4], np.asarray(whole)[15:, 20:])
    assert not pixels[5:].any()
    assert not pixels[:, 4:].any()


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (None, True),
        ((0, 0, 24, 20), True),
        ((3, 4, 5, 6), True),
        ((-1, 0, 5, 5), False),
        ((0, -1, 5, 5), False),
        ((23, 19, 25, 20), False),
        ((23, 19, 24, 21), False),
    ],
)
def test_box_inside_or_partly(box: tuple[int, int, int, int] | None, inside: bool) -> None:
    assert checked_box(ImageRef("b", data=encoded("PNG"), box=box), "row 1") is inside


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((3, 3, 3, 9), "is empty"),
        ((3, 3, 9, 3), "is empty"),
        ((9, 3, 3, 9), "is empty"),
        ((24, 0, 30, 5), "lies outside of b"),
        ((0, 20, 5, 25), "lies outside of b"),
        ((-5, 0, 0, 5), "lies outside of b"),
        ((0, -5, 5, 0), "lies outside of b"),
    ],
)
def test_box_empty_or_outside(box: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(DataError, match=f"^x.json, case 7: the box .* {said}"):
        checked_box(ImageRef("b", data=encoded("PNG"), box=box), "x.json, case 7")
