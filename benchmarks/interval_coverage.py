"""Coverage of intervals and false positives of tests, on simulated data with known truth.

    python benchmarks/statistics.py [--quick] [--trials N] [--only WORD]

Peer's way: percentiles of 1,000 resamples of the examples as they stand, at fewer trials. Ends with
one line of JSON: `coverage` and `false_positives` by case.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
from scipy.special import ndtri

from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of
from paraclip_bench.metrics.agreement import average_overlap_of, jaccard_of
from paraclip_bench.metrics.comparison_tests import holm, paired
from paraclip_bench.metrics.correlation import spearman_of
from paraclip_bench.metrics.inference import (
    ANY,
    Blocks,
    Contributions,
    Estimate,
    contributions,
    mean_of_seeds,
    mean_of_tasks,
    score_with_interval,
    spread,
    with_interval,
)
from paraclip_bench.metrics.metric import Statistic, evaluate

Columns = dict[str, Any]
Rng = np.random.Generator
UNIT, CORRELATION = (0.0, 1.0), (-1.0, 1.0)
PEER_DRAWS = 1000
# How many cases the 110 relations of ARO's val part have, and how many of its 795 images have 1, 2,
# 3 … cases (visual_genome_relation.val.json).
RELATIONS = [1129, 1129, 274, 127, 103, 92, 92, 90, 47, 40, 36, 31, 29, 27, 25, 22, 17, 15, 13, 13]
RELATIONS += [11, 10, 10, 9, 9, 6, 6, 6, 6, 5, 5, 4, 4] + [3] * 10 + [2] * 19 + [1] * 48
IMAGES = {1: 152, 2: 193, 3: 85, 4: 106, 5: 48, 6: 52, 7: 28, 8: 20, 9: 23, 10: 24, 11: 13, 12: 12}
IMAGES |= {13: 2, 14: 10, 15: 5, 16: 3, 17: 3, 18: 2, 19: 2, 20: 5, 21: 1, 22: 3, 26: 1, 28: 1}
IMAGES |= {44: 1}
# How many groups of pairs that share sentences have 1, 2, 3 … pairs in STS-B's test part.
SHARED = {1: 1104, 2: 45, 3: 13, 4: 6, 5: 2, 7: 1, 8: 3, 10: 1, 11: 1, 14: 1, 21: 1, 25: 1}


@dataclasses.dataclass(frozen=True)
class Case:
    """Data of known truth. draw: columns of one trial. cost: trials take this many times longer."""

    truth: float
    bounds: tuple[float, float]
    statistic: Statistic
    draw: Callable[[Rng], Columns]
    cost: int = 1

    def estimate(self, rng: Rng) -> Estimate:
        """One trial's interval."""
        columns = self.draw(rng)
        found = parts(self.statistic, columns)
        return score_with_interval(found.value, found, self.bounds)

    def by_peer(self, rng: Rng) -> tuple[float, float]:
        """One trial's interval, the peer's way."""
        columns = self.draw(rng)
        n = len(columns["cluster_id"])
        draws = [
            evaluate(
                self.statistic, columns, rng.multinomial(n, [1 / n] * n, size=100).astype(float)
            )
            for _ in range(PEER_DRAWS // 100)
        ]
        low, high = np.nanquantile(np.concatenate(draws), [0.025, 0.975])
        return float(low), float(high)


def parts(statistic: Statistic, columns: Columns) -> Contributions:
    """What each block of clusters adds to a statistic."""
    found = contributions(statistic, columns, Blocks.of_clusters(columns["cluster_id"]))
    assert found is not None
    return found


def main() -> None:
    """Simulate, print a line a case, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="fewer trials of what is slow")
    parser.add_argument("--only", default="", help="cases whose name has this word")
    options = parser.parse_args()
    begin = time.perf_counter()
    covered, peers, false = dict[str, float](), dict[str, float](), dict[str, float]()
    for name, case in cases().items():
        if options.only in name:
            trials = options.trials // (case.cost if options.quick else 1)
            covered[name] = coverage(case, trials)
            few = max(20, trials // 10 // case.cost)
            hits = [case.by_peer(np.random.default_rng([2, i])) for i in range(few)]
            peers[name] = float(np.mean([low <= case.truth <= high for low, high in hits]))
            print(f"{name}: {covered[name]:.3f}, peer {peers[name]:.2f} ({few} trials)", flush=True)
    for name, of_trial in several().items():
        if options.only in name:
            trials = options.trials // (4 if options.quick else 1)
            hits = [of_trial(np.random.default_rng([3, i])) for i in range(trials)]
            covered[name] = float(np.mean(hits))
            print(f"{name}: {covered[name]:.3f}", flush=True)
    for name, p_of_trial in nulls().items():
        if options.only in name:
            found = [p_of_trial(np.random.default_rng([4, i])) for i in range(2 * options.trials)]
            false[name] = float(np.mean(np.array(found) < 0.05))
            print(f"{name}: {false[name]:.3f} false positives", flush=True)
    if options.only in "board":
        boards = [false_board(np.random.default_rng([5, i])) for i in range(options.trials)]
        false["any verdict of a board, 10 columns and 3 models"] = float(np.mean(boards))
    figures = {
        "coverage": covered,
        "coverage_peer": peers,
        "approximate": {},
        "false_positives": false,
        "trials": options.trials,
        "seconds": round(time.perf_counter() - begin, 1),
        "machine": machine.describe(),
    }
    print(json.dumps(figures))


def coverage(case: Case, trials: int) -> float:
    """The share of trials whose interval has the truth in it."""
    hits = 0
    for trial in range(trials):
        found = case.estimate(np.random.default_rng([1, trial]))
        if found.low is not None and found.high is not None:
            hits += found.low <= case.truth <= found.high
    return hits / trials


def cases() -> dict[str, Case]:
    """Every case of one score."""
    found = {}
    for n in (50, 200, 1000):
        rho = 6 / np.pi * np.arcsin(0.8 / 2)  # Pearson's 0.8 on a normal's ranks
        draw = normal_pairs(n)
        cost = 4 if n == 1000 else 1
        spearman = spearman_of("cosine", "gold")
        found[f"spearman n={n}"] = Case(rho, CORRELATION, spearman, draw, cost)
    truth = spearman_of("cosine", "gold")
    for n in (48, 200, 1000):
        sizes = np.full(n // 4, 4)
        found[f"spearman four share n={n}"] = shared_case(sizes, truth, 4 if n == 1000 else 1)
    sizes = np.repeat(list(SHARED), list(SHARED.values()))
    found[f"spearman shared as STS-B n={sizes.sum()}"] = shared_case(sizes, truth, 8)
    found["spearman, pairs of 150 photos as CxC has them"] = photo_case(150, 4)
    for n in (100, 500):
        for name, statistic in (("ao@10", average_overlap_of), ("js@10", jaccard_of)):
            found[f"{name} n={n}"] = overlap_case(statistic("overlaps", 10), n)
    for p, n in ((0.02, 100), (0.98, 100), (0.99, 100), (0.995, 300)):
        found[f"recall {p} n={n}"] = rate_case(p, n, 1)
    found["recall 0.98 n=400, four share an image"] = rate_case(0.98, 400, 4)
    found["macro accuracy, 50 groups of 1 to 3"] = macro_case(
        np.random.default_rng(0).integers(1, 4, 50).tolist(), {4: 25}, 1
    )
    found["macro accuracy, ARO's relations and images"] = macro_case(RELATIONS, IMAGES, 8)
    return found


def normal_pairs(n: int) -> Callable[[Rng], Columns]:
    """Independent pairs of a normal distribution, correlated by 0.8."""

    def draw(rng: Rng) -> Columns:
        gold = rng.normal(size=n)
        cosine = 0.8 * gold + 0.6 * rng.normal(size=n)
        return {"cosine": cosine, "gold": gold, "cluster_id": np.arange(n)}

    return draw


def shared_pairs(sizes: Any) -> Callable[[Rng], Columns]:
    """Pairs in groups of these sizes that share a sentence, which the model misreads alike."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng: Rng) -> Columns:
        alike = rng.normal(size=len(cluster))
        gold = np.clip(np.round(alike * 1.2 + 2.5, 1), 0, 5)
        one = rng.normal(size=len(sizes))[cluster]
        cosine = 0.7 * alike + 0.5 * one + 0.5 * rng.normal(size=len(cluster))
        return {"cosine": cosine, "gold": gold, "cluster_id": cluster}

    return draw


def pairs_of_photos(photos: int) -> Callable[[Rng], Columns]:
    """As in Crisscrossed Captions: of each photo five pairs, and 3.8 with other photos; a photo
    that the model misreads is misread in all of its pairs."""

    def draw(rng: Rng) -> Columns:
        between = round(3.8 * photos)
        one = np.r_[np.repeat(np.arange(photos), 5), rng.integers(0, photos, between)]
        two = one.copy()
        two[-between:] += 1 + rng.integers(0, photos - 1, between)
        two %= photos
        alike = rng.normal(size=len(one)) + np.where(one == two, 1.0, -0.5)
        gold = np.clip(np.round(alike * 1.2 + 2.5, 1), 0, 5)
        misread = 0.6 * rng.normal(size=photos)
        both = (misread[one] + misread[two]) / np.where(one == two, 2, 2**0.5)
        cosine = 0.7 * alike + both + 0.5 * rng.normal(size=len(one))
        return {"cosine": cosine, "gold": gold, "cluster_id": np.stack([one, two], axis=1)}

    return draw


def photo_case(photos: int, cost: int) -> Case:
    """The truth is that of a very large set."""
    spearman = spearman_of("cosine", "gold")
    large = pairs_of_photos(200_000)(np.random.default_rng(0))
    truth = float(evaluate(spearman, large, np.ones((1, len(large["gold"]))))[0])
    return Case(truth, CORRELATION, spearman, pairs_of_photos(photos), cost)


def shared_case(sizes: Any, spearman: Statistic, cost: int) -> Case:
    """The truth is that of a very large set."""
    large = shared_pairs(np.full(250_000, 4))(np.random.default_rng(0))
    truth = float(evaluate(spearman, large, np.ones((1, 1_000_000)))[0])
    return Case(truth, CORRELATION, spearman, shared_pairs(sizes), cost)


def overlaps(rng: Rng, n: int, ease: float = 0.0) -> Columns:
    """Two top tens of n pairs; each pair has its own chance that a depth is shared."""
    chance = np.clip(rng.beta(2.0, 1.2, size=n) + ease, 0, 1)
    shared = np.cumsum(rng.random((n, 10)) < chance[:, None], axis=1)
    return {"overlaps": shared, "cluster_id": np.arange(n)}


def overlap_case(statistic: Statistic, n: int) -> Case:
    """The truth is that of a million pairs."""
    large = overlaps(np.random.default_rng(0), 1_000_000)
    truth = float(evaluate(statistic, large, np.ones((1, 1_000_000)))[0])
    return Case(truth, UNIT, statistic, lambda rng: overlaps(rng, n))


def rate_case(p: float, n: int, share: int) -> Case:
    """Right or wrong answers, `share` an image."""
    cluster = np.arange(n) // share

    def draw(rng: Rng) -> Columns:
        hard = rng.normal(size=n // share)[cluster] * (0.7 if share > 1 else 0.0)
        own = rng.normal(size=n) * np.sqrt(1 - (0.49 if share > 1 else 0.0))
        return {"correct": (hard + own < ndtri(p)).astype(float), "cluster_id": cluster}

    return Case(p, UNIT, mean_of("correct"), draw)


def macro_case(groups: list[int], images: dict[int, int], cost: int) -> Case:
    """Groups of these sizes, each as hard as it is; cases of an image are right together."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(len(groups)), groups)
    image = np.repeat(
        np.arange(sum(images.values())), np.repeat(list(images), list(images.values()))
    )
    image = rng.permutation(np.resize(image, len(group)))
    chance = rng.uniform(0.3, 0.95, len(groups))
    cut, names = ndtri(chance)[group], np.array([f"g{i}" for i in group])

    def draw(rng: Rng) -> Columns:
        hard = 0.7 * rng.normal(size=image.max() + 1)[image]
        right = hard + np.sqrt(0.51) * rng.normal(size=len(group)) < cut
        return {"correct": right.astype(float), "group": names, "cluster_id": image}

    macro = macro_mean_of("correct", "group")
    return Case(float(chance.mean()), UNIT, macro, draw, cost)


def several() -> dict[str, Callable[[Rng], bool]]:
    """Means over tasks and over seeds: whether a trial's interval has the truth in it."""
    rho = 6 / np.pi * np.arcsin(0.8 / 2)
    seven = [normal_pairs(n) for n in (100, 150, 200, 200, 250, 300, 400)]
    spearman = spearman_of("cosine", "gold")

    def of_seven(rng: Rng) -> bool:
        mean = mean_of_tasks([parts(spearman, draw(rng)) for draw in seven])
        found = score_with_interval(mean.value, mean, CORRELATION)
        assert found.low is not None
        assert found.high is not None
        return found.low <= rho <= found.high

    def of_seeds(rng: Rng, seeds: int, between: float) -> bool:
        hard, n = 0.3 * rng.normal(size=400), 400
        runs = []
        for shift in between * rng.normal(size=seeds):
            values = 0.5 + shift + hard + 0.2 * rng.normal(size=n)
            runs.append(parts(mean_of("value"), {"value": values, "cluster_id": np.arange(n)}))
        found = with_interval(mean_of_seeds(runs).value, spread(runs), ANY, runs[0])
        assert found.low is not None
        assert found.high is not None
        return found.low <= 0.5 <= found.high

    return {
        "group mean of seven": of_seven,
        "three seeds that differ little": lambda rng: of_seeds(rng, 3, 0.005),
        "three seeds that differ as examples do": lambda rng: of_seeds(rng, 3, 0.018),
        "three seeds that differ much": lambda rng: of_seeds(rng, 3, 0.1),
        "five seeds that differ as examples do": lambda rng: of_seeds(rng, 5, 0.018),
    }


def nulls() -> dict[str, Callable[[Rng], float]]:
    """p of two models that are equally good, by kind of score."""

    def test(statistic: Statistic, one: Columns, two: Columns) -> float:
        return float(paired([((parts(statistic, one),), (parts(statistic, two),))])[0])

    def agreement(rng: Rng, n: int) -> float:
        chance = rng.beta(2.0, 1.2, size=n)
        one, two = (
            {
                "overlaps": np.cumsum(rng.random((n, 10)) < chance[:, None], axis=1),
                "cluster_id": np.arange(n),
            }
            for _ in range(2)
        )
        return test(average_overlap_of("overlaps", 10), one, two)

    def answers(rng: Rng, n: int, share: int) -> float:
        chance, cluster = rng.random(n), np.arange(n) // share
        luck = 0.3 * rng.normal(size=(2, n // share))[:, cluster] * (share > 1)
        one, two = (
            {"correct": (rng.random(n) < chance + luck[i]).astype(float), "cluster_id": cluster}
            for i in range(2)
        )
        return test(mean_of("correct"), one, two)

    def correlations(rng: Rng, sizes: Any) -> float:
        cluster = np.repeat(np.arange(len(sizes)), sizes)
        alike = rng.normal(size=len(cluster))
        one, two = (
            {
                "gold": alike,
                "cosine": alike
                + 0.5 * rng.normal(size=len(sizes))[cluster]
                + 0.5 * rng.normal(size=len(cluster)),
                "cluster_id": cluster,
            }
            for _ in range(2)
        )
        return test(spearman_of("cosine", "gold"), one, two)

    return {
        "ao@10 n=100, flipped signs": lambda rng: agreement(rng, 100),
        "ao@10 n=500, flipped signs": lambda rng: agreement(rng, 500),
        "accuracy n=500, McNemar": lambda rng: answers(rng, 500, 1),
        "accuracy n=2000, McNemar": lambda rng: answers(rng, 2000, 1),
        "accuracy n=400, four share an image": lambda rng: answers(rng, 400, 4),
        "spearman n=200": lambda rng: correlations(rng, np.ones(200, dtype=int)),
        "spearman n=400, four share": lambda rng: correlations(rng, np.full(100, 4)),
    }


def false_board(rng: Rng) -> bool:
    """Whether a board of equal models, 10 columns and a baseline with 3 others, has a verdict."""
    pairs = []
    for column in range(10):
        n = 200
        chance = rng.beta(2.0, 1.2, size=n)
        rows = []
        for _ in range(4):
            if column % 2:
                values = (rng.random(n) < chance).astype(float)
            else:
                values = rng.binomial(10, chance) / 10
            rows.append(parts(mean_of("value"), {"value": values, "cluster_id": np.arange(n)}))
        pairs += [((row,), (rows[0],)) for row in rows[1:]]
    return bool((holm(paired(pairs)) < 0.05).any())
