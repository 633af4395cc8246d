"""Rankings of a gallery for queries, and recall of a target in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.accuracy import weighted_mean
from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched


def rank_gallery(similarities: Floats) -> npt.NDArray[np.intp]:
    """Gallery indices [q, g] by falling similarity [q, g]; a tie keeps gallery order."""
    return np.argsort(-similarities, axis=1, kind="stable")


def target_ranks(ranking: npt.NDArray[np.intp], targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Place (1 = first) of each query's target [q] in its ranking [q, g]; 0 for target -1."""
    places = (ranking == targets[:, None]).argmax(axis=1) + 1
    return np.where(targets < 0, 0, places).astype(np.int64)


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
