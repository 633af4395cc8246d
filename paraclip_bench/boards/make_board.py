"""From results to a board: values, intervals, best of a column, differences to the baseline."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from paraclip_bench import registry
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.columns import choose_columns, contamination, partial_sets
from paraclip_bench.boards.content import BoardRow, Cell
from paraclip_bench.boards.estimates import ADJUST, Adjust, Estimates, Ranks
from paraclip_bench.boards.published_rows import check_which, published_rows
from paraclip_bench.boards.selection import (
    Column,
    Entry,
    Measure,
    Selection,
    choose_board_suite,
    group_seeds,
    is_recomputed,
    select,
)
from paraclip_bench.boards.views import find_view
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.files import slug
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.results.model_names import BASELINE, RowKey
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import all_tasks, load_task

_MOST_DECIMALS = 6
# So many files are named in a note.
_NAMED = 3


class BoardOptions(TypedDict, total=False):
    """What a board shows, and how.

    suite: needed where the folder has results of several. baseline: a model's name (default: `clip`
    where it has results, else the base that most checkpoints here were fine-tuned from).
    all_scores: every score of every task instead of those that tasks show by themselves. scores:
    these alone, of every task that has them; one that the results lack is computed from their
    outcomes. with_limits: also results made with a limit. reference: published numbers too,
    "matching" for those of measured models, or "all". tasks: besides the registered ones. adjust:
    how p is adjusted over all differences that are shown. models: these alone, by name or spec, in
    this order. families: these tasks or groups alone. sort: the order of the rows: "name", "rank",
    or TASK[:SCORE], the best first; by default the baseline and then the others by name. precision:
    decimals of scores x 100. caption: a sentence above the tables. each_seed: checkpoints that
    differ in their seed alone have a row each, and not one together. view: one of `VIEWS`: its
    columns in place of the tasks' own, the best first by its order.
    """

    suite: str | None
    baseline: str | None
    all_scores: bool
    with_limits: bool
    scores: Sequence[str]
    reference: str | None
    tasks: Sequence[Task]
    adjust: Adjust
    models: Sequence[str]
    families: Sequence[str]
    sort: str | None
    precision: int
    caption: str | None
    each_seed: bool
    view: str | None


def make_board(results: Path, **options: Unpack[BoardOptions]) -> Board:
    """Build the board of a results folder.

    Raises `UsageError` for an unknown suite, baseline, score, reference, model, family, order or
    view, or where there is nothing to show.
    """
    with no_collection():
        return _make_board(results, **options)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No search for cycles: many small objects are made, none in a cycle; it takes a third."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _make_board(results: Path, **options: Unpack[BoardOptions]) -> Board:
    baseline, reference = options.get("baseline"), options.get("reference")
    all_scores, scores = options.get("all_scores", False), options.get("scores", ())
    adjust, models = options.get("adjust", "holm"), options.get("models", ())
    if reference is not None:
        check_which(reference)
    if adjust not in ADJUST:
        raise registry.unknown("adjustment", adjust, ADJUST, "of p-values")
    precision, caption = options.get("precision", 1), options.get("caption")
    if not isinstance(precision, int) or not 0 <= precision <= _MOST_DECIMALS:
        raise UsageError(
            f"a precision of {precision!r} is not one of 0 to {_MOST_DECIMALS} decimals"
        )
    if caption is not None and not isinstance(caption, str):
        raise UsageError(f"a caption is a text, and not {caption!r}")
    if all_scores and scores:
        raise UsageError("--all shows every score and --score some; give one of them")
    view = None if (view_name := options.get("view")) is None else find_view(view_name)
    if view is not None and (all_scores or scores):
        raise UsageError("--view has scores of its own; leave --all and --score out")
    suite = choose_board_suite(results, options.get("suite"))
    known = {task.name: task for task in (*all_tasks()[0], *options.get("tasks", ()))}
    with_limits = options.get("with_limits", False)
    named = [*models, *([baseline] if baseline is not None and models else [])]
    selection = select(
        results,
        suite,
        with_limits=with_limits,
        tasks=known,
        only=named,
        reworded=view is not None,
    )
    selection = group_seeds(selection)
    each_seed = options.get("each_seed", False)
    if not selection.cells:
        raise UsageError(
            f"no result of suite {suite} can be shown ({selection.left_out[0]}); make some with run"
        )
    known = _made_by_prefixes(selection) | known
    families = options.get("families", ())
    if view is not None:
        view, families = view.only(families)
        selection = _of_measures(selection, view.measures(selection, known))
        if not selection.cells:
            said = f"no result of suite {suite} is of view {view.name}; make some with run"
            raise UsageError(with_left_out(said, selection.left_out))
    selection = _of_families(selection, known, families)
    if models:
        asked = [baseline, *models] if baseline is not None else list(models)
        rows_asked = [_row(selection, name) for name in asked]
        if each_seed:
            rows_asked = [run for row in rows_asked for run in selection.runs(row)]
        selection = _of_rows(selection, list(dict.fromkeys(rows_asked)))
    about = tuple[str, ...]()
    if view is None:
        columns = choose_columns(selection, known, scores, all_scores=all_scores)
    else:
        columns, about = view.columns(selection, known)
    base = _baseline(selection, baseline)
    if each_seed:
        if len(several := selection.runs(base) if base is not None else ()) > 1:
            listed = ", ".join(selection.alone[run] for run in several)
            raise UsageError(f"{baseline} is several checkpoints here; choose one of {listed}")
        selection = _apart(selection)
    if base is not None and base not in selection.names:
        names = {**selection.names, base: selection.alone[base]}
        selection = dataclasses.replace(selection, names=names)
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
    sort = options.get("sort")
    ranks, notes = Ranks({}, {}), list[str]()
    if view is not None:
        ranks, notes = view.order(table, columns, {row: selection.names[row] for row in order})
        notes = [*view.absent(columns, suite, known), *notes]
        if sort is None and ranks.worst and not models:
            sort = "rank"
    # Of two models, nobody asks for a mean rank; see `BoardContent.ranked`.
    elif len(order) > 2 or sort == "rank":
        ranks = table.ranks(columns, order)
    if sort is not None:
        order = _sorted(sort, order, columns, values, selection.names, ranks)
    rows = []
    for row in order:
        cells: list[Cell | None] = []
        for index, estimate in enumerate(values[row]):
            if estimate is None:
                cells.append(None)
                continue
            is_best = estimate.value is not None and estimate.value == best[index]
            is_tied = not is_best and (index, row) in ties
            seeds = table.seeds(columns[index], row)
            cells.append(Cell(estimate, differences.get((index, row)), is_best, is_tied, seeds))
        runs = len(selection.runs(row))
        rank = ranks.worst.get(row)
        rows.append(BoardRow(selection.names[row], *row, tuple(cells), rank, runs))
    return Board(
        suite,
        tuple(sorted({entry.result.data.source for entry in selection.cells.values()})),
        None if base is None else selection.names[base],
        tuple(columns),
        tuple(rows),
        (*selection.left_out, *table.not_computed),
        None if reference is None else published_rows(selection, columns, reference),
        partial_sets(selection, known),
        (*_notes(selection, known), *contamination(columns, known), *notes),
        adjust,
        precision,
        caption,
        selection.cells,
        selection.members,
        None if view is None else view.shown(about, ranks, order),
    )


def _sorted(
    sort: str,
    rows: Sequence[RowKey],
    columns: Sequence[Column],
    values: Mapping[RowKey, Sequence[Estimate | None]],
    names: Mapping[RowKey, str],
    ranks: Ranks,
) -> list[RowKey]:
    """The rows in an order that is asked for; those without such a value last."""
    keys: dict[RowKey, tuple[float, ...] | None]
    if sort == "name":
        return sorted(rows, key=lambda row: names[row].casefold())
    if sort == "rank":
        if not ranks.worst:
            raise UsageError(
                "fewer than two models have a result in every column, so that there is no mean "
                "rank to sort by; choose another order, or some columns with --family"
            )
        keys = {row: ranks.key(row) for row in rows}
    else:
        known: dict[str, int] = {}
        # A task's name means its plain results, where it has such.
        numbered = sorted(enumerate(columns), key=lambda c: c[1].measures[0].perturbation != "")
        for index, column in numbered:
            tasks = [column.title, column.title.partition(" (")[0]]
            # A group's mean is not the score of its first task.
            tasks += [] if column.is_group else [column.measures[0].task]
            for name in (*tasks, *(f"{task}:{column.score}" for task in tasks), column.score):
                known.setdefault(name, index)
        if sort not in known:
            raise registry.unknown("order", sort, {"name", "rank", *known}, "of this board")
        sign = 1 if columns[known[sort]].lower_is_better else -1
        found = {row: _value(values[row][known[sort]]) for row in rows}
        keys = {row: None if value is None else (sign * value,) for row, value in found.items()}
    return sorted(rows, key=lambda row: (keys[row] is None, keys[row] or ()))


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _best(column: Column, estimates: Sequence[Estimate | None]) -> float | None:
    """The best value of a column; None where fewer than two models have one, or none is better."""
    if not column.is_judged:
        return None
    rivals = [e.value for e in estimates if e is not None and e.value is not None]
    if len(rivals) < 2:
        return None
    return min(rivals) if column.lower_is_better else max(rivals)


def _notes(selection: Selection, tasks: dict[str, Task]) -> tuple[str, ...]:
    """What a reader must know of results that are shown: no outcomes, or no digests of them."""
    own = [e for e in selection.cells.values() if not e.result.provenance.scored_by]
    bare = [e.shown for e in own if not e.has_outcomes and e.result.perturbation is None]
    untested = [e.shown for e in own if e.result.perturbation is not None and e.kept is None]
    found = [e for e in own if e.has_outcomes and e.result.digests is None]
    old = [e.shown for e in found if is_recomputed(e, tasks.get(e.result.task))]
    unknown = [e.shown for e in found if e.shown not in old]
    notes = []
    labels = selection.alone | selection.names
    known = [
        f"{labels.get(row, entry.result.model.name)} on {entry.result.task} ({said})"
        for (row, _), entry in selection.cells.items()
        if (said := _trained_on(entry))
    ]
    if known:
        notes.append(f"trained on some of what they are measured on: {_listed(known)}")
    if bare:
        notes.append(
            f"shown without intervals, because the outcomes are missing: {_listed(bare)}; run the "
            "task again with --force"
        )
    if untested:
        notes.append(
            "shown without verdicts and ranks, because what was kept beside them is missing: "
            f"{_listed(untested)}; run the task again with --perturb and --force"
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


def _trained_on(entry: Entry) -> str:
    """How many texts and images of a result its model was trained on; empty where none is known."""
    found = entry.result.data.notes
    kinds = {"text": found.get("texts_in_training"), "image": found.get("images_in_training")}
    return " and ".join(counted(n, kind) for kind, n in kinds.items() if isinstance(n, int) and n)


def _listed(files: Sequence[str]) -> str:
    more = len(files) - _NAMED
    return ", ".join(files[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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
            raise _unknown(selection, "task or group", family, groups, "among these results")
        names |= groups[family.casefold()]
    return _of_measures(selection, {m for m in selection.measures if m.task in names})


def _of_measures(selection: Selection, kept: set[Measure]) -> Selection:
    """These measures alone, and the models that have a result of them."""
    measures = [measure for measure in selection.measures if measure in kept]
    cells = {key: entry for key, entry in selection.cells.items() if key[1] in kept}
    there = {row for row, _ in cells}
    return dataclasses.replace(
        selection,
        cells=cells,
        measures=measures,
        names={
            row: name for row, name in selection.names.items() if there & {*selection.runs(row)}
        },
        alone={row: name for row, name in selection.alone.items() if row in there},
    )


def _apart(selection: Selection) -> Selection:
    """A row for each of several seeds."""
    names = {row: name for row, name in selection.names.items() if row not in selection.members}
    shown = {
        run for row in selection.members if row in selection.names for run in selection.runs(row)
    }
    names |= {run: name for run, name in selection.alone.items() if run in shown}
    return dataclasses.replace(selection, names=names, members={})


def _of_rows(selection: Selection, rows: Sequence[RowKey]) -> Selection:
    """These models alone, in this order."""
    runs = {run for row in rows for run in selection.runs(row)}
    cells = {key: entry for key, entry in selection.cells.items() if key[0] in runs}
    there = {measure for _, measure in cells}
    return dataclasses.replace(
        selection,
        cells=cells,
        names={row: selection.names.get(row) or selection.alone[row] for row in rows},
        measures=[measure for measure in selection.measures if measure in there],
    )


def _row(selection: Selection, asked: str) -> RowKey:
    """The row of a label, a name or a spec; its float32 one of several.

    A checkpoint of several seeds can be named alone.
    """
    labels = {label: row for row, label in (selection.alone | selection.names).items()}
    if asked in labels:
        return labels[asked]
    known = {*selection.names, *selection.alone}
    rows = [row for row in selection.aliases.get(asked, ()) if row in known]
    if not rows:
        aliases = {
            name for name, found in selection.aliases.items() if {*found} & {*labels.values()}
        }
        raise _unknown(selection, "model", asked, {*labels, *aliases}, "on the board")
    return next((row for row in rows if row[1] == "float32"), rows[0])


def _unknown(
    selection: Selection, kind: str, asked: str, known: Iterable[str], where: str
) -> UsageError:
    """The error for a name that is not there, which may be one whose results are left out."""
    error = registry.unknown(kind, asked, known, where)
    return UsageError(with_left_out(str(error), selection.left_out, asked))


def with_left_out(said: str, left_out: Sequence[str], asked: str = "") -> str:
    """A sentence on what is not there, and how many results are left out, with one of them.

    asked: the model or task; one of its own results is named, where one is left out.
    """
    if not left_out:
        return said
    own = re.compile(rf"(?:^|/){re.escape(slug(asked))}(?:/|\.)", re.IGNORECASE)
    first = next((line for line in left_out if own.search(line)), left_out[0])
    start = " Left" if said.endswith("?") else "; left"
    return f"{said}{start} out of this board: {counted(len(left_out), 'result')}, such as {first}"


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
