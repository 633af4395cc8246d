"""Intervals cover, pair models, and are never invented; contributions are what they say."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paraclip_bench.metrics import inference
from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of, mean_within
from paraclip_bench.metrics.correlation import spearman_of
from paraclip_bench.metrics.inference import (
    FEWEST,
    Blocks,
    Contributions,
    Estimate,
    contributions,
    estimate,
    estimates,
    mean_of_seeds,
    mean_of_tasks,
    point,
    spread,
)
from paraclip_bench.metrics.metric import Metric, batched
from paraclip_bench.metrics.ranking import RECALL_FALL, recall_of

MEAN = mean_of("value")


def table(values: list[float], clusters: list[object]) -> dict[str, np.ndarray]:
    return {
        "example_id": np.array([str(i) for i in range(len(values))], dtype=object),
        "cluster_id": np.array(clusters, dtype=object),
        "value": np.array(values),
    }


def parts(statistic: object, columns: dict[str, np.ndarray]) -> Contributions:
    found = contributions(statistic, columns, Blocks.of_clusters(columns["cluster_id"]))
    assert found is not None
    return found


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30))
def test_a_cluster_lies_in_one_block(names: list[str]) -> None:
    blocks = Blocks.of_clusters(np.array(names, dtype=object))
    assert blocks.clusters == blocks.count == len(set(names))
    assert {*zip(names, blocks.of.tolist(), strict=True)} == {
        (name, index) for index, name in enumerate(sorted(set(names)))
    }


def test_many_clusters_share_blocks_evenly_and_the_same_way_again() -> None:
    names = np.array([f"{i % 3001}" for i in range(9000)], dtype=object)
    blocks = Blocks.of_clusters(names)
    assert (blocks.clusters, blocks.count) == (3001, inference.BLOCKS)
    clusters = [len(set(names[blocks.of == block])) for block in range(blocks.count)]
    assert set(clusters) <= {6, 7}
    again = Blocks.of_clusters(names)
    assert (again.of == blocks.of).all()
    assert again.digest == blocks.digest
    # Neighbours in order do not share a block.
    assert len(set(blocks.of[np.argsort(names.astype(int), kind="stable")][:60:3])) > 15
    assert Blocks.of_clusters(names[::-1]).digest != blocks.digest


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=30
    )
)
def test_contributions_of_a_mean_are_its_sums_by_cluster(rows: list[tuple[int, int, int]]) -> None:
    values, clusters, ranks = zip(*rows, strict=True)
    columns = {**table(list(values), list(clusters)), "rank": np.array(ranks)}
    for statistic, numbers, counts in (
        (MEAN, values, [1] * len(rows)),
        (recall_of("rank", 1), [r == 1 for r in ranks], [r > 0 for r in ranks]),
    ):
        found = contributions(statistic, columns, Blocks.of_clusters(columns["cluster_id"]))
        if len(set(clusters)) < 2 or not sum(counts):
            assert found is None
            continue
        assert found.value == pytest.approx(point(statistic, columns))
        assert found.is_mean
        assert found.n == sum(counts)
        for index, name in enumerate(sorted(set(map(str, clusters)))):
            own = [i for i, cluster in enumerate(clusters) if str(cluster) == name]
            share = sum(float(numbers[i]) for i in own) / sum(counts)
            size = sum(float(counts[i]) for i in own) / sum(counts)
            assert found.shares[index] == pytest.approx(share)
            assert found.sizes[index] == pytest.approx(size)
            assert found.deviations[index] == pytest.approx(share - found.value * size)


@pytest.mark.parametrize("statistic", [MEAN, spearman_of("value", "gold")])
def test_an_example_of_two_clusters_is_left_out_with_each(statistic: object) -> None:
    rng = np.random.default_rng(8)
    names = np.array([[f"p{i}", f"p{(i * i + 3) % 12}"] for i in range(90)], dtype=object)
    names[::3, 0] = names[::3, 1]  # some are of one alone
    names = np.array([[one.replace("p8", "p2"), two] for one, two in names], dtype=object)
    columns = {"value": rng.normal(size=90), "gold": rng.normal(size=90), "cluster_id": names}
    blocks = Blocks.of_clusters(names)
    assert blocks.of.shape == (90, 2)
    assert blocks.clusters == blocks.count == len(np.unique(names.astype(str)))
    found = contributions(statistic, columns, blocks)  # type: ignore[arg-type]
    assert found is not None
    without = []
    for name in np.unique(names.astype(str)):
        left = [i for i in range(90) if name not in names[i]]
        rows = {key: values[left] for key, values in columns.items()}
        without.append(point(statistic, rows))  # type: ignore[arg-type]
    g = blocks.count
    variance = (g - 1) / g * np.sum((np.array(without) - np.mean(without)) ** 2)
    assert spread([found]).variance == pytest.approx(variance)
    assert found.value == pytest.approx(point(statistic, columns))  # type: ignore[arg-type]
    assert found.shares.sum() == pytest.approx(found.value)


def test_one_column_of_clusters_has_the_digest_that_it_had() -> None:
    """Contributions that were kept before examples could be of several clusters stay paired."""
    names = np.array(["b", "a", "b", "c"], dtype=object)
    whole = b"500\n" + np.array([1, 0, 1, 2], dtype="<i8").tobytes()
    assert Blocks.of_clusters(names).digest == hashlib.sha256(whole).hexdigest()
    twice = np.stack([names, names], axis=1)
    assert Blocks.of_clusters(twice).digest != Blocks.of_clusters(names).digest
    estimates_of = [
        estimate(spearman_of("value", "gold"), {**columns, "cluster_id": clusters})
        for columns in [{"value": np.arange(40.0) % 7, "gold": np.arange(40.0) % 11}]
        for clusters in (np.arange(40) // 2, np.stack([np.arange(40) // 2] * 2, axis=1))
    ]
    assert estimates_of[0] == estimates_of[1]


def test_other_statistics_are_taken_apart_by_the_jackknife() -> None:
    rng = np.random.default_rng(3)
    columns = table(rng.normal(size=40).tolist(), [i // 2 for i in range(40)])
    columns["gold"] = columns["value"] + rng.normal(size=40)
    columns["group"] = np.array([("a", "b", "c")[i % 3] for i in range(40)], dtype=object)
    for statistic, by_hand in (
        (
            spearman_of("value", "gold"),
            lambda rows: stats.spearmanr(columns["value"][rows], columns["gold"][rows])[0],
        ),
        (
            macro_mean_of("value", "group"),
            lambda rows: np.mean(
                [columns["value"][rows & (columns["group"] == g)].mean() for g in "abc"]
            ),
        ),
    ):
        found = parts(statistic, columns)
        names = np.unique(columns["cluster_id"].astype(str))
        of = columns["cluster_id"].astype(str)
        without = np.array([by_hand(of != name) for name in names])
        variance = 19 / 20 * np.sum((without - without.mean()) ** 2)
        assert spread([found]).variance == pytest.approx(variance)
        assert found.shares.sum() == pytest.approx(found.value)
        assert found.deviations.sum() == pytest.approx(0, abs=1e-12)
        assert not found.is_mean


def test_a_mean_has_the_same_error_however_it_is_written() -> None:
    def mean(columns: dict[str, np.ndarray], weights: np.ndarray) -> float:
        assert weights.ndim == 1
        return float(np.average(columns["value"], weights=weights))

    columns = table(np.random.default_rng(0).normal(size=50).tolist(), list(range(50)))
    plain, known = estimate(mean, columns), estimate(MEAN, columns)
    assert (plain.value, plain.low, plain.high) == pytest.approx(
        (known.value, known.low, known.high)
    )
    low, high = stats.t.interval(0.95, 49, known.value, stats.sem(columns["value"]))
    assert (known.low, known.high, known.method) == (
        pytest.approx(low),
        pytest.approx(high),
        "t",
    )


def test_interval_covers_only_if_clusters_are_kept_whole() -> None:
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(30), 6)
    by_cluster, by_example, rounds = 0, 0, 200
    for _ in range(rounds):
        values = rng.normal(size=30)[clusters] + 0.1 * rng.normal(size=180)
        whole = estimate(MEAN, table(values.tolist(), clusters.tolist()))
        alone = estimate(MEAN, table(values.tolist(), list(range(180))))
        by_cluster += whole.low <= 0 <= whole.high
        by_example += alone.low <= 0 <= alone.high
    assert 0.92 <= by_cluster / rounds <= 0.99
    assert by_example / rounds < 0.7


@pytest.mark.parametrize(("right", "n"), [(0, 40), (1, 40), (20, 40), (39, 40), (40, 40)])
def test_a_rate_of_independent_cases_has_clopper_and_pearsons_interval(right: int, n: int) -> None:
    found = estimate(MEAN, table([1.0] * right + [0.0] * (n - right), list(range(n))))
    expected = stats.binomtest(right, n).proportion_ci(method="exact")
    assert found.method == "clopper-pearson"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.high - found.low > 0.05


def test_clusters_without_a_wrong_answer_count_as_one_case_each() -> None:
    found = estimate(MEAN, table([1.0] * 80, [i // 4 for i in range(80)]))
    assert found.low == pytest.approx(stats.binomtest(20, 20).proportion_ci().low)
    assert found.high == 1
    half = [float(i // 4 % 2) for i in range(80)]  # clusters of one mind: 20 cases
    found = estimate(MEAN, table(half, [i // 4 for i in range(80)]))
    expected = stats.binomtest(10, 20).proportion_ci()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


@pytest.mark.parametrize(("p", "n"), [(0.02, 100), (0.98, 100), (0.99, 100), (0.995, 300)])
def test_a_rate_near_the_end_is_covered(p: float, n: int) -> None:
    rng = np.random.default_rng(5)
    covered, rounds = 0, 300
    for _ in range(rounds):
        found = estimate(MEAN, table((rng.random(n) < p).astype(float).tolist(), list(range(n))))
        covered += found.low <= p <= found.high
    assert covered / rounds >= 0.93


def test_a_correlation_has_an_interval_within_its_range() -> None:
    rng = np.random.default_rng(1)
    rho = Metric("rho", "", lambda: spearman_of("value", "gold"), range=(-1.0, 1.0))
    columns = table(rng.normal(size=12).tolist(), list(range(12)))
    columns["gold"] = columns["value"] + 0.1 * rng.normal(size=12)
    found = estimate(rho, columns)
    assert found.method == "fisher-t"
    assert -1 < found.low < found.value < found.high < 1
    assert found.value - found.low > found.high - found.value


def test_no_interval_is_invented() -> None:
    few = table([0.0, 1.0] * 5, list(range(10)))
    assert estimate(MEAN, few).low is not None
    fewer = {name: values[: FEWEST - 1] for name, values in few.items()}
    assert estimate(MEAN, fewer) == Estimate(pytest.approx(4 / 9), None, None)
    one_cluster = table([0.0, 1.0, 1.0], ["a", "a", "a"])
    assert estimate(MEAN, one_cluster) == Estimate(pytest.approx(2 / 3), None, None)
    # Without its one case of a group, the mean of that group is undefined.
    rare = {**few, "group": np.array(["a"] + [""] * 9, dtype=object)}
    assert estimate(mean_within("value", "group", "b"), rare) == Estimate(None, None, None)
    assert estimate(macro_mean_of("value", "group"), rare) == Estimate(0.0, None, None)
    flat = {**few, "gold": np.ones(10)}
    assert estimate(spearman_of("value", "gold"), flat) == Estimate(None, None, None)
    # No width of zero: nothing varies, and the values are in no known range.
    same = table([3.0] * 12, list(range(12)))
    assert estimate(MEAN, same) == Estimate(3.0, None, None)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 14)), min_size=1, max_size=40))
def test_several_statistics_are_those_alone(rows: list[tuple[int, int]]) -> None:
    clusters, values = zip(*rows, strict=True)
    columns = table(list(values), list(clusters))
    columns["gold"] = np.arange(len(rows)) % 3
    statistics = {"mean": MEAN, "rho": spearman_of("value", "gold")}
    together, kept, blocks = estimates(statistics, columns)
    assert blocks.clusters == len(set(clusters))
    for name, statistic in statistics.items():
        assert together[name] == estimate(statistic, columns)
        value = point(statistic, columns)
        assert together[name].value == (None if math.isnan(value) else value)
        assert (name in kept) >= (together[name].low is not None)
        if together[name].low is not None:
            assert together[name].low < together[name].high
        assert blocks.clusters >= FEWEST or together[name].low is None


def test_models_are_paired_by_their_blocks() -> None:
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 60, size=200)
    base = rng.normal(size=200)
    shift = 0.5 + 0.01 * rng.normal(size=200)
    one, two, apart = (
        parts(MEAN, table(values.tolist(), list(clusters)))
        for values in (base + shift, base, shift)
    )
    # A mean is linear: the difference of paired models is the mean of the differences.
    assert spread([one], [two]).value == pytest.approx(apart.value)
    assert spread([one], [two]).variance == pytest.approx(spread([apart]).variance)
    assert spread([one], [two]).variance < 0.01 * spread([one]).variance


def test_a_mean_over_tasks_adds_their_variances() -> None:
    rng = np.random.default_rng(4)
    several = [
        parts(MEAN, table(rng.normal(size=n).tolist(), list(range(n)))) for n in (20, 50, 400)
    ]
    mean = mean_of_tasks(several)
    assert mean.value == pytest.approx(np.mean([each.value for each in several]))
    variances = [spread([each]).variance / 9 for each in several]
    ((variance, freedom),) = spread([mean]).sources
    assert variance == pytest.approx(sum(variances))
    assert freedom == pytest.approx(
        sum(variances) ** 2
        / sum(v**2 / (n - 1) for v, n in zip(variances, (20, 50, 400), strict=True))
    )
    assert mean.shares.sum() == pytest.approx(mean.value)


def test_seeds_are_a_source_of_error_of_their_own() -> None:
    rng = np.random.default_rng(8)
    base = rng.normal(size=300)

    def run(shift: float) -> Contributions:
        noise = 0.1 * rng.normal(size=300)
        return parts(MEAN, table((base + shift + noise).tolist(), list(range(300))))

    runs = [run(shift) for shift in (0.0, 0.5, 1.0)]
    examples, seeds = spread(runs).sources
    assert spread(runs).value == pytest.approx(np.mean([r.value for r in runs]))
    assert examples[0] == pytest.approx(spread([mean_of_seeds(runs)]).variance)
    between = np.var([r.value for r in runs], ddof=1) / 3
    assert between * 0.95 < seeds[0] < between
    assert seeds[1] == 2
    reach = math.sqrt(
        examples[0] * stats.t.ppf(0.975, examples[1]) ** 2 + seeds[0] * stats.t.ppf(0.975, 2) ** 2
    )
    assert spread(runs).reach() == pytest.approx(reach)
    # What is left of seeds that differ no more than their examples do is less.
    alike = [run(0.0) for _ in range(3)]
    assert spread(alike).sources[1][0] < np.var([r.value for r in alike], ddof=1) / 3
    # The other side is one checkpoint, on the same examples.
    against = spread(runs, [run(0.0)])
    assert len(against.sources) == 2
    assert against.sources[0][0] < examples[0] / 10


def test_two_seeds_keep_all_of_their_variance() -> None:
    values = [parts(MEAN, table((np.arange(20.0) + s).tolist(), list(range(20)))) for s in (0, 1)]
    assert spread(values).sources[1] == (pytest.approx(0.25), 1)


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
    expected = estimates(statistics, columns)[0]
    monkeypatch.setattr(inference, "_CELLS", 60 * 7)
    columns["group"] = np.array([Name(name) for name in names], dtype=object)
    Name.spelt = 0
    found = estimates(statistics, columns)[0]
    # numpy spells each out twice: to find the longest, and to copy it.
    assert 60 <= Name.spelt <= 4 * 60
    for name, each in found.items():
        assert (each.value, each.low, each.high) == pytest.approx(
            (expected[name].value, expected[name].low, expected[name].high)
        )


def test_an_undefined_replicate_leaves_no_interval() -> None:
    @batched
    def odd(columns: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
        return np.where(weights[..., 0] > 0, weights @ columns["value"], np.nan)

    found = estimate(odd, table([1.0] * 12, list(range(12))))
    assert found == Estimate(12.0, None, None)


def test_a_fall_is_no_rate_though_none_is_negative() -> None:
    """Whether an example of a data set happens to be negative does not change the interval."""
    rng = np.random.default_rng(2)
    query, negation = (np.where(rng.random(200) < p, 1, 20) for p in (0.9, 0.5))
    negation = np.maximum(query, negation)  # none rises
    columns = {
        "cluster_id": np.array([str(i) for i in range(200)], dtype=object),
        "rank_query": query,
        "rank_negation": negation,
    }
    found = estimate(RECALL_FALL, columns)
    assert found.method == "fisher-t"
    fell = (query <= 10).astype(float) - (negation <= 10)
    error = np.std(fell, ddof=1) / np.sqrt(200)
    assert found.value == pytest.approx(fell.mean())
    assert found.low == pytest.approx(fell.mean() - 1.97 * error, abs=0.01)
    assert found.high == pytest.approx(fell.mean() + 1.97 * error, abs=0.01)
