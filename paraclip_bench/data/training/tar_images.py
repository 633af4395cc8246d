"""Images inside WebDataset shards, named as SHARD.tar/KEY.jpg: what paraphrase writes of shards."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.training.webdataset import part
from paraclip_bench.errors import DataError

# Rows come in the order of their shards, so few tables of contents are in use at once.
_SHARDS = 8


def image_in_tar(folder: Path, name: str) -> ImageRef | None:
    """The image that `name` means in a shard of a folder; None where it means none."""
    shard, ending, member = name.partition(".tar/")
    path = folder / f"{shard}.tar"
    if not ending or not path.is_file():
        return None
    place = _contents(path).get(member)
    return None if place is None else ImageRef(id=name, read=functools.partial(part, path, *place))


@functools.lru_cache(maxsize=_SHARDS)
def _contents(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of each file of a shard."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {m.name: (m.offset_data, m.size) for m in tar if m.isfile()}
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{path} is not a whole, uncompressed tar file ({error}); write that shard again"
        ) from error
