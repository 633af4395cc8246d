"""VALSE against loops over the authors' files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pytest

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.tasks.valse import INSTRUMENTS, Valse

TASK = Valse()
Items = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return compositional.valse(tmp_path, np.random.default_rng(4), 30)


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


def outcomes(root: Path, embed: Any, limit: int | None = None) -> dict[str, Any]:
    examples = read_examples(TASK, FolderSource(root), "valse", limit)
    return dict(TASK.outcomes(examples, embed))


def image_of(root: Path, item: dict[str, Any]) -> Path:
    folder = root / "valse" / "images"
    (path,) = [
        p
        for p in (folder / item["image_file"], folder / item["dataset"] / item["image_file"])
        if p.is_file()
    ]
    return path


def looped(root: Path, items: Items, coarse: Callable[[str], list[float]]) -> dict[str, float]:
    """As the authors' loop counts: valid items alone, a caption strictly above its foil."""
    right: dict[str, list[bool]] = {}
    ties = []
    for instrument, of_instrument in items.items():
        for item in of_instrument.values():
            if item["mturk"]["caption"] >= 2:
                image = coarse(hashlib.sha256(image_of(root, item).read_bytes()).hexdigest())
                caption, foil = (float(np.dot(image, coarse(item[k]))) for k in ("caption", "foil"))
                right.setdefault(instrument, []).append(caption > foil)
                ties.append(caption == foil)
    means = {f"accuracy/{name}": float(np.mean(each)) for name, each in right.items()}
    return {
        "accuracy": float(np.mean(list(means.values()))),
        "accuracy_micro": float(np.mean([won for each in right.values() for won in each])),
        **means,
        "tie_rate": float(np.mean(ties)),
    }


def test_a_folder_against_loops(
    tmp_path: Path, items: Items, embed: Any, coarse: Callable[[str], list[float]]
) -> None:
    expected = looped(tmp_path, items, coarse)
    assert set(items) == set(INSTRUMENTS)
    assert 0.1 < expected["tie_rate"] < 0.9
    columns = outcomes(tmp_path, embed)
    found = {name: point(score, columns) for name, score in TASK.scores.items()}
    assert found == pytest.approx(expected)
    assert found["accuracy"] != pytest.approx(found["accuracy_micro"])
    # What is left out would change every score.
    for of_instrument in items.values():
        for item in of_instrument.values():
            item["mturk"] = {"caption": 3}
    assert looped(tmp_path, items, coarse) != pytest.approx(expected)


def test_items_that_the_annotators_did_not_confirm_are_left_out_and_counted(
    tmp_path: Path, items: Items
) -> None:
    every = [(f"{name}/{key}", i) for name, part in items.items() for key, i in part.items()]
    valid = [id for id, item in every if item["mturk"]["caption"] >= 2]
    assert 0 < len(valid) < len(every)
    examples = TASK.load(FolderSource(tmp_path), "valse")
    assert [item.id for item in examples] == valid
    assert examples.notes == {"not_valid": len(every) - len(valid)}


def test_a_perfect_model_a_random_one_and_one_that_hears_no_difference(
    tmp_path: Path, items: Items, given: Callable[..., Any]
) -> None:
    captions = {item["caption"] for part in items.values() for item in part.values()}
    perfect = given(
        lambda text: [1.0, 0.0] if text in captions else [0.0, 1.0], lambda image: [1.0, 0.0]
    )
    columns = outcomes(tmp_path, perfect)
    told = [
        item["caption"] != item["foil"]
        for part in items.values()
        for item in part.values()
        if item["mturk"]["caption"] >= 2
    ]
    assert columns["correct"].tolist() == told
    assert sum(told) == len(told) - len(INSTRUMENTS)
    alike = given(lambda text: [1.0, 0.0], lambda image: [1.0, 0.0])
    columns = outcomes(tmp_path, alike)
    assert point(TASK.scores["accuracy"], columns) == 0
    assert point(TASK.scores["tie_rate"], columns) == 1
    rng = np.random.default_rng(0)
    guessed = given(lambda text: rng.normal(size=8), lambda image: rng.normal(size=8))
    columns = outcomes(tmp_path, guessed)
    assert abs(point(TASK.scores["accuracy_micro"], columns) - 0.5) < 4 * 0.5 / np.sqrt(
        len(columns["correct"])
    )


