"""SugarCrepe against loops, from the authors' files and from the hub's rows."""

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
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.sugarcrepe import SUBSETS, SugarCrepe

TASK = SugarCrepe()
Scores = dict[str, float | None]


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, compositional.Rows]:
    return compositional.sugarcrepe(tmp_path, np.random.default_rng(1), 20)


def measured(source: Any, protocol: str, embed: Any) -> Scores:
    columns = TASK.outcomes(read_examples(TASK, source, protocol, None), embed)
    return {name: estimate(score, columns).value for name, score in TASK.scores.items()}


def looped(root: Path, rows: dict[str, compositional.Rows], protocol: str, embed: Any) -> Scores:
    right: dict[str, list[bool]] = {}
    ties = []
    for subset, part in rows.items():
        for row in part:
            image = Ref(root / "sugarcrepe" / "images" / row["filename"])
            true, false = (
                float(np.dot(embed.of_image(image), embed.of_text(row[key])))
                for key in ("caption", "negative_caption")
            )
            ties.append(true == false)
            won = true >= false if protocol == "mteb" else true > false
            right.setdefault(subset, []).append(won)
    every = [won for part in right.values() for won in part]
    means = {f"accuracy/{s}": np.mean(right[s]) if s in right else None for s in SUBSETS}
    macro = np.mean([np.mean(part) for part in right.values()])
    return {
        "accuracy": np.mean(every) if protocol == "mteb" else macro,
        "accuracy_micro": np.mean(every),
        **means,
        "tie_rate": np.mean(ties),
    }


class Ref:
    """Just a digest, as `of_image` reads it."""

    def __init__(self, path: Path) -> None:
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


@pytest.mark.parametrize("protocol", TASK.protocols)
def test_a_folder_and_the_hub_against_loops(
    tmp_path: Path,
    rows: dict[str, compositional.Rows],
    embed: Any,
    hub: Callable[..., None],
    protocol: str,
) -> None:
    expected = looped(tmp_path, rows, protocol, embed)
    assert 0.1 < expected["tie_rate"] < 0.9
    assert measured(FolderSource(tmp_path), protocol, embed) == pytest.approx(expected)
    hub(**compositional.sugarcrepe_columns(tmp_path, rows))
    assert measured(HubSource(), protocol, embed) == pytest.approx(expected)


def test_protocols_differ_by_ties_and_by_the_mean(
    tmp_path: Path, rows: dict[str, compositional.Rows], embed: Any
) -> None:
    assert set(rows) == set(SUBSETS)
    columns = {
        protocol: TASK.outcomes(read_examples(TASK, FolderSource(tmp_path), protocol, None), embed)
        for protocol in TASK.protocols
    }
    strict, loose = columns["sugarcrepe"], columns["mteb"]
    assert np.array_equal(loose["correct"], strict["correct"] | strict["tie"])
    assert point(TASK.scores["accuracy"], loose) == loose["correct"].mean()
    assert point(TASK.scores["accuracy"], strict) != strict["correct"].mean()
    assert len(set(strict["cluster_id"])) == 5  # images


def test_some_subsets_alone(
    tmp_path: Path, rows: dict[str, compositional.Rows], embed: Any
) -> None:
    for subset in ("add_obj", "swap_att"):
        (tmp_path / "sugarcrepe" / f"{subset}.json").unlink()
        del rows[subset]
    examples = TASK.load(FolderSource(tmp_path), "sugarcrepe")
    assert examples.notes == {"subsets_missing": "add_obj, swap_att"}
    expected = looped(tmp_path, rows, "sugarcrepe", embed)
    assert expected["accuracy/add_obj"] is None
    assert measured(FolderSource(tmp_path), "sugarcrepe", embed) == pytest.approx(expected)


