"""Rankings of a gallery for queries, and recall of a target in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.accuracy import weighted_mean
from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched


def top(similarities: Floats, k: int) -> npt.NDArray[np.intp]:
    """The first k gallery indices [q, k] by falling similarity [q, g >= k]; ties by index."""
    kth = -np.partition(-similarities, k - 1, axis=1)[:, k - 1]
    result = np.empty((len(similarities), k), dtype=np.intp)
    for row, (scores, least) in enumerate(zip(similarities, kth, strict=True)):
        # All that tie with the last place are candidates; the stable sort puts them in order.
        candidates = np.flatnonzero(scores >= least)
        result[row] = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return result


def target_ranks(similarities: Floats, targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Place (1 = first) of each query's target [q] by similarity [q, g]; 0 for target -1.

    A gallery item that ties with the target is before it if its index is lower.
    """
    own = np.take_along_axis(similarities, np.maximum(targets, 0)[:, None], axis=1)
    earlier = np.arange(similarities.shape[1]) < targets[:, None]
    before = (similarities > own) | ((similarities == own) & earlier)
    return np.where(targets < 0, 0, before.sum(axis=1) + 1).astype(np.int64)


def recall_of(column: str, k: int) -> Statistic:
    """Share of the queries with a target that find it in the first k places.

    Reads a column of ranks (1 = first, 0 = this query has no target); NaN where none has one.
    """

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        ranks = columns[column]
        found = ((ranks > 0) & (ranks <= k)).astype(np.float64)
        return weighted_mean(found, weights * (ranks > 0))

    return statistic
