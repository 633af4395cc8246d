"""Intervals by the cluster bootstrap, and paired differences under the same draws.

Efron and Tibshirani (1993), chapters 13 and 16: percentile intervals; whole clusters are drawn,
since examples that share an image or a pair are not independent.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.metric import Columns, Floats, Resampled, Statistic, evaluate

RESAMPLES = 2000
LEVEL = 0.95
# Weights of one block take about 8 MB, whatever the number of examples.
_BLOCK_CELLS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its interval; low and high are None where no interval can be had."""

    value: float | None
    low: float | None
    high: float | None


def cluster_weights(
    clusters: npt.NDArray[Any], resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Blocks [b, n] of example weights: how often each example's cluster [n] was drawn.

    The same clusters, number and seed give the same draws, so that two models are paired.
    """
    names, index = np.unique(clusters.astype(str), return_inverse=True)
    block = max(1, _BLOCK_CELLS // max(1, len(index)))
    draw = _few if len(names) * resamples <= _BLOCK_CELLS else _draws
    for drawn in draw(len(names), resamples, block, seed):
        yield drawn[:, index].astype(np.float64)


def _draws(clusters: int, resamples: int, block: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each cluster is drawn, `block` resamples [b, c] at a time."""
    rng = np.random.default_rng(seed)
    chances = np.full(clusters, 1 / clusters)
    for start in range(0, resamples, block):
        yield rng.multinomial(clusters, chances, size=min(block, resamples - start))


@functools.lru_cache(maxsize=4)
def _few(clusters: int, resamples: int, block: int, seed: int) -> tuple[npt.NDArray[np.int64], ...]:
    """`_draws` kept: ImageNet's thousand classes have fifty images each, and so the same draws."""
    return tuple(_draws(clusters, resamples, block, seed))


def replicates(
    statistic: Statistic,
    columns: Columns,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """The statistic [resamples] on resampled clusters (column `cluster_id`).

    NaN with fewer than two clusters: such draws never vary, which is not evidence of anything.
    """
    if len(np.unique(columns["cluster_id"].astype(str))) < 2:
        return np.full(resamples, np.nan)
    columns = Resampled(columns)
    blocks = cluster_weights(columns["cluster_id"], resamples, seed)
    return np.concatenate([evaluate(statistic, columns, weights) for weights in blocks])


def point(statistic: Statistic, columns: Columns) -> float:
    """The statistic on the data as they are, each example once."""
    return float(evaluate(statistic, columns, np.ones((1, len(columns["cluster_id"]))))[0])


def interval(draws: Floats, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Percentile interval of replicates [r]; (None, None) where a replicate is undefined.

    A statistic that some resamples leave undefined has no honest interval.
    """
    if len(draws) < 2 or not np.isfinite(draws).all():
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def estimate(statistic: Statistic, columns: Columns, *, seed: int = 0) -> Estimate:
    """Value and 95% interval of a statistic; no interval from fewer than two clusters."""
    return estimates({"": statistic}, columns, seed=seed)[""]


def estimates(
    statistics: Mapping[str, Statistic],
    columns: Columns,
    *,
    seed: int = 0,
    min_clusters: int = 2,
) -> dict[str, Estimate]:
    """`estimate` of several statistics on the same draws, which cost more than most statistics.

    Fewer than `min_clusters` clusters (at least two) have no interval, and nothing is drawn.
    """
    columns = Resampled(columns)
    values = {name: point(statistic, columns) for name, statistic in statistics.items()}
    draws: dict[str, list[Floats]] = {name: [] for name in statistics}
    if len(np.unique(columns["cluster_id"].astype(str))) >= max(2, min_clusters):
        for weights in cluster_weights(columns["cluster_id"], RESAMPLES, seed):
            for name, statistic in statistics.items():
                if math.isfinite(values[name]):
                    draws[name].append(evaluate(statistic, columns, weights))
    found = {}
    for name, value in values.items():
        low, high = interval(np.concatenate(draws[name])) if draws[name] else (None, None)
        found[name] = Estimate(value if math.isfinite(value) else None, low, high)
    return found
