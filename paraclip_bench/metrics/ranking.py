"""Rankings of a gallery for queries, and recall of a target in them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched

# Scores held at once, 256 MB of them: a gallery of a million is scored 64 queries at a time.
_SCORES = 1 << 26
_MOST_QUERIES = 128


def retrieve(
    queries: Floats,
    gallery: Floats,
    targets: npt.NDArray[Any],
    k: int,
    copies: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """First k gallery indices [q, k] and target ranks [q] of queries [q, d] in a gallery [g, d].

    Scores are dot products in the vectors' own precision. targets [q] are gallery indices, -1
    where there is none. copies [n]: the gallery's row of each item, first ones in order, for equal
    items share a row and so tie; targets and results count items. Memory does not grow with q.
    """
    firsts = np.empty((len(queries), k), dtype=np.intp)
    ranks = np.empty(len(queries), dtype=np.int64)
    for block, similarities in _blocks(queries, gallery, copies):
        firsts[block] = top(similarities, k)
        ranks[block] = target_ranks(similarities, targets[block])
    return firsts, ranks


def places(
    queries: Floats, gallery: Floats, targets: npt.NDArray[Any], copies: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Ranks [q, t] of several targets of each query, 0 for target -1; otherwise as `retrieve`."""
    ranks = np.empty(targets.shape, dtype=np.int64)
    for block, similarities in _blocks(queries, gallery, copies):
        for column in range(targets.shape[1]):
            ranks[block, column] = target_ranks(similarities, targets[block, column])
    return ranks


def distinct(keys: Sequence[Hashable]) -> tuple[list[int], npt.NDArray[np.intp]]:
    """The index of the first of equal keys, in order, and each key's row [n] among those.

    The rows are the `copies` of `retrieve` and `places` for a gallery of the firsts.
    """
    row: dict[Hashable, int] = {}
    copies = np.array([row.setdefault(key, len(row)) for key in keys], dtype=np.intp)
    return np.unique(copies, return_index=True)[1].tolist(), copies


def _blocks(
    queries: Floats, gallery: Floats, copies: npt.NDArray[Any]
) -> Iterator[tuple[slice, Floats]]:
    """A few queries at a time, and their similarities [b, n] to every item."""
    size = len(copies)
    step = max(1, min(_MOST_QUERIES, _SCORES // size))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        similarities = queries[block] @ gallery.T
        yield block, similarities[:, copies] if size > len(gallery) else similarities


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
    # Row by row, for a block of a large gallery is as much as should be in memory.
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

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        ranks = columns[column].reshape(len(columns[column]), -1)
        queries = (ranks > 0).sum(axis=1).astype(np.float64)
        found = ((ranks > 0) & (ranks <= k)).sum(axis=1).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ found) / (weights @ queries))

    return statistic
