"""`run --perturb`: levels, drops and what is covered, against plain runs on reworded files."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.api import evaluate, leaderboard
from paraclip_bench.cli.app import main
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.evaluation.run import RunReport
from paraclip_bench.results.checks import check, find_results
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read, read_outcomes
from paraclip_bench.tasks.perturbation import ParaphraseFile, Perturbation, find_perturbation
from paraclip_bench.tasks.surface_edits import SurfaceEdits

Go = Callable[..., RunReport]


@pytest.fixture
def go(models: Path, data: Path, work: Path) -> Go:
    def run(*tasks: str, **options: Any) -> RunReport:
        kept = {"quiet": True, "data_dir": data, "workspace": work, **options}
        return evaluate([f"{models}:Both"], tasks, **kept)

    return run


class Doubled(Perturbation):
    """Each text twice, and thrice."""

    name = "doubled"
    versions: Sequence[str] = ("twice", "thrice")

    def reworded(self, version: str, text: str) -> str | None:
        return " ".join([text] * (2 if version == "twice" else 3))


class Some(Perturbation):
    """Only what holds an a; and a version that rewords nothing."""

    name = "some"
    versions: Sequence[str] = ("hit", "none")

    def reworded(self, version: str, text: str) -> str | None:
        return f"h{text}" if version == "hit" and "a" in text else None


def _reworded_folder(data: Path, folder: Path, change: Callable[[str], str]) -> Path:
    """The data with every sentence and caption changed, as files."""
    shutil.copytree(data, folder)
    file = folder / "sts/STS12.tsv"
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    changed = [rows[0]] + [[row[0], change(row[1]), change(row[2]), *row[3:]] for row in rows[1:]]
    file.write_text("".join("\t".join(row) + "\n" for row in changed))
    file = folder / "vg-relation/visual_genome_relation.json"
    cases = json.loads(file.read_text())
    for case in cases:
        for key in ("true_caption", "false_caption"):
            case[key] = change(case[key])
    file.write_text(json.dumps(cases))
    return folder


def _by_task(report: RunReport) -> dict[str, Result]:
    return {
        f"{r.task}~{r.perturbation.name}" if r.perturbation else r.task: r
        for _, r in report.results
    }


def test_levels_and_drops_are_those_of_plain_runs_on_reworded_files(
    go: Go, data: Path, tmp_path: Path
) -> None:
    tasks = ("STS12", "vg-relation")
    found = _by_task(go(*tasks, perturb=Doubled()))
    assert sorted(found) == ["STS12", "STS12~doubled", "vg-relation", "vg-relation~doubled"]
    plain = _by_task(go(*tasks))
    by_hand = []
    for times in (2, 3):
        changed = _reworded_folder(
            data, tmp_path / f"x{times}", lambda text, k=times: " ".join([text] * k)
        )
        by_hand.append(_by_task(go(*tasks, data_dir=changed)))
    for task in tasks:
        result = found[f"{task}~doubled"]
        for score in plain[task].scores:
            base = plain[task].scores[score].value
            values = [run[task].scores[score].value for run in by_hand]
            assert result.scores[score].value == pytest.approx(np.mean(values), abs=1e-9)
            drop = result.scores[f"{score}~drop"]
            assert drop.value == pytest.approx(base - np.mean(values), abs=1e-9)
            spread = result.scores[f"{score}~spread"].value
            assert spread == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        main_score = result.main_score
        for part, run in zip(result.details["wording"], by_hand, strict=True):
            assert part.scores[main_score] == run[task].scores[main_score]
        assert [part.name for part in result.details["wording"]] == ["twice", "thrice"]
        assert result.perturbation is not None
        assert result.perturbation.covered == result.perturbation.texts > 0


class Lettered(Perturbation):
    """Some letters more, by the text's length."""

    name = "lettered"
    versions: Sequence[str] = ("3", "5")

    def reworded(self, version: str, text: str) -> str | None:
        return text + "abcdefgh"[len(text) * int(version) % 8] * int(version)


