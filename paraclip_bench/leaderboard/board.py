"""The table itself: values, intervals, best of a column, differences to the baseline."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench import registry
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.evaluation.choose import all_tasks
from paraclip_bench.leaderboard.select import (
    BASELINE,
    Entry,
    Measure,
    RowKey,
    Selection,
    choose_board_suite,
    select,
)
from paraclip_bench.metrics.resampling import (
    Estimate,
    interval,
    replicates,
)
from paraclip_bench.results.store import read_outcomes
from paraclip_bench.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Column:
    """A task's score under one protocol on one set of examples, or the mean of a group."""

    title: str
    score: str
    measures: tuple[Measure, ...]
    lower_is_better: bool = False

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

    sources are the kinds of data that its results are on: hub, folder, demo.
    """

    suite: str
    sources: tuple[str, ...]
    baseline: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        from paraclip_bench.leaderboard.terminal import text

        return text(self)


def make_board(
    results: Path,
    *,
    suite: str | None = None,
    baseline: str | None = None,
    all_scores: bool = False,
    with_limits: bool = False,
) -> Board:
    """Build the board of a results folder.

    baseline: a model's name (default: `clip`, where it has results). all_scores: every score of
    every task instead of those that tasks show by themselves. Raises `UsageError` for an unknown
    suite or baseline, or where there is nothing to show.
    """
    suite = choose_board_suite(results, suite)
    selection = select(results, suite, with_limits=with_limits)
    if not selection.cells:
        raise UsageError(
            f"no result of suite {suite} can be shown ({selection.left_out[0]}); make some with run"
        )
    tasks = {task.name: task for task in all_tasks()[0]}
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
    )


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
            )
            for score in (result.scores if all_scores else board)
            if score in result.scores
        ]
    return columns


def _group_columns(selection: Selection, tasks: dict[str, Task]) -> list[tuple[Column, bool]]:
    """Means over groups that some model has whole; and whether every model has it whole."""
    found = []
    for group in sorted({group for task in tasks.values() for group in task.groups}):
        members = [task for task in tasks.values() if group in task.groups]
        # Of several data sets of a member, the one that most models were run on.
        firsts = [
            next((m for m in selection.measures if m[:2] == (task.name, task.headline)), None)
            for task in members
        ]
        measures = tuple(measure for measure in firsts if measure is not None)
        any_row = {row for row, measure in selection.cells if measure in measures}
        whole = {row for row in any_row if _is_whole(selection, row, measures)}
        if len(measures) == len(members) > 1 and whole:
            title = f"{group} (mean of {len(members)})"
            column = Column(title, members[0].main_score, measures)
            found.append((column, whole == any_row))
    return found


def _title(selection: Selection, measure: Measure, task: Task | None) -> str:
    """The task; its protocol and its data where there are several; its limit."""
    result = selection.any_entry(measure).result
    title = measure.task
    if task is None or len(task.protocols) > 1:
        title += f" ({measure.protocol})"
    if result.limit is not None:
        title += f" [first {result.limit}]"
    elif sum(m[:2] == measure[:2] for m in selection.measures) > 1:
        title += f" [n={result.n}, data {measure.sha256[:6]}]"
    return title


def _is_whole(selection: Selection, row: RowKey, measures: tuple[Measure, ...]) -> bool:
    """Whether a model has all these results, from one kind of source."""
    entries = [selection.cells.get((row, measure)) for measure in measures]
    sources = {entry.result.data.source if entry else None for entry in entries}
    return None not in sources and len(sources) == 1


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
        entries = self._entries(column, row)
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
        entries = self._entries(column, row)
        others = self._entries(column, self._baseline)
        if entries is None or others is None:
            return None
        value, base = _mean(entries, column.score), _mean(others, column.score)
        if value is None or base is None:
            return None
        draws, base_draws = self._mean_draws(column, entries), self._mean_draws(column, others)
        if draws is None or base_draws is None:
            return Estimate(value - base, None, None)
        return Estimate(value - base, *interval(draws - base_draws))

    def _entries(self, column: Column, row: RowKey) -> list[Entry] | None:
        entries = [self._selection.cells.get((row, measure)) for measure in column.measures]
        found = [entry for entry in entries if entry is not None]
        if len(found) < len(entries):
            return None
        # The mean of a group is of one kind of source: hub text is not folder text.
        if len({entry.result.data.source for entry in found}) > 1:
            return None
        return found if all(column.score in entry.result.scores for entry in found) else None

    def _mean_draws(self, column: Column, entries: list[Entry]) -> npt.NDArray[np.float64] | None:
        """Replicates of the mean over a column's tasks, which are resampled independently.

        A measure has the same examples in every row (the selection's rule), and a task the same
        seed, so that rows are paired. None where outcomes or their task are not to be had: the
        value stands without an interval.
        """
        try:
            draws = [
                self._draws(entry.path, entry.result.task, column.score, seed)
                for seed, entry in enumerate(entries)
            ]
        except (KeyError, BenchError):
            return None
        return np.asarray(np.mean(draws, axis=0))

    def _replicates(self, path: Path, task: str, score: str, seed: int) -> npt.NDArray[np.float64]:
        return replicates(self._tasks[task].scores[score], self._outcomes(path), seed=seed)


def _mean(entries: list[Entry], score: str) -> float | None:
    values = [entry.result.scores[score].value for entry in entries]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
