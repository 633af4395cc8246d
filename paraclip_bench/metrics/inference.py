"""How sure a score is: intervals and paired differences from what each block of clusters adds.

Examples that share an image or a sentence are not independent, so whole clusters are what varies.
An example may be of several clusters (a pair of two photos), and then varies with each.
The clusters of a set lie in at most `BLOCKS` blocks, the same ones for every model, and a score is
kept as one number a block (`Contributions`). All that follows is arithmetic on these numbers: the
error of a score, of a difference of two models (block by block, so that what both find hard
cancels), of a mean over tasks, of a mean over seeds. Nothing is drawn, so nothing depends on a seed
but which clusters lie in one block.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.metric import (
    Columns,
    Metric,
    Resampled,
    Statistic,
    as_mean,
    derived,
    evaluate,
)

LEVEL = 0.95
BLOCKS = 500
"""Most blocks of clusters. The error of a standard error from 500 blocks is about 3%."""
FEWEST = 10
"""A score of fewer clusters has no interval and is in no test: there is too little to tell from."""
# Weights of one evaluation take about 8 MB, whatever the number of examples.
_CELLS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval and how that was made; None where no interval can be had."""

    value: float | None
    low: float | None
    high: float | None
    method: str | None = None


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Which examples vary together: each example's block [n], how many there are, and a digest.

    Where an example is of m clusters, it has a block for each, [n, m]. Two results whose digests
    are equal are paired.
    """

    of: npt.NDArray[np.intp]
    count: int
    clusters: int
    digest: str

    @classmethod
    def of_clusters(cls, names: npt.NDArray[Any]) -> Blocks:
        """Blocks of cluster names [n] or [n, m], at most `BLOCKS`, of nearly equally many."""
        found, index = np.unique(names.astype(str), return_inverse=True)
        index = index.reshape(names.shape)  # numpy 2.0 has another shape than 1.26 and 2.1
        clusters = len(found)
        shape = f" {names.shape[1]}" if names.ndim > 1 else ""
        digest = hashlib.sha256(f"{BLOCKS}{shape}\n".encode() + index.astype("<i8").tobytes())
        if clusters > BLOCKS:
            # Names in order may lie in order of subject, so neighbours must not share a block.
            order = np.random.default_rng(0).permutation(clusters)
            index = order[index] % BLOCKS
        return cls(index, min(clusters, BLOCKS), clusters, digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class Contributions:
    """A score as a sum over blocks of clusters.

    value: the score. shares [g]: what each block adds; their sum is the value. sizes [g]: which
    share of a task's examples lies in it. strata: how many blocks each task has, one after another;
    a mean over tasks has several. n: examples that count. is_rate: whether each
    example is right or wrong. is_mean: whether it is a mean over examples. digest: of which
    clusters lie in which block. right: of a rate over independent examples, which of them are right
    [n], as packed bits; None otherwise.
    """

    value: float
    shares: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]
    strata: tuple[int, ...]
    n: int
    digest: str
    is_rate: bool = False
    is_mean: bool = False
    right: npt.NDArray[np.uint8] | None = None

    @functools.cached_property
    def deviations(self) -> npt.NDArray[np.float64]:
        """What each block adds above what its size alone would [g], of sum 0 in each task."""
        if len(self.strata) == 1:
            return np.asarray(self.shares - self.shares.sum() * self.sizes)
        starts = np.cumsum((0, *self.strata[:-1]))
        totals = np.add.reduceat(self.shares, starts)
        return np.asarray(self.shares - np.repeat(totals, self.strata) * self.sizes)


@dataclasses.dataclass(frozen=True)
class Spread:
    """A value and the sources of its error, each a variance with its degrees of freedom."""

    value: float
    sources: tuple[tuple[float, float], ...]

    @property
    def variance(self) -> float:
        """Of all sources together."""
        return sum(variance for variance, _ in self.sources)

    def reach(self, level: float = LEVEL) -> float:
        """How far a t interval reaches to each side of the value.

        Of several sources, the root of the sum of the squares of what each would reach alone
        (Howe 1974): exact where one of them is all, and a little wide in between.
        """
        from scipy.special import stdtrit

        return math.sqrt(
            sum(v * float(stdtrit(freedom, (1 + level) / 2)) ** 2 for v, freedom in self.sources)
        )


def reaches(found: Sequence[Spread], level: float = LEVEL) -> npt.NDArray[np.float64]:
    """`Spread.reach` of many [m], in one call for those of one source."""
    from scipy.special import stdtrit

    alone = [i for i, each in enumerate(found) if len(each.sources) == 1]
    reach = np.array([0.0 if len(each.sources) == 1 else each.reach(level) for each in found])
    if alone:
        variance, freedom = np.array([found[i].sources[0] for i in alone]).T
        reach[alone] = np.sqrt(variance) * stdtrit(freedom, (1 + level) / 2)
    return reach


def contributions(statistic: Statistic, columns: Columns, blocks: Blocks) -> Contributions | None:
    """What each block adds to a statistic of outcome columns.

    A mean over examples is taken apart exactly. Of any other statistic the delete-a-block
    jackknife gives pseudo-values (Shao & Tu 1995, section 5.2): it must be smooth in the weights,
    as means of groups and correlations are, and medians are not. None where the statistic, or the
    statistic without one of the blocks, is undefined, and where there is one block alone.

    Examples of several clusters are left out with each of them, also of a mean. What two clusters
    add has the examples of both twice, so that the variance is that of Aronow, Samii & Assenova
    (2015), plus those examples' own: a little wide, and never narrow.
    """
    g = blocks.count
    if g < 2:
        return None
    if blocks.of.ndim == 1 and (mean := as_mean(statistic)) is not None:
        totals, counts = mean.of_examples(columns)
        whole = float(counts.sum())
        if not whole or not np.isfinite(totals).all():
            return None
        # What may be negative is no rate, though none of these examples is.
        may_fall = isinstance(statistic, Metric) and statistic.range[0] < 0
        is_rate = not may_fall and bool(np.all((totals == 0) | (totals == counts)))
        # Independent cases, one a cluster, have McNemar's test.
        alone = is_rate and blocks.clusters == len(totals) and bool((counts == 1).all())
        return Contributions(
            float(totals.sum()) / whole,
            np.bincount(blocks.of, totals, g) / whole,
            np.bincount(blocks.of, counts, g) / whole,
            (g,),
            round(whole),
            blocks.digest,
            is_rate,
            is_mean=True,
            right=np.packbits(totals > 0) if alone else None,
        )
    columns = Resampled.of(columns)
    value = point(statistic, columns)
    if not math.isfinite(value):
        return None
    without = np.empty(g)
    step = max(1, _CELLS // len(blocks.of))
    of = blocks.of.reshape(len(blocks.of), -1)
    for start in range(0, g, step):
        some = np.arange(start, min(start + step, g))
        weights = np.all([one != some[:, None] for one in of.T], axis=0).astype(np.float64)
        without[some] = evaluate(statistic, columns, weights)
    if not np.isfinite(without).all():
        return None
    sizes = np.full(g, 1 / g)
    shares = value * sizes + (g - 1) / g * (without.mean() - without)
    return Contributions(value, shares, sizes, (g,), len(blocks.of), blocks.digest)


def point(statistic: Statistic, columns: Columns) -> float:
    """The statistic on the data as they are, each example once."""
    return float(evaluate(statistic, columns, np.ones((1, len(columns["cluster_id"]))))[0])


def mean_of_tasks(found: Sequence[Contributions]) -> Contributions:
    """The plain mean of scores of independent sets [k], with all blocks one after another."""
    k = len(found)
    return Contributions(
        float(np.mean([each.value for each in found])),
        np.concatenate([each.shares for each in found]) / k,
        np.concatenate([each.sizes for each in found]),
        tuple(count for each in found for count in each.strata),
        sum(each.n for each in found),
        " ".join(each.digest for each in found),
        is_mean=all(each.is_mean for each in found),
    )


def mean_of_seeds(runs: Sequence[Contributions]) -> Contributions:
    """The mean score of several checkpoints [s], block by block; of one, itself."""
    if len(runs) == 1:
        return runs[0]
    return dataclasses.replace(
        runs[0],
        value=float(np.mean([run.value for run in runs])),
        shares=np.mean([run.shares for run in runs], axis=0),
        is_mean=all(run.is_mean for run in runs),
        is_rate=False,
        right=None,
    )


def spread(runs: Sequence[Contributions], others: Sequence[Contributions] = ()) -> Spread:
    """The error of a score, or of a mean over seeds, or of its difference to others' mean.

    Two sources: other examples, from what blocks add (a ratio's, Cochran 1977, section 6.4), and
    other seeds of training, where a side has several. Of the variance between three or more seeds,
    what chance of the examples explains is taken off; two seeds tell too little for that.
    """
    mean = mean_of_seeds(runs)
    value, deviations = mean.value, mean.deviations
    if others:
        other = mean_of_seeds(others)
        value, deviations = value - other.value, deviations - other.deviations
    sources = [_between_examples(deviations, mean.strata)]
    sources += [_between_seeds(side) for side in (runs, others) if len(side) > 1]
    return Spread(value, tuple(sources))


def _between_examples(
    deviations: npt.NDArray[np.float64], strata: tuple[int, ...]
) -> tuple[float, float]:
    """Variance and degrees of freedom, of several tasks after Satterthwaite (1946)."""
    if len(strata) == 1:
        g = strata[0]
        return float(deviations @ deviations) * g / (g - 1), g - 1
    variances = []
    start = 0
    for count in strata:
        part = deviations[start : start + count]
        variances.append(float(part @ part) * count / (count - 1))
        start += count
    total = sum(variances)
    apart = sum(v**2 / (g - 1) for v, g in zip(variances, strata, strict=True))
    return total, total**2 / apart if apart else min(strata) - 1


def _between_seeds(runs: Sequence[Contributions]) -> tuple[float, float]:
    s = len(runs)
    variance = float(np.var([run.value for run in runs], ddof=1)) / s
    if s > 2:
        mean = mean_of_seeds(runs)
        own = [_between_examples(run.deviations - mean.deviations, mean.strata)[0] for run in runs]
        variance = max(0.0, variance - sum(own) / (s - 1) / s)
    return variance, s - 1


def clopper_pearson(p: float, n: float) -> tuple[float, float]:
    """The 95% interval of a proportion p of n cases, which need not be whole numbers."""
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    x = p * n
    low = 0.0 if x <= 0 else float(betaincinv(x, n - x + 1, tail))
    high = 1.0 if x >= n else float(betaincinv(x + 1, n - x, 1 - tail))
    return low, high


def with_interval(
    value: float, found: Spread, bounds: tuple[float, float], parts: Contributions
) -> Estimate:
    """A value with its 95% interval within bounds, and the name of the method.

    found: the value's error; parts: what the value is the sum of.

    A value between 0 and 1 has Clopper and Pearson's interval for the number of independent right
    or wrong answers that would have its error (Korn & Graubard 1998): it covers near 0 and 1 and
    for few cases, where what is symmetric about the value does not. A correlation has a t interval
    on Fisher's scale, any other value a plain one. No interval has a width of zero: there is none
    where all blocks say the same, unless the range is known, for then cases of another value are
    possible, one a block.
    """
    error, reach = math.sqrt(found.variance), found.reach()
    if bounds == (0.0, 1.0):
        cases = float(len(parts.shares))
        if parts.right is not None:
            cases = float(parts.n)
        elif error > 1e-12 and 0 < value < 1:
            whole = Spread(value, ((found.variance, max(parts.n - 1, 1)),))
            cases = value * (1 - value) / found.variance * (whole.reach() / reach) ** 2
            cases = min(cases, float(parts.n)) if parts.is_rate else cases
        low, high = clopper_pearson(min(max(value, 0.0), 1.0), cases)
        return Estimate(value, low, high, "clopper-pearson")
    if error > 1e-12 and bounds == (-1.0, 1.0) and abs(value) < 1:
        at, wide = math.atanh(value), reach / (1 - value**2)
        return Estimate(value, math.tanh(at - wide), math.tanh(at + wide), "fisher-t")
    return around(value, found, reach)


def around(value: float, found: Spread, reach: float) -> Estimate:
    """A value with its t interval, which reaches so far to each side; none without an error."""
    if math.sqrt(found.variance) < 1e-12:
        return Estimate(value, None, None)
    return Estimate(value, value - reach, value + reach, "t")


ANY = (-math.inf, math.inf)
"""The range of a statistic that says none."""


def bounds_of(statistic: Statistic) -> tuple[float, float]:
    """The range within which a statistic's interval lies."""
    return statistic.range if isinstance(statistic, Metric) else ANY


def estimates(
    statistics: Mapping[str, Statistic], columns: Columns
) -> tuple[dict[str, Estimate], dict[str, Contributions], Blocks]:
    """Values and 95% intervals of statistics of outcome columns, and what they were made of.

    The clusters are those of column `cluster_id`. Of fewer than `FEWEST` nothing but the values is
    had.
    """
    columns = Resampled.of(columns)
    blocks = derived(columns, "blocks", lambda: Blocks.of_clusters(columns["cluster_id"]))
    found, kept = dict[str, Estimate](), dict[str, Contributions]()
    for name, statistic in statistics.items():
        value = point(statistic, columns)
        found[name] = Estimate(value if math.isfinite(value) else None, None, None)
        if not math.isfinite(value) or blocks.clusters < FEWEST:
            continue
        parts = contributions(statistic, columns, blocks)
        if parts is not None:
            kept[name] = parts
            found[name] = score_with_interval(value, parts, bounds_of(statistic))
    return found, kept, blocks


def estimate(statistic: Statistic, columns: Columns) -> Estimate:
    """Value and 95% interval of one statistic; see `estimates`."""
    return estimates({"": statistic}, columns)[0][""]


def score_with_interval(
    value: float, runs: Contributions | Sequence[Contributions], bounds: tuple[float, float]
) -> Estimate:
    """A score's value with the interval that its contributions give, or those of several seeds."""
    runs = [runs] if isinstance(runs, Contributions) else runs
    bounds = (0.0, 1.0) if all(run.is_rate for run in runs) else bounds
    return with_interval(value, spread(runs), bounds, mean_of_seeds(runs))
