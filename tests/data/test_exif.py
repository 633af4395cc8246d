"""EXIF orientation and transparency: said, counted, and applied where it is asked for."""

import hashlib
import io
import json
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from paraclip_bench.api import evaluate
from paraclip_bench.data import images
from paraclip_bench.data.images import FilePart, ImageRef, exif_applied
from paraclip_bench.errors import DataError


def noise(size: tuple[int, int] = (24, 16), seed: int = 0) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(form: str, image: Image.Image, orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(buffer, form, **({} if orientation is None else {"exif": exif}))
    return buffer.getvalue()


FORMS = ["JPEG", "PNG", "WEBP"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_where_it_is_asked_for(form: str, orientation: int) -> None:
    data = encoded(form, noise(), orientation)
    plain = ImageRef("a", data=data)
    with exif_applied(True):
        turned = ImageRef("a", data=data)
    pil = Image.open(io.BytesIO(data))
    assert np.array_equal(plain.open(), pil.convert("RGB"))
    assert np.array_equal(turned.open(), ImageOps.exif_transpose(pil).convert("RGB"))
    assert (plain.size(), turned.size()) == (plain.open().size, turned.open().size)
    assert plain.orientation == orientation
    # Without it keys are those of the bytes; with it, another where the pixels are others.
    assert plain.sha256 == hashlib.sha256(data).hexdigest()
    assert (turned.sha256 == plain.sha256) is (orientation == 1)
    assert not ImageRef("a", data=data).exif


def test_a_file_a_part_of_one_and_bytes_have_one_key(tmp_path: Path) -> None:
    data = encoded("JPEG", noise(), 6)
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.bin").write_bytes(b"xx" + data)
    with exif_applied(True):
        refs = [
            ImageRef("a", path=tmp_path / "a.jpg"),
            ImageRef("b", read=FilePart(tmp_path / "b.bin", 2, len(data))),
            ImageRef("c", data=data),
        ]
    assert len({ref.sha256 for ref in refs}) == 1
    boxed = refs[0].cropped((0, 0, 4, 9))
    assert boxed.sha256 == refs[0].sha256
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).crop((0, 0, 4, 9))
    for ref in (boxed, pickle.loads(pickle.dumps(boxed))):  # as a worker gets it
        assert np.array_equal(ref.open(), upright)


def test_a_deep_image_that_is_turned_is_both() -> None:
    pixels = np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 100
    data = encoded("PNG", Image.fromarray(pixels), 6)
    digest = hashlib.sha256(data).hexdigest()
    plain = ImageRef("a", data=data)
    turned = ImageRef("a", data=data, exif=True)
    assert plain.sha256 == hashlib.sha256(f"{digest}:deep".encode()).hexdigest()
    assert turned.sha256 == hashlib.sha256(f"{digest}:deep:exif".encode()).hexdigest()
    assert np.array_equal(turned.open(), plain.open().transpose(Image.Transpose.ROTATE_270))


def test_pillow_turns_a_tiff_itself(tmp_path: Path) -> None:
    data = encoded("TIFF", noise(), 6)
    plain, turned = ImageRef("a", data=data), ImageRef("a", data=data, exif=True)
    assert (plain.orientation, plain.sha256) == (1, turned.sha256)
    assert np.array_equal(plain.open(), turned.open())


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def metadata_last(form: str, orientation: int) -> bytes:
    """An image whose orientation stands behind its pixels, as some programs write it."""
    data = encoded("PNG", noise())
    exif = Image.Exif()
    exif[0x0112] = orientation
    text = f'<x tiff:Orientation="{orientation}"/>'.encode()
    kinds = {
        "eXIf": chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text),
        "zTXt": chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n 34\n" + exif.tobytes().hex().encode() + b"\n"),
        ),
    }
    end = data.index(b"IEND") - 4
    return data[:end] + kinds[form] + data[end:]


