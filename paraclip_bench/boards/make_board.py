"""From results to a board: values, intervals, best of a column, differences to the baseline."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from paraclip_bench import registry
from paraclip_bench.boards.board import Board, BoardRow, Cell
from paraclip_bench.boards.estimates import ADJUST, Adjust, Estimates
from paraclip_bench.boards.published_rows import check_which, published_rows
from paraclip_bench.boards.selection import (
    BASELINE,
    Column,
    Measure,
    RowKey,
    Selection,
    choose_board_suite,
    is_recomputed,
    select,
)
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.metrics.metric import Metric
from paraclip_bench.results.schema import Result
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Group, Task, UnknownScore
from paraclip_bench.tasks.catalog import all_metrics, all_tasks, load_task

# So many files are named in a note.
_NAMED = 3


def make_board(
    results: Path,
    *,
    suite: str | None = None,
    baseline: str | None = None,
    all_scores: bool = False,
    with_limits: bool = False,
    scores: Sequence[str] = (),
    reference: str | None = None,
    tasks: Sequence[Task] = (),
    adjust: Adjust = "holm",
    models: Sequence[str] = (),
    families: Sequence[str] = (),
) -> Board:
    """Build the board of a results folder.

    baseline: a model's name (default: `clip` where it has results, else the base that most
    checkpoints here were fine-tuned from). all_scores: every score of
    every task instead of those that tasks show by themselves. scores: these alone, of every task
    that has them; one that the results lack is computed from their outcomes. reference: published
    numbers too, "matching" for those of measured models, or "all". tasks: besides the registered
    ones. adjust: how p is adjusted over all differences that are shown. models: these alone, by
    name or spec, in this order. families: these tasks or groups alone. Raises `UsageError` for an
    unknown suite, baseline, score, reference, model or family, or where there is nothing to show.
    """
    if reference is not None:
        check_which(reference)
    if adjust not in ADJUST:
        raise registry.unknown("adjustment", adjust, ADJUST, "of p-values")
    if all_scores and scores:
        raise UsageError("--all shows every score and --score some; give one of them")
    suite = choose_board_suite(results, suite)
    known = {task.name: task for task in (*all_tasks()[0], *tasks)}
    selection = select(results, suite, with_limits=with_limits, tasks=known)
    if not selection.cells:
        raise UsageError(
            f"no result of suite {suite} can be shown ({selection.left_out[0]}); make some with run"
        )
    known = _made_by_prefixes(selection) | known
    selection = _of_families(selection, known, families)
    if models:
        rows_asked = list(dict.fromkeys(_row(selection, name) for name in models))
        if baseline is not None:
            rows_asked = list(dict.fromkeys([_row(selection, baseline), *rows_asked]))
        selection = _of_rows(selection, rows_asked)
    if scores:
        columns = _score_columns(selection, known, scores)
    else:
        columns = _columns(selection, known, all_scores)
    base = _baseline(selection, baseline)
    order = list(selection.names)
    if not models:
        order.sort(key=lambda row: (row != base, selection.names[row].casefold()))
    table = Estimates(selection, known, base)
    values = {row: [table.cell(column, row) for column in columns] for row in order}
    if scores and table.not_computed and not any(any(cells) for cells in values.values()):
        raise UsageError(next(iter(table.not_computed)))
    differences = table.differences(columns, order, adjust)
    best = [_best(column, [values[row][i] for row in order]) for i, column in enumerate(columns)]
    leaders = [
        None if value is None else next(r for r in order if _value(values[r][i]) == value)
        for i, value in enumerate(best)
    ]
    ties = table.ties(columns, order, leaders)
    ranks = table.ranks(columns, order)
    rows = []
    for row in order:
        cells: list[Cell | None] = []
        for index, estimate in enumerate(values[row]):
            if estimate is None:
                cells.append(None)
                continue
            is_best = estimate.value is not None and estimate.value == best[index]
            is_tied = not is_best and (index, row) in ties
            cells.append(Cell(estimate, differences.get((index, row)), is_best, is_tied))
        rows.append(BoardRow(selection.names[row], *row, tuple(cells), ranks.get(row)))
    return Board(
        suite,
        tuple(sorted({entry.result.data.source for entry in selection.cells.values()})),
        None if base is None else selection.names[base],
        tuple(columns),
        tuple(rows),
        (*selection.left_out, *table.not_computed),
        None if reference is None else published_rows(selection, columns, reference),
        _partial(selection, known),
        _notes(selection, known),
        adjust,
        selection.cells,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _best(column: Column, estimates: Sequence[Estimate | None]) -> float | None:
    """The best value of a column; None where fewer than two models have one."""
    rivals = [e.value for e in estimates if e is not None and e.value is not None]
    if len(rivals) < 2:
        return None
    return min(rivals) if column.lower_is_better else max(rivals)


def _notes(selection: Selection, tasks: dict[str, Task]) -> tuple[str, ...]:
    """What a reader must know of results that are shown: no outcomes, or no digests of them."""
    own = [e for e in selection.cells.values() if not e.result.provenance.scored_by]
    bare = [e.shown for e in own if not e.has_outcomes]
    found = [e for e in own if e.has_outcomes and e.result.digests is None]
    old = [e.shown for e in found if is_recomputed(e, tasks.get(e.result.task))]
    unknown = [e.shown for e in found if e.shown not in old]
    notes = []
    if bare:
        notes.append(
            f"shown without intervals, because the outcomes are missing: {_listed(bare)}; run the "
            "task again with --force"
        )
    if old:
        notes.append(
            f"written by version 0.1.0, without a digest of the outcomes: {_listed(old)}; their "
            "scores were compared with their outcomes, and their intervals computed again"
        )
    if unknown:
        notes.append(
            f"written by version 0.1.0, without a digest: {_listed(unknown)}; nothing could be "
            "compared, because their task, or that version of it, is not here"
        )
    return tuple(notes)


def _listed(files: Sequence[str]) -> str:
    more = len(files) - _NAMED
    return ", ".join(files[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _partial(selection: Selection, tasks: dict[str, Task]) -> tuple[str, ...]:
    """The measures on another number of examples than the published set has, with both numbers."""
    found = []
    for measure in selection.measures:
        entry, task = selection.any_entry(measure), tasks.get(measure.task)
        whole = task.whole_size(measure.protocol) if task else None
        own = entry.is_cut or entry.result.data.source == "demo"
        if whole is not None and entry.result.n != whole and not own:
            title = _title(selection, measure, task)
            found.append(f"{title} ({counted(entry.result.n, 'example')}, not {whole:,})")
    return tuple(found)


def _made_by_prefixes(selection: Selection) -> dict[str, Task]:
    """The PREFIX:ARG tasks whose outcomes are scored here; without one, values stand alone."""
    tasks = {}
    for name in {measure.task for measure in selection.measures if ":" in measure.task}:
        measure = next(m for m in selection.measures if m.task == name)
        if not selection.any_entry(measure).result.provenance.scored_by:
            with contextlib.suppress(BenchError):
                tasks[name] = load_task(name)
    return tasks


def _of_families(selection: Selection, tasks: dict[str, Task], asked: Sequence[str]) -> Selection:
    """The measures of these tasks and groups alone."""
    if not asked:
        return selection
    groups: dict[str, set[str]] = {}
    for name in {measure.task for measure in selection.measures}:
        for family in (name, *(tasks[name].group_names if name in tasks else ())):
            groups.setdefault(family.casefold(), set()).add(name)
    names = set[str]()
    for family in asked:
        if family.casefold() not in groups:
            raise registry.unknown("task or group", family, groups, "among these results")
        names |= groups[family.casefold()]
    measures = [measure for measure in selection.measures if measure.task in names]
    cells = {key: entry for key, entry in selection.cells.items() if key[1].task in names}
    rows = {row for row, _ in cells}
    return dataclasses.replace(
        selection,
        cells=cells,
        measures=measures,
        names={row: name for row, name in selection.names.items() if row in rows},
    )


def _of_rows(selection: Selection, rows: Sequence[RowKey]) -> Selection:
    """These models alone, in this order."""
    cells = {key: entry for key, entry in selection.cells.items() if key[0] in rows}
    there = {measure for _, measure in cells}
    return dataclasses.replace(
        selection,
        cells=cells,
        names={row: selection.names[row] for row in rows},
        measures=[measure for measure in selection.measures if measure in there],
    )


def _row(selection: Selection, asked: str) -> RowKey:
    """The row of a label, a name or a spec; its float32 one of several."""
    labels = {label: row for row, label in selection.names.items()}
    if asked in labels:
        return labels[asked]
    rows = [row for row in selection.aliases.get(asked, ()) if row in selection.names]
    if not rows:
        aliases = {
            name for name, found in selection.aliases.items() if {*found} & {*labels.values()}
        }
        raise registry.unknown("model", asked, {*labels, *aliases}, "on the board")
    return next((row for row in rows if row[1] == "float32"), rows[0])


def _baseline(selection: Selection, asked: str | None) -> RowKey | None:
    """The row that others are compared to.

    Where none is asked for: `clip`, else what most of the fine-tuned models here started from.
    """
    if asked is not None:
        return _row(selection, asked)
    models = {row: entry.result.model for (row, _), entry in selection.cells.items()}
    bases = Counter(model.base for model in models.values() if model.base is not None)
    for name in [BASELINE, *(base for base, _ in bases.most_common())]:
        if any(row in selection.names for row in selection.aliases.get(name, ())):
            return _row(selection, name)
    return None


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
                lower_is_better=bool(task and task.is_lower_better(score)),
                scored_by=result.provenance.scored_by,
            )
            for score in (result.scores if all_scores else board)
            if score in result.scores
        ]
    return columns


def _score_columns(
    selection: Selection, tasks: dict[str, Task], scores: Sequence[str]
) -> list[Column]:
    """A column a measure and score, of the tasks that have it; `UsageError` where none has."""
    columns = []
    for name in scores:
        found, wrong = [], dict[str, None]()
        for measure in selection.measures:
            result, task = selection.any_entry(measure).result, tasks.get(measure.task)
            score = name
            if name not in result.scores:
                # Another program's scores are those that it gave.
                if task is None or result.provenance.scored_by:
                    continue
                try:
                    score = _name_of(task, name)
                except UnknownScore:
                    continue
                except BenchError as error:
                    wrong[str(error)] = None
                    continue
            is_computed = score not in result.scores
            found.append(
                Column(
                    _title(selection, measure, task),
                    score,
                    (measure,),
                    lower_is_better=bool(task and task.is_lower_better(score)),
                    scored_by=result.provenance.scored_by,
                    is_computed=is_computed,
                )
            )
        if not found and wrong:
            raise UsageError(next(iter(wrong)))
        if not found:
            known = {score for e in selection.cells.values() for score in e.result.scores}
            known |= {str(metric) for metric, _ in all_metrics()[0] if metric.tasks}
            raise registry.unknown("score", name, known, "among these results")
        columns += found
    return columns


def _name_of(task: Task, name: str) -> str:
    """A score's name as the task spells it; `UsageError` where the task has no such score."""
    metric = task.metric(name)
    return str(metric) if isinstance(metric, Metric) else name


def _group_columns(selection: Selection, tasks: dict[str, Task]) -> list[tuple[Column, bool]]:
    """Means over groups that some model has whole; and whether every model has it whole.

    Only a group that says so has one. A mean is over whole sets that lie in one place (a
    folder, the hub, the demo world); where two places hold different sets, each has a column of
    its own.
    """
    found: list[tuple[Column, bool]] = []
    means = {g.name for task in tasks.values() for g in task.groups if _has_mean(g)}
    for group in sorted(means):
        members = [task for task in tasks.values() if group in task.group_names]
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


def _has_mean(group: Group | str) -> TypeGuard[Group]:
    return isinstance(group, Group) and group.has_mean


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
    # An external program is not asked for the task only to know its protocols.
    several = len(task.protocols) > 1 if task else not result.provenance.scored_by
    title = f"{measure.task} ({measure.protocol})" if several else measure.task
    tags = [f"first {result.limit}"] if selection.any_entry(measure).is_cut else []
    if sum(other[:2] == measure[:2] for other in selection.measures) > 1:
        tags += [f"n={result.n}"] * (not tags) + [f"data {measure.sha256[:6]}"]
    return f"{title} [{', '.join(tags)}]" if tags else title
