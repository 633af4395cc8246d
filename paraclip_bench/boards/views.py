"""Views: named selections of columns that answer one question, in families that each rank models.

A family of columns alone may be won by a model that does nothing: one that ignores words agrees
with itself under any wording. So a view ranks models by the worst of their mean ranks over the
columns of each family.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from paraclip_bench import registry
from paraclip_bench.boards.columns import group_columns, title_of
from paraclip_bench.boards.estimates import Estimates, Ranks
from paraclip_bench.boards.selection import Column, Measure, Selection
from paraclip_bench.evaluation.perturbed import DROP
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.results.model_names import RowKey
from paraclip_bench.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class ViewPart:
    """Scores of some tasks that belong in a view.

    family: the family of columns. tasks: tasks and groups, by name. about: what the scores are, for
    the legend. scores: their names; the task's main one where there are none. protocol: that one
    alone. reworded: under any perturbation, the scores with these ends of their names ("" is the
    level); of plain results where there are none. is_judged: see `Column`.
    """

    family: str
    tasks: tuple[str, ...]
    about: str
    scores: tuple[str, ...] = ()
    protocol: str = ""
    reworded: tuple[str, ...] = ()
    is_judged: bool = True


_SETS = ("paraphrased-retrieval", "paraphrase-sets")
_ROBUSTNESS = (
    ViewPart(
        "invariance",
        _SETS,
        "how alike the first images of a query and of its paraphrase are",
        ("ao@10", "js@10", "rbo@10"),
    ),
    ViewPart(
        "invariance",
        _SETS,
        "how often a query, and its paraphrase, finds its image",
        ("recall@10/query", "recall@10/paraphrase"),
    ),
    ViewPart(
        "invariance",
        _SETS,
        "the same with reworded queries, and what is lost by it",
        ("recall@10/query",),
        reworded=("", DROP),
    ),
    ViewPart(
        "invariance",
        ("sts",),
        "what similarity to people's ratings loses with reworded sentences",
        reworded=(DROP,),
    ),
    ViewPart(
        "sensitivity",
        _SETS,
        "how much less a negated query finds the image than the query, and how often the image "
        "is nearer to the query than to its negation",
        ("recall_fall@10", "query_over_negation"),
    ),
    ViewPart(
        "sensitivity",
        _SETS,
        "how often a negated query finds the image, which tells nothing by itself, so that it "
        "does not count",
        ("recall@10/negation",),
        is_judged=False,
    ),
    ViewPart("sensitivity", ("negbench",), "the right one of captions with negations"),
    ViewPart(
        "sensitivity",
        ("sugarcrepe-pp",),
        "captions of one meaning told from a third of nearly the same words",
        protocol="tot",
    ),
    ViewPart("sensitivity", ("sts",), "similarity to people's ratings of sentence pairs"),
    ViewPart(
        "sensitivity",
        ("vg-relation", "vg-attribution"),
        "the caption with the right order told from the other",
    ),
)


@dataclasses.dataclass(frozen=True)
class ShownView:
    """A view as a board shows it.

    ranks: by family each row's mean rank, in the board's order of rows; empty where nothing can be
    ranked. about: what the columns are, a phrase each.
    """

    name: str
    ranks: Mapping[str, tuple[Estimate | None, ...]]
    about: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """A view's parts; its columns stand in their order. families: all that it has."""

    name: str
    parts: tuple[ViewPart, ...]
    families: tuple[str, ...]

    def only(self, asked: Sequence[str]) -> tuple[View, list[str]]:
        """The view with those of its families that are asked for, if any; and what else is."""
        own = {name.casefold() for name in asked} & {*self.families}
        others = [name for name in asked if name.casefold() not in own]
        parts = tuple(part for part in self.parts if not own or part.family in own)
        return dataclasses.replace(self, parts=parts), others

    def measures(self, selection: Selection, tasks: Mapping[str, Task]) -> set[Measure]:
        """The measures that any part is of."""
        return {m for part in self.parts for m in _scores_of(part, selection, tasks)}

    def columns(
        self, selection: Selection, tasks: Mapping[str, Task]
    ) -> tuple[list[Column], tuple[str, ...]]:
        """The columns for which there are results, by family; and what they are, a phrase each."""
        found: list[Column] = []
        about = list[str]()
        for part in self.parts:
            columns = list(_columns_of(part, selection, tasks))
            found += columns
            if columns:
                names = ", ".join(dict.fromkeys(column.score for column in columns))
                of = "" if part.scores else f" of {', '.join(_tasks_shown(columns))}"
                about.append(f"{names}{of}: {part.about}")
        titles = [*dict.fromkeys(column.title for column in found)]
        found.sort(key=lambda c: (self.families.index(c.family), titles.index(c.title)))
        return found, tuple(about)

    def absent(self, columns: Sequence[Column], suite: str, tasks: Mapping[str, Task]) -> list[str]:
        """What has no column, each with the command that makes its results."""
        return [line for part in self.parts for line in _absent(part, columns, suite, tasks)]

    def order(
        self, table: Estimates, columns: Sequence[Column], names: Mapping[RowKey, str]
    ) -> tuple[Ranks, list[str]]:
        """Each row's mean ranks; and which rows have none, and why."""
        judged = [column for column in columns if column.is_judged]
        drawn = [c for c in judged if any(table.runs(c, row) for row in names)]
        bare = [f"{c.title} {c.score}" for c in judged if c not in drawn]
        notes = [f"not in the ranks, because no model has an interval: {', '.join(bare)}"]
        notes, judged = notes * bool(bare), drawn
        if lacking := [f for f in self.families if f not in {c.family for c in judged}]:
            return Ranks({}, {}), [
                *notes,
                "the models are in no order: that needs columns of "
                f"{' and of '.join(self.families)}, and there is none of {' or '.join(lacking)}",
            ]
        ranks = table.ranks(judged, list(names), by_family=True)
        if not ranks.worst and len(names) > 1:
            return ranks, [
                *notes,
                "the models are in no order, because fewer than two have an interval in every "
                "column; choose some with --family or --models",
            ]
        without = [name for row, name in names.items() if row not in ranks.worst]
        if without and len(names) > 1:
            said = "without a rank, because they have no interval in some column"
            notes.append(f"{said}: {', '.join(without)}")
        return ranks, notes

    def shown(self, about: tuple[str, ...], ranks: Ranks, rows: Sequence[RowKey]) -> ShownView:
        """What the board holds of it."""
        by_family = ranks.by_family.items()
        found = {family: tuple(own.get(row) for row in rows) for family, own in by_family}
        return ShownView(self.name, found, about)