def test_clusters_are_images_of_all_instruments(tmp_path: Path, items: Items, embed: Any) -> None:
    columns = outcomes(tmp_path, embed)
    files = {
        hashlib.sha256(image_of(tmp_path, item).read_bytes()).hexdigest()
        for part in items.values()
        for item in part.values()
    }
    assert set(columns["cluster_id"]) <= files
    assert len(set(columns["cluster_id"])) < len(columns["cluster_id"]) / 4
    whole = estimate(TASK.scores["accuracy"], columns)
    assert whole.low is not None
    assert whole.low < whole.value < whole.high  # type: ignore[operator]
    parts = details(TASK, columns)["subset"]
    assert {part.name for part in parts} == set(INSTRUMENTS)


def test_some_instruments_alone_and_a_limit(tmp_path: Path, items: Items, embed: Any) -> None:
    for instrument in ("existence", "foil-it"):
        (tmp_path / "valse" / f"{instrument}.json").unlink()
    notes = TASK.load(FolderSource(tmp_path), "valse").notes
    assert notes["subsets_missing"] == "existence, foil-it"
    columns = outcomes(tmp_path, embed, limit=18)
    names, counts = np.unique(columns["subset"].astype(str), return_counts=True)
    assert len(names) == 9
    assert set(counts) == {2}
    assert estimate(TASK.scores["accuracy/foil-it"], columns).value is None


ITEM = {
    "image_file": "v7w_0.jpg",
    "dataset": "visual7w",
    "caption": "a cat",
    "foil": "a dog",
    "mturk": {"caption": 3, "foil": 0, "other": 0},
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, r"existence\.json holds no rows"),
        ({"a": 3}, r"existence\.json, case a: must be an object"),
        ({"a": {**ITEM, "mturk": None}}, r"existence\.json, item a: there is no 'mturk' with"),
        ({"a": {**ITEM, "mturk": {"foil": 1}}}, r"item a, 'mturk': 'caption' must be a whole num"),
        ({"a": {**ITEM, "mturk": {"caption": True}}}, r"'caption' must be a whole number, not Tr"),
        (
            {"a": {**ITEM, "mturk": {"caption": 1}}},
            r"existence\.json: none of its 1 items is valid \('mturk' with a 'caption' of at least "
            r"2\); give the authors' own file",
        ),
        ({"a": {**ITEM, "foil": ["a dog"]}}, r"item a: 'foil' must be a text that is not empty"),
        ({"a": {**ITEM, "caption": " "}}, r"item a: 'caption' must be a text that is not empty"),
        ({"a": {**ITEM, "image_file": 7}}, r"item a: 'image_file' must be a text"),
        (
            {"a": {**ITEM, "image_file": "x.jpg"}},
            r"item a: the image .*images/x\.jpg and .*images/visual7w/x\.jpg are both missing; put",
        ),
        ({"a": {**ITEM, "dataset": "../.."}}, r"item a: the file name '\.\./\.\./v7w_0\.jpg' lead"),
    ],
)
def test_bad_files(tmp_path: Path, items: Items, content: Any, said: str) -> None:
    (tmp_path / "valse" / "existence.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=said) as caught:
        TASK.load(FolderSource(tmp_path), "valse")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_instruments_and_no_hub(tmp_path: Path, items: Items) -> None:
    (tmp_path / "valse" / "counting_hard.json").write_text("{}")
    with pytest.raises(DataError, match=r"counting_hard\.json is none of existence\.json, "):
        TASK.load(FolderSource(tmp_path), "valse")
    with pytest.raises(DataError, match=r"valse: no copy on the hub .*--data-dir"):
        TASK.load(HubSource(), "valse")
