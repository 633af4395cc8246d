"""The files of the world: same bytes every time, right fields, nothing of the test in training."""

import csv
import hashlib
import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from paraclip_bench.demo import grammar, scenes, similarity_sets, world

STS = (*similarity_sets.NAMES, "SICK-R.all")
VG = {
    "vg-relation": "visual_genome_relation.json",
    "vg-attribution": "visual_genome_attribution.json",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    world.build(folder)
    return folder


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_second_build_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    world.build(tmp_path / "new" / "folder")
    assert files(tmp_path / "new" / "folder") == files(root)
    assert world.WORLD_VERSION


@pytest.mark.parametrize("name", STS)
def test_similarity_sets(root: Path, name: str) -> None:
    rows = tsv(root / "sts" / f"{name}.tsv")
    assert len(rows) == (300 if name == "SICK-R.all" else 200)
    assert list(rows[0]) == ["score", "sentence1", "sentence2", "subset"]
    low = 1 if name.startswith("SICK") else 0
    assert all(low <= float(row["score"]) <= 5 for row in rows)
    assert all(row["sentence1"] and row["sentence2"] and row["subset"] for row in rows)


def test_the_larger_sick_holds_the_smaller(root: Path) -> None:
    small, large = (tsv(root / "sts" / f"{name}.tsv") for name in ("SICK-R", "SICK-R.all"))
    assert large[: len(small)] == small


@pytest.mark.parametrize("task", VG)
def test_visual_genome_cases(root: Path, task: str) -> None:
    cases = json.loads((root / task / VG[task]).read_text(encoding="utf-8"))
    assert len(cases) >= 390
    shown = {case["image_path"] for case in cases}
    assert shown == {path.name for path in (root / task / "images").iterdir()}
    assert len(shown) == 150
    for case in cases:
        with Image.open(root / task / "images" / case["image_path"]) as image:
            assert case["bbox_x"] >= 0 <= case["bbox_y"]
            assert case["bbox_w"] > 10 < case["bbox_h"]
            assert case["bbox_x"] + case["bbox_w"] <= image.width
            assert case["bbox_y"] + case["bbox_h"] <= image.height
        true, false = (grammar.parse(case[key]) for key in ("true_caption", "false_caption"))
        assert true != false
    keys = [(c["image_path"], c["true_caption"]) for c in cases]
    assert len(keys) == len(set(keys))


def test_relation_cases_swap_the_things(root: Path) -> None:
    cases = json.loads((root / "vg-relation" / VG["vg-relation"]).read_text(encoding="utf-8"))
    for case in cases:
        first, second = case["true_caption"].split(f" is {case['relation_name']} ")
        assert case["false_caption"] == f"{second} is {case['relation_name']} {first}"
    # None of these is among the relations that ARO's macro average leaves out.
    named = Counter(case["relation_name"] for case in cases)
    assert set(named) == {row[0] for row in grammar.DIRECTION_WORDS.values()}
    assert min(named.values()) >= 40


def test_attribution_cases_swap_the_attributes(root: Path) -> None:
    path = root / "vg-attribution" / VG["vg-attribution"]
    cases = json.loads(path.read_text(encoding="utf-8"))
    for case in cases:
        x, y = case["attributes"]
        one, two = case["obj1_name"], case["obj2_name"]
        assert case["true_caption"] == f"the {x} {one} and the {y} {two}"
        assert case["false_caption"] == f"the {y} {one} and the {x} {two}"
        assert x != y
    groups = Counter("_".join(case["attributes"]) for case in cases)
    assert sum(count >= 25 for count in groups.values()) >= 6


def test_retrieval(root: Path) -> None:
    folder = root / "paraphrased-retrieval"
    rows = jsonl(folder / "queries.jsonl")
    assert len(rows) == 300
    assert {row["image_id"] for row in rows} == {p.name for p in (folder / "images").iterdir()}
    assert all(set(row) == {"query", "paraphrase", "image_id"} for row in rows)
    meanings = [grammar.parse(row["query"]) for row in rows]
    # No two images answer one query.
    assert len(set(meanings)) == len(rows)
    assert meanings == [grammar.parse(row["paraphrase"]) for row in rows]
    assert {scenes.split_of(meaning) for meaning in meanings} == {"test"}


def test_training_pairs(root: Path) -> None:
    rows = jsonl(root / "train" / "pairs.jsonl")
    assert 1500 <= len(rows) <= 3000
    assert {row["image"] for row in rows} == {p.name for p in (root / "train/images").iterdir()}
    captions = jsonl(root / "train" / "captions.jsonl")
    assert [(row["id"], row["caption"]) for row in rows] == [
        (row["id"], row["caption"]) for row in captions
    ]
    # Through the paraphrase command, by the grammar with a row's place as its seed.
    assert all(row["llm"] == "demo-grammar (not an LLM)" for row in rows)
    for place, row in enumerate(rows):
        assert row["paraphrase_1"] == grammar.step1(row["caption"], place)
        assert row["paraphrase_2"] == grammar.step2(row["paraphrase_1"], place)
    for row in rows:
        told = {grammar.parse(row[key]) for key in ("caption", "paraphrase_1", "paraphrase_2")}
        assert len(told) == 1


def test_no_wording_combination_of_a_test_paraphrase_was_trained_on(root: Path) -> None:
    """Every combination, not only some: frame with relation wording, colour with shape word."""
    trained = set(
        chain.from_iterable(
            grammar.combinations(row[key])
            for row in jsonl(root / "train" / "pairs.jsonl")
            for key in ("caption", "paraphrase_1", "paraphrase_2")
        )
    )
    tested = [row["paraphrase"] for row in jsonl(root / "paraphrased-retrieval/queries.jsonl")]
    base_frames = {*grammar.CAPTION, *grammar.CAPTION_PAIR}
    for name in STS:
        for row in tsv(root / "sts" / f"{name}.tsv"):
            for text in (row["sentence1"], row["sentence2"]):
                # Web-like captions share their frames with training: they are not paraphrases.
                if grammar.wording(text).frame not in base_frames:
                    tested.append(text)
    assert len(tested) > 1500
    used = set(chain.from_iterable(map(grammar.combinations, tested)))
    assert not used & trained
    # But every single word was met, so that what is asked for is composition.
    assert {w for _, *pair in used for text in pair for w in text.split()} <= {
        w for _, *pair in trained for text in pair for w in text.split()
    }


def test_no_text_of_a_test_set_has_a_trained_meaning(root: Path) -> None:
    trained = {grammar.parse(row["caption"]) for row in jsonl(root / "train" / "pairs.jsonl")}
    tested = {
        grammar.parse(text)
        for name in STS
        for row in tsv(root / "sts" / f"{name}.tsv")
        for text in (row["sentence1"], row["sentence2"])
    }
    tested |= {
        grammar.parse(r["query"]) for r in jsonl(root / "paraphrased-retrieval/queries.jsonl")
    }
    assert not tested & trained
