"""Every score of paraphrased retrieval by loops over raw vectors, in each layout of the gallery."""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tars

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.inference import point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.paraphrased_retrieval import ParaphrasedRetrieval

TASK = ParaphrasedRetrieval()
LAYOUTS = ("images", "val2014", "shards")
# 30 files, 22 contents: copies tie wherever they stand.
GALLERY = {f"COCO_val2014_{37 * i:012}.jpg": bytes([i % 22]) for i in range(30)}
NAMES = list(GALLERY)


def lay(root: Path, layout: str, files: Mapping[str, bytes], rows: list[Any]) -> FolderSource:
    folder = root / TASK.name
    folder.mkdir(parents=True)
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "queries.jsonl").write_text(text)
    if layout == "shards":
        # Members alternate, so that the order of the shards is not that of the names.
        for number in range(3):
            tars.write(folder / f"gallery-{number:03}.tar", dict(list(files.items())[number::3]))
    else:
        (folder / layout).mkdir()
        for name, content in files.items():
            (folder / layout / name).write_bytes(content)
    return FolderSource(root)


def loops(
    texts: Mapping[str, np.ndarray], images: Mapping[bytes, np.ndarray], rows: list[Any]
) -> dict[str, float]:
    """Mean scores from the definitions, pair by pair and place by place."""
    each = defaultdict(list)
    for row in rows:
        lists = {}
        for side in ("query", "paraphrase"):
            scores = [float(np.dot(texts[row[side]], images[GALLERY[name]])) for name in NAMES]
            ranked: list[str] = []
            left = list(range(len(NAMES)))
            while left:
                best = max(scores[i] for i in left)
                first = next(i for i in left if scores[i] == best)
                ranked.append(NAMES[first])
                left.remove(first)
            lists[side] = ranked
            if "image_id" in row:
                for k in (1, 5, 10):
                    each[f"recall@{k}/{side}"].append(row["image_id"] in ranked[:k])
        a, b = lists["query"][:10], lists["paraphrase"][:10]
        for k in (1, 5, 10):
            shares = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, k + 1)]
            each[f"ao@{k}"].append(sum(shares) / k)
            each[f"js@{k}"].append(len(set(a[:k]) & set(b[:k])) / len(set(a[:k]) | set(b[:k])))
        each["rbo@10"].append(
            sum(0.1 * 0.9 ** (d - 1) * shares[min(d, 10) - 1] for d in range(1, 400))
        )
    return {name: float(np.mean(values)) for name, values in each.items()}


def test_every_score_in_every_layout(tmp_path: Path, given: Callable[..., Any]) -> None:
    rng = np.random.default_rng(11)
    rows = [
        {"query": f"query {i}", "paraphrase": f"paraphrase {i}", "image_id": NAMES[i % 30]}
        for i in range(120)
    ]
    for i in range(3, 120, 7):
        del rows[i]["image_id"]
    # Few whole numbers, so that many products are equal.
    images = {bytes([i]): rng.integers(-2, 3, size=5).astype(np.float32) for i in range(22)}
    texts = {row["query"]: rng.integers(-2, 3, size=5).astype(np.float32) for row in rows}
    for row in rows:
        moved = texts[row["query"]] + rng.integers(-1, 2, size=5)
        texts[row["paraphrase"]] = moved.astype(np.float32)
    expected = loops(texts, images, rows)
    # Those of negations, which these rows have none of.
    others = {name for name in TASK.scores if "negation" in name or "fall" in name}
    scores = {name: kept for name, kept in TASK.scores.items() if name not in others}
    assert expected.keys() == scores.keys()
    assert len({round(value, 6) for value in expected.values()}) > 10

    digests, tables = set(), []
    for layout in LAYOUTS:
        source = lay(tmp_path / layout, layout, GALLERY, rows)
        examples = TASK.load(source, "cheng2024")
        embed = given(texts.__getitem__, lambda image: images[image.encoded()])
        columns = TASK.outcomes(examples, embed)
        ours = {name: point(statistic, columns) for name, statistic in scores.items()}
        assert ours == pytest.approx(expected, rel=1e-12), layout
        digests.add(examples_sha256(examples))
        tables.append({name: values.tolist() for name, values in columns.items()})
    assert len(digests) == 1
    assert tables[0] == tables[1] == tables[2]


