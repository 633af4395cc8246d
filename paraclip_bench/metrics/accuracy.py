"""Means of per-example outcomes: plain, and macro over groups."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.metric import (
    Columns,
    Floats,
    MeanOf,
    Metric,
    Statistic,
    batched,
    derived,
)


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean over the last axis of values [n] under weights [..., n]; NaN where no weight is left.

    For a statistic of one's own. `mean_of` a column has an exact paired test besides.
    """
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ values) / total)


def mean_of(column: str) -> Statistic:
    """The plain mean of one outcome column; use it when every example counts alike."""

    def each(columns: Columns) -> tuple[Floats, Floats]:
        return _floats(columns, column), np.ones(len(columns[column]))

    return MeanOf(each)


def mean_within(column: str, group: str, name: str) -> Statistic:
    """The mean over the examples of one group; use it to show a group beside the whole.

    NaN where there is none, or none has weight.
    """

    def each(columns: Columns) -> tuple[Floats, Floats]:
        inside = (_names(columns, group) == name).astype(np.float64)
        return _floats(columns, column) * inside, inside

    return MeanOf(each)


def macro_mean_of(column: str, group: str) -> Statistic:
    """The mean over groups of the group means; use it when groups differ in size but not in rank.

    Examples whose group is the empty string count in no group. A group without
    weight drops out of the mean; the groups are always those of the full data.
    """

    @batched
    def macro(columns: Columns, weights: Floats) -> Floats:
        order, starts = derived(columns, ("runs", group), lambda: _runs(_names(columns, group)))
        # Sums over runs, not a product with a matrix of members: ImageNet's would be 400 MB.
        total = weights[..., order]
        right = np.add.reduceat(total * _floats(columns, column)[order], starts, axis=-1)
        total = np.add.reduceat(total, starts, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(total > 0, right / total, np.nan)
            drawn = (total > 0).sum(axis=-1)
            return np.asarray(np.nansum(means, axis=-1) / np.where(drawn > 0, drawn, np.nan))

    return macro


TIE_RATE = Metric(
    "tie_rate",
    "share of the cases in which the similarities that are compared are equal",
    functools.partial(mean_of, "tie"),
    source="ours",
    lower_is_better=True,
)
ACCURACY_MICRO = Metric(
    "accuracy_micro",
    "share of all cases that are right",
    functools.partial(mean_of, "correct"),
    source="common use",
)


def _floats(columns: Columns, column: str) -> npt.NDArray[np.float64]:
    return derived(columns, ("floats", column), lambda: columns[column].astype(np.float64))


def _names(columns: Columns, group: str) -> npt.NDArray[np.str_]:
    return derived(columns, ("names", group), lambda: columns[group].astype(str))


def _runs(names: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows of named groups, group by group, and where in them each group starts."""
    order = np.flatnonzero(names != "")
    order = order[np.argsort(names[order], kind="stable")]
    names = names[order]
    return order, np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