def test_the_interval_of_a_drop_is_that_of_a_paired_difference(
    go: Go, data: Path, tmp_path: Path
) -> None:
    """The difference of each example, summed by image: a ratio's error and Student's t."""
    perturbation = Lettered()
    report = go("vg-relation", perturb=perturbation)
    plain, drop = (
        read_outcomes(report.results[0][0]),
        report.results[1][1].scores["accuracy_micro~drop"],
    )
    reworded = []
    for version in perturbation.versions:
        folder = _reworded_folder(
            data,
            tmp_path / version,
            lambda text, v=version: perturbation.reworded(v, text),  # type: ignore[misc]
        )
        reworded.append(read_outcomes(go("vg-relation", data_dir=folder).results[0][0])["correct"])
    lost = plain["correct"].astype(float) - np.mean(reworded, axis=0)
    assert np.unique(lost).size > 1
    n, clusters = len(lost), sorted(set(plain["cluster_id"]))
    by_cluster = [
        sum(lost[i] - lost.mean() for i in range(n) if plain["cluster_id"][i] == c) / n
        for c in clusters
    ]
    g = len(clusters)
    reach = scipy.stats.t.ppf(0.975, g - 1) * math.sqrt(sum(d**2 for d in by_cluster) * g / (g - 1))
    assert drop.value == pytest.approx(lost.mean(), abs=1e-12)
    assert drop.low == pytest.approx(lost.mean() - reach, abs=1e-9)
    assert drop.high == pytest.approx(lost.mean() + reach, abs=1e-9)


def test_a_version_that_rewords_nothing_is_not_measured(go: Go) -> None:
    result = _by_task(go("STS12", perturb=Some()))["STS12~some"]
    info = result.perturbation
    assert info is not None
    assert info.k == 1
    assert 0 < info.covered < info.texts
    (part,) = result.details["wording"]
    assert (part.name, part.covered) == ("hit", info.covered)
    assert result.scores["spearman~spread"].value is None


