"""Which columns a board has: the scores that tasks show, those asked for, and means of groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from paraclip_bench import registry
from paraclip_bench.boards.selection import Column, Measure, Selection
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.metrics.metric import Metric
from paraclip_bench.results.schema import Result
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Group, Task, UnknownScore
from paraclip_bench.tasks.catalog import all_metrics


def choose_columns(
    selection: Selection, tasks: dict[str, Task], scores: Sequence[str], *, all_scores: bool
) -> list[Column]:
    """The columns of a board, by family, each in the order in which its family first appears.

    scores: these alone, of every task that has them. all_scores: every score of every task instead
    of those that tasks show. Raises `UsageError` where no result has a score that is asked for.
    """
    if scores:
        columns = _score_columns(selection, tasks, scores)
    else:
        columns = _columns(selection, tasks, all_scores)
    columns = [dataclasses.replace(column, family=_family(column, tasks)) for column in columns]
    order = {family: i for i, family in enumerate(dict.fromkeys(c.family for c in columns))}
    return sorted(columns, key=lambda column: order[column.family])


def _family(column: Column, tasks: Mapping[str, Task]) -> str:
    """The first group of a column's task, or the task itself."""
    name = column.measures[0].task
    groups = tasks[name].group_names if name in tasks else ()
    return next(iter(groups), name)


def _columns(selection: Selection, tasks: dict[str, Task], all_scores: bool) -> list[Column]:
    groups = group_columns(selection, tasks)
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
                title_of(selection, measure, task),
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
                    title_of(selection, measure, task),
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


def group_columns(
    selection: Selection, tasks: Mapping[str, Task], reworded: str = "", end: str = ""
) -> list[tuple[Column, bool]]:
    """Means over groups that some model has whole; and whether every model has it whole.

    reworded: the perturbation that they are under, by name; end: what follows the main score's
    name. Only a group that says so has one. A mean is over whole sets that lie in one place (a
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
            measures = tuple(
                m
                for m in selection.measures
                if m in there and m[:2] in wanted and m.perturbation == reworded
            )
            if len({m[:2] for m in measures}) < len(members) or len(members) < 2:
                continue
            # Of several versions in one place, the one that most models were run on.
            measures = tuple(next(m for m in measures if m[:2] == name) for name in wanted)
            title = f"{group} (mean of {len(members)}){_under(reworded)}"
            column = Column(title, members[0].main_score + end, measures)
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


def title_of(selection: Selection, measure: Measure, task: Task | None) -> str:
    """The task and what rewords it; its protocol and data where there are several; its limit."""
    result = selection.any_entry(measure).result
    # An external program is not asked for the task only to know its protocols.
    several = len(task.protocols) > 1 if task else not result.provenance.scored_by
    title = f"{measure.task} ({measure.protocol})" if several else measure.task
    title += _under(measure.perturbation)
    tags = [f"first {result.limit}"] if selection.any_entry(measure).is_cut else []
    kind = (*measure[:2], measure.perturbation)
    if sum((*other[:2], other.perturbation) == kind for other in selection.measures) > 1:
        tags += [f"n={result.n}"] * (not tags) + [f"data {measure.sha256[:6]}"]
    return f"{title} [{', '.join(tags)}]" if tags else title


def _under(perturbation: str) -> str:
    """What the title of a column under a perturbation ends with, as a run says it."""
    return f" ~ {perturbation}" if perturbation else ""


def contamination(columns: Sequence[Column], tasks: Mapping[str, Task]) -> list[str]:
    """What is known of models that have seen the data of a column, each sentence once."""
    seen: dict[str, dict[str, None]] = {}
    for name in [measure.task for column in columns for measure in column.measures]:
        task = tasks.get(name)
        if task is not None and task.data_set is not None and task.data_set.contamination:
            seen.setdefault(task.data_set.contamination, {})[name] = None
    return [f"{', '.join(names)}: {said}" for said, names in seen.items()]


def partial_sets(selection: Selection, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """The measures on another number of examples than the published set has, with both numbers."""
    found = []
    for measure in selection.measures:
        entry, task = selection.any_entry(measure), tasks.get(measure.task)
        whole = task.whole_size(measure.protocol) if task else None
        own = entry.is_cut or entry.result.data.source == "demo" or measure.perturbation
        if whole is not None and entry.result.n != whole and not own:
            title = title_of(selection, measure, task)
            found.append(f"{title} ({counted(entry.result.n, 'example')}, not {whole:,})")
    return tuple(found)
