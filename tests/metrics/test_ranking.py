"""Rankings, places of targets and recall against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics import ranking
from paraclip_bench.metrics.metric import mean_over
from paraclip_bench.metrics.ranking import places, recall_of, retrieve, target_ranks, top


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


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    raw = rng.standard_normal((n, d), dtype=np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_blocks_give_what_the_whole_matrix_gives(n: int, items: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = unit(rng, 5, 3)[items]
    queries = unit(rng, n, 3)
    targets = rng.integers(-1, len(items), n)
    k = int(rng.integers(1, len(items) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SCORES", len(items) * 3)
        patch.setattr(ranking, "_PART", 4)
        firsts, _, places = retrieve(queries, gallery, targets, k)
    orders = [exact_order(query, gallery) for query in queries]
    assert firsts.tolist() == [order[:k] for order in orders]
    assert places.tolist() == [
        0 if target < 0 else order.index(target) + 1
        for order, target in zip(orders, targets, strict=True)
    ]


def exact_order(query: np.ndarray, gallery: np.ndarray) -> list[int]:
    """By Python's whole numbers, then rounded to float32."""
    steps = lambda vector: [round(float(v) * 2**26) for v in vector]  # noqa: E731
    asked = steps(query)
    scores = [
        np.float32(sum(a * b for a, b in zip(asked, steps(item), strict=True))) for item in gallery
    ]
    return sorted(range(len(gallery)), key=lambda i: (-scores[i], i))


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129])
@pytest.mark.parametrize("size", [1, 25, 101, 5001])
def test_equal_vectors_tie_in_any_shape(n: int, size: int) -> None:
    rng = np.random.default_rng(n)
    gallery = np.repeat(unit(rng, 1, 512), size, axis=0)
    k = min(10, size)
    firsts, found, ranks = retrieve(unit(rng, n, 512), gallery, np.full(n, size - 1), k)
    assert (firsts == np.arange(k)).all()
    assert (found == found[:, :1]).all()
    assert (ranks == size).all()


@pytest.mark.parametrize("size", [25, 1001])
def test_a_query_does_not_depend_on_the_others(size: int) -> None:
    """Nor on where it stands: what its scores are is the same to the last bit."""
    rng = np.random.default_rng(size)
    gallery, queries = unit(rng, size, 512), unit(rng, 129, 512)
    # All but equal: the last bit decides their order.
    gallery[size // 2 :] = gallery[0] + rng.integers(-1, 2, (size - size // 2, 512)) * 2.0**-24
    targets = rng.integers(0, size, 129)
    bits = similarities(queries, gallery)
    found = retrieve(queries, gallery, targets, 10)
    for n in (1, 2, 127, 128, 129):
        for chosen in (np.arange(n), rng.permutation(129)[:n]):
            assert (similarities(queries[chosen], gallery) == bits[chosen]).all()
            again = retrieve(queries[chosen], gallery, targets[chosen], 10)
            assert all((a == b[chosen]).all() for a, b in zip(again, found, strict=True))
    items = rng.permutation(size)
    assert (similarities(queries, gallery[items]) == bits[:, items]).all()


def similarities(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """All of them exact, because of a top k of all every one is open."""
    none = np.empty((len(queries), 0), dtype=int)
    blocks = ranking._blocks(queries, gallery, none, len(gallery))
    return np.concatenate([scores for _, scores in blocks])


def test_only_what_is_open_is_scored_exactly() -> None:
    """Few items of a large gallery are; the places are those of exact scores all the same."""
    rng = np.random.default_rng(3)
    gallery, queries = unit(rng, 20_000, 64), unit(rng, 70, 64)
    gallery[::7] = gallery[3]
    targets = rng.integers(-1, len(gallery), len(queries))
    with pytest.MonkeyPatch.context() as patch:
        settled: list[int] = []
        whole = ranking._whole
        patch.setattr(ranking, "_whole", lambda v: settled.append(len(v)) or whole(v))
        firsts, found, ranks = retrieve(queries, gallery, targets, 10)
    assert sum(settled) < 0.3 * len(gallery)
    exact = similarities(queries, gallery)
    assert (firsts == ranking.top(exact, 10)).all()
    assert (found == np.take_along_axis(exact, firsts, axis=1)).all()
    assert (ranks == target_ranks(exact, targets)).all()


def test_scores_are_dot_products() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = unit(rng, 40, 512), unit(rng, 300, 512)
    expected = queries.astype(np.float64) @ gallery.astype(np.float64).T
    # Half a step of each component, and float32's rounding of the sum.
    assert np.abs(similarities(queries, gallery) - expected).max() < 6e-8


def test_recall_weighs_queries() -> None:
    columns = {"rank": np.array([1, 6, 0, 11])}
    weights = np.array([[1, 1, 1, 1], [3, 0, 5, 1], [0, 0, 4, 0]], dtype=float)
    assert recall_of("rank", 5)(columns, weights) == pytest.approx(
        [1 / 3, 3 / 4, np.nan], nan_ok=True
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_several_targets_have_each_its_place(items: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Small whole numbers, so that numpy's own product is exact too.
    gallery = rng.integers(-2, 3, (5, 3)).astype(np.float32)[items]
    queries = rng.integers(-2, 3, (7, 3)).astype(np.float32)
    targets = rng.integers(-1, len(items), (7, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SCORES", len(items) * 3)
        found = places(queries, gallery, targets)
    whole = (queries @ gallery.T).tolist()
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
