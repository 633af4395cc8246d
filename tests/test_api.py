"""The public functions, by whichever way they are imported."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import paraclip_bench
from paraclip_bench.api import compare, evaluate, leaderboard, load_task
from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.plugin import Protocol, Task, mean_of

WAYS = [
    "from paraclip_bench import {0}; f = {0}",
    "import paraclip_bench; f = paraclip_bench.{0}",
    "import paraclip_bench.training.finetune, paraclip_bench.boards.board, paraclip_bench as p;"
    "f = p.{0}",
    "from paraclip_bench.api import {0}; f = {0}",
]


@pytest.mark.parametrize("way", WAYS)
def test_every_public_function_can_be_called(way: str) -> None:
    lines = ["import sys"]
    for name in paraclip_bench.__all__:
        lines += [way.format(name), f"assert callable(f), {name!r}"]
    lines += ["assert not {'torch', 'open_clip', 'mteb'} & set(sys.modules)"]
    lines += [
        "from pathlib import Path",
        "from paraclip_bench.errors import UsageError",
        way.format("leaderboard"),
        "try: f(workspace=Path('/nowhere'))",
        "except UsageError: print('called')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "called\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        _ = paraclip_bench.fine_tune


class Lengths:
    """A model as somebody in a notebook has it."""

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array([[1.0, len(text), text.count("a")] for text in texts])


def test_objects_and_plain_strings_are_taken(tmp_path: Path) -> None:
    (tmp_path / "data/sts").mkdir(parents=True)
    rows = ["score\tsentence1\tsentence2", "1\ta b\tb", "5\ta cat\ta cat", "3\tdog\ta big dog"]
    (tmp_path / "data/sts/STS12.tsv").write_text("\n".join(rows))
    where = {"data_dir": str(tmp_path / "data"), "workspace": str(tmp_path), "quiet": True}
    report = evaluate(Lengths(), "sts12", **where)  # type: ignore[arg-type]
    ((file, result),) = report.results
    assert file.is_file()
    assert (result.model.name, result.task) == ("Lengths", "STS12")
    assert "Lengths" in str(leaderboard(workspace=str(tmp_path)))
    assert evaluate([Lengths()], ["STS12"], **where).results  # type: ignore[arg-type]


def test_the_public_functions_are_plain_functions() -> None:
    for name in paraclip_bench.__all__:
        assert inspect.isfunction(getattr(paraclip_bench, name))


class Anagrams(Task):
    """A task as somebody in a notebook has it; objects of it may differ."""

    name = "anagrams"
    protocols: ClassVar[dict[str, Protocol]] = {"plain": Protocol(("text",))}
    scores: ClassVar[dict[str, Any]] = {"accuracy": mean_of("right")}

    def __init__(self, other: str = "banana") -> None:
        self.other = other

    def load(self, source: Any, protocol: str) -> list[dict[str, str]]:
        return [{"a": "listen", "b": "silent", "c": self.other}]

    def outcomes(self, examples: Any, embed: Any) -> dict[str, Any]:
        a, b, c = (embed.texts([row[key] for row in examples]) for key in "abc")
        return {"right": (a * b).sum(1) > (a * c).sum(1)}


def test_a_task_may_be_an_object(tmp_path: Path) -> None:
    where = {"workspace": tmp_path, "quiet": True}
    ((file, result),) = evaluate(Lengths(), Anagrams(), **where).results  # type: ignore[arg-type]
    assert (result.task, result.scores["accuracy"].value, result.n) == ("anagrams", 1.0, 1)
    assert file.is_file()

    # Its scores are known to those who hand it to the board.
    class Half(Anagrams):
        scores: ClassVar[dict[str, Any]] = {
            **Anagrams.scores,
            "half": lambda columns, weights: (columns["right"] * weights).sum() / 2,
        }

    with pytest.raises(UsageError, match="there is no score 'half'"):
        leaderboard(workspace=tmp_path, scores=["half"])
    board = leaderboard(workspace=tmp_path, tasks=[Half()], scores=["half"])
    assert {column.score for column in board.columns} == {"half"}
    assert [[cell.estimate.value for cell in row.cells] for row in board.rows] == [[0.5]]  # type: ignore[union-attr]
    # Other data are another result, and names and objects go together.
    report = evaluate([Lengths()], [Anagrams("listen"), "sts12"], **where)  # type: ignore[arg-type]
    ((other, second),) = report.results
    assert (second.scores["accuracy"].value, other == file) == (0.0, False)
    assert any("sts12" in failure.lower() for failure in report.failures)
    with pytest.raises(UsageError, match="two tasks are named 'anagrams'"):
        evaluate(Lengths(), [Anagrams(), Anagrams("listen")], **where)  # type: ignore[arg-type]

    # An object is the caller's own: --depth is for a copy of it.
    task = load_task("paraphrased-retrieval")
    evaluate(Lengths(), task, depth=12, **where)  # type: ignore[arg-type]
    assert task.depth == 100


def test_an_object_of_a_class_that_lacks_something_is_refused() -> None:
    class Empty(Anagrams):
        scores: ClassVar[dict[str, Any]] = {}

    with pytest.raises(UsageError, match="the task Empty: its scores must be a dict"):
        evaluate(Lengths(), Empty())


class Scaled(Lengths):
    """Objects of one class differ; what stands on the class cannot tell them apart."""

    fingerprint = "scaled-1"

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return super().encode_texts(texts) * [1, self.scale, 1]


def test_objects_of_one_class_are_models_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "data/sts").mkdir(parents=True)
    rows = ["score\tsentence1\tsentence2", "1\ta b\tbanana", "5\ta cat\tcat", "3\tdog\ta big dog"]
    (tmp_path / "data/sts/STS12.tsv").write_text("\n".join(rows))
    report = evaluate(
        [Scaled(1), Scaled(-50)],
        "sts12",
        data_dir=tmp_path / "data",
        workspace=tmp_path,
        quiet=True,
    )
    assert [result.model.name for _, result in report.results] == ["Scaled", "Scaled-2"]
    assert len({file for file, _ in report.results}) == 2
    first, second = (result.scores["pearson"].value for _, result in report.results)
    assert first != second


def test_what_is_not_a_task_is_refused() -> None:
    for tasks in (object(), [object()], 3):
        with pytest.raises(UsageError, match=r"a task is a name, or an object of a Task class"):
            evaluate("clip", tasks)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"'mine\.py:Task' is a file's, .* docs/plugins\.md"):
        evaluate("clip", "mine.py:Task")


def test_the_docs_name_every_option() -> None:
    docs = Path(__file__).parents[1] / "docs/api.md"
    for name in ("evaluate", "leaderboard", "compare"):
        listed = docs.read_text().split(f"- `{name}(", 1)[1].split(")`", 1)[0]
        known = inspect.signature(getattr(paraclip_bench.api, name)).parameters
        assert {word.strip(" *\n") for word in listed.split(",")} - {""} == {*known}, name


def test_one_name_is_not_taken_letter_by_letter(tmp_path: Path) -> None:
    evaluate(Named("one"), "STS12", suite="demo", limit=20, workspace=tmp_path, quiet=True)
    evaluate(Named("two"), "STS12", suite="demo", limit=20, workspace=tmp_path, quiet=True)
    shown: dict[str, Any] = {"with_limits": True, "workspace": tmp_path}
    assert [row.name for row in leaderboard(models="two", **shown).rows] == ["two"]
    assert len(leaderboard(families="sts12", **shown).rows) == 2
    assert len(compare("one", "two", families="sts", **shown).pairs) == 1
    for wrong in ({"precision": 7}, {"precision": "a"}, {"caption": 3}):
        with pytest.raises(UsageError, match=r"precision of|caption is"):
            leaderboard(**shown, **wrong)


class Named:
    """Lengths, under any name."""

    def __init__(self, name: str) -> None:
        self.name, self.fingerprint = name, f"named {name!r}"

    def encode_texts(self, texts: list[str]) -> Any:
        return np.array([[len(t), t.count("a"), 1.0] for t in texts])


def test_a_models_name_may_be_long_or_blank_but_not_torn(tmp_path: Path) -> None:
    shown: dict[str, Any] = {"suite": "demo", "limit": 20, "workspace": tmp_path, "quiet": True}
    for name, folder in (("n" * 300, 200), (" ", 5)):
        report = evaluate(Named(name), ["STS12", "STS13"], **shown)
        assert not report.failures
        for path, result in report.results:
            assert len(path.parent.name) == folder
            assert result.model.name == name.strip() or "Named"
    longer = evaluate(Named("n" * 301), "STS12", **shown).results[0][0]
    assert len({path.name for path in longer.parent.parent.iterdir()}) == 3
    with pytest.raises(ModelError, match="half of a character"):
        evaluate(Named("a\ud800"), "STS12", **shown)
