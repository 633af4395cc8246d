"""Images and WebDataset samples inside uncompressed tar files, by their place on the disk.

A sample is the files that share a name up to the first dot. Its fields come from KEY.json and from
texts such as KEY.txt (the caption) and KEY.paraphrase_1.txt, a json or text gzipped or not. What
stands behind the first dot is a file's ending, as WebDataset has it: `a.b.jpg` is file `b.jpg` of
sample `a`, and no image of it.
"""

from __future__ import annotations

import functools
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from paraclip_bench.data.images import IMAGE_SUFFIXES, FilePart, ImageRef, file_in, is_hidden
from paraclip_bench.errors import DataError
from paraclip_bench.files import parse_json, regular

# Rows come in the order of their shards, so few tables of contents are in use at once.
_SHARDS = 8


class _Member(tarfile.TarInfo):
    """A header whose extended forms (long names, pax) have a limit: tarfile reads them whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        is_extended = self.type in (*_EXTENDED, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if is_extended and not 0 <= self.size <= _TEXT_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes at byte {self.offset}")
        return super()._proc_member(tar)  # type: ignore[misc]


_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar in order, one in memory at a time; all readers of tars go through here.

    Raises `DataError` for a file that is compressed, cut off or damaged, at the latest at its end:
    tarfile takes a damaged header for the end, and a file cut between two members for whole.
    """
    try:
        # Without compression alone is a file's place in the tar its place on the disk.
        with tarfile.open(regular(path), "r:", tarinfo=_Member) as tar:
            for member in tar:
                # Of a sparse file the bytes lie elsewhere, and may be many more than the tar has.
                if member.issparse():
                    raise _not_whole(path, f"{member.name!r} is a sparse file")
                if member.size < 0:
                    raise _not_whole(path, f"{member.name!r} has {member.size:,} bytes")
                yield member
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all of them
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            block = file.read(tarfile.BLOCKSIZE)
            # Behind a zeroed header, or another tar's end, there may be members.
            behind = _first_byte(file)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise _not_whole(path, str(error)) from error
    if block != bytes(tarfile.BLOCKSIZE):
        raise _not_whole(path, f"no end mark at byte {end}")
    if behind is not None:
        raise _not_whole(path, f"the end mark at byte {end} has data behind it, at byte {behind}")


def _first_byte(file: IO[bytes]) -> int | None:
    """The place of the next byte that is not zero; None where there is none."""
    while block := file.read(1 << 20):
        if (rest := block.lstrip(b"\0")) != b"":
            return file.tell() - len(rest)
    return None


def tar_members(path: Path) -> list[tuple[str, FilePart | None]]:
    """Names and contents of a tar's members in order, folders left out; None for a link.

    Raises `DataError` for a file that is compressed, cut off or damaged.
    """
    return [
        (m.name, FilePart(path, m.offset_data, m.size) if m.isfile() else None)
        for m in _members(path)
        if not m.isdir()
    ]


def link_in_tar(shard: Path, name: str) -> DataError:
    """The error for a member that is needed and is a link, which nobody follows."""
    return DataError(
        f"{shard}: {name!r} is a link; write the shard with the file itself "
        "(tar --dereference --hard-dereference)"
    )


@dataclass(frozen=True)
class _Link:
    """In place of the bytes of an image that is a link; asking for them says so. Picklable."""

    shard: Path
    name: str

    def __call__(self) -> bytes:
        raise link_in_tar(self.shard, self.name)


def _image(shard: Path, name: str, place: FilePart | None, id: str) -> ImageRef:
    return ImageRef(id=id, read=_Link(shard, name) if place is None else place)


def image_in_tar(folder: Path, name: str) -> ImageRef | None:
    """The image that `name`, SHARD.tar/KEY.jpg, means in a folder; None where it means none.

    Reading one that is a link in the shard raises a `DataError` that says so.
    """
    found = re.search(r"\.tar/", name, re.IGNORECASE)
    if found is None:
        return None
    shard, member = name[: found.end() - 1], name[found.end() :]
    if (path := file_in(folder, shard, name)) is None:
        return None
    contents = _contents(path)
    return _image(path, member, contents[member], name) if member in contents else None


