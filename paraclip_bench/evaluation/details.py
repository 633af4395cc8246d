"""A task's scores within each subset, relation or whatever else its outcomes name."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from paraclip_bench.metrics.resampling import estimate
from paraclip_bench.metrics.statistic import Columns
from paraclip_bench.results.schema import Part, Score
from paraclip_bench.tasks.base import Task


def details(task: Task, columns: Columns, *, seed: int = 0) -> dict[str, list[Part]]:
    """For each column of `task.breakdown`, its values by name: how many examples, which scores.

    A column with one value (no subsets are named) has no table; the empty value is nobody's.
    """
    tables = {}
    for column, names in task.breakdown.items():
        values = columns[column].astype(str)
        parts = sorted(set(values.tolist()) - {""})
        if len(parts) < 2:
            continue
        tables[column] = [_part(task, columns, values == part, part, names, seed) for part in parts]
    return tables


def _part(
    task: Task,
    columns: Columns,
    inside: npt.NDArray[np.bool_],
    name: str,
    scores: tuple[str, ...],
    seed: int,
) -> Part:
    rows = {key: values[inside] for key, values in columns.items()}
    estimates = {score: estimate(task.scores[score], rows, seed=seed) for score in scores}
    return Part(
        name=name,
        n=int(inside.sum()),
        scores={score: Score(**dataclasses.asdict(found)) for score, found in estimates.items()},
    )
