"""VG-Relation and VG-Attribution against loops, on real cases with drawn images."""

import io
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.inference import point
from paraclip_bench.tasks.visual_genome import (
    VGAttribution,
    VGRelation,
    attributes_of,
    excluded_relations,
)

Rows = list[dict[str, Any]]


def place(root: Path, task: Any, rows: Rows, size: tuple[int, int] = (1100, 1100)) -> FolderSource:
    """Write the cases and one drawn image a path; images differ in their bytes alone."""
    folder = root / task.name / "images"
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    for name in {row["image_path"] for row in rows if row["image_path"]}:
        (folder / name).write_bytes(buffer.getvalue() + name.encode())
    (root / task.name / task.annotation).write_text(json.dumps(rows))
    return FolderSource(root)


def case(**changes: Any) -> dict[str, Any]:
    return {
        "image_path": "1.jpg",
        "bbox_x": 2,
        "bbox_y": 3,
        "bbox_w": 10,
        "bbox_h": 20,
        "true_caption": "the red cup and the blue hat",
        "false_caption": "the blue cup and the red hat",
        "attributes": ["red", "blue"],
        "relation_name": "on",
        **changes,
    }


def scores(task: Any, columns: Any) -> dict[str, float]:
    columns = {"example_id": np.arange(len(columns["correct"])), **columns}
    return {name: point(statistic, columns) for name, statistic in task.scores.items()}


@pytest.mark.parametrize("task", [VGRelation(), VGAttribution()], ids=lambda task: task.name)
def test_real_cases(
    task: Any, tmp_path: Path, real: Callable[[str], Path], given: Callable[..., Any]
) -> None:
    short = task.name.removeprefix("vg-")
    rows: Rows = json.loads(real(f"aro/visual_genome_{short}.val.json").read_text())
    source = place(tmp_path, task, rows)
    embed = given()

    def score(row: dict[str, Any], caption: str) -> float:
        return float(np.dot(embed.of_image(Ref(row["image_path"])), embed.of_text(caption)))

    right, ties, loose = [], [], []
    groups: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        true, false = score(row, row["true_caption"]), score(row, row["false_caption"])
        right.append(true > false)
        loose.append(true >= false)
        ties.append(true == false)
        name = row["relation_name"] if short == "relation" else "_".join(row["attributes"])
        groups[name].append(true > false)
    counted = {
        name: cases
        for name, cases in groups.items()
        if (name not in excluded_relations() if short == "relation" else len(cases) >= 25)
    }
    assert 1 < len(counted) < len(groups)
    assert 0.05 < np.mean(ties) < 0.95

    columns = task.outcomes(protocol(task, source, "aro"), embed)
    assert scores(task, columns) == pytest.approx(
        {
            "accuracy": np.mean([np.mean(cases) for cases in counted.values()]),
            "accuracy_micro": np.mean(right),
            "tie_rate": np.mean(ties),
        }
    )
    boxes = [
        (r["bbox_x"], r["bbox_y"], r["bbox_x"] + r["bbox_w"], r["bbox_y"] + r["bbox_h"])
        for r in rows
    ]
    assert [image.box for image in embed.asked_images] == boxes
    assert len(set(columns["cluster_id"])) == len({row["image_path"] for row in rows})

    embed.asked_images.clear()
    columns = task.outcomes(protocol(task, source, "mteb"), embed)
    assert {image.box for image in embed.asked_images} == {None}
    assert scores(task, columns) == pytest.approx(
        {
            "accuracy": np.mean(loose),
            "accuracy_micro": np.mean(loose),
            "tie_rate": np.mean(ties),
        }
    )


class Ref:
    """Just an id, as `of_image` reads it."""

    def __init__(self, name: str) -> None:
        self.id = name


def protocol(task: Any, source: FolderSource, name: str) -> Any:
    from paraclip_bench.evaluation.plan import read_examples

    return read_examples(task, source, name, None)


def test_attributes_are_read_from_captions(real: Callable[[str], Path]) -> None:
    rows: Rows = json.loads(real("aro/visual_genome_attribution.val.json").read_text())
    assert len(rows) == 4444
    for row in rows:
        read = attributes_of(row["true_caption"], row["false_caption"], "here")
        assert list(read) == row["attributes"]


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("a red cup and the blue hat", "the blue cup and the red hat"),
        ("the red cup and the blue hat", "the blue cup and the green hat"),
        ("the red cup and the red cup", "the red hat and the red cup"),
        ("the red red cup and the red red cup", "the red red cup and the red red cup"),
        ("", ""),
    ],
)
def test_unreadable_attributes(true: str, false: str) -> None:
    with pytest.raises(DataError, match=r"^case 3: the attributes cannot be read"):
        attributes_of(true, false, "case 3")


def test_a_case_without_attributes_gets_them_from_its_captions(tmp_path: Path) -> None:
    rows = [case() for _ in range(25)]
    for row in rows[::2]:
        del row["attributes"]
    examples = VGAttribution().load(place(tmp_path, VGAttribution(), rows), "aro")
    assert {row.group for row in examples} == {"red_blue"}