@pytest.mark.parametrize("form", ["eXIf", "iTXt", "zTXt"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_orientation_behind_the_pixels_is_seen(form: str, orientation: int) -> None:
    data = metadata_last(form, orientation)
    turned = ImageRef("a", data=data, exif=True)
    assert turned.orientation == orientation
    pil = Image.open(io.BytesIO(data))
    assert np.array_equal(turned.open(), ImageOps.exif_transpose(pil).convert("RGB"))
    assert turned.size() == turned.open().size


def test_looking_behind_the_pixels_decodes_none_of_them() -> None:
    data = bytearray(metadata_last("eXIf", 6))
    start = data.index(b"IDAT") + 4
    data[start : start + 40] = bytes(40)
    ref = ImageRef("a", data=bytes(data), exif=True)
    assert ref.orientation == 6
    with pytest.raises(DataError, match="damaged"):
        ref.open()


@given(cut=st.integers(0, 2000), put=st.binary(max_size=12), at=st.integers(0, 2000))
def test_no_bytes_end_the_look_at_a_header(cut: int, put: bytes, at: int) -> None:
    data = metadata_last("eXIf", 6)
    data = (data[:at] + put + data[at + len(put) :])[: len(data) - cut]
    assert ImageRef("a", data=data, exif=True).orientation in range(1, 9)


def test_a_tiff_and_a_webp_have_theirs_at_the_end_and_are_read() -> None:
    tiff, webp = encoded("TIFF", noise(), 6), encoded("WEBP", noise(), 6)
    place = struct.unpack("<I", tiff[4:8])[0]
    tags = tiff[place : place + 6 + 12 * int.from_bytes(tiff[place : place + 2], "little")]
    tiff = tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + tags
    assert webp.index(b"EXIF") > webp.index(b"VP8 ")
    assert ImageRef("a", data=tiff).open().size == (16, 24)
    assert ImageRef("a", data=webp).orientation == 6


def palette(**options: object) -> bytes:
    buffer = io.BytesIO()
    noise().convert("P").save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "has_alpha"),
    [
        (encoded("PNG", noise().convert("RGBA")), True),
        (encoded("PNG", noise().convert("LA")), True),
        (encoded("WEBP", Image.merge("RGBA", (*noise().split(), noise().convert("L")))), True),
        (palette(transparency=3), True),
        (palette(), False),
        (encoded("PNG", noise()), False),
        (encoded("JPEG", noise()), False),
        (encoded("PNG", noise().convert("L")), False),
    ],
)
def test_transparency_is_known_by_the_header_and_dropped(data: bytes, has_alpha: bool) -> None:
    ref = ImageRef("a", data=data)
    assert ref.has_alpha is has_alpha
    assert np.array_equal(ref.open(), Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_is_none_is_passed_over(orientation: int) -> None:
    assert ImageRef("a", data=encoded("JPEG", noise(), orientation), exif=True).orientation == 1


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("place", range(20, 60, 3))
def test_damaged_exif_is_no_damaged_image(place: int) -> None:
    data = bytearray(encoded("JPEG", noise(), 6))
    data[place] ^= 0xFF
    ref = ImageRef("a", data=bytes(data), exif=True)
    assert ref.orientation in range(1, 9)
    assert ref.sha256


def test_the_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG", noise(), 3))
    opened = []
    real = images.header_of
    monkeypatch.setattr(images, "header_of", lambda *given: opened.append(1) or real(*given))
    for _ in range(3):
        ref = ImageRef("a", path=path, exif=True)
        assert ref.sha256
        assert (ref.orientation, ref.has_alpha) == (3, False)
    assert opened == [1]


class Mine:
    """Vectors by the first pixel."""

    def encode_texts(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, len(text), 2.0] for text in texts]

    def encode_images(self, images: list[Image.Image]) -> list[list[float]]:
        return [[float(value) + 1 for value in image.getpixel((0, 0))] for image in images]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A gallery of twelve images: three turned, one of them twice, and two transparent."""
    folder = tmp_path / "data" / "paraphrased-retrieval"
    (folder / "images").mkdir(parents=True)
    for index in range(12):
        image = noise(seed=index)
        made = encoded("JPEG", image, 6 if index < 3 else None)
        if index in (5, 6):
            made = encoded("PNG", image.convert("RGBA"))
        (folder / "images" / f"{index}.jpg").write_bytes(made)
    (folder / "images" / "copy.jpg").write_bytes((folder / "images" / "0.jpg").read_bytes())
    rows = [{"query": f"q {n}", "paraphrase": f"another {n}", "image_id": "4.jpg"} for n in (1, 2)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


def test_a_run_counts_and_says_them(
    data: Path, tmp_path: Path, own_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Mine()
    made.fingerprint = "mine"  # type: ignore[attr-defined]

    def go(**options: bool) -> tuple[Path, dict[str, int], str, list[str]]:
        report = evaluate(
            made, "paraphrased-retrieval", data_dir=data, workspace=tmp_path, **options
        )
        ((path, result),) = report.results
        said = [line for line in capfd.readouterr().err.splitlines() if "images have" in line]
        said += [] if not options.get("exif") else ["exif"]
        return path, result.data.notes, result.data.sha256, said

    path, notes, digest, said = go()
    counted = {name: notes.get(name) for name in ("exif_rotated", "exif_applied", "transparent")}
    assert counted == {"exif_rotated": 3, "exif_applied": None, "transparent": 2}
    assert said[0].startswith("note: 3 of 12 images have an EXIF orientation, which is not applied")
    assert said[1].startswith("note: 2 of 12 images have transparency, which is dropped")
    other, notes, turned, _ = go(exif=True)
    counted = {name: notes.get(name) for name in ("exif_rotated", "exif_applied", "transparent")}
    assert counted == {"exif_rotated": 3, "exif_applied": 3, "transparent": 2}
    assert other != path
    assert digest != turned
    assert go(force=True)[2] == digest  # from the store, under the keys of before


def test_finetune_says_them_and_turns_them(
    tmp_path: Path, own_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import tiny_clip

    from paraclip_bench.api import finetune

    base = f"local-dir:{tiny_clip.save(tmp_path / 'tiny')}"
    rows = []
    for index in range(8):
        name = f"{index}.jpg"
        orientation = 6 if index < 3 else None
        (tmp_path / name).write_bytes(encoded("JPEG", noise((40, 32), index), orientation))
        views = {"caption": "a", "paraphrase_1": "b", "paraphrase_2": "c"}
        rows.append({"image": name, **{key: f"{v} {index}" for key, v in views.items()}})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text("batch_size = 4\nepochs = 1\nwarmup_steps = 0\n")
    digests = []
    for exif in (False, True):
        out = finetune(
            base=base,
            data=tmp_path / "pairs.jsonl",
            images=tmp_path,
            recipe=tmp_path / "recipe.toml",
            out=tmp_path / f"out-{exif}",
            exif=exif,
        )
        said = capfd.readouterr().err
        expected = "3 of 8 images " + ("are rotated" if exif else "have an EXIF orientation")
        assert f"note: {expected}" in said
        digests.append(json.loads((out / "provenance.json").read_text())["data"]["sha256"])
    assert digests[0] != digests[1]
