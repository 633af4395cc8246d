"""Gives tasks unit vectors: each distinct text and image once, in batches of like size.

The engine owns order, deduplication, batches and normalising; the encoder owns tokenizing,
padding and its network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.store import Store
from paraclip_bench.errors import ModelError
from paraclip_bench.models.base import Encoder, Model
from paraclip_bench.progress import Progress

# Tokens of a text batch and 16x16 patches of an image batch: a few hundred MB of activations
# for a ViT-L on CPU.
TEXT_BUDGET = 4096
IMAGE_BUDGET = 8192
MAX_BATCH = 256
# Images are planned without being opened; their size is learned as they are prepared.
IMAGES_AHEAD = 64

Vectors = npt.NDArray[np.float32]


class Embedder:
    """`embed` for one model: texts and images to unit float32 vectors, counted and timed.

    seconds is the time spent encoding, requested and found count distinct vectors asked for and
    those that the store already had.
    """

    def __init__(self, model: Model, store: Store, progress: Progress) -> None:
        self._model = model
        self._store = store
        self._progress = progress
        self.seconds = 0.0
        self.requested = 0
        self.found = 0

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), d] of texts, in their order."""
        encoder = self._need("text")
        return self._embed(encoder, "text", list(texts), texts, self._plan_texts)

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        """Unit vectors [len(images), d] of images, in their order."""
        encoder = self._need("image")
        keys = [image.content for image in images]
        return self._embed(encoder, "image", keys, images, self._plan_images)

    def _need(self, side: str) -> Encoder:
        encoder: Encoder | None = getattr(self._model, side)
        if encoder is None:
            raise ModelError(f"model {self._model.spec!r} has no {side} encoder")
        return encoder

    def _embed(
        self,
        encoder: Encoder,
        side: str,
        keys: list[str],
        items: Sequence[Any],
        plan: Callable[[Encoder, list[Any], set[int]], Iterator[tuple[list[int], list[Any]]]],
    ) -> Vectors:
        if not keys:
            raise ModelError(f"no {side}s were asked for; a task needs at least one")
        start = time.perf_counter()
        place: dict[str, int] = {}
        for key in keys:
            place.setdefault(key, len(place))
        distinct = list(place)
        first: dict[str, Any] = dict(zip(reversed(keys), reversed(items), strict=True))
        wanted = [first[key] for key in distinct]
        space = self._store.space(side, encoder.fingerprint, self._model.dtype)
        known = {i for i, key in enumerate(distinct) if key in space}
        self.requested += len(distinct)
        self.found += len(known)
        with self._progress.track(f"{self._model.name}: {side}s", len(distinct)) as advance:
            advance(len(known))
            # A batch that lacks one vector is encoded whole, so that batches, and with them the
            # last bits, do not depend on what happened to be stored; the first write wins.
            for indices, prepared in plan(encoder, wanted, known):
                vectors = _unit(encoder.encode(prepared), [wanted[i] for i in indices])
                for index, vector in zip(indices, vectors, strict=True):
                    space.setdefault(distinct[index], vector)
                advance(sum(index not in known for index in indices))
        result = np.stack([space[key] for key in distinct])
        self.seconds += time.perf_counter() - start
        return result[[place[key] for key in keys]]

    def _plan_texts(
        self, encoder: Encoder, texts: list[str], known: set[int]
    ) -> Iterator[tuple[list[int], list[Any]]]:
        if len(known) == len(texts):
            return
        prepared = [encoder.prepare(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: (prepared[i][1], texts[i]))
        for indices in _batches(order, [size for _, size in prepared], TEXT_BUDGET):
            if not known.issuperset(indices):
                yield indices, [prepared[i][0] for i in indices]

    def _plan_images(
        self, encoder: Encoder, images: list[ImageRef], known: set[int]
    ) -> Iterator[tuple[list[int], list[Any]]]:
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for chunk in _chunks(len(images), IMAGES_AHEAD):
                if known.issuperset(chunk):
                    continue
                prepared = dict(
                    zip(chunk, pool.map(encoder.prepare, [images[i] for i in chunk]), strict=True)
                )
                sizes = {i: size for i, (_, size) in prepared.items()}
                for indices in _batches(list(chunk), sizes, IMAGE_BUDGET):
                    if not known.issuperset(indices):
                        yield indices, [prepared[i][0] for i in indices]


def _chunks(total: int, size: int) -> Iterator[range]:
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


def _batches(order: Sequence[int], sizes: Any, budget: int) -> Iterator[list[int]]:
    """Runs of `order` whose sizes add up to at most `budget`, at least one item each."""
    batch: list[int] = []
    total = 0
    for index in order:
        if batch and (total + sizes[index] > budget or len(batch) == MAX_BATCH):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += sizes[index]
    if batch:
        yield batch


def _unit(raw: Any, items: Sequence[Any]) -> Vectors:
    """float32 unit rows [n, d]; `ModelError` where the encoder's answer cannot be used."""
    if hasattr(raw, "detach"):
        raw = raw.detach().float().cpu().numpy()
    vectors = np.asarray(raw, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(items):
        raise ModelError(
            f"an encoder gave an array of shape {vectors.shape} for {len(items)} items; "
            "it must be [n, d]"
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        raise ModelError(
            f"an encoder gave a vector that is zero or not finite for {items[bad[0]]!r}; "
            "such a vector has no direction"
        )
    return np.asarray(vectors / norms, dtype=np.float32)
