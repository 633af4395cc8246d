"""The paraphrase sets of published files: which pairs the rules make, and every score by loops."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, MissingData
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.captioned_retrieval import CocoKarpathy
from paraclip_bench.tasks.catalog import choose_tasks
from paraclip_bench.tasks.paraphrased_retrieval import (
    CocoHuman,
    CocoParaphrase,
    Flickr30kHuman,
    ParaphrasedRetrieval,
    next_captions,
)

ALL = "cheng2024"
Item = tuple[str, str, str]


def vector(key: str, size: int = 6) -> list[float]:
    """Few whole numbers, so that every product is exact and many tie."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return [float(v) for v in np.random.default_rng(seed).integers(-2, 3, size=size)]


def item(id: int, filename: str, caption: str, caption2: str) -> dict[str, Any]:
    return {
        "id": id,
        "filename": filename,
        "caption": caption,
        "caption2": caption2,
        "negative_caption": "not this",
    }


def lay(root: Path, files: dict[str, list[dict[str, Any]]], images: Sequence[str]) -> FolderSource:
    folder = root / "coco-paraphrase"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for subset, rows in files.items():
        (folder / f"{subset}.json").write_text(json.dumps(rows))
    for name in images:
        (folder / "images" / name).write_bytes(name.encode())
    return FolderSource(root)


def by_loops(pairs: Sequence[Item], gallery: Sequence[str], depth: int = 10) -> dict[str, float]:
    """Mean scores of (image, query, paraphrase) from the definitions, one place after another."""
    each = defaultdict(list)
    matrix = np.array([vector(name) for name in gallery])
    ranked: dict[str, list[str]] = {}
    for text in {text for _, *texts in pairs for text in texts}:
        scores = (matrix @ np.array(vector(text))).tolist()
        ranked[text] = [gallery[i] for i in sorted(range(len(gallery)), key=lambda i: -scores[i])]
    for image, *texts in pairs:
        for side, text in zip(("query", "paraphrase"), texts, strict=True):
            for k in (1, 5, 10):
                each[f"recall@{k}/{side}"].append(image in ranked[text][:k])
        a, b = (ranked[text][:depth] for text in texts)
        shares = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, depth + 1)]
        for k in (1, 5, 10):
            each[f"ao@{k}"].append(sum(shares[:k]) / k)
            each[f"js@{k}"].append(len(set(a[:k]) & set(b[:k])) / len(set(a[:k]) | set(b[:k])))
        places = range(1, 400)
        each["rbo@10"].append(sum(0.1 * 0.9 ** (d - 1) * shares[min(d, 10) - 1] for d in places))
    return {name: float(np.mean(values)) for name, values in each.items()}


def ours(task: Any, examples: Any, given: Callable[..., Any]) -> dict[str, float]:
    embed = given(vector, lambda image: vector(image.id))
    columns = {k: np.asarray(v) for k, v in task.outcomes(examples, embed).items()}
    assert columns["example_id"].tolist() == [row.id for row in examples]
    return {name: point(score, columns) for name, score in task.scores.items()}


NAMES = [f"{7 * i:012}.jpg" for i in range(40)]
FILES = {
    "swap_obj": [item(i, NAMES[i], f"a {i} and b", f"b and a {i}") for i in range(20)],
    "swap_att": [
        item(0, NAMES[3], "a 3 and b", "b and a 3"),  # the pair of swap_obj/3 again
        item(1, NAMES[3], "a 3 and b", "both b and 3"),  # the same query, another paraphrase
        item(2, NAMES[4], "a 3 and b", "b and a 3"),  # the same texts of another image
        item(3, NAMES[5], "A  red b ", "a Red b"),  # equal, case and white space aside
        *(item(i, NAMES[i % 40], f"one {i % 13}", f"two {i % 11}") for i in range(4, 60)),
    ],
}


