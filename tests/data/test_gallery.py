"""A gallery's three layouts, its list, what its images may be called, and what is refused."""

import itertools
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import tars
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.data.gallery import Gallery, read_gallery
from paraclip_bench.errors import DataError

TEN = {f"{i}.jpg": bytes([i]) for i in range(10)}
COCO = {f"COCO_val2014_{7 * i:012}.jpg": bytes([i]) for i in range(10)}


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def names(gallery: Gallery) -> list[str]:
    return [image.id for image in gallery.images]


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_gallery(folder, 10)
    return str(caught.value)


def test_three_layouts_one_gallery(tmp_path: Path) -> None:
    files = dict(reversed(COCO.items())) | {"note.txt": b"x"}
    for name in ("images", "val2014", "val2017"):
        put(tmp_path / name / name, files)
    shards = put(tmp_path / "shards", {})
    rest = iter(files.items())
    for number in range(3):
        tars.write(shards / f"gallery-00{number}.tar", dict(itertools.islice(rest, 4)))
    for layout in ("images", "val2014", "val2017", "shards"):
        gallery = read_gallery(tmp_path / layout, 10)
        assert names(gallery) == sorted(COCO)
        assert [image.encoded() for image in gallery.images] == list(COCO.values())
        assert all(image.data is None for image in gallery.images)


stems = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9
).filter(lambda stem: not stem.startswith("."))  # a hidden file is none


@given(
    stems=st.lists(stems, min_size=10, max_size=14, unique=True),
    count=st.integers(1, 3),
)
def test_the_order_is_that_of_the_names_bytes(
    stems: list[str], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    members = [f"{stem}.png" for stem in stems]
    for number in range(count):
        tars.write(folder / f"{number}.tar", dict.fromkeys(members[number::count], b""))
    assert names(read_gallery(folder, 10)) == sorted(members, key=str.encode)


def test_what_an_image_may_be_called(tmp_path: Path) -> None:
    folder = put(tmp_path / "shards", {})
    more = {"sub/k.x.png": b"a", "./dot.webp": b"b", "one/twin.jpg": b"c", "two/twin.jpg": b"d"}
    tars.write(folder / "a.tar", {**COCO, **more, "sub/k.json": b"{}", ".jpg": b"no name"})
    gallery = read_gallery(folder, 10)
    place = {name: index for index, name in enumerate(names(gallery))}
    assert len(place) == 14
    means = {
        "sub/k.x.png": "sub/k.x.png",
        "sub/k": "sub/k.x.png",
        "k": "sub/k.x.png",
        "k.x.png": "sub/k.x.png",
        "dot.webp": "dot.webp",
        "dot": "dot.webp",
        "two/twin.jpg": "two/twin.jpg",
        "one/twin": "one/twin.jpg",
        "COCO_val2014_000000000042": "COCO_val2014_000000000042.jpg",
        42: "COCO_val2014_000000000042.jpg",
        0: "COCO_val2014_000000000000.jpg",
    }
    for called, name in means.items():
        assert gallery.find(called, "here") == place[name], called
    for called in ("", "42", "x", "sub", 43, 4.2, True, False, None, ["k"], {}):
        assert gallery.find(called, "here") is None, called
    for called in ("twin", "twin.jpg"):
        with pytest.raises(DataError) as caught:
            gallery.find(called, "here")
        assert str(caught.value) == (
            f"here: {called!r} may be 'one/twin.jpg' or 'two/twin.jpg' of {folder / '*.tar'}; "
            "write the whole name"
        )


def test_a_folder_has_no_keys_and_coco_ids_of_both_years(tmp_path: Path) -> None:
    files = {f"{i:012}.jpg": b"" for i in range(10)}
    gallery = read_gallery(put(tmp_path / "a" / "val2017", files).parent, 10)
    assert gallery.find("000000000003", "") is None
    assert gallery.find("000000000003.jpg", "") == gallery.find(3, "") == 3
    both = put(tmp_path / "b" / "images", {**files, "COCO_train2014_000000000003.jpg": b""})
    with pytest.raises(DataError, match=r"3 may be '000000000003\.jpg' or 'COCO_train2014"):
        read_gallery(both.parent, 10).find(3, "")
    plain = read_gallery(put(tmp_path / "c" / "images", TEN).parent, 10)
    assert plain.find(3, "") is None


def test_a_list_restricts_the_gallery(tmp_path: Path) -> None:
    folder = put(tmp_path / "shards", {})
    tars.write(folder / "a.tar", {**TEN, "sub/more.png": b"m", "rest.png": b"r"})
    listed = [f"{i}.jpg" for i in range(9, 0, -1)]
    (folder / "gallery.txt").write_text("\ufeff" + "\r\n".join([*listed, "", "sub/more.png", ""]))
    gallery = read_gallery(folder, 10)
    assert names(gallery) == [*sorted(listed), "sub/more.png"]
    assert gallery.find("0.jpg", "") is None
    assert gallery.find("more", "") == 9
    assert gallery.where == str(folder / "gallery.txt")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["0.jpg", "gone.jpg"], "line 2: the image 'gone.jpg' is not in {images}; put it there or"),
        (["0.jpg", "1.jpg", "", "0.jpg"], "line 4: the image '0.jpg' is named in line 1 too; drop"),
        (["0.jpg "], "line 1: the image '0.jpg ' is not in"),
        (list(TEN)[:9], " has 9 images, and a top 10 needs 10; put the whole gallery there"),
        ([], " has 0 images"),
    ],
)
def test_a_list_that_is_wrong(lines: list[str], said: str, tmp_path: Path) -> None:
    images = put(tmp_path / "images", TEN)
    (tmp_path / "gallery.txt").write_text("\n".join(lines))
    sentence = refused(tmp_path)
    assert sentence.startswith(str(tmp_path / "gallery.txt"))
    assert said.format(images=images) in sentence


