"""Rankings, places of targets and recall against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics import ranking
from paraclip_bench.metrics.ranking import (
    distinct,
    places,
    recall_of,
    retrieve,
    target_ranks,
    top,
)
from paraclip_bench.metrics.statistic import mean_over


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    gallery = draw(st.integers(1, 12))
    row = st.lists(st.integers(-2, 2), min_size=gallery, max_size=gallery)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    one = st.integers(-1, gallery - 1)
    return rows, draw(st.lists(one, min_size=len(rows), max_size=len(rows)))


@given(searches(), st.integers(1, 12))
def test_ties_keep_gallery_order(search: tuple[list[list[int]], list[int]], k: int) -> None:
    rows, targets = search
    similarities = np.array(rows, dtype=np.float32)
    expected = [sorted(range(len(row)), key=lambda i: (-row[i], i)) for row in rows]
    depth = min(k, len(rows[0]))
    assert top(similarities, depth).tolist() == [order[:depth] for order in expected]
    ranks = target_ranks(similarities, np.array(targets))
    places = [
        0 if target < 0 else order.index(target) + 1
        for order, target in zip(expected, targets, strict=True)
    ]
    assert ranks.tolist() == places
    found = [place <= k for place in places if place]
    score = recall_of("rank", k)({"rank": ranks}, np.ones((1, len(rows))))[0]
    assert score == pytest.approx(np.mean(found) if found else np.nan, nan_ok=True)


@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_blocks_give_what_the_whole_matrix_gives(n: int, items: list[int], seed: int) -> None:
    # Small whole numbers: every sum is exact, so that ties are ties in any block.
    rng = np.random.default_rng(seed)
    rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
    copies = np.array([rows[item] for item in items])
    gallery = rng.integers(-2, 3, (len(rows), 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (n, 3)).astype(np.float32)
    targets = rng.integers(-1, len(items), n)
    k = int(rng.integers(1, len(items) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SCORES", len(items) * 3)
        firsts, places = retrieve(queries, gallery, targets, k, copies)
    whole = (queries @ gallery.T)[:, copies]
    expected = [sorted(range(len(items)), key=lambda i: (-row[i], i)) for row in whole.tolist()]
    assert firsts.tolist() == [order[:k] for order in expected]
    assert places.tolist() == [
        0 if target < 0 else order.index(target) + 1
        for order, target in zip(expected, targets, strict=True)
    ]


def test_recall_weighs_queries() -> None:
    columns = {"rank": np.array([1, 6, 0, 11])}
    weights = np.array([[1, 1, 1, 1], [3, 0, 5, 1], [0, 0, 4, 0]], dtype=float)
    assert recall_of("rank", 5)(columns, weights) == pytest.approx(
        [1 / 3, 3 / 4, np.nan], nan_ok=True
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_several_targets_have_each_its_place(items: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    firsts, copies = distinct(items)
    assert [items[first] for first in firsts] == list(dict.fromkeys(items))
    assert [items[firsts[row]] for row in copies] == items
    gallery = rng.integers(-2, 3, (len(firsts), 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (7, 3)).astype(np.float32)
    targets = rng.integers(-1, len(items), (7, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SCORES", len(items) * 3)
        found = places(queries, gallery, targets, copies)
    whole = (queries @ gallery.T)[:, copies].tolist()
    orders = [sorted(range(len(items)), key=lambda i: (-row[i], i)) for row in whole]
    assert found.tolist() == [
        [0 if target < 0 else order.index(target) + 1 for target in own]
        for order, own in zip(orders, targets, strict=True)
    ]


def test_recall_of_several_queries_an_example_counts_each_query() -> None:
    columns = {"rank": np.array([[1, 2, 0], [9, 0, 0], [3, 7, 1]])}
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 5, 0]], dtype=float)
    assert recall_of("rank", 2)(columns, weights) == pytest.approx([3 / 6, 5 / 7, 0])
    both = mean_over([recall_of("rank", 2), recall_of("rank", 3)])
    assert both(columns, weights) == pytest.approx([(3 / 6 + 4 / 6) / 2, (5 / 7 + 6 / 7) / 2, 0])
