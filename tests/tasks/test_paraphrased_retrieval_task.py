"""Paraphrased retrieval against loops: copies of an image, ties, queries without a target."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.paraphrased_retrieval import (
    CocoHuman,
    CocoParaphrase,
    Flickr30kHuman,
    ParaphrasedRetrieval,
)

TASK = ParaphrasedRetrieval()


def place(root: Path, gallery: dict[str, bytes], rows: list[Any]) -> FolderSource:
    folder = root / TASK.name / "images"
    folder.mkdir(parents=True)
    for name, data in gallery.items():
        (folder / name).write_bytes(data)
    (root / TASK.name / "queries.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return FolderSource(root)


def pair(image: str | None = None, query: str = "q", paraphrase: str = "p") -> dict[str, Any]:
    row = {"query": query, "paraphrase": paraphrase}
    return row if image is None else {**row, "image_id": image}


TEN = {f"{i}.jpg": bytes([i]) for i in range(10)}


def test_against_loops(tmp_path: Path, given: Callable[..., Any]) -> None:
    rng = np.random.default_rng(4)
    # 24 files, 15 contents: copies tie wherever they stand in the gallery.
    gallery = {f"{i:02}.png": bytes([i % 15]) for i in range(24)}
    names = list(gallery)
    rows = [
        pair(None if i % 7 == 3 else names[i % 24], f"query {i}", f"paraphrase {i}")
        for i in range(300)
    ]
    whole = lambda n: [float(v) for v in rng.integers(-2, 3, size=n)]  # noqa: E731
    images = {bytes([i]): whole(4) for i in range(15)}
    texts = {text: whole(4) for row in rows for text in (row["query"], row["paraphrase"])}
    examples = TASK.load(place(tmp_path, gallery, rows), "cheng2024")
    embed = given(texts.__getitem__, lambda image: images[image.path.read_bytes()])
    columns = TASK.outcomes(examples, embed)

    assert examples.notes == {"queries_without_target": sum("image_id" not in r for r in rows)}
    ao, js = [], []
    ranks: dict[str, list[int]] = {"query": [], "paraphrase": []}
    for i, row in enumerate(rows):
        top = {}
        for side, places in ranks.items():
            scores = [float(np.dot(texts[row[side]], images[data])) for data in gallery.values()]
            order = sorted(range(24), key=lambda g, s=scores: (-s[g], g))
            top[side] = [names[g] for g in order]
            places.append(order.index(names.index(row["image_id"])) + 1 if "image_id" in row else 0)
            assert columns[f"top_{side}"][i].tolist() == top[side]
            assert columns[f"similarity_{side}"][i].tolist() == sorted(scores, reverse=True)
        a, b = top["query"], top["paraphrase"]
        shared = [len(set(a[:d]) & set(b[:d])) for d in range(1, 25)]
        assert columns["overlaps"][i].tolist() == shared
        a, b = a[:10], b[:10]
        ao.append(np.mean([len(set(a[:d]) & set(b[:d])) / d for d in range(1, 11)]))
        js.append(len(set(a) & set(b)) / len(set(a) | set(b)))
    for side, places in ranks.items():
        assert columns[f"rank_{side}"].tolist() == places
    columns = {"example_id": np.arange(300), **columns}
    assert point(TASK.scores["ao@10"], columns) == pytest.approx(np.mean(ao))
    assert point(TASK.scores["js@10"], columns) == pytest.approx(np.mean(js))
    for side, places in ranks.items():
        for k in (1, 5, 10):
            expected = np.mean([place <= k for place in places if place])
            assert point(TASK.scores[f"recall@{k}/{side}"], columns) == pytest.approx(expected)
    # A pair without a target is a cluster of its own; the others share their image's content.
    clusters = columns["cluster_id"].tolist()
    without = [i for i, row in enumerate(rows) if "image_id" not in row]
    assert len({clusters[i] for i in without}) == len(without)
    assert len({c for i, c in enumerate(clusters) if i not in without}) == 15


def test_gallery_order_is_of_the_names_bytes(tmp_path: Path) -> None:
    names = [
        "b.PNG",
        "a.jpg",
        "B.jpeg",
        "é.webp",
        "10.png",
        "9.png",
        "z.gif",
        "Z.bmp",
        "~.tif",
        "_.tiff",
    ]
    gallery = {name: name.encode() for name in names} | {"notes.txt": b"no image", "x.json": b"{}"}
    rows = [pair(name) for name in names]
    examples = TASK.load(place(tmp_path, gallery, rows), "cheng2024")
    ordered = sorted(names, key=str.encode)
    assert [image.id for image in examples.shared] == ordered
    assert [ordered[row.target] for row in examples] == names


def test_no_query_has_a_target(tmp_path: Path, given: Callable[..., Any]) -> None:
    rows = [pair(query=f"q{i}", paraphrase=f"p{i}") for i in range(5)] + [
        {"query": "q", "paraphrase": "p", "image_id": None}
    ]
    examples = TASK.load(place(tmp_path, TEN, rows), "cheng2024")
    columns = {"example_id": np.arange(6), **TASK.outcomes(examples, given())}
    assert estimate(TASK.scores["js@10"], columns).value == 1  # ten of ten
    recall = estimate(TASK.scores["recall@1/query"], columns)
    assert (recall.value, recall.low, recall.high) == (None, None, None)


def test_equal_texts_agree_wholly(tmp_path: Path, given: Callable[..., Any]) -> None:
    gallery = {f"{i:03}.png": bytes([i]) for i in range(200)}
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(201, 64)).astype(np.float32)
    rows = [pair("007.png", f"t{i}", f"t{i}") for i in range(201)]
    examples = TASK.load(place(tmp_path, gallery, rows), "cheng2024")
    embed = given(lambda text: vectors[int(text[1:])], lambda image: vectors[int(image.id[:3])])
    columns = TASK.outcomes(examples, embed)
    assert (columns["overlaps"] == np.arange(1, 101)).all()
    assert columns["rank_query"][7] == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([pair("0.jpg"), pair("gone.jpg")], "line 2: the target image 'gone.jpg' is not in"),
        ([pair("0.jpg"), {**pair(), "image_id": 7}], "line 2: the target image 7 is not in"),
        ([pair("0.jpg"), {**pair(), "image_id": ["0.jpg"]}], "line 2: the target image"),
        ([pair("0.jpg"), {"query": "q"}], "line 2: there is no 'paraphrase'"),
        ([pair("0.jpg"), pair(query=" ")], "line 2: 'query' must be a text"),
        ([pair(), {**pair(), "negation": ""}], "line 2: 'negation' must be a text"),
        ([pair(), {**pair(), "negation": ["no"]}], "line 2: 'negation' must be a text"),
        ([], "holds no queries"),
    ],
)
def test_bad_queries(rows: list[Any], said: str, tmp_path: Path) -> None:
    source = place(tmp_path, TEN, rows)
    with pytest.raises(DataError, match=r"queries\.jsonl") as caught:
        TASK.load(source, "cheng2024")
    assert said in str(caught.value).replace("\\", "")


def test_a_gallery_too_small_and_the_hub(tmp_path: Path) -> None:
    nine = dict(list(TEN.items())[:9])
    with pytest.raises(DataError, match="has 9 images, and a top 10 needs 10"):
        TASK.load(place(tmp_path, nine, [pair()]), "cheng2024")
    with pytest.raises(DataError, match=r"give paraphrased-retrieval/queries\.jsonl"):
        TASK.load(HubSource(), "cheng2024")


def negated(rows: list[Any]) -> list[Any]:
    """Every third row stays without a negation, and one is its own query."""
    found = [
        row if i % 3 == 2 else {**row, "negation": f"no {row['query']}"}
        for i, row in enumerate(rows)
    ]
    found[0]["negation"] = found[0]["query"].upper()
    return found


def test_negations_against_loops(tmp_path: Path, given: Callable[..., Any]) -> None:
    rng = np.random.default_rng(7)
    # 24 files, 15 contents, and vectors of few values: ties everywhere.
    gallery = {f"{i:02}.png": bytes([i % 15]) for i in range(24)}
    names = list(gallery)
    rows = negated(
        [
            pair(None if i % 7 == 3 else names[i % 24], f"query {i}", f"paraphrase {i}")
            for i in range(300)
        ]
    )
    whole = lambda n: [float(v) for v in rng.integers(-2, 3, size=n)]  # noqa: E731
    images = {bytes([i]): whole(4) for i in range(15)}
    sides = ("query", "paraphrase", "negation")
    texts = {row[side]: whole(4) for row in rows for side in sides if side in row}
    examples = TASK.load(place(tmp_path, gallery, rows), "cheng2024")
    embed = given(texts.__getitem__, lambda image: images[image.path.read_bytes()])
    columns = dict(TASK.outcomes(examples, embed))

    assert examples.notes == {
        "queries_without_target": sum("image_id" not in r for r in rows),
        "queries_without_negation": 100,
        "negations_equal": 1,
    }
    assert any("1 negation is the query itself" in remark for remark in examples.remarks)
    similar = lambda text, name: float(np.dot(texts[text], images[gallery[name]]))  # noqa: E731
    ao, over, ties = [], [], 0
    found: dict[tuple[int, str], list[bool]] = {}
    for i, row in enumerate(rows):
        if "negation" not in row:
            assert columns["rank_negation"][i] == 0
            assert set(columns["overlaps_negation"][i].tolist()) == {-1}
            assert set(columns["top_negation"][i].tolist()) == {""}
            assert np.isnan(columns["similarity_negation"][i]).all()
            assert np.isnan(columns["cosine_negation"][i])
            continue
        tops = {}
        for side in ("query", "negation"):
            order = sorted(range(24), key=lambda g, s=row[side]: (-similar(s, names[g]), g))
            tops[side] = [names[g] for g in order]
            assert columns[f"top_{side}"][i].tolist() == tops[side]
            if "image_id" in row:
                rank = tops[side].index(row["image_id"]) + 1
                assert columns[f"rank_{side}"][i] == rank
                for k in (1, 5, 10):
                    found.setdefault((k, side), []).append(rank <= k)
        both = [len(set(tops["query"][:d]) & set(tops["negation"][:d])) for d in range(1, 25)]
        assert columns["overlaps_negation"][i].tolist() == both
        ao.append(np.mean([both[d - 1] / d for d in range(1, 11)]))
        if "image_id" in row:
            one, two = (similar(row[side], row["image_id"]) for side in ("query", "negation"))
            over.append(one > two)
            ties += one == two
    assert ties > 5
    columns = {"example_id": np.arange(300), **columns}
    expected = {
        "query_over_negation": np.mean(over),
        "recall_fall@10": np.mean(found[10, "query"]) - np.mean(found[10, "negation"]),
        "ao@10/negation": np.mean(ao),
        **{f"recall@{k}/negation": np.mean(found[k, "negation"]) for k in (1, 5, 10)},
    }
    scores = {name: point(score, columns) for name, score in TASK.scores_of(columns).items()}
    assert list(scores)[-6:] == [
        *("query_over_negation", "recall_fall@10"),
        *(f"recall@{k}/negation" for k in (1, 5, 10)),
        "ao@10/negation",
    ]
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    # What has no negation counts in none of these scores, whatever its ranks are.
    assert len(over) < sum(place > 0 for place in columns["rank_query"])
    for name in expected:
        value = estimate(TASK.scores[name], columns)
        assert value.low < value.value < value.high  # type: ignore[operator]
    fall = estimate(TASK.metric("recall_fall@1"), columns).value
    assert fall == pytest.approx(np.mean(found[1, "query"]) - np.mean(found[1, "negation"]))


def test_a_set_without_negations_is_as_it_was(tmp_path: Path, given: Callable[..., Any]) -> None:
    rows = [pair("3.jpg", "a", "b"), {**pair(None, "c", "d"), "negation": None}]
    examples = TASK.load(place(tmp_path, TEN, rows), "cheng2024")
    columns = TASK.outcomes(examples, given())
    assert not [name for name in columns if "negation" in name or "cosine" in name]
    assert not [name for name in TASK.scores_of(columns) if "negation" in name or "fall" in name]
    assert examples.notes == {"queries_without_target": 1}
    # The digest of the data has no field that these rows do not set.
    lines = [
        json.dumps({"paraphrase": p, "query": q, "target": t})
        for q, p, t in (("a", "b", 3), ("c", "d", -1))
    ]
    lines += [hashlib.sha256(content).hexdigest() for content in TEN.values()]
    text = "".join(line + "\n" for line in lines)
    assert examples_sha256(examples) == hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "other").mkdir()
    other = TASK.load(
        place(tmp_path / "other", TEN, [{**rows[0], "negation": "not a"}, rows[1]]), "cheng2024"
    )
    assert examples_sha256(other) != examples_sha256(examples)


def test_only_less_is_better_of_what_negations_find() -> None:
    lower = {name for name in TASK.scores if TASK.is_lower_better(name)}
    assert lower == {*(f"recall@{k}/negation" for k in (1, 5, 10)), "ao@10/negation"}
    assert TASK.is_lower_better("recall@3/negation")
    assert not TASK.is_lower_better("recall@3/query")
    assert not lower & set(TASK.board)
    assert {"query_over_negation", "recall_fall@10"} <= set(TASK.board)
    for published in (CocoParaphrase(), CocoHuman(), Flickr30kHuman()):
        assert not [name for name in published.scores if "negation" in name or "fall" in name]
        assert set(published.board) <= set(published.scores)
    with pytest.raises(UsageError, match="'image' is none of query, paraphrase"):
        TASK.metric("recall@3/image")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis.given(
    negation=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    )
)
def test_any_value_as_a_negation(negation: Any, tmp_path: Path) -> None:
    if not (tmp_path / TASK.name).exists():
        place(tmp_path, TEN, [])
    file = tmp_path / TASK.name / "queries.jsonl"
    rows = [pair("0.jpg"), {**pair("1.jpg"), "negation": negation}]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    said = None
    try:
        _, row = TASK.load(FolderSource(tmp_path), "cheng2024")
    except DataError as error:
        said = str(error)
    if said is None:
        assert row.negation == ("" if negation is None else negation)
        assert negation is None or negation.strip()
    else:
        assert "queries.jsonl, line 2" in said
        assert "\n" not in said
        assert negation is not None
        assert not (isinstance(negation, str) and negation.strip() and negation.isprintable())