def test_results_have_files_of_their_own_and_are_found_again(
    go: Go, work: Path, tmp_path: Path, data: Path
) -> None:
    sentences = (data / "sts/STS12.tsv").read_text().splitlines()[1].split("\t")
    file = tmp_path / "pairs.jsonl"
    row = {"caption": sentences[1], "paraphrase_1": "abc", "paraphrase_2": ["abd", "abc"]}
    file.write_text(json.dumps(row) + "\n")
    first = go("STS12", perturb=file)
    assert not first.failures
    (plain, _), (reworded, result) = first.results
    assert reworded.name.startswith("STS12.all~pairs.")
    assert result.perturbation is not None
    assert (result.perturbation.covered, result.perturbation.k) == (1, 2)
    times = {path: path.stat().st_mtime_ns for path in (plain, reworded)}
    again = go("STS12", perturb=file)
    assert {path for path, _ in again.results} == {plain, reworded}
    assert times == {path: path.stat().st_mtime_ns for path in times}
    # Another content of that name is another result.
    file.write_text(json.dumps({**row, "paraphrase_1": "other"}) + "\n")
    other = go("STS12", perturb=str(file)).results[1][0]
    assert other != reworded
    assert all(not check(place).problems for place in find_results(work))
    board = leaderboard(workspace=work)
    assert [column.title for column in board.columns] == ["STS12"]
    assert not board.left_out
    assert read(reworded) == result


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "no such sentence", "paraphrase": "b"}', "another wording of none"),
        ('{"text": "a", "paraphrase": "a"}', "none differs from its text"),
        ('{"text": "a"}', "no 'paraphrase'"),
        ('{"words": "a", "paraphrase": "b"}', "no 'text' or 'caption'"),
        ('{"text": ["a", "b"], "paraphrase": "c"}', "must be one text"),
        ('{"text": "a", "paraphrases": ["b", " "]}', "must be a text that is not empty"),
        ('{"text": "a", "paraphrases": 3}', "must be a text that is not empty"),
        ("", "no rows"),
    ],
)
def test_files_that_do_not_fit(go: Go, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(content + "\n" * bool(content))
    if "another wording" not in said:
        with pytest.raises(DataError, match=said):
            go("STS12", perturb=file)
        return
    report = go("STS12", "vg-relation", perturb=file)
    assert len(report.failures) == 2
    assert all(said in failure for failure in report.failures)
    # Nothing of the plain results is lost.
    assert [result.task for _, result in report.results] == ["STS12", "vg-relation"]


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean edits"):
        find_perturbation("edit")
    with pytest.raises(UsageError, match="does not exist"):
        find_perturbation("pairs.jsonl")
    (tmp_path / "pairs.xml").write_text("<a/>")
    with pytest.raises(UsageError, match=r"\.jsonl"):
        find_perturbation(str(tmp_path / "pairs.xml"))
    assert isinstance(find_perturbation("edits"), SurfaceEdits)


def test_two_files_of_one_name_are_refused(go: Go, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pairs.jsonl").write_text('{"text": "a", "paraphrase": "b"}\n')
    with pytest.raises(UsageError, match="two perturbations are called pairs"):
        go("STS12", perturb=[tmp_path / "a/pairs.jsonl", tmp_path / "b/pairs.jsonl"])


def test_the_command_and_its_plan(
    models: Path, data: Path, work: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    line = ["run", "--model", f"{models}:Both", "--task", "STS12", "--data-dir", str(data)]
    line += ["--workspace", str(work), "--perturb", "edits"]
    for more, states in (["--dry-run"], ["to run"] * 2), ([], None), (["--dry-run"], ["done"] * 2):
        monkeypatch.setattr("sys.argv", ["paraclip-bench", *line, *more, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        said = json.loads(capsys.readouterr().out)
        if states is not None:
            assert [row["state"].partition(":")[0] for row in said["plan"]] == [
                state if "never" not in row["state"] else row["state"].partition(":")[0]
                for state, row in zip(states, said["plan"], strict=True)
            ]
            assert [row.get("perturbation") for row in said["plan"]] == [None, "edits"]
        else:
            assert [row.get("perturbation") for row in said["results"]] == [None, "edits"]


EXAMPLES = {
    "lower case": [("A Dog", "a dog"), ("a dog", None)],
    "upper case": [("A dog", "A DOG"), ("A DOG", None)],
    "full stop": [("A dog", "A dog."), ("A dog.", "A dog"), ("A dog?", None), ("A dog. ", "A dog")],
    "leading article": [
        ("A dog runs", "Dog runs"),
        ("the dog runs", "dog runs"),
        ("Dogs run", "The dogs run"),
        ("dogs run", "the dogs run"),
        ("NASA staff", "The NASA staff"),
        ("an apple", "apple"),
        ("another dog", "the another dog"),
        ("A", "The a"),
    ],
    "double spaces": [("a red dog", "a  red  dog"), ("dog", None)],
    "contractions": [
        ("It is not red", "It's not red"),
        ("a dog that isn't red", "a dog that is not red"),
        ("It’s red", "It is red"),
        ("THERE IS a dog", "THERE'S a dog"),
        ("a dog", None),
    ],
    "typing slip": [("a cat", None)],
    "a photo of": [
        ("A dog runs", "a photo of a dog runs"),
        ("TV set", "a photo of TV set"),
        ("I run", "a photo of i run"),
        ("A photo of a dog", None),
    ],
    "spelling": [
        ("A gray color", "A grey colour"),
        ("a grey coloured Theatre", "a gray colored Theater"),
        ("a colorless dog", None),
    ],
}


@pytest.mark.parametrize("version", EXAMPLES)
def test_edits(version: str) -> None:
    assert list(EXAMPLES) == list(SurfaceEdits().versions)
    for text, edited in EXAMPLES[version]:
        assert SurfaceEdits().reworded(version, text) == edited


def test_a_typing_slip_is_one_letter_beside_another() -> None:
    found = SurfaceEdits().reworded("typing slip", "Two brown dogs")
    assert found is not None
    (place,) = [i for i, (a, b) in enumerate(zip("Two brown dogs", found, strict=True)) if a != b]
    assert place > 4
    rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    assert any(abs(row.find(found[place]) - row.find("Two brown dogs"[place])) == 1 for row in rows)
    assert found == SurfaceEdits().reworded("typing slip", "Two brown dogs")


@given(st.text(max_size=40))
def test_an_edit_changes_a_text_or_is_none(text: str) -> None:
    edits = SurfaceEdits()
    for version in edits.versions:
        found = edits.reworded(version, text)
        assert found is None or (found != text and found.strip())


def test_a_perturbation_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SurfaceEdits, "name", "others")
    with pytest.raises(BenchError, match="must be a Perturbation of that name"):
        find_perturbation("edits")


def test_versions_count_round(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    rows = [{"text": "a", "paraphrases": ["b", "c", "d"]}, {"text": "e", "paraphrases": ["f", "g"]}]
    file.write_text(json.dumps([*rows, {"text": "a", "paraphrase": "a"}]))
    found = ParaphraseFile(file)
    assert found.versions == ["1", "2", "3"]
    assert [found.reworded(v, "a") for v in found.versions] == ["b", "c", "d"]
    assert [found.reworded(v, "e") for v in found.versions] == ["f", "g", "f"]
    assert found.reworded("1", "b") is None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": " "}, "its name is ' '"),
    "a number": ({"name": 3}, "its name is 3"),
    "half a character": ({"name": "a\ud800"}, "its name is"),
    "one text": ({"versions": "12"}, "its versions are '12'"),
    "numbers": ({"versions": (1, 2)}, "its versions are"),
    "none": ({"versions": ()}, "one or more that differ"),
    "twice": ({"versions": ("1", "1")}, "one or more that differ"),
    "raises": ({"versions": property(lambda _: 1 // 0)}, "cannot be used .ZeroDivisionError"),
    "digest": ({"digest": 3}, "its digest is 3"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_object_that_cannot_be_used_is_refused_before_anything_runs(what: str, go: Go) -> None:
    members, said = BAD[what]
    with pytest.raises(UsageError, match=said):
        go("STS12", perturb=type("Bad", (Doubled,), members)())
    for other in (Doubled, 3):
        with pytest.raises(UsageError, match="takes a name, a file or a Perturbation, and it is"):
            go("STS12", perturb=other)


@pytest.mark.parametrize("made", [3, b"x", ["x"], "", " ", "x\ud800"])
def test_what_is_no_text_is_named_and_the_rest_goes_on(made: object, go: Go) -> None:
    bad = type("Bad", (Doubled,), {"reworded": lambda *_: made})()
    report = go("STS12", "vg-relation", perturb=bad)
    assert [result.task for _, result in report.results] == ["STS12", "vg-relation"]
    assert len(report.failures) == 2
    for failure in report.failures:
        assert "perturbation doubled, version twice, makes" in failure
        assert "or None" in failure


def test_a_text_is_asked_for_once(go: Go) -> None:
    asked: list[tuple[str, str]] = []

    def note(_: object, version: str, text: str) -> str:
        asked.append((version, text))
        return f"{text} {len(asked)}"

    report = go("STS12", perturb=type("Noted", (Doubled,), {"reworded": note})())
    assert not report.failures
    assert len(asked) == len({*asked})


def test_a_long_name_is_no_file_that_is_too_long(go: Go) -> None:
    long = type("Long", (Doubled,), {"name": "n" * 300})()
    report = go("STS12", perturb=long)
    assert not report.failures
    path, result = report.results[1]
    assert result.perturbation is not None
    assert result.perturbation.name == "n" * 300
    assert not check(next(p for p in find_results(path))).problems


def test_many_paraphrases_of_one_text_take_no_square_of_the_time(go: Go, tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    wordings = [f"a wording of the text {i}" for i in range(60_000)]
    file.write_text(json.dumps({"text": "a text", "paraphrases": wordings}))
    start = time.process_time()
    found = ParaphraseFile(file)
    assert time.process_time() - start < 10  # looked up in a list they take some minutes
    assert len(found.versions) == len(wordings)
    assert found.reworded("60000", "a text") == wordings[-1]


def test_many_versions_are_said_before_they_are_measured(
    go: Go, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "many.jsonl"
    wordings = [f"wording {i}" for i in range(60)]
    file.write_text(json.dumps({"text": "no text of the task", "paraphrases": wordings}))
    go("STS12", perturb=file, quiet=False)
    assert "note: many has 60 versions, and each task is measured" in capsys.readouterr().err


def test_a_folder_is_no_file_of_paraphrases(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        find_perturbation(str(tmp_path / "pairs.jsonl"))
