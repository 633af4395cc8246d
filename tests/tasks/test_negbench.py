"""NegBench's multiple choice against a loop as the authors have it, over their files."""

import csv
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.tasks.negbench import FILES, TYPES, NegBench

TASK = NegBench()
Subsets = dict[str, list[dict[str, str]]]
COCO = "COCO_val_mcq_llama3.1_rephrased.csv"


@pytest.fixture
def subsets(tmp_path: Path) -> Subsets:
    return compositional.negbench(tmp_path, np.random.default_rng(5), 60)


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


def outcomes(root: Path, embed: Any, limit: int | None = None) -> dict[str, Any]:
    examples = read_examples(TASK, FolderSource(root), "mcq", limit)
    return dict(TASK.outcomes(examples, embed))


def scores(columns: dict[str, Any]) -> dict[str, float]:
    return {name: point(score, columns) for name, score in TASK.scores.items()}


def test_a_folder_against_the_authors_loop(
    tmp_path: Path, subsets: Subsets, embed: Any, coarse: Callable[[str], list[float]]
) -> None:
    """Their argmax by subset and type, but for ties, which are wrong here and counted."""
    right: dict[str, list[bool]] = {}
    ties, moved = [], 0
    for subset, rows in subsets.items():
        for row in rows:
            place = compositional.NEGBENCH[subset][1]
            name = row["image_path"].split("/")[-1]
            image = (tmp_path / "negbench" / place / name).read_bytes()
            vector = coarse(hashlib.sha256(image).hexdigest())
            logits = [float(np.dot(vector, coarse(row[f"caption_{i}"]))) for i in range(4)]
            answer = int(row["correct_answer"])
            tie = logits.count(logits[answer]) > 1 and max(logits) == logits[answer]
            correct = int(np.argmax(logits)) == answer and not tie
            moved += tie and int(np.argmax(logits)) == answer
            ties.append(tie)
            kind = row["correct_answer_template"]
            for key in ("all", subset, kind, f"{subset}/{kind}"):
                right.setdefault(key, []).append(correct)
    assert moved > 5
    means = {key: float(np.mean(each)) for key, each in right.items()}
    columns = outcomes(tmp_path, embed)
    found = scores(columns)
    assert found == pytest.approx(
        {
            "accuracy": (means["coco"] + means["voc2007"]) / 2,
            "accuracy_micro": means["all"],
            **{f"accuracy/{subset}": means[subset] for subset in FILES},
            **{f"type_accuracy/{type}": means[type] for type in TYPES},
            "tie_rate": float(np.mean(ties)),
        }
    )
    table = details(TASK, columns)["kind"]
    parts = {part.name: part.scores["accuracy_micro"].value for part in table}
    assert parts == pytest.approx({key: mean for key, mean in means.items() if "/" in key})
    value = estimate(TASK.scores["accuracy/coco"], columns)
    assert len(set(columns["cluster_id"])) == 10
    assert value.low < value.value < value.high  # type: ignore[operator]


def test_who_hears_no_difference_is_never_right(
    tmp_path: Path, subsets: Subsets, given: Callable[..., Any]
) -> None:
    alike = given(lambda text: [1.0, 0.0], lambda image: [1.0, 0.0])
    found = scores(outcomes(tmp_path, alike))
    assert found.pop("tie_rate") == 1
    assert set(found.values()) == {0.0}
    truth = {row[f"caption_{row['correct_answer']}"] for rows in subsets.values() for row in rows}
    sees = given(lambda text: [1.0, 0.0] if text in truth else [0.6, 0.8], lambda image: [1.0, 0.0])
    found = scores(outcomes(tmp_path, sees))
    assert found["accuracy_micro"] == pytest.approx(1 - found["tie_rate"])
    assert 0 < found["tie_rate"] < 1
    rng = np.random.default_rng(0)
    guess = given(lambda text: rng.normal(size=8), lambda image: rng.normal(size=8))
    assert abs(scores(outcomes(tmp_path, guess))["accuracy_micro"] - 0.25) < 0.16