def test_the_order_of_attributes_is_part_of_the_pair(tmp_path: Path) -> None:
    rows = [case() for _ in range(25)] + [case(attributes=["blue", "red"]) for _ in range(24)]
    task = VGAttribution()
    examples = protocol(task, place(tmp_path, task, rows), "aro")
    assert task.counted([row.group for row in examples]) == {"red_blue"}


def test_excluded_relations(tmp_path: Path, given: Callable[..., Any]) -> None:
    assert len(excluded_relations()) == 157
    assert {"between", "wearing a hat"} & excluded_relations() == {"between"}
    texts = {"good": [1.0, 0.0], "bad": [0.0, 1.0]}
    rows = [case(true_caption="good", false_caption="bad", relation_name="on")]
    rows += [case(true_caption="bad", false_caption="good", relation_name="between")] * 3
    task = VGRelation()
    source = place(tmp_path, task, rows)
    embed = given(texts.__getitem__, lambda image: [1.0, 0.0])
    found = scores(task, task.outcomes(protocol(task, source, "aro"), embed))
    assert found == {"accuracy": 1, "accuracy_micro": 0.25, "tie_rate": 0}
    found = scores(task, task.outcomes(protocol(task, source, "mteb"), embed))
    assert found == {"accuracy": 0.25, "accuracy_micro": 0.25, "tie_rate": 0}


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        (VGRelation(), [case(relation_name="between"), case(relation_name="adjusting")]),
        (VGAttribution(), [case()] * 24),
    ],
    ids=["relation", "attribution"],
)
def test_no_group_left(task: Any, rows: Rows, tmp_path: Path) -> None:
    source = place(tmp_path, task, rows)
    with pytest.raises(DataError, match="groups is one that the aro protocol counts"):
        task.load(source, "aro")
    assert len(task.load(source, "mteb")) == len(rows)


def test_a_limit_does_not_change_which_groups_count(
    tmp_path: Path, given: Callable[..., Any]
) -> None:
    rows = [case(attributes=["rare", "pair"])] * 3 + [case()] * 25
    task = VGAttribution()
    source = place(tmp_path, task, rows)
    embed = given(lambda text: [1.0, 0.0], lambda image: [1.0, 0.0])
    few = read_examples(task, source, "aro", 5)
    columns = task.outcomes(few, embed)
    assert columns["counted_group"].tolist() == ["", "", "", "red_blue", "red_blue"]
    with pytest.raises(DataError, match=r"none of these 3 cases .* raise --limit"):
        task.outcomes(read_examples(task, source, "aro", 3), embed)


def test_boxes_partly_outside_are_counted(tmp_path: Path) -> None:
    rows = [case(), case(bbox_w=99), case(bbox_x=-1), case()]
    source = place(tmp_path, VGRelation(), rows, size=(40, 40))
    assert VGRelation().load(source, "aro").notes == {"boxes_partly_outside": 2}
    assert VGRelation().load(source, "mteb").notes == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bbox_w": 0}, "case 1: the box .* is empty"),
        ({"bbox_h": -5}, "case 1: the box .* is empty"),
        ({"bbox_x": 40}, "case 1: the box .* lies outside"),
        ({"bbox_y": 1.5}, "case 1: 'bbox_y' must be a whole number"),
        ({"bbox_y": None}, "case 1: 'bbox_y' must be a whole number"),
        ({"true_caption": ""}, "case 1: 'true_caption' must be a text"),
        ({"false_caption": 7}, "case 1: 'false_caption' must be a text"),
        ({"image_path": ""}, "case 1: 'image_path' must be a text"),
        ({"relation_name": None}, "case 1: 'relation_name' must be a text"),
    ],
)
def test_bad_cases(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = place(tmp_path, VGRelation(), [case(), case(**change)], size=(40, 40))
    with pytest.raises(DataError, match=said) as caught:
        VGRelation().load(source, "aro")
    assert "visual_genome_relation.json" in str(caught.value)


@pytest.mark.parametrize("attributes", [["red"], "red", ["red", ""], [1, 2], None])
def test_bad_attributes(attributes: Any, tmp_path: Path) -> None:
    source = place(tmp_path, VGAttribution(), [case(), case(attributes=attributes)])
    with pytest.raises(DataError, match="case 1: 'attributes' must be a list of two texts"):
        VGAttribution().load(source, "aro")


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    source = place(tmp_path, VGRelation(), [case(), case(image_path="2.jpg")])
    (tmp_path / "vg-relation/images/2.jpg").unlink()
    with pytest.raises(DataError, match=r"case 1: the image .*2\.jpg is missing"):
        VGRelation().load(source, "mteb")
    file = tmp_path / "vg-relation" / VGRelation.annotation
    file.write_text(json.dumps([case(image_path="a caption " * 30)]))
    with pytest.raises(DataError, match=r"case 0: the image .*a caption .* is missing"):
        VGRelation().load(source, "mteb")
