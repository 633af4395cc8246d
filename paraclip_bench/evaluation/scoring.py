"""What a task measured, and its scores with intervals, of the whole and of each part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import BenchError
from paraclip_bench.metrics.inference import Contributions, Estimate, estimates
from paraclip_bench.metrics.metric import Columns, Statistic
from paraclip_bench.results.schema import Part, Score
from paraclip_bench.tasks.base import (
    Embed,
    Examples,
    ExternallyMeasured,
    ExternallyScoredTask,
    ExternalScores,
    Task,
)


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a result says of a task; columns are the outcomes, None where there are none.

    contributions: what each block of clusters adds to a score, of those that have an interval.
    """

    scores: dict[str, Score]
    details: dict[str, list[Part]]
    columns: Columns | None
    scored_by: str = ""
    contributions: Mapping[str, Contributions] = dataclasses.field(default_factory=dict)


def measure(task: Task, examples: Examples, embed: Embed) -> Columns | ExternallyMeasured:
    """Outcome columns of n rows with both ids, or the scores of an externally scored task."""
    if isinstance(task, ExternallyScoredTask):
        return task.measured(examples, embed)
    return _columns(task.outcomes(examples, embed), len(examples))


def score(task: Task, found: Columns | ExternallyMeasured) -> Scored:
    """The scores of what `measure` found, with intervals where there are outcomes."""
    if isinstance(found, ExternallyMeasured):
        if task.main_score not in found.scores:
            raise BenchError(f"{task.name}: its scores lack {task.main_score}, the main one")
        return Scored(
            _plain(found.scores),
            {
                kind: [Part(name=name, n=n, scores=_plain(s)) for name, (n, s) in parts.items()]
                for kind, parts in found.tables.items()
            },
            None,
            task.scored_by if isinstance(task, ExternallyScoredTask) else "",
        )
    scores, contributions, _ = estimates(task.scores_of(found), found)
    return Scored(
        {name: score_of(each) for name, each in scores.items()},
        details(task, found),
        found,
        contributions=contributions,
    )


def score_of(found: Estimate) -> Score:
    """An estimate as a result holds it."""
    return Score(**dataclasses.asdict(found))


def _plain(scores: ExternalScores) -> dict[str, Score]:
    return {name: Score(value=value, low=None, high=None) for name, value in scores.items()}


def _columns(raw: Mapping[str, Any], n: int) -> dict[str, npt.NDArray[Any]]:
    """Outcome columns as arrays of n rows, with the ids that a task may leave out."""
    columns = {name: np.asarray(values) for name, values in raw.items()}
    for name in ("example_id", "cluster_id"):
        columns.setdefault(name, np.array([str(i) for i in range(n)], dtype=object))
    for name, values in columns.items():
        if len(values) != n:
            raise BenchError(f"outcome column {name!r} has {len(values)} rows for {n} examples")
    first = ("example_id", "cluster_id")
    return {name: columns[name] for name in (*first, *(c for c in columns if c not in first))}


def details(task: Task, columns: Columns) -> dict[str, list[Part]]:
    """For each column of `task.breakdown`, its values by name: how many examples, which scores.

    A part's scores are those of its examples alone, as if they were the whole set. A column with
    one value (no subsets are named) has no table; the empty value is nobody's.
    """
    tables = {}
    for column, names in task.breakdown.items():
        values, which = np.unique(columns[column].astype(str), return_inverse=True)
        # One sort for all parts: a mask for each costs seconds where there are thousands.
        places = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
        parts = {name: rows for name, rows in zip(values.tolist(), places, strict=True) if name}
        if len(parts) < 2:
            continue
        statistics = {name: task.scores[name] for name in names}
        tables[column] = [
            _part(name, {key: held[rows] for key, held in columns.items()}, statistics)
            for name, rows in parts.items()
        ]
    return tables


def _part(name: str, columns: Columns, statistics: dict[str, Statistic]) -> Part:
    found, _, _ = estimates(statistics, columns)
    return Part(
        name=name,
        n=len(columns["cluster_id"]),
        scores={score: score_of(each) for score, each in found.items()},
    )
