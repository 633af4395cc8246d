"""The frozen tower's features of every distinct image: computed once, one file beside the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.ranks import Ranks
from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic

# Images that go to the engine together: so many, or so many bytes of those that come as bytes.
_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 28


def image_features(
    images: Iterable[ImageRef], count: int, embed: Embedder, path: Path, team: Ranks
) -> npt.NDArray[np.float32]:
    """Unit features [count, d] of distinct images, memory-mapped from a .npy file at `path`.

    They come through the engine and its store, so that another run, or a run that was killed, does
    not encode them again. Rank 0 writes the file; memory does not grow with their number.
    """
    if not path.is_file():
        if team.is_first:
            with atomic(path) as temporary:
                done = _write(temporary, images, count, embed)
            if done != count:
                raise DataError("the training data changed while it was read; run finetune again")
        else:
            for part in _parts(images):
                embed.images(part)
    team.meet()
    features: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
    return features


def _write(path: Path, images: Iterable[ImageRef], count: int, embed: Embedder) -> int:
    file, done = None, 0
    for part in _parts(images):
        vectors = embed.images(part)
        if file is None:
            file = np.lib.format.open_memmap(
                path, mode="w+", dtype=np.float32, shape=(count, vectors.shape[1])
            )
        file[done : done + len(part)] = vectors
        done += len(part)
    if file is not None:
        file.flush()
    return done


def _parts(images: Iterable[ImageRef]) -> Iterator[list[ImageRef]]:
    part: list[ImageRef] = []
    held = 0
    for image in images:
        part.append(image)
        held += len(image.data or b"")
        if len(part) == _AT_ONCE or held >= _BYTES_AT_ONCE:
            yield part
            part, held = [], 0
    if part:
        yield part
