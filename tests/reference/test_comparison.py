"""What is said of a result that has published numbers."""

import re
from pathlib import Path
from typing import Any

import pytest

from paraclip_bench.reference.comparison import comparison, is_whole_set, published_for
from paraclip_bench.reference.published_numbers import published_scores
from paraclip_bench.results.schema import Result
from paraclip_bench.tasks.zero_shot_classification import class_names

REVISION = "7e90230a92c190f1bf69ae9002b8cea547a64cca"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def result(task: str, protocol: str, scores: dict[str, float | None], **fields: Any) -> Result:
    model = fields.pop("model", {"spec": "clip", "name": "clip", "activation": "quick_gelu"})
    data = {"source": "folder", "id": "d", "revision": None, "sha256": "0"}
    return Result.model_validate(
        {
            "suite": "paper",
            "task": task,
            "task_version": 1,
            "protocol": protocol,
            "main_score": next(iter(scores)),
            "n": 23937,
            "limit": None,
            "model": {"fingerprint": "f", "base": None, **model},
            "scores": {k: {"value": v, "low": None, "high": None} for k, v in scores.items()},
            "data": {**data, **fields.pop("data", {})},
            "provenance": {
                **{"versions": {}, "device": "cpu", "dtype": "float32", "seed": 0},
                **{"seconds": 1, "encode_seconds": 1, "from_store": 0, "command": "", "time": ""},
            },
            **fields,
        }
    )


def minilm(value: float | None, **data: Any) -> Result:
    spec = f"sentence-transformers:{MINILM}"
    model = {"spec": spec, "name": MINILM, "activation": None}
    return result("STS13", "all", {"spearman": value}, n=1500, model=model, data=data)


def test_the_difference_and_the_source() -> None:
    vg = result("vg-relation", "aro", {"accuracy": 0.5994, "accuracy_micro": 0.5, "tie_rate": 0})
    assert comparison(vg, "clip on vg-relation (aro)") == [
        "clip on vg-relation (aro): accuracy 59.94, published 59.90 (the mean over relations), "
        "+0.04 (vl_compo @ 43e2eae; the revision of its data is not published)"
    ]
    mteb = result("vg-relation", "mteb", {"accuracy": 0.5176}, data={"revision": "53c1115" * 6})
    (line,) = comparison(mteb, "clip")
    assert line.startswith(
        "clip: accuracy 51.76, published 51.76 (mteb's text_acc), +0.00 (mteb @ f4cc6c8; "
    )
    assert "@ 3867ad4, these @ 53c1115; they may differ" in line


def test_what_is_known_of_the_data() -> None:
    (of_folder,) = comparison(minilm(0.8060), "t")
    assert of_folder == (
        "t: spearman 80.60, published 80.60 (mteb's cosine_spearman), +0.00 "
        "(mteb @ f4cc6c8; its data are mteb's STS13 @ 7e90230, these of a folder; they may differ)"
    )
    (same,) = comparison(minilm(0.81, source="hub", revision=REVISION), "t")
    assert same.endswith("+0.40 (mteb @ f4cc6c8; the same data, mteb's STS13 @ 7e90230)")


def test_many_scores_are_one_line_for_each_source() -> None:
    recalls = {f"image-to-text/recall@{k}": 0.5 for k in (1, 5, 10)}
    whole = {"notes": {"captions": 25010}}
    retrieval = result("coco-karpathy", "karpathy", recalls, n=5000, data=whole)
    lines = comparison(retrieval, "t")
    assert [source for line in lines for source in re.findall(r"\((\w+) @ ", line)] == [
        "open_clip",
        "vl_compo",
    ]
    for line in lines:
        assert line.count("published") == 3 + 1  # and that no revision is
        assert line.count("50.00") == 3
        assert line.count(" (two sources agree to 0.08)") == 3


@pytest.mark.parametrize(
    ("task", "protocol", "data", "n", "why"),
    [
        ("coco-order", "aro", {}, 25010, "of other shuffles"),
        ("flickr30k-order", "aro", {}, 5000, "of other shuffles"),
        (
            "zero-shot-classification",
            "openai-80",
            {"notes": {"classes": 1000, "class_names": "open_clip"}},
            50000,
            "of prompts that are not named",
        ),
    ],
)
def test_what_no_rerun_can_meet_has_no_difference(
    task: str, protocol: str, data: dict[str, Any], n: int, why: str
) -> None:
    (line,) = comparison(result(task, protocol, {"accuracy": 0.5}, n=n, data=data), "t")
    assert re.match(
        rf"t: accuracy 50\.00, published \d\d\.\d\d, {why}: compare roughly \(vl_compo", line
    )
    assert not re.search(r"[+-]\d", line)
    # mteb keeps its shuffles.
    if task == "coco-order":
        (line,) = comparison(result(task, "mteb", {"accuracy": 0.5}, n=n), "t")
        assert re.search(r"[+-]\d+\.\d\d \(mteb", line)


