"""The cluster bootstrap draws whole clusters, pairs models, and invents no interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics import resampling
from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of, mean_within
from paraclip_bench.metrics.correlation import spearman_of
from paraclip_bench.metrics.inference import (
    Estimate,
    estimate,
    estimates,
    interval,
    point,
    replicates,
)

MEAN = mean_of("value")


def table(values: list[float], clusters: list[object]) -> dict[str, np.ndarray]:
    return {
        "example_id": np.array([str(i) for i in range(len(values))], dtype=object),
        "cluster_id": np.array(clusters, dtype=object),
        "value": np.array(values),
    }


@given(
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30),
    st.integers(1, 50),
    st.integers(0, 9),
)
def test_weights_are_draws_of_clusters(clusters: list[str], resamples: int, seed: int) -> None:
    names = np.array(clusters, dtype=object)
    weights = np.concatenate(list(resampling.cluster_weights(names, resamples, seed)))
    assert weights.shape == (resamples, len(clusters))
    first = [clusters.index(name) for name in sorted(set(clusters))]
    for name in set(clusters):
        own = weights[:, names == name]
        assert (own == own[:, :1]).all()
    assert (weights[:, first].sum(axis=1) == len(first)).all()
    again = np.concatenate(list(resampling.cluster_weights(names, resamples, seed)))
    assert (weights == again).all()


def test_another_seed_draws_otherwise_and_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clusters = np.arange(40)
    whole = np.concatenate(list(resampling.cluster_weights(clusters, 100, 3)))
    assert not (whole == np.concatenate(list(resampling.cluster_weights(clusters, 100, 4)))).all()
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 40 * 7)
    blocks = list(resampling.cluster_weights(clusters, 100, 3))
    assert len(blocks) == 15
    assert (np.concatenate(blocks) == whole).all()


def test_interval_covers_only_if_clusters_are_drawn_whole() -> None:
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(30), 6)
    by_cluster, by_example, rounds = 0, 0, 80
    for _ in range(rounds):
        values = rng.normal(size=30)[clusters] + 0.1 * rng.normal(size=180)
        whole = estimate(MEAN, table(values.tolist(), clusters.tolist()))
        alone = estimate(MEAN, table(values.tolist(), list(range(180))))
        by_cluster += whole.low <= 0 <= whole.high
        by_example += alone.low <= 0 <= alone.high
    assert 0.87 <= by_cluster / rounds <= 0.99
    assert by_example / rounds < 0.7


def test_the_same_seed_pairs_two_models() -> None:
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 60, size=200)
    base = rng.normal(size=200)
    shift = 0.5 + 0.01 * rng.normal(size=200)
    draws = [
        replicates(MEAN, table(values.tolist(), list(clusters)), seed=3)
        for values in (base + shift, base, shift)
    ]
    # A mean is linear: the difference of paired draws is the draws of the differences.
    np.testing.assert_allclose(draws[0] - draws[1], draws[2], atol=1e-12)
    other = replicates(MEAN, table(base.tolist(), list(clusters)), seed=4)
    assert np.abs(draws[0] - other - draws[2]).max() > 0.01


def test_no_interval_is_invented() -> None:
    one_cluster = table([0.0, 1.0, 1.0], ["a", "a", "a"])
    assert estimate(MEAN, one_cluster) == Estimate(pytest.approx(2 / 3), None, None)
    assert np.isnan(replicates(MEAN, one_cluster)).all()
    # Three pairs: some resamples draw one pair alone and have no correlation.
    few = {**table([1.0, 2.0, 3.0], [0, 1, 2]), "gold": np.array([1.0, 3.0, 2.0])}
    assert estimate(spearman_of("value", "gold"), few) == Estimate(pytest.approx(0.5), None, None)
    flat = {**few, "gold": np.ones(3)}
    assert estimate(spearman_of("value", "gold"), flat) == Estimate(None, None, None)


def test_a_statistic_without_batches_is_called_row_by_row() -> None:
    def mean(columns: dict[str, np.ndarray], weights: np.ndarray) -> float:
        assert weights.ndim == 1
        return float(np.average(columns["value"], weights=weights))

    columns = table(np.random.default_rng(0).normal(size=50).tolist(), list(range(50)))
    plain, batched = estimate(mean, columns), estimate(MEAN, columns)
    assert (plain.value, plain.low, plain.high) == pytest.approx(
        (batched.value, batched.low, batched.high)
    )


def test_interval_is_of_percentiles() -> None:
    assert resampling.interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert resampling.interval(np.array([1.0, np.nan])) == (None, None)
    assert resampling.interval(np.array([1.0])) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=25))
def test_several_statistics_share_their_draws(rows: list[tuple[int, int]]) -> None:
    clusters, values = zip(*rows, strict=True)
    columns = table(list(values), list(clusters))
    columns["gold"] = np.arange(len(rows)) % 3
    statistics = {"mean": MEAN, "rho": spearman_of("value", "gold")}
    together = estimates(statistics, columns, seed=2)
    few = estimates(statistics, columns, seed=2, min_clusters=9)
    for name, statistic in statistics.items():
        value = point(statistic, columns)
        low, high = interval(replicates(statistic, columns, seed=2))
        expected = Estimate(None, None, None) if np.isnan(value) else Estimate(value, low, high)
        assert together[name] == expected
        enough = len(set(clusters)) >= 9
        assert few[name] == (expected if enough else Estimate(expected.value, None, None))


class Name:
    """A group's name that counts how often it is spelt out."""

    spelt = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        Name.spelt += 1
        return self.name


def test_names_are_sorted_once_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    names = rng.choice(["", "a", "b", "c"], 60)
    columns = table(rng.normal(size=60).tolist(), list(range(60)))
    statistics = {"macro": macro_mean_of("value", "group"), "a": mean_within("value", "group", "a")}
    columns["group"] = names.astype(object)
    expected = estimates(statistics, columns, seed=1)
    plain = {name: point(statistic, columns) for name, statistic in statistics.items()}
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 60 * 100)
    columns["group"] = np.array([Name(name) for name in names], dtype=object)
    Name.spelt = 0
    found = estimates(statistics, columns, seed=1)
    # numpy spells each out twice: to find the longest, and to copy it.
    assert 60 <= Name.spelt <= 2 * 60
    for name, each in found.items():
        assert each.value == plain[name] == expected[name].value
        assert (each.low, each.high) == pytest.approx((expected[name].low, expected[name].high))


def test_parts_of_as_many_clusters_share_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    resampling._few.cache_clear()
    parts = [table([float(i % 3) for i in range(50)], list(range(k, k + 50))) for k in (0, 7, 90)]
    shared = [estimate(MEAN, part, seed=6) for part in parts]
    assert resampling._few.cache_info().misses == 1
    assert resampling._few.cache_info().hits == 2
    monkeypatch.setattr(resampling, "_few", resampling._draws)
    assert [estimate(MEAN, part, seed=6) for part in parts] == shared