def test_coco_paraphrase_has_each_pair_once_in_the_files_order(
    tmp_path: Path, given: Callable[..., Any]
) -> None:
    task = CocoParaphrase()
    examples = read_examples(task, lay(tmp_path, FILES, NAMES), ALL, None)
    seen: list[Item] = []
    ids = []
    for subset in ("swap_obj", "swap_att"):
        for row in FILES[subset]:
            triple = (row["filename"], row["caption"], row["caption2"])
            if triple not in seen:
                seen.append(triple)
                ids.append(f"{subset}/{row['id']}")
    assert [(NAMES[q.target], q.query, q.paraphrase) for q in examples] == seen
    assert [q.id for q in examples] == ids
    assert [image.id for image in examples.shared] == sorted(NAMES)
    assert examples.notes == {
        "subsets_missing": "replace_obj, replace_att, replace_rel",
        "pairs_repeated": sum(map(len, FILES.values())) - len(seen),
        "gallery_images": 40,
        "pairs_equal": 1,
    }
    (remark,) = examples.remarks
    assert "the gallery has 40 images and not the 5,000 of val2017" in remark
    assert ours(task, examples, given) == pytest.approx(by_loops(seen, NAMES), abs=1e-9)


def test_the_pairs_of_one_image_vary_together(tmp_path: Path, given: Callable[..., Any]) -> None:
    examples = CocoParaphrase().load(lay(tmp_path, FILES, NAMES), ALL)
    columns = CocoParaphrase().outcomes(examples, given(vector, lambda image: vector(image.id)))
    clusters: dict[str, set[str]] = defaultdict(set)
    for row, cluster in zip(examples, columns["cluster_id"], strict=True):
        clusters[NAMES[row.target]].add(cluster)
    assert all(len(found) == 1 for found in clusters.values())
    assert len({name for found in clusters.values() for name in found}) == len(clusters)
    found = estimate(CocoParaphrase().scores["ao@10"], columns)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]


def test_pairs_without_an_image_are_left_out_and_said(
    tmp_path: Path, given: Callable[..., Any]
) -> None:
    source = lay(tmp_path, FILES, NAMES[10:])
    examples = CocoParaphrase().load(source, ALL)
    whole = CocoParaphrase().load(lay(tmp_path / "whole", FILES, NAMES), ALL)
    kept = [q.query for q in whole if NAMES[q.target] in NAMES[10:]]
    assert [q.query for q in examples] == kept
    assert examples.notes["pairs_without_image"] == len(whole) - len(kept)
    assert any(
        f"left out {len(whole) - len(kept)} pairs of 10 images that" in remark
        and f"such as {NAMES[0]}" in remark
        for remark in examples.remarks
    )
    other = lay(tmp_path / "other", FILES, [f"x{i}.jpg" for i in range(12)])
    with pytest.raises(DataError, match=r"has none of the 40 images .* such as 0+\.jpg; put val20"):
        CocoParaphrase().load(other, ALL)


def test_a_limit_takes_from_each_subset(tmp_path: Path) -> None:
    examples = read_examples(CocoParaphrase(), lay(tmp_path, FILES, NAMES), ALL, 5)
    assert [q.id for q in examples] == [
        *("swap_obj/0", "swap_obj/1", "swap_obj/2"),
        *("swap_att/1", "swap_att/2"),
    ]


def test_the_digest_is_of_pairs_and_gallery(tmp_path: Path) -> None:
    """So whoever has the published files has this digest: results meet in one column."""
    files = {"replace_rel": [item(9, NAMES[1], "a cat", "one cat"), item(7, NAMES[0], "b", "c")]}
    hasher = hashlib.sha256()
    for query, paraphrase, target in (("a cat", "one cat", 1), ("b", "c", 0)):
        fields = {"paraphrase": paraphrase, "query": query, "target": target}
        hasher.update(json.dumps(fields).encode() + b"\n")
    for name in NAMES[:10]:
        hasher.update(hashlib.sha256(name.encode()).hexdigest().encode() + b"\n")
    examples = CocoParaphrase().load(lay(tmp_path, files, NAMES[:10]), ALL)
    assert examples_sha256(examples) == hasher.hexdigest()


