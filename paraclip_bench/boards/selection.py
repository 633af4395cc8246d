"""Which results may stand side by side, and which are left out and why."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from paraclip_bench.errors import BenchError, UsageError, reason_of
from paraclip_bench.files import regular
from paraclip_bench.metrics.inference import point
from paraclip_bench.results.contributions import Kept, read_contributions
from paraclip_bench.results.model_names import (
    ModelNames,
    RowKey,
    names_of,
    row_of,
    seeds_together,
)
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import (
    doubt,
    has_outcomes,
    misnamed,
    outcomes_state,
    read,
    read_outcomes,
)
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import all_tasks, find_suite, suite_names

_AGAIN = "measure it again with run --force"
# How far a score may be from that of its outcomes: another machine's sums differ in last digits.
_ROUNDING = 1e-6


class Measure(NamedTuple):
    """What was measured, on which examples: results of two data sets never share a column.

    perturbation: the name of what reworded the texts; empty for a plain result.
    """

    task: str
    protocol: str
    sha256: str
    perturbation: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A result and where it lies.

    has_outcomes: whether its outcomes are there. kept: what is kept of its contributions, where
    that fits. Such a result was checked when they were written, and lacks its parts here.
    """

    path: Path
    result: Result
    has_outcomes: bool = True
    kept: Kept | None = None

    @property
    def row(self) -> RowKey:
        """What the model is, by its weights where they are known."""
        return row_of(self.result)

    @property
    def measure(self) -> Measure:
        """The task, protocol and examples, and what reworded their texts."""
        result = self.result
        reworded = "" if result.perturbation is None else result.perturbation.name
        return Measure(result.task, result.protocol, result.data.sha256, reworded)

    @property
    def is_cut(self) -> bool:
        """Whether a limit may have left examples out."""
        return self.result.is_cut

    @property
    def shown(self) -> str:
        """The file, as a line about it names it."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclasses.dataclass(frozen=True)
class Selection:
    """One entry a row and measure.

    names are the rows' labels, aliases the rows that a name or spec may mean. measures are in the
    order of their task, protocol and, of one protocol, the number of models. members: of a row that
    stands for several seeds, the rows of its checkpoints; alone: what these are called alone.
    """

    suite: str
    cells: dict[tuple[RowKey, Measure], Entry]
    names: dict[RowKey, str]
    aliases: dict[str, list[RowKey]]
    measures: list[Measure]
    left_out: list[str]
    members: dict[RowKey, tuple[RowKey, ...]] = dataclasses.field(default_factory=dict)
    alone: dict[RowKey, str] = dataclasses.field(default_factory=dict)

    def runs(self, row: RowKey) -> tuple[RowKey, ...]:
        """The checkpoints of a row: itself, or one a seed."""
        return self.members.get(row, (row,))

    def any_entry(self, measure: Measure) -> Entry:
        """An entry of a measure, for what all of them share."""
        return next(entry for (_, m), entry in self.cells.items() if m == measure)


@dataclasses.dataclass(frozen=True)
class Column:
    """A task's score under one protocol on one set of examples, or the mean of a group.

    scored_by: who gave the scores, where it was another program: there are then no intervals.
    is_computed: whether the score is not in the results, and is computed from their outcomes.
    family: the group of tasks that it stands with, or its own task; in a view what it speaks of.
    is_judged: whether more or less of it is better; else it has no best, verdict or rank.
    """

    title: str
    score: str
    measures: tuple[Measure, ...]
    family: str = ""
    lower_is_better: bool = False
    scored_by: str = ""
    is_computed: bool = False
    is_judged: bool = True

    def entries(self, selection: Selection, row: RowKey) -> list[Entry] | None:
        """A model's results, or None where one is missing or they are of several kinds of source.

        Hub text is not folder text, so a mean does not go over both.
        """
        found = []
        for measure in self.measures:
            entry = selection.cells.get((row, measure))
            if entry is None or not (self.is_computed or self.score in entry.result.scores):
                return None
            found.append(entry)
        is_alone = len(found) == 1
        return found if is_alone or len({e.result.data.source for e in found}) == 1 else None

    @property
    def is_group(self) -> bool:
        """Whether this is the mean over several tasks."""
        return len(self.measures) > 1


def choose_board_suite(results: Path, asked: str | None) -> str:
    """The suite asked for, or the only one that has results; `UsageError` otherwise."""
    there = [suite for suite in suite_names() if any((results / suite).glob("*/*.json"))]
    if asked is not None:
        asked = find_suite(asked).name
        if asked not in there:
            raise UsageError(
                f"there are no results of suite {asked} in {results}; make some with run"
            )
        return asked
    if not there:
        raise UsageError(f"there are no results in {results}; make some with `paraclip-bench run`")
    if len(there) > 1:
        raise UsageError(
            f"{results} has results of {' and '.join(there)}, which never share a table; "
            "say --suite NAME"
        )
    return there[0]


def select(
    results: Path,
    suite: str,
    *,
    with_limits: bool,
    tasks: Mapping[str, Task] | None = None,
    only: Sequence[str] = (),
    reworded: bool = False,
) -> Selection:
    """Read the suite's results and keep those that can be compared.

    Of a task, its newest version is kept; of one model on one measure, the newest result; of a
    model without a fingerprint, its newest run; results with a limit only when asked for. What was
    changed after it was written is left out. Everything left out is named with its reason. tasks:
    by name, default those that are registered. only: names or specs; where each of them is some
    model's, results of other models are not read. reworded: also results of tasks under other
    wordings; of two perturbations of one name, those of the one that most results are of.
    """
    if tasks is None:
        tasks = {task.name: task for task in all_tasks()[0]}
    left_out: list[str] = []
    entries = []
    # A task under other wordings is no column: its file name has a ~, as no other's has.
    there = sorted((results / suite).glob("*/*.json"))
    plain = there if reworded else [path for path in there if "~" not in path.name]
    if there and not plain:
        left_out.append("all results are of reworded texts, which are no columns of a board")
    for path in _of_models(plain, only):
        try:
            if (entry := _known(path)) is None:
                entry = Entry(path, read(path))
        except BenchError as error:
            left_out.append(str(error))
            continue
        try:
            if entry.kept is not None:
                wrong = misnamed(path, entry.result)
            else:
                entry = dataclasses.replace(entry, has_outcomes=has_outcomes(path, entry.result))
                task = tasks.get(entry.result.task)
                wrong = doubt(path, entry.result) or _does_not_fit(entry, task)
        except BenchError as error:
            wrong = str(error)
        if wrong:
            left_out.append(f"{entry.shown}: {wrong}")
        elif entry.result.suite != suite:
            left_out.append(f"{entry.shown}: is of suite {entry.result.suite}")
        elif entry.is_cut and not with_limits:
            left_out.append(
                f"{entry.shown}: only its first "
                f"{counted(entry.result.limit or 0, 'example')} (--limit)"
            )
        else:
            entries.append(entry)
    entries.sort(key=lambda e: e.result.provenance.time)
    entries = _newest_versions(entries, left_out)
    entries = _one_run_of_the_unknown(entries, left_out)
    if reworded:
        entries = _one_perturbation_a_name(entries, left_out)
    cells: dict[tuple[RowKey, Measure], Entry] = {}
    for entry in entries:
        if (older := cells.get((entry.row, entry.measure))) is not None:
            left_out.append(
                f"{older.shown}: the same model on the same examples as {entry.shown}, "
                "which is newer"
            )
        cells[entry.row, entry.measure] = entry
    known = names_of([entry.result for entry in entries])
    return Selection(suite, cells, known.names, known.aliases, _ordered(cells), left_out)


def _of_models(paths: list[Path], asked: Sequence[str]) -> list[Path]:
    """The results of these models, whatever they are called elsewhere; all where one is unknown.

    What cannot be read is kept, for a reader to say why.
    """
    if not asked:
        return paths
    found = {path: _model_in(path) for path in paths}
    wanted = set[str]()
    for name in asked:
        own = {
            key
            for about in found.values()
            if name in (about.get("spec"), about.get("name"), _parent(about.get("name")))
            # Of a seed its method says which other checkpoints belong to it.
            for key in (about.get("fingerprint"), about.get("method"))
            if key is not None
        }
        if not own:
            return paths
        wanted |= own
    return [
        path
        for path, about in found.items()
        if not about or wanted & {about.get("fingerprint"), about.get("method")}
    ]


def _parent(name: str | None) -> str | None:
    return None if name is None else name.rpartition("/seed-")[0] or None


def _model_in(path: Path) -> dict[str, Any]:
    """What a result says of its model, without reading the rest; empty where that is not plain."""
    try:
        text = regular(path).read_text(encoding="utf-8")
        start = text.index("{", text.index('"model":'))
        about, _ = json.JSONDecoder().raw_decode(text, start)
    except (BenchError, OSError, ValueError, RecursionError):
        return {}
    is_plain = isinstance(about, dict) and isinstance(about.get("fingerprint"), str)
    return about if is_plain else {}


def group_seeds(selection: Selection) -> Selection:
    """Make one row of the checkpoints that differ in the seed of their training alone."""
    entries = sorted(selection.cells.values(), key=lambda entry: entry.result.provenance.time)
    known = seeds_together(
        ModelNames(selection.names, selection.aliases), [entry.result for entry in entries]
    )
    return dataclasses.replace(
        selection,
        names=known.names,
        aliases=known.aliases,
        members=known.members,
        alone=known.alone,
    )


def _known(path: Path) -> Entry | None:
    """A result that is as it was when its contributions were written, and so are its outcomes."""
    try:
        kept = read_contributions(path, regular(path).read_bytes())
        if kept is None or kept.outcomes != outcomes_state(path):
            return None
        result = Result.model_validate_json(kept.header)
    except (OSError, ValidationError):
        return None
    return Entry(path, result, kept.outcomes is not None, kept)


def _does_not_fit(entry: Entry, task: Task | None) -> str | None:
    """Why a result of 0.1.0, without digests, is not that of its outcomes; None where it is.

    Its scores are computed again from them.
    """
    result = entry.result
    if task is None or not is_recomputed(entry, task):
        return None
    columns = read_outcomes(entry.path)
    rows = min((len(values) for values in columns.values()), default=0)
    if rows != result.n:
        return (
            f"its outcomes have {counted(rows, 'row')} for {counted(result.n, 'example')}; {_AGAIN}"
        )
    for name, score in result.scores.items():
        try:
            found = point(task.metric(name), columns)
        except BenchError:  # a score that this version does not know
            continue
        # Outcomes of another task, or a plugin's metric, may raise anything.
        except Exception as error:
            return f"its outcomes are not those of {task.name} ({reason_of(error)}); {_AGAIN}"
        both_undefined = score.value is None and not math.isfinite(found)
        if both_undefined or (score.value is not None and abs(score.value - found) <= _ROUNDING):
            continue
        shown = "undefined" if score.value is None else f"{score.value:.6f}"
        return (
            f"its {name} is {shown}, and {found:.6f} by its outcomes, so one of them was changed; "
            f"{_AGAIN}"
        )
    return None


def is_recomputed(entry: Entry, task: Task | None) -> bool:
    """Whether a result has no digests, and is compared with its outcomes instead."""
    return entry.result.digests is None and can_compute(entry, task)


def can_compute(entry: Entry, task: Task | None) -> bool:
    """Whether a result has outcomes of ours, and this version's task knows what they mean."""
    if task is None or task.version != entry.result.task_version:
        return False
    return entry.has_outcomes and not entry.result.provenance.scored_by


