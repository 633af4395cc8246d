"""The table itself: values, intervals, best of a column, differences to the baseline."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench import registry
from paraclip_bench.boards.published_rows import PublishedRow, check_which, published_rows
from paraclip_bench.boards.selection import (
    BASELINE,
    Entry,
    Measure,
    RowKey,
    Selection,
    choose_board_suite,
    select,
)
from paraclip_bench.data.data_set import whole_size
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.metrics.resampling import Estimate, interval, replicates
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read_outcomes
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import all_tasks, load_task


@dataclasses.dataclass(frozen=True)
class Column:
    """A task's score under one protocol on one set of examples, or the mean of a group.

    scored_by: who gave the scores, where it was another program: there are then no intervals.
    """

    title: str
    score: str
    measures: tuple[Measure, ...]
    lower_is_better: bool = False
    scored_by: str = ""

    def entries(self, selection: Selection, row: RowKey) -> list[Entry] | None:
        """A model's results, or None where one is missing or they are of several kinds of source.

        Hub text is not folder text, so a mean does not go over both.
        """
        found = []
        for measure in self.measures:
            entry = selection.cells.get((row, measure))
            if entry is None or self.score not in entry.result.scores:
                return None
            found.append(entry)
        return found if len({entry.result.data.source for entry in found}) == 1 else None

    @property
    def is_group(self) -> bool:
        """Whether this is the mean over several tasks."""
        return len(self.measures) > 1


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value with its interval, and the difference to the baseline with its own."""

    estimate: Estimate
    difference: Estimate | None
    best: bool


@dataclasses.dataclass(frozen=True)
class Row:
    """A model in one precision."""

    name: str
    fingerprint: str
    dtype: str
    cells: tuple[Cell | None, ...]


@dataclasses.dataclass(frozen=True)
class Board:
    """A leaderboard; left_out says which results it does not show, and why.

    sources are the kinds of data that its results are on: hub, folder, demo. partial names sets of
    another size than the published ones. published are rows
    of others' numbers, apart from `rows`; None where they were not asked for.
    """

    suite: str
    sources: tuple[str, ...]
    baseline: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    published: tuple[PublishedRow, ...] | None = None
    partial: tuple[str, ...] = ()

    def __str__(self) -> str:
        from paraclip_bench.boards.terminal import text

        return text(self)


def make_board(
    results: Path,
    *,
    suite: str | None = None,
    baseline: str | None = None,
    all_scores: bool = False,
    with_limits: bool = False,
    reference: str | None = None,
) -> Board:
    """Build the board of a results folder.

    baseline: a model's name (default: `clip`, where it has results). all_scores: every score of
    every task instead of those that tasks show by themselves. reference: published numbers too,
    "matching" for those of measured models, or "all". Raises `UsageError` for an unknown suite,
    baseline or reference, or where there is nothing to show.
    """
    if reference is not None:
        check_which(reference)
    suite = choose_board_suite(results, suite)
    selection = select(results, suite, with_limits=with_limits)
    if not selection.cells:
        raise UsageError(
            f"no result of suite {suite} can be shown ({selection.left_out[0]}); make some with run"
        )
    tasks = {task.name: task for task in all_tasks()[0]} | _made_by_prefixes(selection)
    columns = _columns(selection, tasks, all_scores)
    base = _baseline(selection, baseline)
    order = sorted(selection.names, key=lambda row: (row != base, selection.names[row].casefold()))
    table = _Estimates(selection, tasks, base)
    values = {row: [table.cell(column, row) for column in columns] for row in order}
    rows = []
    for row in order:
        cells: list[Cell | None] = []
        for index, column in enumerate(columns):
            estimate = values[row][index]
            if estimate is None:
                cells.append(None)
                continue
            rivals = [v.value for r in order if (v := values[r][index]) and v.value is not None]
            best = (min if column.lower_is_better else max)(rivals) if rivals else None
            cells.append(
                Cell(
                    estimate,
                    table.difference(column, row),
                    best=len(rivals) > 1 and estimate.value == best,
                )
            )
        rows.append(Row(selection.names[row], row[0], row[1], tuple(cells)))
    return Board(
        suite,
        tuple(sorted({entry.result.data.source for entry in selection.cells.values()})),
        None if base is None else selection.names[base],
        tuple(columns),
        tuple(rows),
        tuple(selection.left_out),
        None if reference is None else published_rows(selection, columns, reference),
        _partial(selection, tasks),
    )