def test_the_published_files_make_the_set(
    tmp_path: Path, real: Callable[[str], Path], given: Callable[..., Any]
) -> None:
    """The three files that are here, on drawn images: 2,294 of the 4,570 pairs."""
    folder = real("sugarcrepe_pp")
    files = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert sorted(files) == ["replace_rel", "swap_att", "swap_obj"]
    ordered = [row for name in ("swap_obj", "swap_att", "replace_rel") for row in files[name]]
    pairs = list(dict.fromkeys((r["filename"], r["caption"], r["caption2"]) for r in ordered))
    names = sorted({row["filename"] for row in ordered})
    assert (len(ordered), len(pairs), len(names)) == (2317, 2294, 1384)
    task = CocoParaphrase()
    examples = task.load(lay(tmp_path, files, names), ALL)
    assert len(examples) == 2294
    assert examples.notes["pairs_repeated"] == 23
    assert examples.notes["pairs_equal"] == 1
    assert ours(task, examples, given) == pytest.approx(by_loops(pairs, names), abs=1e-9)


# --- the human captions of Karpathy's test parts -----------------------------------------------


def karpathy(root: Path, captions: dict[str, list[str]], task: Any = CocoHuman) -> FolderSource:
    """Karpathy's file in its shuffled order, with photos of other splits between."""
    base = task._captions
    folder = root / base.name
    (folder / "images").mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for name, texts in captions.items():
        (folder / "images" / name).write_bytes(name.encode())
        sentences = [{"raw": text, "sentid": i} for i, text in enumerate(texts)]
        entries.append({"filename": name, "split": "test", "sentences": sentences})
        entries.append({"filename": f"train-{name}", "split": "train", "sentences": sentences})
    (folder / base.annotation).write_text(json.dumps({"images": entries}))
    return FolderSource(root)


@pytest.fixture
def captions() -> dict[str, list[str]]:
    rng = np.random.default_rng(2)
    return {
        f"COCO_val2014_{int(i):012}.jpg": [f"caption {rng.integers(90)}" for _ in range(count)]
        for i, count in zip(rng.permutation(30), [5] * 24 + [7, 6, 2, 2, 1, 5], strict=True)
    }


@pytest.mark.parametrize("task", [CocoHuman(), Flickr30kHuman()])
def test_each_human_caption_is_a_query_once_and_a_paraphrase_once(
    task: Any, tmp_path: Path, captions: dict[str, list[str]], given: Callable[..., Any]
) -> None:
    examples = task.load(karpathy(tmp_path, captions, type(task)), ALL)
    gallery = sorted(captions)
    assert [image.id for image in examples.shared] == gallery
    several = {name: texts for name, texts in captions.items() if len(texts) > 1}
    for side in ("query", "paraphrase"):
        found = [(gallery[q.target], getattr(q, side)) for q in examples]
        assert sorted(found) == sorted((n, text) for n, own in several.items() for text in own)
    pairs = [
        (name, texts[i], texts[(i + 1) % len(texts)])
        for name, texts in sorted(several.items())
        for i in range(len(texts))
    ]
    assert [(gallery[q.target], q.query, q.paraphrase) for q in examples] == pairs
    assert examples[6].id == f"{pairs[6][0]}#1"
    equal = sum(one == other for _, one, other in pairs)
    assert examples.notes == {"images_with_one_caption": 1, "pairs_equal": equal}
    assert ours(task, examples, given) == pytest.approx(by_loops(pairs, gallery), abs=1e-9)


def test_recall_of_the_queries_is_that_of_karpathys_task(
    tmp_path: Path, captions: dict[str, list[str]], given: Callable[..., Any]
) -> None:
    """Each caption is a query once, so two tasks measure the same thing in two ways."""
    captions = {name: texts for name, texts in captions.items() if len(texts) > 1}
    # Karpathy's task keeps the file's order for ties, this one that of names: here they are one.
    source = karpathy(tmp_path, dict(sorted(captions.items())))
    scores = ours(CocoHuman(), CocoHuman().load(source, ALL), given)
    other = CocoKarpathy()
    embed = given(vector, lambda image: vector(image.id))
    columns = other.outcomes(other.load(source, "karpathy"), embed)
    for k in (1, 5, 10):
        expected = point(other.scores[f"text-to-image/recall@{k}"], columns)
        assert scores[f"recall@{k}/query"] == pytest.approx(expected, abs=1e-12)
        assert scores[f"recall@{k}/paraphrase"] == pytest.approx(expected, abs=1e-12)


