"""Winoground against loops over its definition, from the authors' file and from the hub's rows."""

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
from paraclip_bench.metrics.inference import point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.winoground import Winoground

TASK = Winoground()


@pytest.fixture
def rows(tmp_path: Path) -> compositional.Rows:
    return compositional.winoground(tmp_path, np.random.default_rng(2), 120)


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


def outcomes(source: Any, protocol: str, embed: Any) -> dict[str, Any]:
    return dict(TASK.outcomes(read_examples(TASK, source, protocol, None), embed))


def scores(columns: dict[str, Any]) -> dict[str, float]:
    return {name: point(score, columns) for name, score in TASK.scores.items()}


def looped(
    root: Path, rows: compositional.Rows, protocol: str, coarse: Callable[[str], list[float]]
) -> dict[str, list[bool]]:
    """Each example's scores; what wins a tie is number 0 under mteb, and nobody else."""
    found: dict[str, list[bool]] = {key: [] for key in (*TASK.scores,)}
    for row in rows:
        files = [root / "winoground" / "images" / f"{row[f'image_{k}']}.png" for k in (0, 1)]
        images = [coarse(hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
        texts = [coarse(row[f"caption_{k}"]) for k in (0, 1)]
        s = [[float(np.dot(c, i)) for i in images] for c in texts]

        def choice(two: list[float]) -> int | None:
            if two[0] == two[1]:
                return 0 if protocol == "mteb" else None
            return int(two[1] > two[0])

        text = all(choice([s[0][i], s[1][i]]) == i for i in (0, 1))
        image = all(choice(s[c]) == c for c in (0, 1))
        pairs = [(s[0][0], s[1][0]), (s[0][1], s[1][1]), tuple(s[0]), tuple(s[1])]
        for key, value in {
            "group": text and image,
            "text": text,
            "image": image,
            "tie_rate": any(a == b for a, b in pairs),
        }.items():
            found[key].append(value)
    return found


@pytest.mark.parametrize("protocol", TASK.protocols)
def test_a_folder_and_the_hub_against_loops(
    tmp_path: Path,
    rows: compositional.Rows,
    embed: Any,
    coarse: Callable[[str], list[float]],
    hub: Callable[..., None],
    protocol: str,
) -> None:
    each = looped(tmp_path, rows, protocol, coarse)
    expected = {name: np.mean(values) for name, values in each.items()}
    assert 0.02 < expected["group"] < max(expected["text"], expected["image"]) < 0.9
    assert 0.1 < expected["tie_rate"] < 0.95
    columns = outcomes(FolderSource(tmp_path), protocol, embed)
    assert scores(columns) == pytest.approx(expected)
    assert columns["example_id"].tolist() == [str(row["id"]) for row in rows]
    hub(**compositional.winoground_columns(tmp_path, rows))
    assert scores(outcomes(HubSource(), protocol, embed)) == pytest.approx(expected)


def test_a_perfect_model_and_the_first_of_a_tie(
    tmp_path: Path, rows: compositional.Rows, given: Callable[..., Any]
) -> None:
    """Captions and images of one number are alike; equal captions cannot be told apart."""
    number = {r[f"caption_{k}"]: k for r in rows for k in (1, 0)}
    same = given(
        lambda text: [1.0, 0.0] if number[text] == 0 else [0.0, 1.0],
        lambda image: [0.0, 1.0] if "img_1" in image.id else [1.0, 0.0],
    )
    told = [number[r["caption_0"]] == 0 and number[r["caption_1"]] == 1 for r in rows]
    assert 0 < sum(told) < len(rows)
    assert outcomes(FolderSource(tmp_path), "winoground", same)["group"].tolist() == told
    # All alike: every comparison ties, and number 1 never wins one.
    alike = given(lambda text: [1.0, 0.0], lambda image: [1.0, 0.0])
    for protocol in TASK.protocols:
        assert scores(outcomes(FolderSource(tmp_path), protocol, alike)) == {
            "group": 0,
            "text": 0,
            "image": 0,
            "tie_rate": 1,
        }


def test_scores_by_tag(
    tmp_path: Path,
    rows: compositional.Rows,
    embed: Any,
    coarse: Callable[[str], list[float]],
) -> None:
    each = looped(tmp_path, rows, "winoground", coarse)
    tables = details(TASK, outcomes(FolderSource(tmp_path), "winoground", embed))
    # secondary_tag has one value here, and so no table.
    assert set(tables) == {"collapsed_tag", "num_main_preds", "tag"}
    for tag, table in tables.items():
        assert {part.name for part in table} == {str(row[tag]) for row in rows}
        for part in table:
            inside = [str(row[tag]) == part.name for row in rows]
            assert part.n == sum(inside)
            for name in ("group", "text", "image"):
                mean = np.mean(np.array(each[name])[inside])
                assert part.scores[name].value == pytest.approx(mean)


def test_data_without_tags_has_scores_alone(
    tmp_path: Path, rows: compositional.Rows, embed: Any
) -> None:
    whole = scores(outcomes(FolderSource(tmp_path), "winoground", embed))
    kept = ("image_0", "image_1", "caption_0", "caption_1")
    lines = [json.dumps({key: row[key] for key in kept}) for row in rows]
    (tmp_path / "winoground" / "examples.jsonl").write_text("\n".join(lines))
    columns = outcomes(FolderSource(tmp_path), "winoground", embed)
    assert scores(columns) == whole
    assert details(TASK, columns) == {}


def test_image_names_may_have_their_extension(tmp_path: Path, rows: compositional.Rows) -> None:
    named = {**rows[0], "image_0": "ex_0_img_0.png"}
    (tmp_path / "winoground" / "examples.jsonl").write_text(json.dumps(named))
    (example,) = TASK.load(FolderSource(tmp_path), "winoground")
    assert example.image_0.path == tmp_path / "winoground" / "images" / "ex_0_img_0.png"
    assert example.image_1.path == tmp_path / "winoground" / "images" / "ex_0_img_1.png"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": 0}, r"examples\.jsonl, line 2: the id 0 came before; fix the file"),
        ({"caption_1": None}, r"line 2: 'caption_1' must be a text"),
        ({"image_1": 7}, r"line 2: 'image_1' must be a text"),
        ({"image_1": "none"}, r"line 2: the image .*none\.png is missing; put it there"),
    ],
)
def test_bad_rows(
    tmp_path: Path, rows: compositional.Rows, change: dict[str, Any], said: str
) -> None:
    lines = [json.dumps(rows[0]), json.dumps({**rows[1], **change})]
    (tmp_path / "winoground" / "examples.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=said):
        TASK.load(FolderSource(tmp_path), "winoground")


def test_bad_files_and_hub_copies(
    tmp_path: Path, rows: compositional.Rows, hub: Callable[..., None]
) -> None:
    good = compositional.winoground_columns(tmp_path, rows)
    (tmp_path / "winoground" / "examples.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"examples\.jsonl holds no examples"):
        TASK.load(FolderSource(tmp_path), "winoground")
    hub(**{key: values for key, values in good.items() if key not in ("image_1", "caption_0")})
    with pytest.raises(DataError, match=r"winoground: the hub's copy lacks image_1, caption_0 \("):
        TASK.load(HubSource(), "winoground")
    hub(**{**good, "image_1": [None, *good["image_1"][1:]]})
    with pytest.raises(
        DataError, match="winoground of the hub, row 0: there is no 'image_1'; give"
    ):
        examples_sha256(TASK.load(HubSource(), "winoground"))
