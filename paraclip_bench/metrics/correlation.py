"""Pearson's and Spearman's correlation under example weights.

scipy has both without weights; intervals need them with weights, many at once.
"""

from __future__ import annotations

import numpy as np

from paraclip_bench.metrics.metric import Columns, Floats, Statistic, batched


def pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted Pearson correlation of x [..., n] and y [..., n] under weights [..., n] -> [...].

    NaN where one side is constant among the examples that have weight.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = x - (weights * x).sum(axis=-1, keepdims=True) / total
        dy = y - (weights * y).sum(axis=-1, keepdims=True) / total
        covariance = (weights * dx * dy).sum(axis=-1)
        vx, vy = (weights * dx * dx).sum(axis=-1), (weights * dy * dy).sum(axis=-1)
        # Rounding leaves a constant side a variance of about eps^2 x scale^2, never more.
        scale = total[..., 0] * np.finfo(np.float64).eps ** 2 * 16
        flat = (vx <= scale * np.max(x * x, axis=-1)) | (vy <= scale * np.max(y * y, axis=-1))
        return np.where(flat, np.nan, covariance / np.sqrt(vx * vy))


def weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """Ranks [..., n] of values [n], ties averaged, as if example i stood weights[..., i] times.

    With unit weights these are scipy.stats.rankdata's average ranks.
    """
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    starts = np.flatnonzero(np.r_[True, sorted_values[1:] != sorted_values[:-1]])
    # One total a distinct value: those below it come first, its own copies share their mean rank.
    mass = np.add.reduceat(weights[..., order], starts, axis=-1)
    rank = np.cumsum(mass, axis=-1) - mass + (mass + 1) / 2
    which = np.empty(len(values), dtype=np.intp)
    which[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    return np.asarray(rank[..., which])


def spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted Spearman correlation of x [n] and y [n] under weights [..., n] -> [...]."""
    return pearson(weighted_ranks(x, weights), weighted_ranks(y, weights), weights)


def spearman_of(x: str, y: str) -> Statistic:
    """Spearman's correlation of two outcome columns, tied ranks averaged."""

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        return spearman(columns[x], columns[y], weights)

    return statistic


def pearson_of(x: str, y: str) -> Statistic:
    """Pearson's correlation of two outcome columns."""

    @batched
    def statistic(columns: Columns, weights: Floats) -> Floats:
        return pearson(columns[x], columns[y], weights)

    return statistic


def ranks_within(scores: Floats) -> Floats:
    """Ranks [m, r] of scores [m, r] within each draw, 1 the lowest; equal ones share their mean."""
    order = np.argsort(scores, axis=0)
    ordered = np.take_along_axis(scores, order, axis=0)
    m = len(scores)
    places = np.arange(m)[:, None]
    # Where a run of equal scores begins and ends.
    is_new = np.vstack([np.ones_like(ordered[:1], bool), ordered[1:] != ordered[:-1]])
    is_last = np.vstack([is_new[1:], np.ones_like(is_new[:1])])
    first = np.maximum.accumulate(np.where(is_new, places, 0), axis=0)
    last = np.minimum.accumulate(np.where(is_last, places, m)[::-1], axis=0)[::-1]
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    return ranks