def _partial(selection: Selection, tasks: dict[str, Task]) -> tuple[str, ...]:
    """The measures on another number of examples than the published set has, with both numbers."""
    found = []
    for measure in selection.measures:
        entry, task = selection.any_entry(measure), tasks.get(measure.task)
        whole = whole_size(task, measure.protocol) if task else None
        own = entry.is_cut or entry.result.data.source == "demo"
        if whole is not None and entry.result.n != whole and not own:
            title = _title(selection, measure, task)
            found.append(f"{title} ({entry.result.n:,} examples, not {whole:,})")
    return tuple(found)


def _made_by_prefixes(selection: Selection) -> dict[str, Task]:
    """The PREFIX:ARG tasks whose outcomes are resampled here; without one, values stand alone."""
    tasks = {}
    for name in {measure.task for measure in selection.measures if ":" in measure.task}:
        measure = next(m for m in selection.measures if m.task == name)
        if not selection.any_entry(measure).result.provenance.scored_by:
            with contextlib.suppress(BenchError):
                tasks[name] = load_task(name)
    return tasks


def _baseline(selection: Selection, asked: str | None) -> RowKey | None:
    """The row that others are compared to, by label, name or spec; its float32 one of several."""
    labels = {label: row for row, label in selection.names.items()}
    if asked in labels:
        return labels[asked]
    rows = selection.aliases.get(asked or BASELINE, [])
    if not rows:
        if asked is None:
            return None
        raise registry.unknown("model", asked, {*labels, *selection.aliases}, "on the board")
    return next((row for row in rows if row[1] == "float32"), rows[0])


def _columns(selection: Selection, tasks: dict[str, Task], all_scores: bool) -> list[Column]:
    groups = _group_columns(selection, tasks)
    columns = [column for column, _ in groups]
    # A model without a mean still shows what it has.
    hidden = {m for column, is_whole in groups for m in column.measures if is_whole}
    for measure in selection.measures:
        if measure in hidden and not all_scores:
            continue
        result = selection.any_entry(measure).result
        task = tasks.get(measure.task)
        board = task.board if task and task.board else (result.main_score,)
        columns += [
            Column(
                _title(selection, measure, task),
                score,
                (measure,),
                lower_is_better=bool(task and score in task.lower_is_better),
                scored_by=result.provenance.scored_by,
            )
            for score in (result.scores if all_scores else board)
            if score in result.scores
        ]
    return columns


def _group_columns(selection: Selection, tasks: dict[str, Task]) -> list[tuple[Column, bool]]:
    """Means over groups that some model has whole; and whether every model has it whole.

    Only a task's `mean_groups` have means. A mean is over whole sets that lie in one place (a
    folder, the hub, the demo world); where two places hold different sets, each has a column of
    its own.
    """
    found: list[tuple[Column, bool]] = []
    for group in sorted({group for task in tasks.values() for group in task.mean_groups}):
        members = [task for task in tasks.values() if group in task.groups]
        columns: dict[tuple[Measure, ...], tuple[Column, bool]] = {}
        tags = {}
        for place, there in _places(selection).items():
            wanted = [(task.name, task.headline) for task in members]
            measures = tuple(m for m in selection.measures if m in there and m[:2] in wanted)
            if len({m[:2] for m in measures}) < len(members) or len(members) < 2:
                continue
            # Of several versions in one place, the one that most models were run on.
            measures = tuple(next(m for m in measures if m[:2] == name) for name in wanted)
            column = Column(f"{group} (mean of {len(members)})", members[0].main_score, measures)
            any_row = {row for row, measure in selection.cells if measure in measures}
            whole = {row for row in any_row if column.entries(selection, row)}
            if whole:
                columns[measures] = column, whole == any_row
                tags[measures] = place.rpartition("/")[2]
        for measures, (column, is_whole) in columns.items():
            title = column.title + (f" [{tags[measures]}]" if len(columns) > 1 else "")
            found.append((dataclasses.replace(column, title=title), is_whole))
    return found


