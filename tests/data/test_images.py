"""One place opens images, and what it cannot open it names."""

import functools
import hashlib
import io
import pickle
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.data.images import (
    IMAGE_SUFFIXES,
    FilePart,
    ImageRef,
    checked_box,
    file_in,
    is_image_name,
)
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
    with pytest.raises(DataError, match="image 'big' has more than"):
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


RAMP = (np.arange(4096).reshape(64, 64) * 16).astype(np.uint16)


def deep(pixels: np.ndarray, form: str) -> bytes:
    return encoded(form, Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (deep(RAMP, "PNG"), RAMP / 257),
        (deep(RAMP, "TIFF"), RAMP / 257),
        (deep(RAMP, "PPM"), RAMP / 257),
        (deep(RAMP.astype(np.int32), "TIFF"), RAMP / 257),
        (deep((RAMP % 200).astype(np.int32), "TIFF"), (RAMP % 200) / 257),
        (deep((RAMP / 65535).astype(np.float32), "TIFF"), RAMP / 257),
    ],
    ids=["png16", "tiff16", "pgm16", "tiff32", "dark32", "float"],
)
def test_more_than_8_bits_are_scaled_and_not_cut_off(data: bytes, expected: np.ndarray) -> None:
    ref = ImageRef("x", data=data)
    pixels = np.asarray(ref.open())
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[..., 0] - expected).max() <= 0.5 + 1e-4
    # Its content has a key of its own: vectors of the white image that it was are not its.
    assert ref.sha256 != hashlib.sha256(data).hexdigest()
    assert len(ref.sha256) == 64
    assert ImageRef("y", data=data).sha256 == ref.sha256


def test_what_has_8_bits_keeps_its_key(tmp_path: Path) -> None:
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        for image in (noise(), noise().convert("L"), noise().convert("1"), noise().convert("P")):
            if form == "WEBP" or (form in ("JPEG", "PPM") and image.mode == "P"):
                image = image.convert("RGB")
            data = encoded(form, image)
            (tmp_path / "x").write_bytes(data)
            expected = hashlib.sha256(data).hexdigest()
            assert ImageRef("x", data=data).sha256 == expected
            assert ImageRef("x", path=tmp_path / "x").sha256 == expected
            part = FilePart(tmp_path / "x", 0, len(data))
            assert ImageRef("x", read=part).sha256 == expected


def test_a_deep_image_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    data = deep(RAMP, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    refs = [
        ImageRef("a", data=data),
        ImageRef("b", path=tmp_path / "a.png"),
        ImageRef("c", read=FilePart(tmp_path / "a.png", 0, len(data))),
        ImageRef("d", data=data).cropped((0, 0, 64, 64)),
    ]
    assert len({ref.sha256 for ref in refs}) == 1
    for ref in refs:  # the bytes are those of the key
        assert ref.open().size == (64, 64)
    assert pickle.loads(pickle.dumps(refs[1])).open().size == (64, 64)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        ((RAMP.astype(np.int32) * 2), "outside of 0 to 65,535"),
        ((RAMP.astype(np.int32) - 5), "outside of 0 to 65,535"),
        (RAMP.astype(np.float32), "outside of 0 to 1,"),
        (np.full((4, 4), np.nan, np.float32), "outside of 0 to 1,"),
    ],
)
def test_values_of_no_known_scale_are_refused_by_name(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        ImageRef("scan.tif", data=deep(pixels, "TIFF")).open()
    assert "'scan.tif'" in str(caught.value)


def test_only_formats_of_images_are_opened(tmp_path: Path) -> None:
    from PIL import EpsImagePlugin

    buffer = io.BytesIO()
    noise().save(buffer, "EPS")
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it ran"))
        with pytest.raises(DataError, match=r"x\.png is not an image of .* read \(JPEG"):
            ImageRef("x.png", path=tmp_path / "x.png").open()
    for form in ("JPEG2000", "ICO"):
        buffer = io.BytesIO()
        noise((32, 32)).save(buffer, form)
        assert ImageRef("x", data=buffer.getvalue()).open().size == (32, 32)
    for form in ("PDF", "ICNS", "SGI", "TGA"):
        buffer = io.BytesIO()
        noise((32, 32)).save(buffer, form)
        with pytest.raises(DataError, match="is not an image"):
            ImageRef("x", data=buffer.getvalue()).open()


def test_an_image_over_the_limit_is_not_called_damaged() -> None:
    data = encoded("PNG", Image.new("1", (20_000, 20_000)))
    for look in (ImageRef("big", data=data).open, ImageRef("big", data=data).size):
        with pytest.raises(DataError, match=r"'big' has more than [0-9,]+ pixels") as caught:
            look()
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, 0, 10**9, 10**9), "more than 64 times as large"),
        ((-(10**7), -(10**7), 5, 5), "more than 64 times as large"),
        ((10**12, 0, 10**12 + 4, 4), "lies outside of"),
    ],
)
def test_a_box_far_outside_its_image_is_a_sentence(box: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        checked_box(ImageRef("x", data=encoded("PNG"), box=box), "here")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        *((f"a{ending}", True) for ending in sorted(IMAGE_SUFFIXES)),
        *((f"a{ending.upper()}", True) for ending in sorted(IMAGE_SUFFIXES)),
        ("shard/a.jpg", True),
        ("._a.jpg", False),
        (".hidden.png", False),
        ("__MACOSX/a.jpg", False),
        ("x/._a.jpg", False),
        (".DS_Store", False),
        ("Thumbs.db", False),
        ("thumbs.db", False),
        ("a.txt", False),
        ("a", False),
        ("a.svg", False),
    ],
)
def test_one_rule_says_what_counts_as_an_image(name: str, counts: bool) -> None:
    assert is_image_name(name) is counts