def test_one_source(tmp_path: Path) -> None:
    assert f"{tmp_path / 'images'} is missing; put the images there, or val2014/" in refused(
        tmp_path
    )
    put(tmp_path / "images", TEN)
    put(tmp_path / "val2017", TEN)
    tars.write(tmp_path / "b.tar", TEN)
    tars.write(tmp_path / "a.tar", TEN)
    assert refused(tmp_path) == (
        f"{tmp_path} has several galleries (images/, val2017/, a.tar); keep one of them"
    )


@pytest.mark.parametrize("layout", ["images", "val2014", "tar"])
def test_fewer_than_ten(layout: str, tmp_path: Path) -> None:
    nine = dict(list(TEN.items())[:9]) | {"note.txt": b"", "a.json": b""}
    if layout == "tar":
        tars.write(tmp_path / "a.tar", nine)
    else:
        put(tmp_path / layout, nine)
    where = tmp_path / ("*.tar" if layout == "tar" else layout)
    assert refused(tmp_path).startswith(f"{where} has 9 images, and a top 10 needs 10")


def test_a_member_comes_twice(tmp_path: Path) -> None:
    first = tars.write(tmp_path / "a.tar", TEN)
    second = tars.write(tmp_path / "b.tar", {"x.jpg": b"", "./3.jpg": b"3"})
    assert refused(tmp_path) == (
        f"{second}: the image '3.jpg' came before, in {first}; drop one of them"
    )
    second.unlink()
    with tarfile.open(first, "a") as tar:
        tar.addfile(tarfile.TarInfo("5.jpg"))
    assert f"{first}: the image '5.jpg' came before, in {first}" in refused(tmp_path)


def test_shards_that_cannot_be_used(tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", TEN)
    whole = path.read_bytes()
    path.write_bytes(whole[: 1024 * 4])  # after four images
    assert f"{path} is not a whole, uncompressed tar file" in refused(tmp_path)
    path.write_bytes(whole)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("copy.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "0.jpg"
        tar.addfile(link)
    assert f"{path}: 'copy.jpg' is a link; write the shard with the file itself" in refused(
        tmp_path
    )
    tars.write(path, {**TEN, os.fsdecode(b"\xff.jpg"): b""})
    assert "the file name '\\udcff.jpg' is not UTF-8; rename it" in refused(tmp_path)


def test_what_counts_as_no_image_is_left_out_and_said(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(10):
        (images / f"{i}.jfif").write_bytes(b"%d" % i)
    for name in ("._0.jfif", ".DS_Store", "Thumbs.db", "notes.txt", "x.svg"):
        (images / name).write_bytes(b"")
    gallery = read_gallery(tmp_path, 10)
    assert names(gallery) == [f"{i}.jfif" for i in range(10)]
    assert gallery.left_out == (".DS_Store", "._0.jfif", "Thumbs.db", "notes.txt", "x.svg")
