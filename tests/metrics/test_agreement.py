"""AO@k, JS@k and rank-biased overlap against their definitions on sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics import agreement


def ao(first: list[int], second: list[int], k: int) -> float:
    return sum(len(set(first[:d]) & set(second[:d])) / d for d in range(1, k + 1)) / k


def js(first: list[int], second: list[int], k: int) -> float:
    a, b = set(first[:k]), set(second[:k])
    return len(a & b) / len(a | b)


def rbo(first: list[int], second: list[int], k: int, p: float) -> float:
    """Rank-biased overlap as it is defined, without end (equation 4), its tail term by term."""
    value, depth, weight = 0.0, 1, 1 - p
    while weight > 1e-18:
        seen = min(depth, k)
        value += weight * len(set(first[:seen]) & set(second[:seen])) / seen
        depth, weight = depth + 1, weight * p
    return value


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], int]:
    depth = draw(st.integers(1, 12))
    items = range(draw(st.integers(depth, 20)))
    one = st.permutations(items).map(lambda order: order[:depth])
    n = draw(st.integers(1, 4))
    first, second = (draw(st.lists(one, min_size=n, max_size=n)) for _ in range(2))
    return first, second, draw(st.integers(1, depth))


@given(rankings(), st.data())
def test_all_are_those_of_sets(
    lists: tuple[list[list[int]], list[list[int]], int], data: st.DataObject
) -> None:
    first, second, k = lists
    overlap = agreement.overlaps(np.array(first), np.array(second))
    each_ao = [ao(a, b, k) for a, b in zip(first, second, strict=True)]
    each_js = [js(a, b, k) for a, b in zip(first, second, strict=True)]
    each_rbo = [rbo(a, b, k, 0.9) for a, b in zip(first, second, strict=True)]
    assert agreement.average_overlap(overlap, k) == pytest.approx(each_ao)
    assert agreement.jaccard(overlap, k) == pytest.approx(each_js)
    assert agreement.rank_biased_overlap(overlap, k) == pytest.approx(each_rbo)
    p = data.draw(st.floats(0.01, 0.99))
    of_p = [rbo(a, b, k, p) for a, b in zip(first, second, strict=True)]
    assert agreement.rank_biased_overlap(overlap, k, p) == pytest.approx(of_p)
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(first), max_size=len(first)))
    if sum(counts):
        weights = np.array([counts, [1] * len(first)], dtype=float)
        columns = {"o": overlap}
        for statistic, each in (
            (agreement.average_overlap_of("o", k), each_ao),
            (agreement.jaccard_of("o", k), each_js),
            (agreement.rank_biased_overlap_of("o", k), each_rbo),
        ):
            expected = [np.mean(np.repeat(each, counts)), np.mean(each)]
            assert statistic(columns, weights) == pytest.approx(expected)


def test_published_checks() -> None:
    ten = np.arange(10)[None]
    turned = agreement.overlaps(ten, ten[:, ::-1])
    assert agreement.average_overlap(turned, 10)[0] == pytest.approx(0.35437, abs=5e-6)
    assert agreement.jaccard(turned, 10)[0] == 1
    same = agreement.overlaps(ten, ten)
    assert agreement.average_overlap(same, 10)[0] == 1
    assert agreement.jaccard(same, 10)[0] == 1
    none = agreement.overlaps(ten, ten + 10)
    assert agreement.average_overlap(none, 10)[0] == 0
    assert agreement.jaccard(none, 10)[0] == 0


def test_rank_biased_overlap_by_hand() -> None:
    def value(first: list[int], second: list[int], p: float) -> float:
        overlap = agreement.overlaps(np.array([first]), np.array([second]))
        return float(agreement.rank_biased_overlap(overlap, len(first), p)[0])

    ten = list(range(10))
    for p in (0.1, 0.5, 0.9):
        assert value(ten, ten, p) == pytest.approx(1)
        assert value(ten, [i + 10 for i in ten], p) == 0
        # Two items turned round: nothing at depth 1, which weighs 1 - p, all of it from then on.
        assert value([1, 2], [2, 1], p) == pytest.approx(p)
        assert value([1, 2, 3], [3, 2, 1], p) == pytest.approx(p - p * (1 - p) / 2)
        # The first alone is shared: 1, then 1/2 for ever.
        assert value([1, 2], [1, 3], p) == pytest.approx((1 - p) + p / 2)
    # What is shared weighs more at the top.
    assert value(ten, [0, *range(11, 20)], 0.9) > value(ten, [*range(11, 20), 9], 0.9)
    # The paper: at p = 0.9 the first ten places have 86% of the weight (0.8556 by its equation 21).
    tail = list(range(100, 300))
    assert value([*ten, *tail], [*ten, *(-i for i in tail)], 0.9) == pytest.approx(0.8556, abs=1e-4)
