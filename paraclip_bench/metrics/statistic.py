"""What a statistic is: a pure function of outcome columns and example weights.

The weights carry the bootstrap, its clusters and the paired tests: an example drawn three times
weighs three, one that was not drawn weighs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Columns = Mapping[str, npt.NDArray[Any]]
Statistic = Callable[[Columns, Floats], Any]
"""(columns, weights[n]) -> float; a `batched` one also takes weights[b, n] and gives [b]."""

S = TypeVar("S", bound=Statistic)


def batched(statistic: S) -> S:
    """Mark a statistic that takes weights of shape [b, n] at once and returns [b] values."""
    statistic.batched = True  # type: ignore[attr-defined]
    return statistic


def evaluate(statistic: Statistic, columns: Columns, weights: Floats) -> npt.NDArray[np.float64]:
    """Values [b] of a statistic for weights [b, n], whether it is batched or not."""
    if getattr(statistic, "batched", False):
        return np.asarray(statistic(columns, weights), dtype=np.float64)
    return np.asarray([statistic(columns, row) for row in weights], dtype=np.float64)


def mean_over(statistics: Sequence[Statistic]) -> Statistic:
    """The plain mean of several batched statistics of the same examples."""

    @batched
    def mean(columns: Columns, weights: Floats) -> Floats:
        return np.asarray(np.mean([score(columns, weights) for score in statistics], axis=0))

    return mean
