"""Where a run's vectors are kept: in the store on disk, or in memory where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from paraclip_bench.distributed import process_group
from paraclip_bench.encoding.database import StoreUnavailable
from paraclip_bench.encoding.vector_store import Space, VectorStore

Vectors = npt.NDArray[np.float32]


class VectorSpace(Protocol):
    """Vectors of one encoder in one precision, by key; what `vector_store.Space` does."""

    def read(self, keys: Sequence[str]) -> Iterator[tuple[int, Vectors, int]]:
        """Index, vector [d] and flags of the keys that are there."""
        ...

    def write(
        self, keys: Sequence[str], vectors: Vectors, flags: Sequence[int] | None = None
    ) -> None:
        """Keep vectors [len(keys), d]; the first write of a key wins."""
        ...

    def claim(self, keys: Sequence[str]) -> None:
        """Hold on to these keys as long as this process lives."""
        ...


class InMemory:
    """Vectors in this process's memory."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Vectors, int]] = {}

    def read(self, keys: Sequence[str]) -> Iterator[tuple[int, Vectors, int]]:
        """Index, vector [d] and flags of the keys that are there."""
        for index, key in enumerate(keys):
            if key in self._kept:
                yield index, *self._kept[key]

    def write(
        self, keys: Sequence[str], vectors: Vectors, flags: Sequence[int] | None = None
    ) -> None:
        """Keep vectors [len(keys), d]; the first write of a key wins."""
        for key, vector, flag in zip(keys, vectors, flags or [0] * len(keys), strict=True):
            self._kept.setdefault(key, (vector, flag))

    def claim(self, keys: Sequence[str]) -> None:
        """Nothing is ever evicted from memory."""


class MemoryFallback:
    """A space on disk; when the disk refuses, memory from then on, and a line that says so."""

    def __init__(self, space: Space, on_failure: Callable[[StoreUnavailable], None]) -> None:
        self._space = space
        self._memory = InMemory()
        self._on_failure = on_failure
        self._works = True

    def read(self, keys: Sequence[str]) -> Iterator[tuple[int, Vectors, int]]:
        """Index, vector [d] and flags of the keys that are there."""
        given: set[int] = set()
        if self._works:
            try:
                for row in self._space.read(keys):
                    given.add(row[0])
                    yield row
            except StoreUnavailable as error:
                self._fail(error)
        for row in self._memory.read(keys):
            if row[0] not in given:
                yield row

    def write(
        self, keys: Sequence[str], vectors: Vectors, flags: Sequence[int] | None = None
    ) -> None:
        """Keep vectors [len(keys), d]; the first write of a key wins."""
        if self._works:
            try:
                return self._space.write(keys, vectors, flags)
            except StoreUnavailable as error:
                self._fail(error)
        return self._memory.write(keys, vectors, flags)

    def claim(self, keys: Sequence[str]) -> None:
        """Hold on to these keys as long as this process lives."""
        if self._works:
            try:
                self._space.claim(keys)
            except StoreUnavailable as error:
                self._fail(error)

    def _fail(self, error: StoreUnavailable) -> None:
        self._on_failure(error)
        self._works = False


class Spaces:
    """The spaces of a run; `say` prints a line about the store, each one once.

    An encoder without a fingerprint gets a space of its own each time, since nobody knows whether
    its vectors still hold.
    """

    def __init__(self, say: Callable[[str], None], store: VectorStore | None = None) -> None:
        self._say = say
        self._store = VectorStore() if store is None else store
        self._open: dict[tuple[str, str, str], MemoryFallback] = {}
        self._said: set[str] = set()

    def space(self, side: str, fingerprint: str | None, dtype: str, label: str) -> VectorSpace:
        """The vectors of one encoder in one precision."""
        if fingerprint is None:
            return InMemory()
        key = (side, fingerprint, dtype)
        if key not in self._open:
            space = self._store.space(side, fingerprint, dtype, label)
            self._open[key] = MemoryFallback(space, self._failed)
        return self._open[key]

    def report(self) -> None:
        """Say what was wrong with the store, or that it is over its limit."""
        store = self._store
        if store.was_reset:
            self._once(f"note: the embedding store {store.path} was damaged and is started again")
        if store.damaged:
            self._once(
                f"note: damaged vectors of the embedding store {store.path} are computed again"
            )
        if store.over_limit:
            self._once(
                f"note: the embedding store {store.path} is over its limit while this run needs "
                "what it holds; raise PARACLIP_STORE_LIMIT to keep it all"
            )

    def _failed(self, error: StoreUnavailable) -> None:
        if process_group().size > 1:
            # Ranks exchange their vectors through the store.
            raise error
        self._once(f"note: {error}; this run goes on with its vectors in memory")

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)