OUTSIDE = [
    "../secret.txt",
    "/etc/hostname",
    "a/../../b.png",
    "..",
    "\\x.png",
    "a\\..\\b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(DataError, match=r"rows, line 3: the file name .* leads outside of"):
        file_in(folder, name, "rows, line 3")


def test_what_lies_inside_is_found_in_any_form(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    (folder / "sub").mkdir(parents=True)
    nfc, nfd = "café.png", unicodedata.normalize("NFD", "café.png")
    assert nfc != nfd
    (folder / nfd).write_bytes(b"1")
    (folder / "sub/b..c.png").write_bytes(b"2")
    (tmp_path / "elsewhere.png").write_bytes(b"3")
    (folder / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "images").symlink_to(folder)  # a folder of images may itself be a link
    for name in (nfc, nfd, "sub/b..c.png", "linked.png", "./sub/b..c.png"):
        assert file_in(tmp_path / "images", name, "here") is not None, name
    for name in ("none.png", "x" * 5000, "a\0b", ""):
        assert file_in(tmp_path / "images", name, "here") is None, name


def test_an_image_that_no_memory_holds_once_it_is_resized_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (60_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(DataError, match=r"line\.png has 60000 x 1 pixels, which is too narrow"):
        ImageRef("line", path=tmp_path / "line.png").open()
    noise().save(tmp_path / "huge.png")
    with (tmp_path / "huge.png").open("ab") as file:
        file.truncate(6 << 30)
    ref = ImageRef("huge", path=tmp_path / "huge.png")
    for look in (ref.open, lambda: ref.sha256):
        with pytest.raises(DataError, match=r"huge\.png has 6,442,450,944 bytes"):
            look()


def _tiff(bits: int, photometric: int, values: np.ndarray) -> bytes:
    """A grey TIFF of packed samples [h, w], by the format's own description (TIFF 6.0)."""
    height, width = values.shape
    packed = "".join("".join(f"{value:0{bits}b}" for value in row) for row in values)
    pixels = int(packed, 2).to_bytes(len(packed) // 8, "big")
    if bits == 16:  # whole words have the file's byte order
        pixels = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II" + struct.pack("<HI", 42, 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 1), (16, 0)])
def test_a_tiff_is_as_bright_as_its_tags_say(bits: int, photometric: int) -> None:
    shares = np.array([[0.0, 0.25, 0.5, 1.0]] * 2)
    given = 1 - shares if photometric == 0 else shares
    values = np.rint(given * (2**bits - 1)).astype(int)
    found = ImageRef("x", data=_tiff(bits, photometric, values)).open()
    assert np.asarray(found)[..., 0] == pytest.approx(255 * shares, abs=1)


def without_pixels(form: str) -> bytes:
    """An image of 0 x 20 pixels, as its header says."""
    data = bytearray(encoded(form))
    at, size = {
        "PNG": (16, 4),
        "BMP": (18, 4),
        "GIF": (6, 2),
        "JPEG": (data.find(b"\xff\xc0") + 7, 2),
        "PPM": (0, 0),
    }[form]
    if form == "PPM":
        return b"P6\n0 20\n255\n"
    data[at : at + size] = bytes(size)
    if form == "PNG":
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4)
    if form == "GIF":
        frame = data.index(b",", 13 + 3 * 256)
        data[frame + 5 : frame + 7] = b"\0\0"
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "JPEG", "PPM"])
def test_an_image_without_pixels_is_called_that(form: str, tmp_path: Path) -> None:
    data = without_pixels(form)
    (tmp_path / "x.png").write_bytes(data)
    of_file, of_bytes = ImageRef("x", path=tmp_path / "x.png"), ImageRef("x", data=data)
    for image in (of_file, of_bytes):
        for look in (image.open, image.size, lambda image=image: image.sha256 and image.open()):
            with pytest.raises(DataError, match=r"x\S* has 0 x 20 pixels, so .* replace the file"):
                look()


def test_an_empty_file_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    for image in (ImageRef("x", path=tmp_path / "x.png"), ImageRef("x", data=b"")):
        with pytest.raises(DataError, match=r"is an empty file; replace the file"):
            image.open()
