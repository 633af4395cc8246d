"""What a task measured, and the scores of it: with intervals, or as another program gave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import BenchError
from paraclip_bench.evaluation.details import details
from paraclip_bench.metrics.resampling import estimates
from paraclip_bench.metrics.statistic import Columns
from paraclip_bench.results.schema import Part, Score
from paraclip_bench.tasks.base import Embed, Examples, Task
from paraclip_bench.tasks.scored_elsewhere import Measured, ScoredElsewhere, Scores


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a result says of a task; columns are the outcomes, None where there are none."""

    scores: dict[str, Score]
    details: dict[str, list[Part]]
    columns: Columns | None
    scored_by: str = ""


def measure(task: Task, examples: Examples, embed: Embed) -> Columns | Measured:
    """Outcome columns of n rows with both ids, or the scores of a task that is scored elsewhere."""
    if isinstance(task, ScoredElsewhere):
        return task.measured(examples, embed)
    return _columns(task.outcomes(examples, embed), len(examples))


def score(task: Task, found: Columns | Measured, *, seed: int = 0) -> Scored:
    """The scores of what `measure` found; outcomes are resampled with `seed`."""
    if isinstance(found, Measured):
        if task.main_score not in found.scores:
            raise BenchError(f"{task.name}: its scores lack {task.main_score}, the main one")
        return Scored(
            _plain(found.scores),
            {
                kind: [Part(name=name, n=n, scores=_plain(s)) for name, (n, s) in parts.items()]
                for kind, parts in found.tables.items()
            },
            None,
            task.scored_by if isinstance(task, ScoredElsewhere) else "",
        )
    scores = {
        name: Score(**dataclasses.asdict(each))
        for name, each in estimates(task.scores, found, seed=seed).items()
    }
    return Scored(scores, details(task, found, seed=seed), found)


def _plain(scores: Scores) -> dict[str, Score]:
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
