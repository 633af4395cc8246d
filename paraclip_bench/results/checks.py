"""Which results lie in what a user names, and whether each is what run wrote."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paraclip_bench.errors import BenchError, UsageError, reason_of
from paraclip_bench.files import slug
from paraclip_bench.metrics.inference import estimates, point
from paraclip_bench.metrics.metric import Columns, Statistic
from paraclip_bench.results.contributions import contributions_path, read_contributions
from paraclip_bench.results.schema import Part, Result, Score
from paraclip_bench.results.store import (
    OUTCOMES,
    doubt,
    has_outcomes,
    header_of,
    outcomes_path,
    read,
    read_outcomes,
)
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import all_tasks

# How far a score may be from that of its outcomes: another machine's sums differ in last digits.
_ROUNDING = 1e-6
_AGAIN = "measure it again with run --force"
_FILE = re.compile(r".+\.[0-9a-f]{8}\.json")
OLD = "written by version 0.1.0, without a digest, so that only its outcomes say that it is whole"


@dataclasses.dataclass(frozen=True)
class Place:
    """A result's JSON file.

    root: the folder it was found in, of results, of a suite or of a model. suite and folder: what
    the folders above it are called; None for a file that was named itself, wherever it lies.
    """

    path: Path
    root: Path
    suite: str | None = None
    folder: str | None = None

    @property
    def leads_outside(self) -> bool:
        """Whether the file, or one that belongs to it, is a link to outside of the root."""
        root = self.root.resolve()
        files = (self.path, outcomes_path(self.path), contributions_path(self.path))
        return any(not file.resolve().is_relative_to(root) for file in files)


def find_results(named: Path) -> list[Place]:
    """The result files of a workspace, or of a folder of results, of a suite or of a model.

    Or `named` itself, a file. Raises `UsageError` where there is nothing.
    """
    if named.is_dir():
        root = named / "results" if (named / "results").is_dir() else named
        levels = [_files(root, pattern) for pattern in ("*/*/*.json", "*/*.json", "*.json")]
        # A folder of a suite has files of results one level up; other JSON may lie anywhere.
        like = [files for files in levels if any(_FILE.fullmatch(file.name) for file in files)]
        for files in (*like, levels[0]):
            if files:
                return [Place(f, root, *_folders(f, root)) for f in files]
        raise UsageError(f"there are no results in {named}; make some with `paraclip-bench run`")
    if not named.exists():
        raise UsageError(f"{named} does not exist; name a result's JSON file, or a workspace")
    return [Place(named, named.parent)]


def _folders(file: Path, root: Path) -> tuple[str | None, str | None]:
    """The folders of a suite and of a model that a file is in, as far as they are below the root.

    What was named itself may be called anything.
    """
    above = file.relative_to(root).parts[:-1]
    suite, folder = (None, None, *above)[-2:]
    return suite, folder


def _files(root: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(root.glob(pattern)) if not path.name.startswith(".")]


class Problem(NamedTuple):
    """What is wrong with a file, and what to do."""

    what: str
    todo: str


@dataclasses.dataclass(frozen=True)
class Checked:
    """What `check` found of a file; result is None where there is none to be read.

    lacks_outcomes: whether it was written with outcomes, and they are not there. scores: how many
    scores, of the whole and of its parts, are those of its outcomes.
    """

    place: Place
    result: Result | None
    problems: list[Problem]
    notes: list[str]
    has_outcomes: bool = False
    lacks_outcomes: bool = False
    scores: int = 0


def check(place: Place, *, thorough: bool = True) -> Checked:
    """Check a result's schema, digest, name, place and ranges, and its outcomes' digest and rows.

    Thorough, and for results without digests always: its scores too, which are computed again from
    the outcomes, as far as this version has the task. Damaged files are problems, never an error.
    """
    try:
        result = read(place.path)
    except BenchError as error:
        return Checked(place, None, [_problem(error, place.path)], [])
    found = Checked(place, result, [], [])
    if result.digests is None:
        found.notes.append(OLD)
    if (wrong := doubt(place.path, result)) is not None:
        found.problems.append(Problem(wrong, _AGAIN))
    if place.suite is not None and place.suite != result.suite:
        wrong = f"it is of suite {result.suite}, and lies in the folder of {place.suite}"
        found.problems.append(Problem(wrong, f"move it to {slug(result.suite)}/"))
    elif slug(result.suite) != result.suite:
        found.problems.append(Problem(f"{result.suite!r} is no name of a suite", _AGAIN))
    if place.folder not in (None, slug(result.model.name)) and result.digests is not None:
        found.notes.append(f"its folder is not called after its model, {slug(result.model.name)}")
    try:
        return _with_outcomes(found, result, thorough=thorough)
    except BenchError as error:
        found.problems.append(_problem(error, outcomes_path(place.path)))
    return found


def _problem(error: BenchError, path: Path) -> Problem:
    """An error that says what; what to do, without the file that the row names already."""
    what, _, todo = str(error).removeprefix(f"{path} ").rpartition("; ")
    return Problem(what or todo, todo if what else _AGAIN)


def _with_outcomes(found: Checked, result: Result, *, thorough: bool) -> Checked:
    path = found.place.path
    there = has_outcomes(path, result)
    expected = result.digests is not None and result.digests.outcomes is not None
    found = dataclasses.replace(found, has_outcomes=there, lacks_outcomes=expected and not there)
    if thorough and not found.problems:
        _check_contributions(found, result)
    if not there:
        if result.digests is None and not result.provenance.scored_by:
            found.notes.append("there are no outcomes beside it")
        return found
    if not thorough and result.digests is not None:
        return found
    columns = read_outcomes(path)
    rows = {len(values) for values in columns.values()}
    said = {result.n, (result.digests and result.digests.rows) or result.n}
    if rows != {result.n} or len(said) > 1:
        what = f"its outcomes have {counted(max(rows, default=0), 'row')} for "
        found.problems.append(Problem(f"{what}{counted(result.n, 'example')}", _AGAIN))
        return found
    task = _tasks().get(result.task)
    if task is None or task.version != result.task_version or result.provenance.scored_by:
        found.notes.append(
            f"its scores were not computed again: this version has no {result.task} of version "
            f"{result.task_version}"
        )
        return found
    try:
        scores, wrong = _recompute(result, columns, task)
    # Outcomes of another task, or a plugin's metric, may raise anything.
    except Exception as error:
        scores, wrong = 0, f"its outcomes are not those of {task.name} ({reason_of(error)})"
    if wrong is not None:
        found.problems.append(Problem(wrong, _AGAIN))
    return dataclasses.replace(found, scores=scores)


@functools.cache
def _tasks() -> Mapping[str, Task]:
    return {task.name: task for task in all_tasks()[0]}


def _check_contributions(found: Checked, result: Result) -> None:
    """They are made again where they do not fit; where they fit, boards believe them."""
    path = found.place.path
    file = contributions_path(path)
    if not file.is_file():
        return
    kept = read_contributions(path, path.read_bytes())
    if kept is None:
        found.notes.append(f"{file.name} does not fit it; a board makes it again")
        return
    values = {name: kept.score(name) for name in result.scores if name in kept}
    agree = all(
        each is not None and _same(each.value, result.scores[name].value)
        for name, each in values.items()
    )
    if kept.header != header_of(result) or not agree:
        what = f"{file.name} holds other scores than the result"
        found.problems.append(Problem(what, "delete it; a board makes it again"))


def _recompute(result: Result, columns: Columns, task: Task) -> tuple[int, str | None]:
    """How many scores are those of the outcomes, and what is wrong with the first that is not."""
    same = 0
    for part, rows in [(None, columns), *_parts(result, columns)]:
        n = len(rows.get("cluster_id", ()))
        where = "" if part is None else f" of {part.name}"
        if part is not None and part.n != n:
            return same, f"it has {counted(part.n, 'example')}{where}, and its outcomes {n}"
        for name, score in (result.scores if part is None else part.scores).items():
            try:
                metric = task.metric(name)
            except BenchError:  # a score that this version does not know
                continue
            wrong = _differs(score, metric, rows, with_interval=part is None)
            if wrong is not None:
                return same, f"its {name}{where} {wrong} by its outcomes"
            same += 1
    return same, None


def _parts(result: Result, columns: Columns) -> list[tuple[Part | None, Columns]]:
    """The parts of a result, each with the rows of the outcomes that are of it."""
    found: list[tuple[Part | None, Columns]] = []
    for kind, parts in result.details.items():
        if kind not in columns:
            continue
        names, which = np.unique(columns[kind].astype(str), return_inverse=True)
        groups = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
        rows = dict(zip(names.tolist(), groups, strict=True))
        for part in parts:
            chosen = rows.get(part.name, np.array([], dtype=np.intp))
            found.append((part, {name: values[chosen] for name, values in columns.items()}))
    return found


def _differs(
    score: Score, metric: Statistic, columns: Columns, *, with_interval: bool
) -> str | None:
    """How a score differs from that of outcomes; an interval only where it is made in one way."""
    found = point(metric, columns) if len(columns["cluster_id"]) else math.nan
    if not _same(found, score.value):
        return f"is {_shown(score.value)}, and {_shown(found)}"
    if with_interval and score.method is not None:
        again = estimates({"": metric}, columns)[0][""]
        if again.method == score.method:
            for bound in ("low", "high"):
                ours, theirs = getattr(again, bound), getattr(score, bound)
                if not _same(ours, theirs):
                    return f"has an interval that ends at {_shown(theirs)}, and {_shown(ours)}"
    return None


def _same(one: float | None, two: float | None) -> bool:
    known = [value for value in (one, two) if value is not None and math.isfinite(value)]
    return not known or (len(known) == 2 and abs(known[0] - known[1]) <= _ROUNDING)


def _shown(value: float | None) -> str:
    return "undefined" if value is None or not math.isfinite(value) else f"{value:.6f}"


def left_alone(places: Sequence[Place]) -> list[Path]:
    """Outcomes beside these results that belong to none: a run that was stopped leaves some."""
    folders = {place.path.parent for place in places if place.folder is not None}
    return [
        file
        for folder in sorted(folders)
        for file in sorted(folder.glob(f"*{OUTCOMES}"))
        if not file.with_name(file.name.removesuffix(OUTCOMES) + ".json").exists()
    ]


def summary(found: Sequence[Checked]) -> dict[str, Any]:
    """What was checked, in numbers."""
    return {
        "results": len(found),
        "with_outcomes": sum(each.has_outcomes for each in found),
        "scores_recomputed": sum(each.scores for each in found),
        "problems": sum(len(each.problems) + each.lacks_outcomes for each in found),
    }