def test_the_digest_is_of_the_pairs_and_the_gallery_alone(tmp_path: Path) -> None:
    """Results of folders measured before ids and other layouts were read stay done."""
    rows = [
        {"query": "a", "paraphrase": "b", "image_id": NAMES[4]},
        {"query": "c", "paraphrase": "d"},
    ]
    hasher = hashlib.sha256()
    for row, target in zip(rows, (4, -1), strict=True):
        fields = {"paraphrase": row["paraphrase"], "query": row["query"], "target": target}
        hasher.update(json.dumps(fields).encode() + b"\n")
    for content in GALLERY.values():
        hasher.update(hashlib.sha256(content).hexdigest().encode() + b"\n")
    with_ids = [{**row, "id": f"n{i}"} for i, row in enumerate(rows)]
    by_number = [{**rows[0], "image_id": 37 * 4}, rows[1]]
    for index, told in enumerate((rows, with_ids, by_number)):
        for layout in LAYOUTS:
            source = lay(tmp_path / f"{index}" / layout, layout, GALLERY, told)
            found = examples_sha256(TASK.load(source, "cheng2024"))
            assert found == hasher.hexdigest(), (layout, told)


def test_a_listed_gallery_is_one_of_its_images_alone(
    tmp_path: Path, given: Callable[..., Any]
) -> None:
    some = dict(list(GALLERY.items())[5:20])
    rows = [{"query": "a", "paraphrase": "b", "image_id": NAMES[7]}] * 3
    whole = TASK.load(lay(tmp_path / "some", "images", some, rows), "cheng2024")
    for layout in LAYOUTS:
        source = lay(tmp_path / layout, layout, GALLERY, rows)
        (tmp_path / layout / TASK.name / "gallery.txt").write_text("\n".join(reversed(some)))
        listed = TASK.load(source, "cheng2024")
        assert examples_sha256(listed) == examples_sha256(whole)
        assert set(TASK.outcomes(listed, given())["top_query"][0]) <= set(some)
    outside = [{**rows[0], "image_id": NAMES[0]}]
    (tmp_path / "images" / TASK.name / "queries.jsonl").write_text(json.dumps(outside[0]))
    with pytest.raises(DataError, match=rf"line 1: the target image '{NAMES[0]}' is not in .*txt"):
        TASK.load(FolderSource(tmp_path / "images"), "cheng2024")


def test_shards_know_their_images_by_key(tmp_path: Path) -> None:
    keys = [name.removesuffix(".jpg") for name in NAMES]
    rows = [{"query": "a", "paraphrase": "b", "image_id": key} for key in keys]
    examples = TASK.load(lay(tmp_path / "shards", "shards", GALLERY, rows), "cheng2024")
    assert [query.target for query in examples] == list(range(30))
    assert all(isinstance(i, ImageRef) and i.data is None for i in examples.shared)
    with pytest.raises(DataError, match="line 1: the target image"):
        TASK.load(lay(tmp_path / "images", "images", GALLERY, rows), "cheng2024")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("absent", ["gone.jpg", 38, 37.5, True])
def test_a_target_that_is_absent(tmp_path: Path, layout: str, absent: Any) -> None:
    row = {"query": "a", "paraphrase": "b", "image_id": absent}
    source = lay(tmp_path, layout, GALLERY, [row])
    with pytest.raises(DataError) as caught:
        TASK.load(source, "cheng2024")
    folder = tmp_path / TASK.name
    where = folder / ("*.tar" if layout == "shards" else layout)
    assert str(caught.value) == (
        f"{folder / 'queries.jsonl'}, line 1: the target image {absent!r} is not in {where}; "
        "put it there or drop image_id"
    )


def test_ids_are_the_rows_own_or_their_numbers(tmp_path: Path, given: Callable[..., Any]) -> None:
    row = {"query": "a", "paraphrase": "b"}
    for ids, expected in (
        ([None, None, None], ["0", "1", "2"]),
        (["x", 7, "y 1"], ["x", "7", "y 1"]),
    ):
        rows = [row if id is None else {**row, "id": id} for id in ids]
        source = lay(tmp_path / expected[0], "images", GALLERY, rows)
        examples = TASK.load(source, "cheng2024")
        for limited in (examples, dataclasses.replace(examples, rows=examples.rows[:2])):
            columns = TASK.outcomes(limited, given())
            assert columns["example_id"].tolist() == expected[: len(limited)]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "b", "a"], "line 3: the id 'a' is that of line 1 too; fix one"),
        (["1", 1], "line 2: the id '1' is that of line 1 too"),
        (["a", None], "line 2: some lines have an 'id' and some not; give all one"),
        ([None, "a"], "line 2: some lines have an 'id' and some not"),
        ([1.5], "line 1: 'id' must be a text or a whole number, not 1.5"),
        ([True], "line 1: 'id' must be a text or a whole number, not True"),
        ([["a"]], "line 1: 'id' must be a text or a whole number"),
    ],
)
def test_bad_ids(tmp_path: Path, ids: list[Any], said: str) -> None:
    rows = [{"query": "a", "paraphrase": "b", "id": id} for id in ids]
    with pytest.raises(DataError) as caught:
        TASK.load(lay(tmp_path, "images", GALLERY, rows), "cheng2024")
    assert str(caught.value).startswith(f"{tmp_path / TASK.name / 'queries.jsonl'}, {said}")
