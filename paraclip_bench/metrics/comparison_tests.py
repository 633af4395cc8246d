"""Whether two models differ: p-values of paired differences, and their adjustment for many.

`sign_flip` is for means over examples, `mcnemar` for right or wrong answers that are independent,
`student_t` for every other statistic. `holm` keeps the chance of any false verdict, `hochberg` the
share of false ones among those that are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.inference import Contributions, Spread, reaches, spread

# So many differences have 2^12 changes of signs, which are counted.
_COUNTED = 12
_STEPS = 60
# The logarithm of the least p that a mean over seeds is given.
_LEAST = math.log(1e-12)
# What rounding leaves of no variance at all.
_NO_VARIANCE = 1e-24


def sign_flip(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two-sided p [m] of mean differences, by the permutation test that flips the signs of blocks.

    differences [m, g]: what each block of clusters adds. Where two models are alike, a block's
    difference is as likely to be turned round (Fisher 1935, section 21). Up to 12 that are not
    zero: all changes of signs are counted. More: the tail of their distribution by the saddlepoint
    approximation (Robinson 1982; Lugannani & Rice 1980 in the form of Barndorff-Nielsen 1991),
    which needs no draws and is right far out in the tail, where an adjustment for many needs it.
    """
    sizes = np.abs(differences)
    most = sizes.sum(axis=1)
    totals = np.abs(differences.sum(axis=1))
    found = np.ones(len(differences))
    used = np.count_nonzero(sizes, axis=1)
    # What rounding alone leaves is nothing.
    some = totals > 1e-9 * most
    for row in np.flatnonzero(some & (used <= _COUNTED)):
        found[row] = _counted(sizes[row][sizes[row] > 0], totals[row])
    all_one_way = some & (used > _COUNTED) & (totals >= most * (1 - 1e-9))
    found[all_one_way] = 2.0 ** (1 - used[all_one_way])
    rest = np.flatnonzero(some & (used > _COUNTED) & ~all_one_way)
    if len(rest):
        found[rest] = _saddlepoint(sizes[rest] / most[rest, None], totals[rest] / most[rest])
    return found


def _counted(sizes: npt.NDArray[np.float64], total: float) -> float:
    signs = 1 - 2 * (np.arange(1 << len(sizes))[:, None] >> np.arange(len(sizes)) & 1)
    return float(np.mean(np.abs(signs @ sizes) >= total * (1 - 1e-9)))


