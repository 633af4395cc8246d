"""AO@k and JS@k against their definitions on sets."""

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


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], int]:
    depth = draw(st.integers(1, 12))
    items = range(draw(st.integers(depth, 20)))
    one = st.permutations(items).map(lambda order: order[:depth])
    n = draw(st.integers(1, 4))
    first, second = (draw(st.lists(one, min_size=n, max_size=n)) for _ in range(2))
    return first, second, draw(st.integers(1, depth))


@given(rankings(), st.data())
def test_both_are_those_of_sets(
    lists: tuple[list[list[int]], list[list[int]], int], data: st.DataObject
) -> None:
    first, second, k = lists
    overlap = agreement.overlaps(np.array(first), np.array(second))
    each_ao = [ao(a, b, k) for a, b in zip(first, second, strict=True)]
    each_js = [js(a, b, k) for a, b in zip(first, second, strict=True)]
    assert agreement.average_overlap(overlap, k) == pytest.approx(each_ao)
    assert agreement.jaccard(overlap, k) == pytest.approx(each_js)
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(first), max_size=len(first)))
    if sum(counts):
        weights = np.array([counts, [1] * len(first)], dtype=float)
        columns = {"o": overlap}
        for statistic, each in (
            (agreement.average_overlap_of("o", k), each_ao),
            (agreement.jaccard_of("o", k), each_js),
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
