"""Rankings, places of targets and recall against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics.ranking import recall_of, target_ranks, top


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


def test_recall_weighs_queries() -> None:
    columns = {"rank": np.array([1, 6, 0, 11])}
    weights = np.array([[1, 1, 1, 1], [3, 0, 5, 1], [0, 0, 4, 0]], dtype=float)
    assert recall_of("rank", 5)(columns, weights) == pytest.approx(
        [1 / 3, 3 / 4, np.nan], nan_ok=True
    )