def test_one_file_alone_and_a_limit(tmp_path: Path, subsets: Subsets, embed: Any) -> None:
    columns = outcomes(tmp_path, embed, limit=12)
    kinds = columns["kind"].tolist()
    assert {kind: kinds.count(kind) for kind in kinds} == {
        f"{subset}/{type}": 2 for subset in FILES for type in TYPES
    }
    (tmp_path / "negbench" / COCO).unlink()
    examples = TASK.load(FolderSource(tmp_path), "mcq")
    assert examples.notes == {"subsets_missing": "coco"}
    assert len(examples) == 61
    assert examples[0].id == "voc2007/0"
    assert estimate(TASK.scores["accuracy/coco"], outcomes(tmp_path, embed)).value is None


HEAD = "image_path,correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template\n"
ROW = "data/val2017/000000000001.jpg,0,a,b,c,d,hybrid\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"csv has no column 'image_path' \(it has none\); give the authors' file"),
        (HEAD.replace("caption_3", "caption"), r"csv has no column 'caption_3'"),
        (HEAD, r"csv holds no questions; give the authors' own file"),
        (HEAD + "a,b\n", r"line 2: 2 fields where the header has 7"),
        (HEAD + ROW.replace(",0,", ",4,"), r"line 2: 'correct_answer' must be 0, 1, 2 or 3, .*'4'"),
        (HEAD + ROW.replace(",0,", ",0.0,"), r"line 2: 'correct_answer' must be 0, 1, 2 or 3"),
        (
            HEAD + ROW.replace("hybrid", "Hybrid"),
            r"line 2: 'correct_answer_template' must be pos",
        ),
        (HEAD + ROW + ROW.replace(",b,", ", ,"), r"line 3: 'caption_1' must be a text"),
        (HEAD + ROW.replace("0001.jpg", "0099.jpg"), r"line 2: the image .*0099\.jpg is missing"),
        (HEAD + ROW.replace("data/", "../../../"), None),
        (HEAD + ROW.replace("data/val2017/", "C:\\data\\"), None),
        (
            HEAD + ROW.replace("data/val2017/000000000001.jpg", ".."),
            r"line 2: the file name '\.\.",
        ),
        (HEAD + ROW.replace("data/val2017/000000000001.jpg", "a/"), r"line 2: the image .*is miss"),
        (HEAD + ROW.replace(",a,", ',"a,'), r"line \d: unexpected end of data; fix that line"),
    ],
)
def test_bad_files(tmp_path: Path, subsets: Subsets, content: str, said: str | None) -> None:
    (tmp_path / "negbench" / COCO).write_text(content)
    if said is None:  # the folder is the authors', and only the name counts
        image = TASK.load(FolderSource(tmp_path), "mcq")[0].image
        assert image.path == tmp_path / "negbench/val2017/000000000001.jpg"
        return
    with pytest.raises(DataError, match=said) as caught:
        TASK.load(FolderSource(tmp_path), "mcq")
    assert "\n" not in str(caught.value)


def test_a_folder_without_any_and_no_hub(tmp_path: Path) -> None:
    (tmp_path / "negbench").mkdir()
    with pytest.raises(DataError, match=r"negbench has neither of COCO_val_mcq_llama3\.1_rephr"):
        TASK.load(FolderSource(tmp_path), "mcq")
    with pytest.raises(DataError, match=r"negbench: no copy on the hub .*--data-dir"):
        TASK.load(HubSource(), "mcq")


FIELDS = [*HEAD.strip().split(",")]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis.given(
    cells=st.lists(
        st.lists(st.text() | st.sampled_from(["0", "hybrid", "x/a.jpg"]), min_size=7, max_size=7),
        max_size=3,
    )
)
def test_whatever_is_in_the_cells(cells: list[list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "negbench"
    (folder / "val2017").mkdir(parents=True, exist_ok=True)
    (folder / "val2017/a.jpg").write_bytes(b"a")
    text = io.StringIO(newline="")
    csv.writer(text).writerows([FIELDS, *cells])
    (folder / COCO).write_bytes(text.getvalue().encode("utf-8", "replace"))
    said, examples = "", None
    try:
        examples = TASK.load(FolderSource(tmp_path), "mcq")
    except DataError as error:
        said = str(error)
    if examples is None:
        assert COCO in said
        assert "\n" not in said
    else:
        assert [list(e.captions) for e in examples] == [row[2:6] for row in cells]
