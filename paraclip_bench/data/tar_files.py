"""Images and WebDataset samples inside uncompressed tar files, by their place on the disk.

A sample is the files that share a name up to the first dot. Its fields come from KEY.json and from
texts such as KEY.txt (the caption) and KEY.paraphrase_1.txt.
"""

from __future__ import annotations

import functools
import re
import tarfile
from collections.abc import Iterator
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


def image_in_tar(folder: Path, name: str) -> ImageRef | None:
    """The image that `name`, SHARD.tar/KEY.jpg, means in a folder; None where it means none."""
    found = re.search(r"\.tar/", name, re.IGNORECASE)
    if found is None:
        return None
    shard, member = name[: found.end() - 1], name[found.end() :]
    if (path := file_in(folder, shard, name)) is None:
        return None
    place = _contents(path).get(member)
    return None if place is None else ImageRef(id=name, read=place)


@functools.lru_cache(maxsize=_SHARDS)
def _contents(path: Path) -> dict[str, FilePart]:
    return {name: part for name, part in tar_members(path) if part is not None}


def _not_whole(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a whole, uncompressed tar file ({reason}); write that shard again"
    )


# A caption with all that a dataset's tools write beside it.
_TEXT_BYTES = 1 << 20
_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
_TEXTS = {
    "txt": "caption",
    "caption.txt": "caption",
    "paraphrase_1.txt": "paraphrase_1",
    "paraphrase_2.txt": "paraphrase_2",
}


# A field of a sample that cannot be read: what is wrong with it.
PROBLEM = "\0problem"


def samples(path: Path) -> Iterator[tuple[dict[str, Any], ImageRef | None, str]]:
    """(fields, image, where) of each sample, in order; the key is its id.

    A sample whose fields cannot be read has `PROBLEM` among them. Raises `DataError` for a file
    that is not a plain tar.
    """
    key: str | None = None
    fields: dict[str, Any] = {}
    image: ImageRef | None = None
    for member in _members(path):
        if not member.isfile() or is_hidden(member.name):
            continue
        stem, ending = _split(member.name)
        if stem != key:
            if key is not None:
                yield {"id": key, **fields}, image, f"{path}, sample {key}"
            key, fields, image = stem, {}, None
        place = FilePart(path, member.offset_data, member.size)
        if ending in _IMAGES:
            image = ImageRef(id=member.name, read=place)
        elif ending == "json" or ending in _TEXTS:
            where = f"{path}, {member.name}"
            if member.size > _TEXT_BYTES:
                fields[PROBLEM] = f"{where} has {member.size:,} bytes, which is not a caption"
            else:
                _add(fields, ending, place(), where)
    if key is not None:
        yield {"id": key, **fields}, image, f"{path}, sample {key}"


def _split(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _add(fields: dict[str, Any], ending: str, content: bytes, where: str) -> None:
    try:
        if ending == "json":
            read = parse_json(content)
            if isinstance(read, dict):
                # A text of its own wins over the same field of the json.
                fields.update({key: value for key, value in read.items() if key not in fields})
        else:
            fields[_TEXTS[ending]] = content.decode("utf-8").strip()
    except ValueError as error:
        fields[PROBLEM] = f"{where} is not valid ({error})"
