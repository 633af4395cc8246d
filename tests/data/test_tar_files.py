"""Members of a tar by their place, and tars that cannot be trusted."""

import io
import pickle
import tarfile
from pathlib import Path

import pytest
import tars
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip_bench.data.images import FilePart, ImageRef
from paraclip_bench.data.tar_files import tar_members
from paraclip_bench.errors import DataError

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=150
).filter(lambda name: name not in (".", ".."))


@given(members=st.dictionaries(names, st.binary(max_size=1500), max_size=6))
def test_what_was_put_in_comes_out(
    members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tars.write(tmp_path_factory.getbasetemp() / "any.tar", members)
    found = {name: part() for name, part in tar_members(path) if part}
    assert list(found.items()) == list(members.items())


def test_folders_are_left_out_and_links_have_no_content(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "d"
            tar.addfile(info)
    assert tar_members(tmp_path / "x.tar") == [("s", None), ("h", None)]


def test_every_cut_and_a_damaged_header_are_seen(tmp_path: Path) -> None:
    whole = tars.write(tmp_path / "whole.tar", {"a": b"1" * 600, "b": b"2", "c": b""}).read_bytes()
    end = 512 * (1 + 2 + 1 + 1 + 1)
    path = tmp_path / "cut.tar"
    for size in (0, 100, 512, 700, 1536, 1537, 2048, 2560, end, end + 511):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.tar is not a whole, uncompressed tar"):
            tar_members(path)
    path.write_bytes(whole[: end + 512])
    assert len(tar_members(path)) == 3
    path.write_bytes(whole[:1536] + b"\xff" + whole[1537:])  # the header of b
    with pytest.raises(DataError, match=r"\(no end mark at byte 1536\); write that shard again"):
        tar_members(path)
    for mode in ("w:gz", "w:xz"):
        with pytest.raises(DataError, match="uncompressed"):
            tar_members(tars.write(path, {"a": b"1"}, mode))


def test_a_part_is_read_when_asked_and_pickles_small(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (30, 20), (0, 90, 0)).save(content, "PNG")
    path = tars.write(tmp_path / "a.tar", {"0.txt": b"x", "0.png": content.getvalue()})
    part = dict(tar_members(path))["0.png"]
    assert part is not None
    ref = ImageRef("0.png", read=part)
    alone = ImageRef("0.png", data=content.getvalue())
    assert ref.sha256 == alone.sha256
    there = pickle.loads(pickle.dumps(ref))
    assert there.open().tobytes() == alone.open().tobytes()
    assert there.size() == (30, 20)
    assert len(pickle.dumps(ref)) < 600


def test_a_part_s_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcd")
    first, second = FilePart(path, 0, 2), FilePart(path, 2, 2)
    assert first.sha256() != second.sha256()
    before = path.stat()
    known = first.sha256()
    path.write_bytes(b"abcde")
    assert first.sha256() == known
    path.write_bytes(b"xbcdef")
    assert path.stat().st_size != before.st_size
    assert first.sha256() != known


def test_messages_name_the_tar(tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", {"0.png": b"no image"})
    ((name, part),) = tar_members(path)
    ref = ImageRef(name, read=part)
    with pytest.raises(DataError, match=r"a\.tar, image '0\.png' is not an image; replace"):
        ref.open()
    _ = ref.sha256
    path.write_bytes(path.read_bytes().replace(b"no image", b"an image"))
    with pytest.raises(DataError, match=r"a\.tar, image '0\.png' changed while it was used"):
        ref.encoded()
    path.write_bytes(b"short")
    with pytest.raises(DataError, match=r"a\.tar changed while it was used"):
        ref.encoded()
    path.unlink()
    for ask in (ref.encoded, lambda: ImageRef(name, read=part).sha256):
        with pytest.raises(DataError, match=r"a\.tar, image '0\.png' does not exist"):
            ask()
