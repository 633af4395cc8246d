"""Files inside uncompressed tar files (WebDataset shards), by their place on the disk."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

from paraclip_bench.data.file_part import FilePart
from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import DataError

# Rows come in the order of their shards, so few tables of contents are in use at once.
_SHARDS = 8


def tar_members(path: Path) -> list[tuple[str, FilePart | None]]:
    """Names and contents of a tar's members in order, folders left out; None for a link.

    Raises `DataError` for a file that is compressed, cut off or damaged.
    """
    try:
        # Without compression alone is a file's place in the tar its place on the disk.
        with tarfile.open(path, "r:") as tar:
            members = [
                (m.name, FilePart(path, m.offset_data, m.size) if m.isfile() else None)
                for m in tar
                if not m.isdir()
            ]
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            block = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _not_whole(path, str(error)) from error
    # tarfile takes a damaged header for the end, and a file cut between two members for whole.
    if block != bytes(tarfile.BLOCKSIZE):
        raise _not_whole(path, f"no end mark at byte {end}")
    return members


def image_in_tar(folder: Path, name: str) -> ImageRef | None:
    """The image that `name`, SHARD.tar/KEY.jpg, means in a folder; None where it means none."""
    shard, ending, member = name.partition(".tar/")
    path = folder / f"{shard}.tar"
    if not ending or not path.is_file():
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
