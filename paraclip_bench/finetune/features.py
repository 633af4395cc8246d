"""The frozen tower's features of every distinct image: computed once, one file beside the run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.ranks import RankFailed, Ranks
from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic, write_text

# Images that go to the engine together: so many, or so many bytes of those that come as bytes.
_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 28


Features = npt.NDArray[np.float32]


def image_features(
    images: Iterable[ImageRef],
    count: int,
    embed: Embedder,
    path: Path,
    team: Ranks,
    *,
    skip_bad: bool,
) -> tuple[Features, dict[int, str]]:
    """Unit features [count, d] of distinct images, memory-mapped from a .npy file at `path`.

    With `skip_bad`, images that cannot be decoded have no features; the second value says, by their
    number, what is wrong with them. Features come through the engine and its store, so that another
    run, or a run that was killed, does not encode them again. Rank 0 writes the file; memory does
    not grow with their number.
    """
    notes = path.with_suffix(".damaged.json")
    if not path.is_file():
        parts = _encoded(images, embed, skip_bad=skip_bad)
        if team.is_first:
            with atomic(path) as temporary:
                damaged = _write(temporary, parts, count)
                write_text(notes, json.dumps(damaged))
        else:
            for _ in parts:
                pass
    team.meet()
    features: Features = np.load(path, mmap_mode="r")
    found = json.loads(notes.read_text(encoding="utf-8"))
    return features, {int(number): sentence for number, sentence in found.items()}


def _encoded(
    images: Iterable[ImageRef], embed: Embedder, *, skip_bad: bool
) -> Iterator[tuple[list[ImageRef], Features, dict[int, str]]]:
    """Each part with the features of its good images, and what is wrong with the others."""
    for part in _parts(images):
        try:
            yield part, embed.images(part), {}
            continue
        except (DataError, RankFailed):
            if not skip_bad:
                raise
            damaged = {place: said for place, ref in enumerate(part) if (said := _problem(ref))}
            if not damaged:
                raise
        good = [ref for place, ref in enumerate(part) if place not in damaged]
        yield part, embed.images(good), damaged


def _problem(image: ImageRef) -> str | None:
    try:
        image.open()
    except DataError as error:
        return str(error)
    return None


def _write(
    path: Path, parts: Iterable[tuple[list[ImageRef], Features, dict[int, str]]], count: int
) -> dict[int, str]:
    """Write all features; returns what is wrong with images that have none, by their number."""
    file, done = None, 0
    wrong: dict[int, str] = {}
    for part, vectors, damaged in parts:
        if file is None:
            file = np.lib.format.open_memmap(
                path, mode="w+", dtype=np.float32, shape=(count, vectors.shape[1])
            )
            # A full disk is an error now, and not a signal when a page is written back.
            with path.open("r+b") as whole:
                os.posix_fallocate(whole.fileno(), 0, path.stat().st_size)
        good = [place for place in range(len(part)) if place not in damaged]
        file[done + np.array(good, dtype=np.intp)] = vectors
        wrong |= {done + place: sentence for place, sentence in damaged.items()}
        done += len(part)
    if file is not None:
        file.flush()
    if done != count:
        raise DataError("the training data changed while it was read; run finetune again")
    return wrong


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