def _saddlepoint(
    sizes: npt.NDArray[np.float64], totals: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """P(|sum of +-sizes [m, g]| >= totals [m]), sizes of sum 1.

    The cumulants' function of such a sum is K(a) = sum of log cosh(a sizes). Where its slope is the
    total is found by Newton's steps from below, where the slope is concave.
    """
    from scipy.special import ndtr

    squares = sizes**2
    at = totals / squares.sum(axis=1)
    for _ in range(_STEPS):
        tanh = np.tanh(at[:, None] * sizes)
        slope = np.einsum("mg,mg->m", sizes, tanh) - totals
        curve = squares.sum(axis=1) - np.einsum("mg,mg,mg->m", squares, tanh, tanh)
        step = np.where(curve > 0, slope / np.where(curve > 0, curve, 1.0), 0.0)
        at -= step
        if (np.abs(step) <= 1e-9 * at).all():
            break
    z = at[:, None] * sizes
    cumulants = (z + np.log1p(np.exp(-2 * z))).sum(axis=1) - np.log(2) * sizes.shape[1]
    w = np.sqrt(np.maximum(2 * (at * totals - cumulants), 1e-300))
    v = at * np.sqrt(np.maximum(curve, 1e-300))
    p = 2 * ndtr(-(w + np.log(v / w) / w))
    # At the centre the formula is 0 / 0, and p is 1.
    return np.where(w < 1e-4, 1.0, np.clip(p, 0.0, 1.0))


def mcnemar(
    only_first: npt.NDArray[np.integer[Any]], only_second: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """Two-sided p [m] of McNemar's exact test (1947): cases [m] that one alone answers right.

    For independent cases. Where two models are alike, each of these cases is either's with equal
    chance; so this is what `sign_flip` is for such differences.
    """
    from scipy.special import bdtr

    total = only_first + only_second
    p = 2 * bdtr(np.minimum(only_first, only_second).astype(np.float64), total, 0.5)
    return np.minimum(np.where(total > 0, p, 1.0), 1.0)


def student_t(differences: Sequence[Spread]) -> npt.NDArray[np.float64]:
    """Two-sided p [m] of differences by their own error; for what is no mean, and means of seeds.

    The level at which the interval of `Spread.reach` would end at zero.
    """
    from scipy.special import stdtr

    found = np.array([_by_level(each) for each in differences])
    plain = [i for i, each in enumerate(differences) if _is_plain(each)]
    if plain:
        size = np.array([abs(differences[i].value) for i in plain])
        variance, freedom = np.array([differences[i].sources[0] for i in plain]).T
        found[plain] = 2 * stdtr(freedom, -size / np.sqrt(variance))
    return found


def _is_plain(difference: Spread) -> bool:
    return len(difference.sources) == 1 and difference.variance >= _NO_VARIANCE


def _by_level(difference: Spread) -> float:
    """p of a difference without an error, or of several sources of it."""
    size = abs(difference.value)
    if difference.variance < _NO_VARIANCE:
        return 1.0 if size < 1e-12 else 0.0
    if len(difference.sources) == 1:
        return math.nan
    from scipy.optimize import brentq

    # 1 - level, on a scale on which its tail is as long as its body.
    def over(log_p: float) -> float:
        return difference.reach(1 - math.exp(log_p)) - size

    if over(_LEAST) <= 0:
        return math.exp(_LEAST)
    return math.exp(brentq(over, _LEAST, 0.0)) if over(0.0) < 0 else 1.0


Pair = tuple[Sequence[Contributions], Sequence[Contributions]]
"""Two scores on the same blocks, each of one checkpoint or of several seeds."""


def paired(
    pairs: Sequence[Pair], spreads: Sequence[Spread] | None = None
) -> npt.NDArray[np.float64]:
    """Two-sided p [m] of differences of scores, each by the test that suits it.

    spreads: of the differences, where they are known. Of single checkpoints: McNemar's for right or
    wrong answers to independent cases, flipped signs for other means over examples, t for the rest.
    Of several seeds: t.
    """
    found = np.ones(len(pairs))
    counted, flipped = list[tuple[int, int, int]](), dict[int, list[int]]()
    apart = list[tuple[int, Spread]]()
    for index, (runs, others) in enumerate(pairs):
        one, two = runs[0], others[0]
        if len(runs) > 1 or len(others) > 1 or not (one.is_mean and two.is_mean):
            apart.append((index, spreads[index] if spreads else spread(runs, others)))
        elif one.right is not None and two.right is not None:
            more, less = one.right & ~two.right, two.right & ~one.right
            counted.append((index, _count(more), _count(less)))
        else:
            flipped.setdefault(len(one.shares), []).append(index)
    if apart:
        found[[index for index, _ in apart]] = student_t([each for _, each in apart])
    if counted:
        where, more, less = np.array(counted).T
        found[where] = mcnemar(more, less)
    for rows in flipped.values():
        found[rows] = sign_flip(
            np.stack([pairs[row][0][0].shares - pairs[row][1][0].shares for row in rows])
        )
    return found


def _count(bits: npt.NDArray[np.uint8]) -> int:
    return int.from_bytes(bits.tobytes(), "little").bit_count()


def holm(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Adjusted p [m] that hold for all m together, whatever depends on what (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    m = len(p)
    adjusted = np.maximum.accumulate(p[order] * (m - np.arange(m)))
    found = np.empty(m)
    found[order] = np.minimum(adjusted, 1.0)
    return found


def hochberg(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Adjusted p [m] for the share of false findings (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p)) if len(p) else p


def smallest_difference(
    differences: Sequence[Spread], power: float = 0.8
) -> npt.NDArray[np.float64]:
    """What tests at 0.05 would have shown in `power` of such sets [m] (Cohen 1988)."""
    return reaches(differences) + reaches(differences, 2 * power - 1)
