"""Similarities of vectors, rankings of a gallery for queries, and recall of a target in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.metric import Columns, Floats, MeanOf, Metric, Statistic

# Scores held at once, 256 MB of them: a gallery of a million is scored 64 queries at a time.
_SCORES = 1 << 26
_MOST_QUERIES = 128
# Gallery items that are scored exactly at once.
_PART = 1 << 14
# Steps in 1 of what vectors are rounded to.
_STEPS = float(1 << 26)


class Ranking(NamedTuple):
    """The first k gallery indices [q, k], their similarities [q, k], and target ranks [q]."""

    first: npt.NDArray[np.intp]
    similarities: npt.NDArray[np.float32]
    target_ranks: npt.NDArray[np.int64]


def retrieve(queries: Floats, gallery: Floats, targets: npt.NDArray[Any], k: int) -> Ranking:
    """The ranking of a gallery [g, d] for queries [q, d], its first k places.

    Scores are dot products of unit vectors, exact but for the rounding of components to 2^-26 and
    of the sum to float32. Equal vectors tie, and a query's result depends on no other query.
    targets [q] are gallery indices, -1 where there is none. Memory does not grow with q.
    """
    found = Ranking(
        np.empty((len(queries), k), dtype=np.intp),
        np.empty((len(queries), k), dtype=np.float32),
        np.empty(len(queries), dtype=np.int64),
    )
    for block, similarities in _blocks(queries, gallery, targets[:, None], k):
        found.first[block] = top(similarities, k)
        found.similarities[block] = np.take_along_axis(similarities, found.first[block], axis=1)
        found.target_ranks[block] = target_ranks(similarities, targets[block])
    return found


def places(queries: Floats, gallery: Floats, targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Ranks [q, t] of several targets of each query, 0 for target -1; otherwise as `retrieve`."""
    ranks = np.empty(targets.shape, dtype=np.int64)
    for block, similarities in _blocks(queries, gallery, targets, 0):
        for column in range(targets.shape[1]):
            ranks[block, column] = target_ranks(similarities, targets[block, column])
    return ranks


