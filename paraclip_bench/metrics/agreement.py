"""How far two rankings agree in their first k places.

AO@k and JS@k (Cheng et al. 2024, arXiv 2405.03190), and rank-biased overlap (Webber, Moffat &
Zobel 2010, ACM TOIS 28(4):20). Agreement says nothing about being right: a model that always
returns the same images agrees with itself perfectly. Show it beside recall.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.metric import (
    Columns,
    Floats,
    MeanOf,
    Metric,
    Statistic,
    TooShallow,
)

Ints = npt.NDArray[np.integer[Any]]

PERSISTENCE = 0.9
"""The p of rank-biased overlap."""
# Pairs whose lists are compared at once, item by item.
_CELLS = 1 << 24


def overlaps(first: Ints, second: Ints) -> npt.NDArray[np.int64]:
    """|A_d ∩ B_d| for d = 1..k, of top-k lists first and second [n, k] -> [n, k].

    A list holds an item at most once. In a column, a row of -1 is one that does not count.
    """
    n, k = first.shape
    result = np.zeros((n, k), dtype=np.int64)
    step = max(1, _CELLS // (k * k))
    for start in range(0, n, step):
        block = slice(start, start + step)
        row, i, j = np.nonzero(first[block, :, None] == second[block, None, :])
        # An item counts from the depth on at which both lists have it.
        np.add.at(result[block], (row, np.maximum(i, j)), 1)
    return np.cumsum(result, axis=1)


def average_overlap(overlap: Ints, k: int) -> Floats:
    """AO@k [n] = 1/k * sum over d = 1..k of |A_d ∩ B_d| / d, from overlaps [n, >= k]."""
    return np.asarray((_first(overlap, k) / np.arange(1, k + 1)).mean(axis=1))


def jaccard(overlap: Ints, k: int) -> Floats:
    """JS@k [n] = |A_k ∩ B_k| / |A_k ∪ B_k|, from overlaps [n, >= k]."""
    shared = _first(overlap, k)[:, k - 1]
    return np.asarray(shared / (2 * k - shared))


def rank_biased_overlap(overlap: Ints, k: int, p: float = PERSISTENCE) -> Floats:
    """RBO_EXT(k) [n], the point estimate of rank-biased overlap, from overlaps X_d [n, >= k].

    X_k/k * p^k + (1 - p)/p * sum over d = 1..k of X_d/d * p^d: equation 23 of Webber, Moffat &
    Zobel (2010), for two lists seen to one depth. RBO goes over rankings without end; beyond k the
    agreement seen there, X_k/k, is taken to go on. p, in (0, 1), is the chance that a reader of
    one place reads the next one too: at 0.9 the first ten places have 86% of the weight (eq. 21).
    """
    agreement = _first(overlap, k) / np.arange(1, k + 1)
    weights = (1 - p) * p ** np.arange(k)
    return np.asarray(agreement @ weights + agreement[:, -1] * p**k)


def average_overlap_of(column: str, k: int) -> Statistic:
    """Mean AO@k over pairs, from a column of overlaps."""
    return _mean_of(column, functools.partial(average_overlap, k=k))


def jaccard_of(column: str, k: int) -> Statistic:
    """Mean JS@k over pairs, from a column of overlaps."""
    return _mean_of(column, functools.partial(jaccard, k=k))


def rank_biased_overlap_of(column: str, k: int, p: float = PERSISTENCE) -> Statistic:
    """Mean RBO_EXT(k) over pairs, from a column of overlaps; `ValueError` unless 0 < p < 1."""
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, and {p:g} does not")
    return _mean_of(column, functools.partial(rank_biased_overlap, k=k, p=p))


_CHENG = "Cheng et al. 2024 (arXiv 2405.03190)"
AO = Metric(
    "ao",
    "average overlap: of the first d places for d = 1..k, the share that both lists have",
    functools.partial(average_overlap_of, "overlaps"),
    source=_CHENG,
    k=10,
)
NEGATION_AO = dataclasses.replace(
    AO,
    about="average overlap of the first k places of a query and of its negation; lower is better, "
    "because they ask for different images",
    make=lambda k, of: average_overlap_of(f"overlaps_{of}", k),
    source="ours",
    lower_is_better=True,
    of="negation",
    choices=("negation",),
    needs="overlaps_negation",
)
JS = Metric(
    "js",
    "Jaccard similarity of the first k places of both lists",
    functools.partial(jaccard_of, "overlaps"),
    source=_CHENG,
    k=10,
)
RBO = Metric(
    "rbo",
    "rank-biased overlap, extrapolated from the first k places; p weighs the deeper ones",
    functools.partial(rank_biased_overlap_of, "overlaps"),
    source="Webber, Moffat & Zobel 2010, equation 23",
    k=10,
    defaults={"p": PERSISTENCE},
)


def _first(overlap: Ints, k: int) -> Ints:
    """The columns of the first k depths; `TooShallow` where there are fewer."""
    if overlap.shape[1] < k:
        raise TooShallow(k, overlap.shape[1])
    return overlap[:, :k]


def _mean_of(column: str, each: Any) -> Statistic:
    def of_rows(columns: Columns) -> tuple[Floats, Floats]:
        counted = columns[column][:, 0] >= 0
        return np.where(counted, each(columns[column]), 0.0), counted.astype(np.float64)

    return MeanOf(of_rows)
