"""COCO-Order and Flickr30k-Order against loops, and ARO's cleaning against a plain reading."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.inference import point
from paraclip_bench.tasks.word_order import CocoOrder, Flickr30kOrder, clean_caption

TASKS = [CocoOrder(), Flickr30kOrder()]
TASK = TASKS[0]
TEXTS = st.text(st.sampled_from("aB cD.!\"()*#:;~,?-'\n\t \u00a0") | st.characters(), max_size=60)


def plainly(text: str, most: int = 30) -> str:
    """The cleaning, letter by letter."""
    blanked = [" " if letter in '.!"()*#:;~' else letter for letter in text.lower()]
    out: list[str] = []
    run: list[str] = []
    for letter in [*blanked, "end"]:
        if letter != "end" and letter.isspace():
            run.append(letter)
            continue
        out += [" "] if len(run) > 1 else run
        run = []
        out.append(letter)
    out.pop()
    while out and out[-1] == "\n":
        out.pop()
    while out and out[0] == " ":
        del out[0]
    while out and out[-1] == " ":
        out.pop()
    places = [i for i, letter in enumerate(out) if letter == " "]
    return "".join(out[: places[most - 1]] if len(places) >= most else out)


@drawn(TEXTS, st.integers(1, 8))
def test_cleaning_is_that_of_the_authors(text: str, most: int) -> None:
    assert clean_caption(text, most) == plainly(text, most)
    # What is clean stays so: under `aro`, options frozen from the authors' code are as stored.
    assert clean_caption(clean_caption(text, most), most) == clean_caption(text, most)


def test_cleaning_by_example() -> None:
    assert clean_caption('A man, (tall)  said: "Hi!"\n') == "a man, tall said hi"
    assert clean_caption(" ".join("word" for _ in range(40))).count("word") == 30


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("protocol", TASK.protocols)
def test_a_folder_and_the_hub_against_loops(
    tmp_path: Path,
    task: Any,
    protocol: str,
    embed: Any,
    coarse: Callable[[str], list[float]],
    hub: Callable[..., None],
) -> None:
    rows = compositional.order(tmp_path, task.name, np.random.default_rng(3), 90)
    right, ties = [], []
    for row in rows:
        data = (tmp_path / task.name / "images" / row["image"]).read_bytes()
        image = coarse(hashlib.sha256(data).hexdigest())
        texts = [plainly(c) if protocol == "aro" else c for c in row["captions"]]
        values = [float(np.dot(image, coarse(text))) for text in texts]
        right.append(int(np.argmax(values)) == 0)
        ties.append(values[0] == max(values[1:]))
    assert 0.1 < np.mean(right) < 0.9
    assert np.mean(ties) > 0.1
    sources: list[Any] = [FolderSource(tmp_path), HubSource()]
    hub(**compositional.order_columns(tmp_path, task.name, rows))
    for source in sources:
        columns = dict(task.outcomes(read_examples(task, source, protocol, None), embed))
        columns["example_id"] = np.arange(len(rows))
        found = {name: point(score, columns) for name, score in task.scores.items()}
        assert found == pytest.approx({"accuracy": np.mean(right), "tie_rate": np.mean(ties)})
        assert columns["similarities"].shape == (90, 5)
        assert len(set(columns["cluster_id"])) == len({row["image"] for row in rows})


def test_a_shuffle_that_changed_nothing_is_right(tmp_path: Path, given: Callable[..., Any]) -> None:
    rows = compositional.order(tmp_path, TASK.name, np.random.default_rng(4))
    # Only the first option's own text points the image's way.
    first = {plainly(row["captions"][0]) for row in rows}
    other = given(lambda t: [1.0, 0.0] if t in first else [0.0, 1.0], lambda image: [1.0, 0.0])
    columns = TASK.outcomes(read_examples(TASK, FolderSource(tmp_path), "aro", None), other)
    assert columns["correct"].all()
    assert columns["tie"].tolist() == [i % 5 == 0 for i in range(len(rows))]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"captions": ["a"] * 4}, r"line 2: 'captions' must be a list of 5 texts, the true one"),
        ({"captions": ["a"] * 6}, r"line 2: 'captions' must be a list of 5 texts, the true one"),
        ({"captions": "abcde"}, r"line 2: 'captions' must be a list of 5 texts"),
        ({"captions": None}, r"line 2: 'captions' must be a list of 5 texts"),
        ({"captions": ["a", "b", 3, "d", "e"]}, r"line 2: 'caption 2' must be a text"),
        ({"captions": ["a", "b", "c", "...", "e"]}, r"line 2: nothing of caption 3 is left after"),
        ({"image": "9.jpg"}, r"line 2: the image .*9\.jpg is missing; put it there"),
        ({"image": None}, r"line 2: 'image' must be a text"),
    ],
)
def test_bad_cases(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rows = compositional.order(tmp_path, TASK.name, np.random.default_rng(4))
    lines = [json.dumps(rows[0]), json.dumps({**rows[1], **change})]
    (tmp_path / TASK.name / "cases.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"coco-order.cases\.jsonl, " + said):
        TASK.load(FolderSource(tmp_path), "aro")


def test_bad_files_and_hub_copies(tmp_path: Path, hub: Callable[..., None]) -> None:
    rows = compositional.order(tmp_path, TASK.name, np.random.default_rng(4))
    good = compositional.order_columns(tmp_path, TASK.name, rows)
    (tmp_path / TASK.name / "cases.jsonl").write_text("")
    with pytest.raises(DataError, match=r"cases\.jsonl holds no cases"):
        TASK.load(FolderSource(tmp_path), "aro")
    hub(**{key: values for key, values in good.items() if key != "hard_text_4"})
    with pytest.raises(DataError, match=r"coco-order: the hub's copy lacks hard_text_4 \(it has"):
        TASK.load(HubSource(), "mteb")
    hub(**{**good, "hard_text_2": [*good["hard_text_2"][:-1], None]})
    with pytest.raises(DataError, match="coco-order of the hub, row 24: 'hard_text_2' must be a"):
        TASK.load(HubSource(), "mteb")
    hub(**{key: values[:0] for key, values in good.items()})
    with pytest.raises(DataError, match="coco-order: the hub's copy holds no rows"):
        TASK.load(HubSource(), "aro")
