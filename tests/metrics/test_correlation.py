"""Weighted correlations are scipy's on data where each row stands as often as it weighs."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from paraclip_bench.metrics import correlation

# Few distinct values, so that most samples have ties.
VALUES = st.integers(-4, 4).map(lambda i: i / 4)
ROWS = st.lists(st.tuples(VALUES, VALUES, st.integers(0, 4)), min_size=3, max_size=25)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (correlation.spearman, scipy.stats.spearmanr),
        (correlation.pearson, scipy.stats.pearsonr),
    ],
)
@given(rows=ROWS)
def test_weights_are_repeats(
    ours: Callable[..., np.ndarray],
    theirs: Callable[..., tuple[float, float]],
    rows: list[tuple[float, float, int]],
) -> None:
    x, y, weights = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    times = weights.astype(int)
    many_x, many_y = np.repeat(x, times), np.repeat(y, times)
    assume(len(set(many_x)) > 1 and len(set(many_y)) > 1)
    found = ours(x, y, np.stack([weights, np.ones(len(x))]))
    expected = [theirs(many_x, many_y)[0], theirs(x, y)[0]]
    assert found == pytest.approx(expected, abs=1e-12)


@given(rows=ROWS)
def test_ranks_are_average_ranks(rows: list[tuple[float, float, int]]) -> None:
    x = np.array([row[0] for row in rows])
    assert correlation.weighted_ranks(x, np.ones(len(x))) == pytest.approx(
        scipy.stats.rankdata(x, method="average")
    )
    times = np.array([row[2] for row in rows])
    assume(times.sum() > 0)
    many = scipy.stats.rankdata(np.repeat(x, times), method="average")
    assert np.repeat(correlation.weighted_ranks(x, times.astype(float)), times) == (
        pytest.approx(many)
    )


def test_thousands_of_float32_values_with_ties() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=3000).astype(np.float32).round(2)
    y = np.clip(x + rng.normal(size=3000), 0, 5).round(1)
    ones = np.ones((1, 3000))
    columns = {"x": x, "y": y}
    assert correlation.spearman_of("x", "y")(columns, ones)[0] == pytest.approx(
        scipy.stats.spearmanr(x, y)[0], abs=1e-12
    )
    assert correlation.pearson_of("x", "y")(columns, ones)[0] == pytest.approx(
        scipy.stats.pearsonr(x.astype(float), y)[0], abs=1e-12
    )


@given(
    value=st.floats(-1e6, 1e6),
    n=st.integers(2, 3000),
    seed=st.integers(0, 2**32 - 1),
    function=st.sampled_from([correlation.pearson, correlation.spearman]),
)
def test_a_constant_side_has_no_correlation(
    value: float, n: int, seed: int, function: Callable[..., np.ndarray]
) -> None:
    rng = np.random.default_rng(seed)
    flat, other = np.full(n, value), rng.normal(size=n)
    weights = rng.integers(0, 4, size=(3, n)).astype(float)
    weights[:, 0] += 1
    assert np.isnan(function(flat, other, weights)).all()
    assert np.isnan(function(other, flat, weights)).all()


def test_constant_only_among_what_has_weight() -> None:
    x, y = np.array([0.3, 0.3, 0.3, 0.9]), np.array([1.0, 2.0, 3.0, 4.0])
    weights = np.array([[1.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    for function in (correlation.pearson, correlation.spearman):
        first, second = function(x, y, weights)
        assert math.isnan(first)
        assert second > 0.7


def test_small_spread_on_a_large_offset_is_no_constant() -> None:
    x = 1 - np.arange(10) * 6e-8
    assert correlation.pearson(x, np.arange(10.0), np.ones(10)) == pytest.approx(-1)