def _places(selection: Selection) -> dict[str, set[Measure]]:
    """The whole sets that lie in each place."""
    places: dict[str, set[Measure]] = {}
    for (_, measure), entry in selection.cells.items():
        if not entry.is_cut:
            places.setdefault(_place(entry.result), set()).add(measure)
    return places


def _place(result: Result) -> str:
    """Where a result's data lie: the hub, or what comes before the file in the data's id."""
    if result.data.source == "hub":
        return "hub"
    return result.data.id.rpartition(":")[0] or result.data.source


def _title(selection: Selection, measure: Measure, task: Task | None) -> str:
    """The task; its protocol and its data where there are several; its limit."""
    result = selection.any_entry(measure).result
    # Who scores elsewhere is not asked for the task only to know its protocols.
    several = len(task.protocols) > 1 if task else not result.provenance.scored_by
    title = f"{measure.task} ({measure.protocol})" if several else measure.task
    tags = [f"first {result.limit}"] if selection.any_entry(measure).is_cut else []
    if sum(other[:2] == measure[:2] for other in selection.measures) > 1:
        tags += [f"n={result.n}"] * (not tags) + [f"data {measure.sha256[:6]}"]
    return f"{title} [{', '.join(tags)}]" if tags else title


class _Estimates:
    """Cells of the board; every result is resampled at most once."""

    def __init__(
        self, selection: Selection, tasks: dict[str, Task], baseline: RowKey | None
    ) -> None:
        self._selection = selection
        self._tasks = tasks
        self._baseline = baseline
        self._outcomes = functools.lru_cache(maxsize=64)(read_outcomes)
        self._draws = functools.lru_cache(maxsize=4096)(self._replicates)

    def cell(self, column: Column, row: RowKey) -> Estimate | None:
        """Value and interval, or None where this model has no such result."""
        entries = column.entries(self._selection, row)
        if entries is None:
            return None
        if not column.is_group:
            score = entries[0].result.scores[column.score]
            return Estimate(score.value, score.low, score.high)
        value = _mean(entries, column.score)
        draws = None if value is None else self._mean_draws(column, entries)
        return Estimate(value, *(interval(draws) if draws is not None else (None, None)))

    def difference(self, column: Column, row: RowKey) -> Estimate | None:
        """Difference to the baseline under the same draws, where both have outcomes."""
        if self._baseline is None or row == self._baseline:
            return None
        entries = column.entries(self._selection, row)
        others = column.entries(self._selection, self._baseline)
        if entries is None or others is None:
            return None
        value, base = _mean(entries, column.score), _mean(others, column.score)
        if value is None or base is None:
            return None
        draws, base_draws = self._mean_draws(column, entries), self._mean_draws(column, others)
        if draws is None or base_draws is None:
            return Estimate(value - base, None, None)
        return Estimate(value - base, *interval(draws - base_draws))

    def _mean_draws(self, column: Column, entries: list[Entry]) -> npt.NDArray[np.float64] | None:
        """Replicates of the mean over a column's tasks, which are resampled independently.

        A measure has the same examples in every row (the selection's rule), and a task the same
        seed, so that rows are paired. None where outcomes or their task are not to be had: the
        value stands without an interval.
        """
        if column.scored_by:
            return None
        try:
            draws = [
                self._draws(entry.path, entry.result.task, column.score, seed)
                for seed, entry in enumerate(entries)
            ]
        # A plugin's statistic may raise anything.
        except Exception:
            return None
        return np.asarray(np.mean(draws, axis=0))

    def _replicates(self, path: Path, task: str, score: str, seed: int) -> npt.NDArray[np.float64]:
        return replicates(self._tasks[task].scores[score], self._outcomes(path), seed=seed)


def _mean(entries: list[Entry], score: str) -> float | None:
    values = [entry.result.scores[score].value for entry in entries]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
