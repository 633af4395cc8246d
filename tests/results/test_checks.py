"""`results validate`: what was changed, moved or lost is found, and nothing ends the check."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured import KEPT, copy_of, measure

from paraclip_bench.errors import UsageError
from paraclip_bench.metrics.inference import estimates
from paraclip_bench.results import store
from paraclip_bench.results.checks import OLD, Checked, check, find_results, left_alone, summary
from paraclip_bench.results.contributions import contributions_path, keep
from paraclip_bench.results.schema import Result, Score
from paraclip_bench.tasks.catalog import load_task


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(tmp_path_factory.mktemp("checks"))


@pytest.fixture
def workspace(measured: Path, tmp_path: Path) -> Path:
    return copy_of(measured, tmp_path / "w")


def the(workspace: Path, task: str = "STS12") -> Path:
    (path,) = workspace.glob(f"results/*/*/{task}*.json")
    return path


def checked(workspace: Path) -> list[Checked]:
    return [check(place) for place in find_results(workspace)]


def rewrite(path: Path, change: Callable[[Result], Result], columns: bool = True) -> None:
    """Write a result as `run` would, with digests that fit."""
    held = store.read_outcomes(path) if columns else None
    store.write(path, change(store.read(path)), held)


def test_what_run_wrote_is_right(workspace: Path) -> None:
    found = checked(workspace)
    assert [(c.problems, c.notes, c.has_outcomes, c.lacks_outcomes) for c in found] == [
        ([], [], True, False)
    ] * 3
    for each in found:
        assert each.result is not None
        parts = [part for table in each.result.details.values() for part in table]
        assert each.scores == sum(len(x.scores) for x in (each.result, *parts)) > 0
    assert summary(found)["problems"] == 0


def test_results_of_0_1_0_are_right_with_a_note() -> None:
    found = checked(KEPT)
    assert len(found) == 7
    for each in found:
        assert each.problems == []
        assert each.notes == [OLD]
        assert each.scores > 0


def set_score(result: Result, name: str, **values: Any) -> Result:
    score = result.scores[name].model_copy(update=values)
    return result.model_copy(update={"scores": {**result.scores, name: score}})


def test_scores_that_are_not_those_of_the_outcomes(workspace: Path) -> None:
    path, name = the(workspace, "paraphrased-retrieval"), "recall@5/query"
    before = store.read(path).scores[name]
    assert before.value is not None
    assert before.low is not None
    rewrite(path, lambda r: set_score(r, name, value=before.value + 1e-4))
    (found,) = (c for c in checked(workspace) if c.problems)
    assert f"its {name} is {before.value + 1e-4:.6f}, and {before.value:.6f} by its outcomes" in (
        found.problems[0].what
    )
    rewrite(path, lambda r: set_score(r, name, value=before.value, low=before.low - 0.01))
    (found,) = (c for c in checked(workspace) if c.problems)
    assert f"its {name} has an interval that ends at" in found.problems[0].what


def test_a_part_that_is_not_that_of_the_outcomes(workspace: Path) -> None:
    path = the(workspace, "vg-relation")

    def change(result: Result, **values: Any) -> Result:
        (kind, (first, *rest)), *others = result.details.items()
        first = first.model_copy(update=values)
        return result.model_copy(update={"details": {kind: [first, *rest], **dict(others)}})

    first = next(iter(store.read(path).details.values()))[0]
    score = Score(value=0.123, low=None, high=None)
    rewrite(path, lambda r: change(r, scores={**first.scores, "accuracy": score}))
    (found,) = (c for c in checked(workspace) if c.problems)
    assert f"its accuracy of {first.name} is 0.123000" in found.problems[0].what
    rewrite(path, lambda r: change(r, scores=first.scores, n=first.n + 1))
    (found,) = (c for c in checked(workspace) if c.problems)
    assert f"of {first.name}, and its outcomes {first.n}" in found.problems[0].what


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited": (lambda p: edit(p, n=7), "was changed after it was written"),
    "later": (lambda p: edit(p, schema_version=9), "schema_version 9 and this version"),
    "deep": (lambda p: p.write_text("[" * 100_000), "is not a result of run (it is nested"),
    "huge": (lambda p: p.write_text("9" * 10_000), "is not a result of run"),
    "empty": (lambda p: p.write_bytes(b""), "is not a result of run"),
    "bytes": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "is not a result of run"),
    "renamed": (
        lambda p: p.rename(p.with_name("STS12.all.00000000.json")),
        "its file name is not that of what it says",
    ),
    "moved": (
        lambda p: shutil.move(p.parent, p.parents[2] / "demo/Bags"),
        "it is of suite paper, and lies in the folder of demo",
    ),
    "outcomes gone": (lambda p: store.outcomes_path(p).unlink(), ""),
    "outcomes cut": (
        lambda p: os.truncate(store.outcomes_path(p), 100),
        "were changed, or are those of another result",
    ),
    "outcomes of another": (
        lambda p: shutil.copy(next(p.parent.glob("vg*.parquet")), store.outcomes_path(p)),
        "were changed, or are those of another result",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_the_others_are_checked(workspace: Path, kind: str) -> None:
    damage, said = DAMAGE[kind]
    damage(the(workspace))
    found = checked(workspace)
    bad = [c for c in found if c.problems or c.lacks_outcomes]
    assert len(found) == 3
    if kind == "outcomes gone":
        assert [(c.problems, c.lacks_outcomes) for c in bad] == [([], True)]
        return
    if kind == "moved":
        assert len(bad) == 3
    else:
        (one,) = bad
        assert "STS12" in one.place.path.name
    for each in bad:
        (problem,) = each.problems
        assert said in problem.what
        assert problem.todo
        assert str(each.place.path) not in problem.what


def test_old_outcomes_that_do_not_fit(tmp_path: Path) -> None:
    """Without a digest only the scores tell."""
    workspace = copy_of(KEPT / "results", tmp_path / "w")
    (path,) = workspace.glob("results/*/Bags/STS12.all.8*.json")
    columns = store.read_outcomes(path)
    other = {name: values[:3] for name, values in columns.items()}
    store._write_outcomes(store.outcomes_path(path), other)
    (found,) = (c for c in checked(workspace) if c.problems)
    assert "its outcomes have 3 rows for" in found.problems[0].what
    turned = {**columns, "gold": columns["gold"][::-1]}
    store._write_outcomes(store.outcomes_path(path), turned)
    (found,) = (c for c in checked(workspace) if c.problems)
    assert "its spearman is" in found.problems[0].what
    del turned["gold"]
    store._write_outcomes(store.outcomes_path(path), turned)
    (found,) = (c for c in checked(workspace) if c.problems)
    assert "its outcomes are not those of STS12" in found.problems[0].what
    store.outcomes_path(path).unlink()
    (found,) = (c for c in checked(workspace) if len(c.notes) > 1)
    assert found.notes[1] == "there are no outcomes beside it"


def test_contributions_are_checked_and_may_be_missing(workspace: Path) -> None:
    path, other = the(workspace, "paraphrased-retrieval"), the(workspace, "vg-relation")
    contributions_path(other).unlink()
    contributions_path(path).write_bytes(b"x")
    found = checked(workspace)
    assert [c.problems for c in found] == [[]] * 3
    assert [note for c in found for note in c.notes] == [
        f"{contributions_path(path).name} does not fit it; a board makes it again"
    ]
    # A board would believe it: it fits, and holds the numbers of another score.
    result = store.read(path)
    columns = store.read_outcomes(path)
    metric = load_task("paraphrased-retrieval").metric("recall@10/query")
    _, parts, _ = estimates({"recall@5/query": metric}, columns)
    state = store.outcomes_state(path)
    keep(path, path.read_bytes(), store.header_of(result), parts, state)
    (one,) = (c for c in checked(workspace) if c.problems)
    assert "holds other scores than the result" in one.problems[0].what


def test_what_a_user_may_name(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = the(workspace)
    whole = {place.path for place in find_results(workspace)}
    assert len(whole) == 3
    for folder, above in (
        (workspace / "results", ("paper", "Bags")),
        # What is named itself may be called anything.
        (path.parents[1], (None, "Bags")),
        (path.parents[1] / "Bags/..", (None, "Bags")),
        (path.parent, (None, None)),
    ):
        places = find_results(folder)
        assert {place.path.resolve() for place in places} == {p.resolve() for p in whole}
        assert {(place.suite, place.folder) for place in places} == {above}
        monkeypatch.chdir(folder)
        assert len(find_results(Path())) == 3
        assert all(check(place).problems == [] for place in find_results(Path()))
    (one,) = find_results(path)
    assert (one.suite, one.folder) == (None, None)
    loose = Path(shutil.copy(path, workspace / path.name))
    shutil.copy(store.outcomes_path(path), workspace)
    assert check(find_results(loose)[0]).problems == []
    for nothing in (workspace / "none", workspace / "none.json"):
        with pytest.raises(UsageError, match="does not exist"):
            find_results(nothing)
    (workspace / "empty").mkdir()
    with pytest.raises(UsageError, match="there are no results in"):
        find_results(workspace / "empty")


def test_outcomes_without_a_result_are_named(workspace: Path) -> None:
    path = the(workspace)
    path.unlink()
    assert left_alone(find_results(workspace)) == [store.outcomes_path(path)]


def test_a_pipe_does_not_hold_it_up(workspace: Path) -> None:
    path = the(workspace)
    path.unlink()
    os.mkfifo(path)
    (bad,) = (c for c in checked(workspace) if c.problems)
    assert "is a pipe" in bad.problems[0].what