@functools.lru_cache(maxsize=_SHARDS)
def _contents(path: Path) -> dict[str, FilePart | None]:
    return dict(tar_members(path))


def _not_whole(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a whole, uncompressed tar file ({reason}); write that shard again"
    )


# A caption with all that a dataset's tools write beside it.
_TEXT_BYTES = 1 << 20
_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
_USUAL_TEXTS = {"caption", "paraphrase_1", "paraphrase_2"}
TEXT_VIEW = r"caption|negation|paraphrase_[1-9]\d?"
"""A pattern: what a text of a training row may be called."""
_TEXT = re.compile(rf"(?:({TEXT_VIEW})\.)?txt")


# A field of a sample that cannot be read: what is wrong with it.
PROBLEM = "\0problem"


def samples(path: Path) -> Iterator[tuple[dict[str, Any], ImageRef | None, str]]:
    """(fields, image, where) of each sample, in order; the key is its id.

    A sample whose fields cannot be read has `PROBLEM` among them. Reading an image that is a link
    raises a `DataError`. `where` names what a sample has and has not because of its ending. Raises
    `DataError` for a file that is not a plain tar.
    """
    key: str | None = None
    fields: dict[str, Any] = {}
    image: ImageRef | None = None
    passed: list[str] = []
    for member in _members(path):
        if member.isdir() or is_hidden(member.name):
            continue
        stem, ending = _split(member.name)
        if stem != key:
            if key is not None:
                yield {"id": key, **fields}, image, _where(path, key, fields, image, passed)
            key, fields, image, passed = stem, {}, None, []
        place = FilePart(path, member.offset_data, member.size) if member.isfile() else None
        plain = ending.removesuffix(".gz")
        if ending in _IMAGES:
            image = _image(path, member.name, place, member.name)
        elif plain == "json" or _TEXT.fullmatch(plain):
            where = f"{path}, {member.name}"
            if place is None:
                fields[PROBLEM] = str(link_in_tar(path, member.name))
            elif member.size > _TEXT_BYTES:
                fields[PROBLEM] = f"{where} has {member.size:,} bytes, which is not a caption"
            else:
                _add(fields, ending, place(), where)
        elif "." in ending:
            passed.append(member.name)
    if key is not None:
        yield {"id": key, **fields}, image, _where(path, key, fields, image, passed)


def _where(
    path: Path, key: str, fields: dict[str, Any], image: ImageRef | None, passed: list[str]
) -> str:
    """What messages call a sample, with a file that would be its image or text by its last ending
    alone, where it has none."""
    for name in passed:
        last = name.lower().removesuffix(".gz").rpartition(".")[2]
        lacks_text = not fields.keys() >= _USUAL_TEXTS
        if (last in _IMAGES and image is None) or (last in ("txt", "json") and lacks_text):
            return (
                f"{path}, sample {key} (its file {name!r} has, by WebDataset's rule, the ending "
                f"{_split(name)[1]!r}, all behind the first dot; rename it)"
            )
    return f"{path}, sample {key}"


def _split(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _add(fields: dict[str, Any], ending: str, content: bytes, where: str) -> None:
    try:
        if ending.endswith(".gz"):
            ending, content = ending.removesuffix(".gz"), _unpacked(content)
        if ending == "json":
            read = parse_json(content)
            if isinstance(read, dict):
                # A text of its own wins over the same field of the json.
                fields.update({key: value for key, value in read.items() if key not in fields})
        elif found := _TEXT.fullmatch(ending):
            fields[found[1] or "caption"] = content.decode("utf-8").strip()
    except (ValueError, zlib.error) as error:
        fields[PROBLEM] = f"{where} is not valid ({error})"


def _unpacked(content: bytes) -> bytes:
    """What gzipped bytes hold; `ValueError` for those cut off, or of more than a caption has."""
    unpacker = zlib.decompressobj(wbits=31)
    found = unpacker.decompress(content, _TEXT_BYTES)
    if not unpacker.eof:
        raise ValueError(f"it is cut off, or holds more than {_TEXT_BYTES:,} bytes")
    return found