VIEWS: Mapping[str, View] = {
    "robustness": View("robustness", _ROBUSTNESS, ("invariance", "sensitivity"))
}


def find_view(name: str) -> View:
    """The view of that name; `UsageError` names those that there are."""
    if name not in VIEWS:
        raise registry.unknown("view", name, VIEWS, "of a board")
    return VIEWS[name]


def _scores_of(
    part: ViewPart, selection: Selection, tasks: Mapping[str, Task]
) -> dict[Measure, tuple[str, ...]]:
    """The measures that a part is of, each with those of the part's scores that results have."""
    known: dict[Measure, dict[str, None]] = {}
    for (_, measure), entry in selection.cells.items():
        if not _is_of(part, measure.task, tasks) or part.protocol not in ("", measure.protocol):
            continue
        if bool(measure.perturbation) == bool(part.reworded):
            names = part.scores or (entry.result.main_score,)
            wanted = [name + end for name in names for end in part.reworded or ("",)]
            there = known.setdefault(measure, {})
            there |= {name: None for name in wanted if name in entry.result.scores}
    return {measure: tuple(known[measure]) for measure in selection.measures if known.get(measure)}


def _tasks_shown(columns: Sequence[Column]) -> list[str]:
    names = [c.title.partition(" (")[0] if c.is_group else c.measures[0].task for c in columns]
    return list(dict.fromkeys(names))


