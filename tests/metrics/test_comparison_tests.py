"""p-values against every change of signs, scipy's tests and what holds by definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.metrics.comparison_tests import (
    hochberg,
    holm,
    mcnemar,
    paired,
    sign_flip,
    smallest_difference,
    student_t,
)
from paraclip_bench.metrics.correlation import spearman_of
from paraclip_bench.metrics.inference import Blocks, Contributions, Spread, contributions, spread


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=11))
def test_few_differences_have_all_their_signs_changed(differences: list[int]) -> None:
    total = abs(sum(differences))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= total
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    found = sign_flip(np.array([differences], dtype=float))[0]
    assert found == pytest.approx(np.mean(flips))


@pytest.mark.parametrize(("n", "shift"), [(16, 0.0), (16, 0.8), (40, 0.4), (300, 0.15), (300, 0)])
def test_many_differences_agree_with_draws_of_signs(n: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    differences = rng.standard_t(3, size=n) + shift
    draws = np.concatenate(
        [np.abs(rng.choice([-1.0, 1.0], size=(20_000, n)) @ differences) for _ in range(10)]
    )
    by_draws = np.mean(draws >= abs(differences.sum()))
    found = sign_flip(differences[None])[0]
    error = np.sqrt(by_draws * (1 - by_draws) / len(draws))
    assert abs(found - by_draws) <= 4 * error + 0.02 * by_draws


def test_the_tail_is_right_where_no_draw_comes() -> None:
    # Equal differences have a binomial distribution.
    for up, down in ((190, 110), (220, 80), (60, 5)):
        differences = np.r_[np.ones(up), -np.ones(down)]
        exact = stats.binom.sf(up - 1, up + down, 0.5) * 2
        half = exact - stats.binom.pmf(up, up + down, 0.5)  # mid-p, without the jump
        assert sign_flip(differences[None])[0] == pytest.approx(half, rel=0.05)
    assert sign_flip(np.ones((1, 40)))[0] == pytest.approx(2.0**-39)
    assert sign_flip(np.zeros((1, 40)))[0] == 1
    many = np.random.default_rng(0).normal(size=(3, 50)) * [[1.0], [1e-9], [1e9]]
    assert sign_flip(many) == pytest.approx([sign_flip(row[None])[0] for row in many])
    assert sign_flip(-many) == pytest.approx(sign_flip(many))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(one: int, two: int) -> None:
    expected = stats.binomtest(one, one + two).pvalue if one + two else 1.0
    assert mcnemar(np.array([one]), np.array([two]))[0] == pytest.approx(expected)


def test_t_is_that_of_scipy_and_ends_where_the_interval_does() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=30) + 0.3
    one = Spread(float(values.mean()), ((float(stats.sem(values)) ** 2, 29),))
    assert student_t([one])[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    for sources in (((0.5, 100.0), (0.2, 2)), ((1e-6, 400.0), (3.0, 1))):
        spread_ = Spread(0.0, sources)
        for level in (0.5, 0.95, 0.999):
            at = Spread(spread_.reach(level), sources)
            assert student_t([at])[0] == pytest.approx(1 - level, rel=1e-6)
        assert student_t([spread_])[0] == 1
    assert student_t([Spread(0.0, ((0.0, 9),))])[0] == 1
    assert student_t([Spread(1.0, ((0.0, 9),))])[0] == 0


@given(st.lists(st.floats(0, 1), max_size=12))
def test_adjusted_p_are_those_of_the_definitions(p: list[float]) -> None:
    values, m = np.array(p), len(p)
    by_hand = np.ones(m)
    order = sorted(range(m), key=lambda i: p[i])
    worst = 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (m - place) * p[index]))
        by_hand[index] = worst
    assert holm(values) == pytest.approx(by_hand)
    if m:
        assert (hochberg(values) <= holm(values) + 1e-12).all()
        assert (hochberg(values) >= values - 1e-12).all()


def parts(statistic: object, columns: dict[str, np.ndarray]) -> Contributions:
    found = contributions(statistic, columns, Blocks.of_clusters(columns["cluster_id"]))
    assert found is not None
    return found


def test_each_difference_has_the_test_that_suits_it() -> None:
    rng = np.random.default_rng(1)
    n = 80
    alone, fours = np.arange(n), np.arange(n) // 4
    right = rng.random((2, n)) < [[0.7], [0.5]]
    graded = rng.random((2, n))
    gold = rng.random(n)

    def two(statistic: object, values: np.ndarray, clusters: np.ndarray) -> list[Contributions]:
        return [
            parts(statistic, {"v": row.astype(float), "gold": gold, "cluster_id": clusters})
            for row in values
        ]

    rates, in_fours = two(mean_of("v"), right, alone), two(mean_of("v"), right, fours)
    means, ranks = two(mean_of("v"), graded, alone), two(spearman_of("v", "gold"), graded, alone)
    found = paired([((one,), (two,)) for one, two in (rates, in_fours, means, ranks)])
    more, less = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    assert found[0] == pytest.approx(stats.binomtest(more, more + less).pvalue)
    difference = right[0].astype(float) - right[1]
    assert found[1] == pytest.approx(sign_flip(np.bincount(fours, difference)[None])[0])
    assert found[2] == pytest.approx(sign_flip((graded[0] - graded[1])[None])[0])
    assert found[3] == student_t([spread([ranks[0]], [ranks[1]])])[0]
    seeds = paired([(tuple(means), (means[1],))])[0]
    assert seeds == student_t([spread(means, [means[1]])])[0]


def test_the_false_positives_are_as_many_as_they_should_be() -> None:
    rng = np.random.default_rng(6)
    rows, n = 2000, 120
    base = rng.beta(2, 1.2, (rows, n))
    one, two = (rng.binomial(10, base) / 10 for _ in "ab")
    assert 0.035 <= np.mean(sign_flip(one - two) < 0.05) <= 0.065


def test_the_smallest_difference_is_seen_in_four_of_five() -> None:
    rng = np.random.default_rng(9)
    apart = Spread(0.0, ((1 / 50, 49.0),))
    size = smallest_difference([apart])[0]
    seen = [stats.ttest_1samp(rng.normal(size, 1, size=50), 0).pvalue < 0.05 for _ in range(1500)]
    assert 0.77 < np.mean(seen) < 0.84