def _blocks(
    queries: Floats, gallery: Floats, targets: npt.NDArray[Any], k: int
) -> Iterator[tuple[slice, Floats]]:
    """A few queries at a time, and their float32 similarities [b, g] to the gallery.

    Exact are those that a float32 product leaves open: near the k-th, and near each of the targets
    [q, t]. The others are wrong in their last digits, and far enough away for it not to matter.
    """
    step = max(1, min(_MOST_QUERIES, _SCORES // len(gallery)))
    margin = _margin(queries, gallery)
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        similarities = np.asarray(queries[block] @ gallery.T, dtype=np.float32)
        open_ = _undecided(similarities, targets[block], k, margin)
        items = np.flatnonzero(open_.any(axis=0))
        asked = _whole(queries[block])
        for first in range(0, len(items), _PART):
            part = items[first : first + _PART]
            exact = (asked @ _whole(gallery[part]).T / _STEPS**2).astype(np.float32)
            similarities[:, part] = np.where(open_[:, part], exact, similarities[:, part])
        yield block, similarities


def _undecided(
    similarities: Floats, targets: npt.NDArray[Any], k: int, margin: float
) -> npt.NDArray[np.bool_]:
    """Which [b, g] may, if they are wrong by up to half of `margin`, change a place that counts."""
    result = np.zeros(similarities.shape, dtype=np.bool_)
    last = similarities.shape[1] - k
    for row, scores in enumerate(similarities):
        if k:
            result[row] = scores >= np.partition(scores, last)[last] - margin
        for target in targets[row]:
            if target >= 0:
                result[row] |= np.abs(scores - scores[target]) <= margin
    return result


def _margin(queries: Floats, gallery: Floats) -> float:
    """How far two float32 scores must be apart for their order to be certain.

    A dot product of d terms in any order is wrong by at most d u / (1 - d u) times the sum of
    |a b|, u = 2^-24 (Higham 2002, section 3.1), rounded components add less than 2^-26 sqrt(d) and
    the last rounding u; two scores are compared, each as large as the vectors' lengths.
    """
    d, unit = gallery.shape[1], 2.0**-24
    sizes = [
        max(float(np.linalg.norm(v[i : i + _PART], axis=1).max()) for i in range(0, len(v), _PART))
        for v in (queries, gallery)
    ]
    wrong = d * unit / (1 - d * unit) + d**0.5 * 2.0**-26 + unit
    return float(2.0 * wrong * max(1.0, sizes[0] * sizes[1]))


def _whole(vectors: Floats) -> npt.NDArray[np.float64]:
    """Unit vectors [n, d] as whole numbers of steps, so that float64 has their products exactly.

    How a matrix product orders its sums depends on the machine, its threads, the matrix's shape and
    the place in it. Of these no order matters: all partial sums are whole, and below 2^53 because
    the sum of |a b| is at most |a| |b|.
    """
    scaled = np.multiply(vectors, _STEPS, dtype=np.float64)
    return np.rint(scaled, out=scaled)


def top(similarities: Floats, k: int) -> npt.NDArray[np.intp]:
    """The first k gallery indices [q, k] by falling similarity [q, g >= k]; ties by index."""
    result = np.empty((len(similarities), k), dtype=np.intp)
    last = similarities.shape[1] - k
    for row, scores in enumerate(similarities):
        least = np.partition(scores, last)[last]
        # All that tie with the last place are candidates; the stable sort puts them in order.
        candidates = np.flatnonzero(scores >= least)
        result[row] = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return result


def target_ranks(similarities: Floats, targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Place (1 = first) of each query's target [q] by similarity [q, g]; 0 for target -1.

    A gallery item that ties with the target is before it if its index is lower.
    """
    ranks = np.zeros(len(similarities), dtype=np.int64)
    # Row by row, because a block of a large gallery is as much as should be in memory.
    for row in np.flatnonzero(targets >= 0):
        scores, target = similarities[row], targets[row]
        better = np.count_nonzero(scores > scores[target])
        ranks[row] = better + np.count_nonzero(scores[:target] == scores[target]) + 1
    return ranks


def recall_of(column: str, k: int) -> Statistic:
    """Share of the queries with a target that find it in the first k places.

    Reads a column of ranks (1 = first, 0 = this query has no target), one an example [n] or
    several [n, t]: then every query counts alike, and an example's weight is that of all of its
    queries. NaN where no query has a target.
    """

    def each(columns: Columns) -> tuple[Floats, Floats]:
        ranks = columns[column].reshape(len(columns[column]), -1)
        queries = (ranks > 0).sum(axis=1).astype(np.float64)
        found = ((ranks > 0) & (ranks <= k)).sum(axis=1).astype(np.float64)
        return found, queries

    return MeanOf(each)


def fall_of(column: str, other: str, k: int) -> Statistic:
    """Recall@k by one column of ranks [n] less that by another, over what has a rank in both."""

    def each(columns: Columns) -> tuple[Floats, Floats]:
        one, two = columns[column], columns[other]
        both = (one > 0) & (two > 0)
        fall = (one <= k).astype(np.float64) - (two <= k)
        return np.where(both, fall, 0.0), both.astype(np.float64)

    return MeanOf(each)


def _recall(k: int, of: str) -> Statistic:
    return recall_of(f"rank_{of}", k)


def _over_negation(columns: Columns) -> tuple[Floats, Floats]:
    counted = columns["rank_negation"] > 0
    is_over = columns["cosine_query"] > columns["cosine_negation"]
    return (is_over & counted).astype(np.float64), counted.astype(np.float64)


RECALL = Metric(
    "recall",
    "share of the queries, or of the paraphrases, that find the target in the first k places",
    _recall,
    source="common use",
    k=1,
    of="query",
    choices=("query", "paraphrase"),
)
NEGATION_RECALL = dataclasses.replace(
    RECALL,
    about="share of the negated queries that find the query's target in the first k places; lower "
    "is better, because the target is not what they ask for",
    source="ours",
    lower_is_better=True,
    of="negation",
    choices=("negation",),
    needs="rank_negation",
)
RECALL_FALL = Metric(
    "recall_fall",
    "recall@k of the queries that have a negation, less recall@k of their negations",
    lambda k: fall_of("rank_query", "rank_negation", k),
    source="ours",
    range=(-1.0, 1.0),
    k=10,
    needs="rank_negation",
)
QUERY_OVER_NEGATION = Metric(
    "query_over_negation",
    "share of the target images nearer to their query than to its negation; a tie is wrong",
    lambda: MeanOf(_over_negation),
    source="original over negation, Ngan et al. 2025 (arXiv 2511.16527)",
    needs="cosine_negation",
)


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