def _newest_versions(entries: list[Entry], left_out: list[str]) -> list[Entry]:
    newest: dict[str, int] = defaultdict(int)
    for entry in entries:
        newest[entry.result.task] = max(newest[entry.result.task], entry.result.task_version)
    kept = []
    for entry in entries:
        if entry.result.task_version == newest[entry.result.task]:
            kept.append(entry)
        else:
            left_out.append(
                f"{entry.shown}: by version {entry.result.task_version} of {entry.result.task}, "
                f"whose scores version {newest[entry.result.task]} changed; run it again"
            )
    return kept


def _one_run_of_the_unknown(entries: list[Entry], left_out: list[str]) -> list[Entry]:
    """A model without a fingerprint may be another one in each run."""
    last = {entry.row: entry.result.provenance.run for entry in entries}
    kept = []
    for entry in entries:
        known = entry.result.model.fingerprint is not None
        if known or entry.result.provenance.run == last[entry.row]:
            kept.append(entry)
        else:
            left_out.append(
                f"{entry.shown}: of an earlier run, and a model without a fingerprint may have "
                "changed since; run it again, or give the class a fingerprint"
            )
    return kept


def _one_perturbation_a_name(entries: list[Entry], left_out: list[str]) -> list[Entry]:
    """Of a measure under perturbations of one name, those of one digest: most results, newest."""
    found: dict[Measure, dict[str, list[Entry]]] = {}
    for entry in entries:
        if (about := entry.result.perturbation) is not None:
            found.setdefault(entry.measure, {}).setdefault(about.digest, []).append(entry)
    others = dict[Path, str]()
    for by_digest in found.values():
        # Entries are by age, so that the last of a list is its newest.
        kept = max(
            by_digest, key=lambda d: (len(by_digest[d]), by_digest[d][-1].result.provenance.time)
        )
        others |= {e.path: kept for digest in {*by_digest} - {kept} for e in by_digest[digest]}
    for entry in entries:
        if entry.path in others and (about := entry.result.perturbation) is not None:
            left_out.append(
                f"{entry.shown}: of another perturbation of the name {about.name} (digest "
                f"{about.digest[:8]}) than the results that are shown ({others[entry.path][:8]}); "
                "give one of them another name, or run it again with that one"
            )
    return [entry for entry in entries if entry.path not in others]


def _ordered(cells: dict[tuple[RowKey, Measure], Entry]) -> list[Measure]:
    rows: dict[Measure, int] = defaultdict(int)
    newest: dict[Measure, str] = defaultdict(str)
    for (_, measure), entry in cells.items():
        rows[measure] += 1
        newest[measure] = max(newest[measure], entry.result.provenance.time)
    by_age = sorted(rows, key=lambda m: newest[m], reverse=True)
    return sorted(by_age, key=lambda m: (m.task, m.protocol, m.perturbation, -rows[m]))