def _columns_of(
    part: ViewPart, selection: Selection, tasks: Mapping[str, Task]
) -> Iterator[Column]:
    """The columns of a part; the mean of a group in place of its members, as on any board."""
    measures = _scores_of(part, selection, tasks)
    hidden = set[tuple[Measure, str]]()
    for reworded in dict.fromkeys(measure.perturbation for measure in measures):
        for end in part.reworded or ("",):
            # A mean is of main scores.
            groups = [] if part.scores else group_columns(selection, tasks, reworded, end)
            for column, is_whole in groups:
                if not {*column.measures} <= {*measures} or not _is_one(column, selection):
                    continue
                yield _told(part, column, tasks, end)
                hidden |= {(m, column.score) for m in column.measures} if is_whole else set()
    for measure, scores in measures.items():
        title = title_of(selection, measure, tasks.get(measure.task))
        by = selection.any_entry(measure).result.provenance.scored_by
        for score in scores:
            if (measure, score) not in hidden:
                end = DROP if part.reworded and score.endswith(DROP) else ""
                yield _told(part, Column(title, score, (measure,), scored_by=by), tasks, end)


def _is_one(column: Column, selection: Selection) -> bool:
    """Whether one perturbation reworded all that a mean is over, not several of one name."""
    results = [selection.any_entry(measure).result for measure in column.measures]
    return len({r.perturbation and r.perturbation.digest for r in results}) == 1


def _told(part: ViewPart, column: Column, tasks: Mapping[str, Task], end: str) -> Column:
    """A column with its family and direction: less of a drop is better, of what is better high."""
    task = tasks.get(column.measures[0].task)
    is_lower = bool(task and task.is_lower_better(column.score.removesuffix(end)))
    return dataclasses.replace(
        column,
        family=part.family,
        lower_is_better=is_lower != (end == DROP),
        is_judged=part.is_judged,
    )


def _is_of(part: ViewPart, name: str, tasks: Mapping[str, Task]) -> bool:
    groups = tasks[name].group_names if name in tasks else ()
    return bool({name, *groups} & {*part.tasks})


def _absent(
    part: ViewPart, columns: Sequence[Column], suite: str, tasks: Mapping[str, Task]
) -> Iterator[str]:
    """What a part lacks where it has no column, and the command; nothing where it has one."""
    own = [task for task in tasks.values() if _is_of(part, task.name, tasks)]
    scores = dict.fromkeys(name for t in own for name in part.scores or (t.main_score,))
    wanted = [name + end for name in scores for end in part.reworded or ("",)]
    is_there = any(
        column.score in wanted
        and column.family == part.family
        and _is_of(part, column.measures[0].task, tasks)
        and bool(column.measures[0].perturbation) == bool(part.reworded)
        for column in columns
    )
    # A score that this version's tasks do not have is not to be had.
    if is_there or not any({*part.scores} <= {*task.scores} for task in own):
        return
    runs = [task for task in own if suite in task.suites]
    names = [n for n in part.tasks if any(n in (t.name, *t.group_names) for t in runs)]
    said = f"not here: {part.about} ({', '.join(wanted)} of {' or '.join(part.tasks)})"
    if not names:
        yield f"{said}; suite {suite} has no such task"
        return
    words = ["run", "--model MODEL", *(f"--task {name}" for name in names)]
    words += [] if suite == "paper" else [f"--suite {suite}"]
    needs_folder = suite == "paper" and all(task.pin is None for task in runs)
    words += ["--data-dir DIR"] * needs_folder + ["--perturb edits"] * bool(part.reworded)
    yield f"{said}; make it with `paraclip-bench {' '.join(words)}`"