def test_a_hub_copy_without_subsets_has_the_mteb_protocol_alone(
    tmp_path: Path, rows: dict[str, compositional.Rows], embed: Any, hub: Callable[..., None]
) -> None:
    columns = compositional.sugarcrepe_columns(tmp_path, rows)
    del columns["kind"]
    hub(**columns)
    with pytest.raises(DataError, match=r"names the subsets, .*--data-dir, or ask for --protocol"):
        TASK.load(HubSource(), "sugarcrepe")
    expected = looped(tmp_path, rows, "mteb", embed)
    found = measured(HubSource(), "mteb", embed)
    assert found["accuracy"] == pytest.approx(expected["accuracy"])
    assert found["accuracy/add_obj"] is None
    assert TASK.load(HubSource(), "mteb").notes == {"subsets": "not named by the hub's copy"}
    # A column that names other things, too, names no subsets.
    hub(**columns, kind=["add_obj"] + ["other"] * (len(columns["caption"]) - 1))
    with pytest.raises(DataError, match="names the subsets"):
        TASK.load(HubSource(), "sugarcrepe")


def test_bad_folders(tmp_path: Path, rows: dict[str, compositional.Rows]) -> None:
    folder, source = tmp_path / "sugarcrepe", FolderSource(tmp_path)

    def said(match: str) -> None:
        with pytest.raises(DataError, match=match) as caught:
            TASK.load(source, "sugarcrepe")
        assert "\n" not in str(caught.value)

    first = folder / "add_obj.json"
    row = rows["add_obj"][0]
    for content, match in [
        ("{}", r"add_obj\.json holds no rows"),
        ("[]", r"add_obj\.json holds no rows"),
        ("", r"add_obj\.json, line 1: not valid JSON"),
        ("3", r"add_obj\.json must hold a list of objects, not one int"),
        ('{"7": "a caption"}', r"add_obj\.json, case 7: must be an object"),
        ('{"7": {}, "7": {}}', r"add_obj\.json: the key '7' comes twice in one object; fix"),
        (json.dumps([{**row, "id": 4}] * 2), r"item 1: the id 4 came before; fix the file"),
        (json.dumps({"5": {"filename": row["filename"]}}), r"item 5: there is no 'caption'"),
        (json.dumps({"5": {**row, "negative_caption": " "}}), r"item 5: 'negative_caption' must"),
        (json.dumps({"5": {**row, "filename": "9.jpg"}}), r"item 5: the image .*9\.jpg is missing"),
    ]:
        first.write_text(content)
        said(match)
    first.unlink()
    strange = folder / "swap_object.json"
    strange.write_text("[]")
    said(r"swap_object\.json is none of add_obj\.json, .*; rename it, or put it elsewhere")
    for file in folder.glob("*.json"):
        file.unlink()
    said(r"sugarcrepe has none of add_obj\.json, .*; put the authors' files there")


def test_bad_hub_copies(
    tmp_path: Path, rows: dict[str, compositional.Rows], hub: Callable[..., None]
) -> None:
    good = compositional.sugarcrepe_columns(tmp_path, rows)
    hub(**{key: values for key, values in good.items() if key != "negative_caption"})
    with pytest.raises(
        DataError,
        match=r"^sugarcrepe: the hub's copy lacks negative_caption "
        r"\(it has images, kind, caption\); give the authors' files with --data-dir$",
    ):
        TASK.load(HubSource(), "mteb")
    hub(**{**good, "caption": [None, *good["caption"][1:]]})
    with pytest.raises(DataError, match="sugarcrepe of the hub, row 0: 'caption' must be a text"):
        TASK.load(HubSource(), "mteb")
    hub(**{**good, "images": [*good["images"][:3], None, *good["images"][4:]]})
    with pytest.raises(DataError, match="sugarcrepe of the hub, row 3: there is no 'images'; give"):
        examples_sha256(TASK.load(HubSource(), "mteb"))
    hub(**{key: values[:0] for key, values in good.items()})
    with pytest.raises(DataError, match="sugarcrepe: the hub's copy holds no rows"):
        TASK.load(HubSource(), "mteb")
