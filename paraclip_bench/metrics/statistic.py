"""What a statistic is: a pure function of outcome columns and example weights.

The weights carry the bootstrap, its clusters and the paired tests: an example drawn three times
weighs three, one that was not drawn weighs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Columns = Mapping[str, npt.NDArray[Any]]
Statistic = Callable[[Columns, Floats], Any]
"""(columns, weights[n]) -> float; a `batched` one also takes weights[b, n] and gives [b]."""

S = TypeVar("S", bound=Statistic)
T = TypeVar("T")


class Resampled(dict[str, npt.NDArray[Any]]):
    """Outcome columns of many calls, with what `derived` made of them; nobody writes to them."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self.made: dict[Hashable, Any] = {}


def derived(columns: Columns, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives of the columns alone, made once where they are `Resampled`.

    For what does not depend on the weights and costs more than they do, such as a sort of names.
    """
    if not isinstance(columns, Resampled):
        return make()
    if key not in columns.made:
        columns.made[key] = make()
    found: T = columns.made[key]
    return found


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