def test_ones_own_captions_in_place_of_karpathys(tmp_path: Path) -> None:
    folder = tmp_path / "flickr30k-karpathy"
    (folder / "images").mkdir(parents=True)
    for i in range(10):
        (folder / "images" / f"{i}.png").write_bytes(bytes([i]))
    rows = [{"image": f"{i}.png", "captions": [f"a {i}", f"b {i}"]} for i in range(10)]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples = Flickr30kHuman().load(FolderSource(tmp_path), ALL)
    assert len(examples) == 20
    assert examples.id == "folder:flickr30k-karpathy/captions.jsonl"
    limited = read_examples(Flickr30kHuman(), FolderSource(tmp_path), ALL, 12)
    assert [q.id for q in limited][:5] == ["0.png#0", "0.png#1", "1.png#0", "1.png#1", "2.png#0"]
    assert len({q.target for q in limited}) == 10


@pytest.mark.parametrize("count", range(8))
def test_the_next_captions(count: int) -> None:
    texts = [str(i) for i in range(count)]
    pairs = list(next_captions(texts))
    assert len(pairs) == (count if count > 1 else 0)
    assert all(one != other for one, other in pairs)
    for side in (0, 1):
        assert sorted(pair[side] for pair in pairs) == (texts if count > 1 else [])


# --- bad input ---------------------------------------------------------------------------------


def test_equal_paraphrases_alone_are_no_set(tmp_path: Path) -> None:
    files = {"swap_obj": [item(i, NAMES[i], f"a {i}", f"A  {i} ") for i in range(12)]}
    with pytest.raises(DataError, match=r"coco-paraphrase: every paraphrase of .* is its query"):
        CocoParaphrase().load(lay(tmp_path, files, NAMES), ALL)
    with pytest.raises(DataError, match="coco-human: every paraphrase of coco-karpathy/dataset_"):
        CocoHuman().load(karpathy(tmp_path, {name: ["a", "A"] for name in NAMES}), ALL)


@pytest.mark.parametrize("other", [None, "in other words"])
def test_of_ones_own_set_equal_paraphrases_are_said(tmp_path: Path, other: str | None) -> None:
    """It is measured as before; who runs it knows that agreement then says nothing."""
    folder = tmp_path / "paraphrased-retrieval"
    (folder / "images").mkdir(parents=True)
    for name in NAMES:
        (folder / "images" / name).write_bytes(name.encode())
    rows = [{"query": f"a {i}", "paraphrase": f"A {i}"} for i in range(4)]
    rows += [{"query": "a", "paraphrase": other}] if other else []
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples = ParaphrasedRetrieval().load(FolderSource(tmp_path), ALL)
    assert examples.notes["pairs_equal"] == 4
    assert len(examples.remarks) == (0 if other else 1)
    assert all("every paraphrase of" in remark for remark in examples.remarks)


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ({name: ["alone"] for name in NAMES}, "has one caption an image, and a paraphrase is"),
        ({name: ["a", "b"] for name in NAMES[:9]}, "has 9 images, and a top 10 needs 10"),
    ],
)
def test_too_few_human_captions(tmp_path: Path, captions: dict[str, list[str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        CocoHuman().load(karpathy(tmp_path, captions), ALL)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"coco-paraphrase is missing; put the folder there"):
        CocoParaphrase().load(FolderSource(tmp_path), ALL)
    with pytest.raises(DataError, match=r"none of swap_obj\.json, swap_att\.json"):
        CocoParaphrase().load(lay(tmp_path, {}, NAMES), ALL)
    source = karpathy(tmp_path / "k", {name: ["a", "b"] for name in NAMES})
    (tmp_path / "k/coco-karpathy/images" / NAMES[3]).unlink()
    with pytest.raises(DataError, match=rf"{NAMES[3]} is missing; put it there"):
        CocoHuman().load(source, ALL)
    for task in (CocoParaphrase(), CocoHuman(), Flickr30kHuman()):
        with pytest.raises(DataError, match=r"with --data-dir \(docs/data\.md has the layout\)"):
            task.load(HubSource(), ALL)


def test_the_group_is_of_the_published_sets_alone() -> None:
    chosen = choose_tasks(["paraphrase-sets"], "paper").tasks
    assert {task.name for task in chosen} == {"coco-paraphrase", "coco-human", "flickr30k-human"}
    everything = {task.name for task in choose_tasks(["all"], "paper").tasks}
    assert {task.name for task in chosen} | {"paraphrased-retrieval"} <= everything
