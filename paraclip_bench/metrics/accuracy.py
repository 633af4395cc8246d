"""Means of per-example outcomes: plain, and macro over groups."""

from __future__ import annotations

import numpy as np

from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean over the last axis of values [n] under weights [..., n]; NaN where no weight is left."""
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ values) / total)


def mean_of(column: str) -> Statistic:
    """The plain mean of one outcome column; use it when every example counts alike."""

    @batched
    def mean(columns: Columns, weights: Floats) -> Floats:
        return weighted_mean(columns[column].astype(np.float64), weights)

    return mean


def mean_within(column: str, group: str, name: str) -> Statistic:
    """The mean over the examples of one group; use it to show a group beside the whole.

    NaN where there is none, or where a resample drew none.
    """

    @batched
    def mean(columns: Columns, weights: Floats) -> Floats:
        inside = (columns[group].astype(str) == name).astype(np.float64)
        return weighted_mean(columns[column].astype(np.float64), weights * inside)

    return mean


def macro_mean_of(column: str, group: str) -> Statistic:
    """The mean over groups of the group means; use it when groups differ in size but not in rank.

    Examples whose group is the empty string count in no group. A group that a resample left
    empty drops out of that resample's mean; the groups are always those of the full data.
    """

    @batched
    def macro(columns: Columns, weights: Floats) -> Floats:
        names = columns[group].astype(str)
        order = np.flatnonzero(names != "")
        order = order[np.argsort(names[order], kind="stable")]
        names = names[order]
        # Sums over runs, not a product with a matrix of members: ImageNet's would be 400 MB.
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
        total = weights[..., order]
        right = np.add.reduceat(total * columns[column][order].astype(np.float64), starts, axis=-1)
        total = np.add.reduceat(total, starts, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(total > 0, right / total, np.nan)
            drawn = (total > 0).sum(axis=-1)
            return np.asarray(np.nansum(means, axis=-1) / np.where(drawn > 0, drawn, np.nan))

    return macro
