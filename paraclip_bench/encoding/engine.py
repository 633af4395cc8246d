"""Gives tasks unit vectors: each distinct text and image once, in batches of like size.

The engine owns order, deduplication, batches, the store and normalising; the encoder owns
tokenizing, padding and its network. Where the items of a request are many, their vectors are a
memory-mapped file.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.distributed import ProcessGroup, process_group
from paraclip_bench.encoding.batching import OutOfMemoryFallback, batches, budget, chunks
from paraclip_bench.encoding.database import StoreUnavailable
from paraclip_bench.encoding.inputs import InputNotes
from paraclip_bench.encoding.prefetcher import Prefetcher
from paraclip_bench.encoding.spaces import Spaces, VectorSpace
from paraclip_bench.encoding.vectors import UnusableVectors, check_alike, unit
from paraclip_bench.errors import DataError, ModelError
from paraclip_bench.models.adapter import Encoder, Model, exact_products
from paraclip_bench.progress import Progress

Vectors = npt.NDArray[np.float32]

# Above this many bytes the vectors are a memory-mapped file that vanishes with the process.
_LARGE = 1 << 30


class Rows:
    """float32 rows [count, d] that are filled in any order; d is that of the first row."""

    def __init__(self, count: int) -> None:
        self.filled = np.zeros(count, dtype=bool)
        self._vectors: Vectors | None = None

    def put(self, index: int, vector: Vectors) -> None:
        """Set row `index` to vector [d]."""
        if self._vectors is None:
            self._vectors = empty(len(self.filled), len(vector))
        self._vectors[index] = vector
        self.filled[index] = True

    def take(self, indices: npt.NDArray[np.intp]) -> Vectors:
        """Rows [len(indices), d]; no copy where all are asked for in order."""
        if self._vectors is None or not self.filled.all():
            raise AssertionError("every row is put before any is taken")
        if np.array_equal(indices, np.arange(len(self.filled))):
            return self._vectors
        taken = empty(len(indices), self._vectors.shape[1])
        return np.take(self._vectors, indices, axis=0, out=taken)


def empty(rows: int, columns: int) -> Vectors:
    """A float32 array [rows, columns], memory-mapped where it is large."""
    if rows * columns * 4 <= _LARGE:
        return np.empty((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile(prefix="paraclip-bench-") as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, columns))


# Flag of a vector whose image file was cut off.
_CUT_OFF = 1


@dataclass
class _Request:
    """The distinct items of one call, by key, and their vectors as far as they are there."""

    side: str
    encoder: Encoder
    keys: list[str]
    items: list[Any]
    space: VectorSpace
    rows: Rows

    def lacking(self, batch: Sequence[int]) -> list[int]:
        """Those of a batch that were in no earlier request.

        Batches are planned on the whole request, and each is stored whole: so what a batch lacks,
        and with it the last bits, is the same after a kill and for any number of processes.
        """
        return [index for index in batch if not self.rows.filled[index]]


@dataclass
class _Batch:
    """What goes through the network together: which items, their data, their flags."""

    indices: list[int]
    data: list[Any]
    flags: list[int]
    sizes: list[int]
    beside: list[Any] = field(default_factory=list)
    """Prepared data of the largest item of the request, where it is in another batch."""


Plan = Callable[[_Request, ProcessGroup], Iterator[_Batch]]


class Embedder:
    """`embed` for one model: texts and images to unit float32 vectors, counted and timed.

    seconds is the time spent encoding, dtypes in what each side ran. requested and found count
    distinct vectors asked for and those that the store already had. cut_off names the images whose
    files were cut off, which `lenient` allows. inputs says what else is to be known of the items.
    """

    def __init__(
        self, model: Model, spaces: Spaces, progress: Progress, *, lenient: bool = False
    ) -> None:
        self._model = model
        self._spaces = spaces
        self._progress = progress
        self._lenient = lenient
        self._group: ProcessGroup = process_group()
        self.seconds = 0.0
        self.requested = 0
        self.found = 0
        self.cut_off: list[str] = []
        self.dtypes: dict[str, str] = {}
        self.inputs = InputNotes(model)
        self._widths: dict[str, int] = {}

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), d] of texts, in their order."""
        self.inputs.texts(texts)
        return self._embed("text", list(texts), texts, self._text_batches)

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        """Unit vectors [len(images), d] of images, in their order."""
        self._need("image")
        keys = []
        with self._progress.track(f"{self._model.name}: reading images", len(images)) as advance:
            for image in images:
                keys.append(image.content)
                advance(1)
        self.inputs.images(images)
        return self._embed("image", keys, images, self._image_batches)

    def _need(self, side: str) -> Encoder:
        encoder = self._model.encoder(side)
        if encoder is None:
            raise ModelError(f"model {self._model.spec!r} has no {side} encoder")
        return encoder

    def _embed(self, side: str, keys: list[str], items: Sequence[Any], plan: Plan) -> Vectors:
        if not keys:
            raise ModelError(f"no {side}s were asked for; a task needs at least one")
        start = time.perf_counter()
        place: dict[str, int] = {}
        first: list[Any] = []
        for key, item in zip(keys, items, strict=True):
            if key not in place:
                place[key] = len(place)
                first.append(item)
        encoder = self._need(side)
        dtype = encoder.dtype or self._model.dtype
        space = self._spaces.space(side, encoder.fingerprint, dtype, self._model.name)
        request = _Request(side, encoder, list(place), first, space, Rows(len(place)))
        # Without a fingerprint nothing is stored, so each rank computes all of it.
        group = ProcessGroup() if encoder.fingerprint is None else self._group
        exact_products(self._model.device, dtype)
        self.dtypes[side] = dtype
        with _in_step(group):
            space.claim(request.keys)
            self._read(request, range(len(first)))
            self.requested += len(first)
            self.found += int(request.rows.filled.sum())
            group.barrier()
            if not all(group.gather(bool(request.rows.filled.all()))):
                self._encode(request, plan, group)
        with _in_step(group):
            self._read(request, np.flatnonzero(~request.rows.filled))
            if not request.rows.filled.all():
                self._encode_missing(request, plan, group)
        self._spaces.report()
        result = request.rows.take(np.fromiter((place[key] for key in keys), np.intp, len(keys)))
        self.seconds += time.perf_counter() - start
        return result

    def _encode_missing(self, request: _Request, plan: Plan, group: ProcessGroup) -> None:
        """Encode here what was stored and is not there: the store is another's, or was lost."""
        if group.size > 1:
            self._progress.say(
                "note: the processes do not share one embedding store, so each encodes everything; "
                "let PARACLIP_CACHE name a folder that all of them see"
            )
        self._encode(request, plan, ProcessGroup())
        self._read(request, np.flatnonzero(~request.rows.filled))
        if not request.rows.filled.all():
            raise StoreUnavailable(
                "the embedding store loses what is written to it; let PARACLIP_CACHE name another "
                "folder"
            )

    def _encode(self, request: _Request, plan: Plan, group: ProcessGroup) -> None:
        """Encode and store what is this rank's of what the store lacks."""
        memory = OutOfMemoryFallback(request.encoder, self._model.pieces.get(request.side, 1))
        rows = request.rows
        done = int(rows.filled.sum())
        with self._progress.track(
            f"{self._model.name}: {request.side}s", len(request.items)
        ) as advance:
            advance(done)
            for batch in plan(request, group):
                with self._named(request.side):
                    vectors = self._vectors(request, batch, memory)
                request.space.write([request.keys[i] for i in batch.indices], vectors, batch.flags)
                # What counts is what the store holds: another process may have been first.
                self._read(request, batch.indices)
                before, done = done, int(rows.filled.sum())
                advance(done - before)
        if memory.pieces > self._model.pieces.get(request.side, 1):
            self._model.pieces[request.side] = memory.pieces
            self._progress.say(
                f"note: {self._model.device} ran out of memory, so batches of {request.side}s "
                f"went in up to {memory.pieces} parts"
            )

    def _vectors(self, request: _Request, batch: _Batch, memory: OutOfMemoryFallback) -> Vectors:
        """Unit vectors [n, d] of a batch; what cannot be used is not stored."""
        items = [request.items[index] for index in batch.indices]
        raw = memory.encode(batch.data)
        vectors = unit(raw, items)
        self._check_width(request.side, vectors.shape[1])
        # Once a run and side: what depends on its batch would poison the store.
        if request.side not in self._model.checked:
            half = self.dtypes.get(request.side) in ("float16", "bfloat16")
            distance = check_alike(
                memory.encode,
                batch.data,
                batch.sizes,
                raw,
                items,
                beside=batch.beside,
                is_half=half,
            )
            if distance:
                self._progress.say(
                    f"note: the {request.side} encoder of {self._model.spec} gives an item vectors "
                    f"that lie {distance:.2g} apart in two batches (float32 rounds to about "
                    "0.000001), so they depend on the batch, or it runs in half precision inside"
                )
            # One item alone shows chance, and nothing of the batch.
            if len(batch.data) > 1 or batch.beside:
                self._model.checked.add(request.side)
        return vectors

    def _check_width(self, side: str, width: int) -> None:
        """`UnusableVectors` where a task's vectors cannot all be compared."""
        known = self._widths.setdefault(side, width)
        if known != width:
            raise UnusableVectors(
                f"it gave vectors of {known} numbers and then of {width}; all must be as long"
            )
        other, there = next(((s, w) for s, w in self._widths.items() if w != width), ("", 0))
        if other:
            raise UnusableVectors(
                f"its vectors have {width} numbers and those of its {other} encoder {there}, so "
                "they cannot be compared; project both into one space"
            )

    @contextlib.contextmanager
    def _named(self, side: str) -> Iterator[None]:
        """What is wrong with an encoder's vectors is said with the model's name."""
        try:
            yield
        except UnusableVectors as error:
            raise ModelError(f"the {side} encoder of {self._model.spec}: {error}") from error

    def _read(self, request: _Request, indices: Sequence[int] | npt.NDArray[Any]) -> None:
        """Take what the store has of these items."""
        for found, vector, flags in request.space.read([request.keys[i] for i in indices]):
            index = int(indices[found])
            if flags & _CUT_OFF and not request.rows.filled[index]:
                name = request.items[index].id
                if not self._lenient:
                    raise DataError(
                        f"the file of image {name!r} is cut off (its vector was stored by a run "
                        "that allowed it); replace the file (run --allow-truncated allows it)"
                    )
                self.cut_off.append(name)
            with self._named(request.side):
                self._check_width(request.side, len(vector))
            request.rows.put(index, vector)

    def _text_batches(self, request: _Request, group: ProcessGroup) -> Iterator[_Batch]:
        texts, encoder = request.items, request.encoder
        prepared = [encoder.prepare(text) for text in texts]
        # Where equal prefixes cost nothing, neighbours should share them; else, padding.
        by_prefix = all(group.gather(encoder.shares_prefixes))
        order = sorted(
            range(len(texts)), key=lambda i: (0 if by_prefix else prepared[i][1], texts[i])
        )
        sizes = [size for _, size in prepared]
        limit = min(group.gather(budget("text", self._model.device)))
        largest = max(range(len(texts)), key=lambda i: (sizes[i], i))
        for number, batch in enumerate(batches(order, sizes, limit)):
            if group.owns(number) and (indices := request.lacking(batch)):
                beside = [] if largest in indices else [prepared[largest][0]]
                data = [prepared[i][0] for i in indices]
                own = [sizes[i] for i in indices]
                yield _Batch(indices, data, [0] * len(indices), own, beside)

    def _image_batches(self, request: _Request, group: ProcessGroup) -> Iterator[_Batch]:
        limit = min(group.gather(budget("image", self._model.device)))
        # Images are planned without being opened: batches are made inside of chunks.
        mine = [
            indices
            for number, chunk in enumerate(chunks(len(request.items), limit.items))
            if group.owns(number) and (indices := request.lacking(chunk))
        ]
        prefetcher = Prefetcher(
            request.encoder.prepare,
            request.items,
            sum(map(len, mine)),
            lenient=self._lenient,
            say=self._progress.say,
        )
        for chunk, prepared in prefetcher.chunks(mine):
            by_index = dict(zip(chunk, prepared, strict=True))
            sizes = {index: size for index, (_, size, _) in by_index.items()}
            for indices in batches(chunk, sizes, limit):
                data, own, cut_off = zip(*(by_index[i] for i in indices), strict=True)
                flags = [_CUT_OFF * cut for cut in cut_off]
                yield _Batch(indices, list(data), flags, list(own))


@contextlib.contextmanager
def _in_step(group: ProcessGroup) -> Iterator[None]:
    """A piece of work that all ranks end together; an error of one ends all."""
    try:
        yield
    except BaseException as error:
        group.barrier(error)
        raise
    group.barrier()
