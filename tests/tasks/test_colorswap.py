"""ColorSwap against loops over the authors' file."""

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
from paraclip_bench.tasks.winoground import ColorSwap

TASK = ColorSwap()


@pytest.fixture
def rows(tmp_path: Path) -> compositional.Rows:
    return compositional.colorswap(tmp_path, np.random.default_rng(5), 120)


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


def outcomes(root: Path, embed: Any) -> dict[str, Any]:
    return dict(TASK.outcomes(read_examples(TASK, FolderSource(root), "colorswap", None), embed))


def scores(columns: dict[str, Any]) -> dict[str, float]:
    return {name: point(score, columns) for name, score in TASK.scores.items()}


def looped(
    root: Path, rows: compositional.Rows, coarse: Callable[[str], list[float]]
) -> dict[str, list[bool]]:
    """Each example's scores: both images, and both captions, have to prefer their own."""
    found: dict[str, list[bool]] = {key: [] for key in TASK.scores}
    for row in rows:
        files = [(root / "colorswap" / row[f"image_{k}"]).read_bytes() for k in (1, 2)]
        images = [coarse(hashlib.sha256(file).hexdigest()) for file in files]
        captions = [coarse(row[f"caption_{k}"]) for k in (1, 2)]
        own = [float(np.dot(images[k], captions[k])) for k in (0, 1)]
        other = [float(np.dot(images[k], captions[1 - k])) for k in (0, 1)]
        found["text"].append(own[0] > other[0] and own[1] > other[1])
        found["image"].append(own[0] > other[1] and own[1] > other[0])
        found["group"].append(min(own) > max(other))
        found["tie_rate"].append(any(a == b for a in own for b in other))
    return found


def test_a_folder_against_loops(
    tmp_path: Path, rows: compositional.Rows, embed: Any, coarse: Callable[[str], list[float]]
) -> None:
    each = looped(tmp_path, rows, coarse)
    expected = {name: np.mean(values) for name, values in each.items()}
    assert 0 < expected["group"] < max(expected["text"], expected["image"]) < 0.9
    assert 0.1 < expected["tie_rate"] < 0.95
    columns = outcomes(tmp_path, embed)
    assert scores(columns) == pytest.approx(expected)
    assert columns["example_id"].tolist() == [str(row["id"]) for row in rows]
    tables = details(TASK, columns)
    assert set(tables) == {"image_source", "caption_source"}
    for tag, table in tables.items():
        for part in table:
            inside = [row[tag] == part.name for row in rows]
            assert part.n == sum(inside)
            assert part.scores["text"].value == pytest.approx(
                np.mean(np.array(each["text"])[inside])
            )


def test_a_perfect_model_and_a_random_one(
    tmp_path: Path, rows: compositional.Rows, given: Callable[..., Any]
) -> None:
    """Guessing gets 1/4, 1/4 and 1/6; what has equal captions or images cannot be told apart."""
    number = {row[f"caption_{k}"]: k for row in rows for k in (2, 1)}
    perfect = given(
        lambda text: [1.0, 0.0] if number[text] == 1 else [0.0, 1.0],
        lambda image: [1.0, 0.0] if "_1.png" in image.id else [0.0, 1.0],
    )
    told = [number[row["caption_1"]] == 1 and number[row["caption_2"]] == 2 for row in rows]
    assert 0 < sum(told) < len(rows)
    assert outcomes(tmp_path, perfect)["group"].tolist() == told
    compositional.colorswap(tmp_path, np.random.default_rng(5), 120, ties=False)
    rng = np.random.default_rng(1)
    guessed = given(lambda text: rng.normal(size=8), lambda image: rng.normal(size=8))
    columns = outcomes(tmp_path, guessed)
    found = scores(columns)
    assert found["tie_rate"] == 0
    for name, chance in (("text", 1 / 4), ("image", 1 / 4), ("group", 1 / 6)):
        assert abs(found[name] - chance) < 4 * np.sqrt(chance * (1 - chance) / len(rows))
        value = estimate(TASK.scores[name], columns)
        assert value.low < value.value < value.high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": 1}, r"test\.json, example 1: the id 1 came before; fix the file"),
        ({"caption_2": None}, r"example 1: 'caption_2' must be a text"),
        ({"image_1": 7}, r"example 1: 'image_1' must be a text"),
        ({"image_2": "images/no.png"}, r"the image .*colorswap/images/no\.png is missing; put it"),
        ({"image_2": "../no.png"}, r"the file name '\.\./no\.png' leads outside of"),
    ],
)
def test_bad_rows(
    tmp_path: Path, rows: compositional.Rows, change: dict[str, Any], said: str
) -> None:
    (tmp_path / "colorswap" / "test.json").write_text(json.dumps([rows[0], {**rows[1], **change}]))
    with pytest.raises(DataError, match=said) as caught:
        TASK.load(FolderSource(tmp_path), "colorswap")
    assert "\n" not in str(caught.value)


def test_no_examples_and_no_hub(tmp_path: Path, rows: compositional.Rows) -> None:
    (tmp_path / "colorswap" / "test.json").write_text("[]")
    with pytest.raises(DataError, match=r"test\.json holds no rows"):
        TASK.load(FolderSource(tmp_path), "colorswap")
    with pytest.raises(DataError, match=r"colorswap: no revision .* is known; give .*--data-dir"):
        TASK.load(HubSource(), "colorswap")