def test_a_derived_number_says_so() -> None:
    crepe = result("sugarcrepe", "sugarcrepe", {"accuracy": 0.5}, n=7511)
    (line,) = comparison(crepe, "t")
    assert "(derived: the mean of the seven published subsets), -" in line
    (line,) = comparison(crepe.model_copy(update={"n": 30}), "t")
    assert re.search(r"published accuracy \d\d\.\d\d \(derived\) \(vl_compo", line)


def test_other_data_are_not_compared() -> None:
    (line,) = comparison(result("vg-relation", "aro", {"accuracy": 0.6}, n=30), "t")
    assert line == (
        "t: published accuracy 59.90 (vl_compo @ 43e2eae) on the whole set of 23937, which these "
        "data are not; not compared"
    )


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        # 50,000 images are ImageNet's validation part only if they are of its 1,000 classes,
        # and other names of them are another task.
        ({"classes": 100, "class_names": "folders"}, "whose classes are 1000, here 100"),
        ({"classes": 1000, "class_names": "classes.json"}, "are open_clip, here classes.json"),
        ({"classes": 1000}, "whose class names are open_clip, here not noted"),
        ({"classes": 1000, "class_names": "open_clip"}, None),
    ],
)
def test_imagenet_is_of_its_classes_under_their_names(
    notes: dict[str, Any], reason: str | None
) -> None:
    scores: dict[str, float | None] = {"accuracy": 0.6}
    data = {"notes": notes}
    images = result("zero-shot-classification", "openai-80", scores, n=50000, data=data)
    (line,) = comparison(images, "t")
    measure = published_for(images)[0].measure
    assert is_whole_set(images, measure) == (reason is None)
    if reason is None:
        assert "not compared" not in line
    else:
        assert line.endswith(f"{reason}; not compared")


def test_the_names_are_noted_as_the_task_notes_them(tmp_path: Path) -> None:
    wnids = ["n01440764", *(f"n{9000000 + i:08}" for i in range(998)), "n15075141"]
    measures = [s.measure for s in published_scores()]
    (names,) = {m.notes["class_names"] for m in measures if m.task == "zero-shot-classification"}
    assert class_names(wnids, tmp_path / "classes.json").origin == names


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 23937},
        {"suite": "demo"},
        {"protocol": "mteb2"},
        {"task": "vg-relations"},
        {"scores": {"accuracy": {"value": None, "low": None, "high": None}}},
        {
            "main_score": "accuracy_micro",
            "scores": {"accuracy_micro": {"value": 0.5, "low": None, "high": None}},
        },
    ],
)
def test_nothing_is_said(fields: dict[str, Any]) -> None:
    vg = result("vg-relation", "aro", {"accuracy": 0.6})
    assert comparison(vg, "t") != []
    raw = {**vg.model_dump(), **fields}
    assert comparison(Result.model_validate(raw), "t") == []


def test_a_model_that_nobody_published() -> None:
    model = {"spec": "mine.py:Mine", "name": "Mine", "activation": "quick_gelu"}
    vg = result("vg-relation", "aro", {"accuracy": 0.6}, model=model)
    assert published_for(vg) == []
    assert comparison(vg, "t") == []


def test_foils_are_compared_on_the_valid_items_alone() -> None:
    scores = {"accuracy": 0.6, "accuracy/foil-it": 0.9, "accuracy_micro": 0.6, "tie_rate": 0.0}
    (line,) = comparison(result("valse", "valse", scores, n=7702), "t")
    assert re.match(
        r"t: accuracy/foil-it 90\.00, published \d\d\.\d\d, [+-]\d\.\d\d; accuracy 60\.00, "
        r"published \d\d\.\d\d \(derived: the mean of the eleven published instruments\), -",
        line,
    )
    (line,) = comparison(result("valse", "valse", scores, n=8782), "t")
    assert "on the whole set of 7702, which these data are not; not compared" in line
    pairs = {"accuracy/controlled_a": 0.3, "pair_accuracy/controlled_a": 0.1}
    (line,) = comparison(result("whatsup", "whatsup", pairs, n=4958), "t")
    assert line.count("30.00, published") == 1
    assert "pair_accuracy" not in line
