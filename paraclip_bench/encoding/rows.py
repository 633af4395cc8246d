"""Vectors of the distinct items of one request, on disk where they are many."""

from __future__ import annotations

import tempfile

import numpy as np
import numpy.typing as npt

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
