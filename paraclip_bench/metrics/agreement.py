"""How far two rankings agree in their first k places: AO@k and JS@k (Cheng et al. 2024, arXiv
2405.03190), and rank-biased overlap (Webber, Moffat & Zobel 2010, ACM TOIS 28(4):20).

Agreement says nothing about being right: a model that always returns the same images agrees with
itself perfectly. Show it beside recall.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched

Ints = npt.NDArray[np.integer[Any]]

PERSISTENCE = 0.9
"""The p of rank-biased overlap."""


def overlaps(first: Ints, second: Ints) -> npt.NDArray[np.int64]:
    """|A_d ∩ B_d| for d = 1..k, of top-k lists first and second [n, k] -> [n, k].

    A list holds an item at most once.
    """
    n, k = first.shape
    result = np.zeros((n, k), dtype=np.int64)
    same = first[:, :, None] == second[:, None, :]
    for depth in range(1, k + 1):
        result[:, depth - 1] = same[:, :depth, :depth].sum(axis=(1, 2))
    return result


def average_overlap(overlap: Ints, k: int) -> Floats:
    """AO@k [n] = 1/k * sum over d = 1..k of |A_d ∩ B_d| / d, from overlaps [n, >= k]."""
    return np.asarray((overlap[:, :k] / np.arange(1, k + 1)).mean(axis=1))


def jaccard(overlap: Ints, k: int) -> Floats:
    """JS@k [n] = |A_k ∩ B_k| / |A_k ∪ B_k|, from overlaps [n, >= k]."""
    shared = overlap[:, k - 1]
    return np.asarray(shared / (2 * k - shared))


def rank_biased_overlap(overlap: Ints, k: int, p: float = PERSISTENCE) -> Floats:
    """RBO_EXT(k) [n], the point estimate of rank-biased overlap, from overlaps X_d [n, >= k].

    X_k/k * p^k + (1 - p)/p * sum over d = 1..k of X_d/d * p^d: equation 23 of Webber, Moffat &
    Zobel (2010), for two lists seen to one depth. RBO goes over rankings without end; beyond k the
    agreement seen there, X_k/k, is taken to go on. p, in (0, 1), is the chance that a reader of
    one place reads the next one too: at 0.9 the first ten places have 86% of the weight (eq. 21).
    """
    agreement = overlap[:, :k] / np.arange(1, k + 1)
    weights = (1 - p) * p ** np.arange(k)
    return np.asarray(agreement @ weights + agreement[:, -1] * p**k)


def average_overlap_of(column: str, k: int) -> Statistic:
    """Mean AO@k over pairs, from a column of overlaps."""

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        return np.asarray((weights @ average_overlap(columns[column], k)) / weights.sum(axis=-1))

    return statistic


def jaccard_of(column: str, k: int) -> Statistic:
    """Mean JS@k over pairs, from a column of overlaps."""

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        return np.asarray((weights @ jaccard(columns[column], k)) / weights.sum(axis=-1))

    return statistic


def rank_biased_overlap_of(column: str, k: int) -> Statistic:
    """Mean RBO_EXT(k) over pairs, p = 0.9, from a column of overlaps."""

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        each = rank_biased_overlap(columns[column], k)
        return np.asarray((weights @ each) / weights.sum(axis=-1))

    return statistic
