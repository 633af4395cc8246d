"""Similarities of vectors, row by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def row_dot(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Dot products [n] of rows a, b [n, d] in float32; equal rows give equal bits."""
    result = np.empty(len(a), dtype=np.float32)
    # Not a matrix product: its rounding depends on where a row stands, and makes or breaks ties.
    for start in range(0, len(a), 4096):
        block = slice(start, start + 4096)
        result[block] = (a[block] * b[block]).sum(axis=1, dtype=np.float32)
    return result


def unit_cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosine [n] of unit float32 vectors a, b [n, d], as 1 - |a - b|^2 / 2.

    This form (that of sklearn's paired distances) gives identical vectors exactly 1, so that
    identical sentences tie.
    """
    difference = a - b
    one, half = np.float32(1), np.float32(0.5)
    return np.asarray(one - half * (difference * difference).sum(axis=1, dtype=np.float32))
