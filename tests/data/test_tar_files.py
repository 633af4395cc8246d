"""Members of a tar by their place, and tars that cannot be trusted."""

import gzip
import io
import pickle
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import tars
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip_bench.data.images import IMAGE_SUFFIXES, FilePart, ImageRef
from paraclip_bench.data.tar_files import PROBLEM, image_in_tar, samples, tar_members
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

    def digest(offset: int) -> str:
        return ImageRef("a", read=FilePart(path, offset, 2)).sha256

    assert digest(0) != digest(2)
    before = path.stat()
    known = digest(0)
    path.write_bytes(b"abcde")
    assert digest(0) == known
    path.write_bytes(b"xbcdef")
    assert path.stat().st_size != before.st_size
    assert digest(0) != known


def test_messages_name_the_tar(tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", {"0.png": b"no image"})
    ((name, part),) = tar_members(path)
    ref = ImageRef(name, read=part)
    with pytest.raises(DataError, match=r"a\.tar, image '0\.png' is not an image of a format"):
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


def shard(path: Path, n: int = 10) -> bytes:
    """A WebDataset shard of n samples; its bytes."""
    members = {}
    for i in range(n):
        members[f"{i:03}.jpg"] = b"j" * 700
        members[f"{i:03}.txt"] = f"caption {i}".encode()
    return tars.write(path, members).read_bytes()


def test_all_readers_of_shards_see_a_cut_and_a_flipped_header(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    whole = shard(path)
    assert len(list(samples(path))) == 10
    headers = [i for i in range(0, len(whole), 512) if whole[i + 257 : i + 262] == b"ustar"]
    assert len(headers) == 20
    damaged = [whole[:at] for at in headers[1:]]
    for at in headers[1:]:
        for byte in (0, 130, 150):  # of the name, of the size, of the checksum
            damaged.append(whole[: at + byte] + b"\xff" + whole[at + byte + 1 :])
    for content in damaged:
        path.write_bytes(content)
        for read in (tar_members, lambda path: list(samples(path))):
            with pytest.raises(DataError, match=r"s\.tar is not a whole, uncompressed tar"):
                read(path)


def test_a_sparse_file_is_refused_and_asks_for_no_memory(tmp_path: Path) -> None:
    sparse = tmp_path / "big.txt"
    with sparse.open("wb") as file:
        file.truncate(8 << 30)
    path = tmp_path / "s.tar"
    done = subprocess.run(["tar", "--sparse", "-cf", path, "-C", tmp_path, "big.txt"], check=False)
    if done.returncode or path.stat().st_size > 1 << 20:
        pytest.skip("this tar writes no sparse files")
    for read in (tar_members, lambda path: list(samples(path))):
        with pytest.raises(DataError, match=r"'big\.txt' is a sparse file"):
            read(path)


def test_a_text_that_is_not_a_caption_is_a_problem_of_its_sample(tmp_path: Path) -> None:
    members = {"a.txt": b"a dog", "b.txt": b"x" * (1 << 20) + b"y", "c.json": b"[" * 100_000}
    members["d.json"] = b'{"caption": ' + b"9" * 9000 + b"}"
    members["e.json"] = b'{"caption": "a cat"}'
    found = {f["id"]: f for f, _, _ in samples(tars.write(tmp_path / "s.tar", members))}
    assert found["a"]["caption"] == "a dog"
    assert found["e"]["caption"] == "a cat"
    assert "b.txt has 1,048,577 bytes, which is not a caption" in found["b"][PROBLEM]
    assert "nested too deeply" in found["c"][PROBLEM]
    assert "d.json is not valid" in found["d"][PROBLEM]


def test_a_shard_s_headers_are_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    shard(path, 500)
    with pytest.MonkeyPatch.context() as patch:
        most = [0]
        real = tarfile.TarFile.next

        def watched(self: tarfile.TarFile) -> tarfile.TarInfo | None:
            most[0] = max(most[0], len(self.members))
            return real(self)

        patch.setattr(tarfile.TarFile, "next", watched)
        assert len(list(samples(path))) == 500
    assert most[0] <= 2


def test_a_shard_has_images_of_every_kind_and_no_system_files(tmp_path: Path) -> None:
    names = [f"{n}{ending}" for n, ending in enumerate(sorted(IMAGE_SUFFIXES))]
    names += ["photo.JPG", "__MACOSX/photo.JPG", "._photo.JPG"]
    shard = tars.write(tmp_path / "s.tar", dict.fromkeys(names, b"x"))
    found = [image.id for _, image, _ in samples(shard) if image is not None]
    assert found == names[:-2]


def test_members_behind_an_end_mark_and_headers_of_no_end_are_seen(tmp_path: Path) -> None:
    whole = tars.write(tmp_path / "a.tar", {f"{n}.txt": b"a dog" for n in range(10)}).read_bytes()
    header = 3 * 1024
    bad = {
        "two in one": whole + whole,
        "a zeroed header": whole[:header] + bytes(512) + whole[header + 512 :],
        "zeros in front": bytes(1024) + whole,
    }
    for kind in (b"x", b"g", b"L"):
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 3 << 30
        bad[f"a header {kind!r} of 3 GiB"] = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    for name, content in bad.items():
        (tmp_path / "b.tar").write_bytes(content)
        for read in (lambda p: list(samples(p)), tar_members):
            with pytest.raises(DataError, match="is not a whole, uncompressed tar"):
                print(name, read(tmp_path / "b.tar"))
    (tmp_path / "b.tar").write_bytes(whole + bytes(20_480))
    assert len(tar_members(tmp_path / "b.tar")) == 10


def test_a_gzipped_text_or_json_of_a_sample_is_read(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"caption": "a cat"}')
    members = {
        "a.json.gz": packed,
        "b.TXT.GZ": gzip.compress(b"a dog"),
        "c.json.gz": packed[:-9],
        "d.txt.gz": b"not gzipped",
        "e.txt.gz": gzip.compress(bytes(8 << 20)),
    }
    found = {f["id"]: f for f, _, _ in samples(tars.write(tmp_path / "s.tar", members))}
    assert (found["a"]["caption"], found["b"]["caption"]) == ("a cat", "a dog")
    for key in "cde":
        assert re.search(rf"{key}\.\w+\.gz is not valid", found[key][PROBLEM])
    assert "more than 1,048,576 bytes" in found["e"][PROBLEM]


def test_what_stands_behind_the_first_dot_is_the_ending_and_that_is_said(tmp_path: Path) -> None:
    members = {
        **{"v1.0/a.jpg": b"x", "v1.0/a.caption.txt": b"a dog", "v1.0/a.seg.png": b"x"},
        **{"b.c.jpg": b"x", "b.txt": b"a cat"},
        **{"d.jpg": b"x", "d.en.txt": b"ein Hund"},
    }
    found = {f["id"]: (f, i, w) for f, i, w in samples(tars.write(tmp_path / "s.tar", members))}
    fields, image, where = found["v1.0/a"]
    assert (fields["caption"], image and image.id) == ("a dog", "v1.0/a.jpg")
    assert where == f"{tmp_path / 's.tar'}, sample v1.0/a"
    _, image, where = found["b"]
    assert image is None
    assert "sample b (its file 'b.c.jpg' has, by WebDataset's rule, the ending 'c.jpg'" in where
    assert "'d.en.txt' has, by WebDataset's rule, the ending 'en.txt'" in found["d"][2]


def with_links(path: Path) -> Path:
    """A shard of two pictures, a link to each, and a link to a text."""
    content = io.BytesIO()
    Image.new("RGB", (30, 20)).save(content, "JPEG")
    tars.write(path, {"a.jpg": content.getvalue(), "a.txt": b"a dog"})
    with tarfile.open(path, "a") as tar:
        for name, kind in (("b.jpg", tarfile.SYMTYPE), ("c.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg"
            tar.addfile(info)
            text = tarfile.TarInfo(f"{name[0]}.txt")
            text.size = 5
            tar.addfile(text, io.BytesIO(b"a cat"))
        info = tarfile.TarInfo("d.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "a.txt"
        tar.addfile(info)
    return path


def test_a_member_that_is_a_link_is_called_that(tmp_path: Path) -> None:
    shard = with_links(tmp_path / "s.tar")
    found = {fields["id"]: (fields, image) for fields, image, _ in samples(shard)}
    assert list(found) == ["a", "b", "c", "d"]
    for key in "bc":
        fields, image = found[key]
        assert fields["caption"] == "a cat"  # a caption needs no image
        assert image is not None
        for ref in (image, image_in_tar(tmp_path, f"s.tar/{key}.jpg")):
            assert ref is not None
            for look in (ref.open, ref.encoded, lambda ref=ref: ref.sha256):
                with pytest.raises(DataError, match=rf"s\.tar: '{key}\.jpg' is a link; write"):
                    look()
            pickle.dumps(ref)
    assert "'d.txt' is a link" in found["d"][0][PROBLEM]
