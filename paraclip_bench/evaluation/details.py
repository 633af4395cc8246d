"""A task's scores within each subset, relation or whatever else its outcomes name."""

from __future__ import annotations

import dataclasses

import numpy as np

from paraclip_bench.metrics.resampling import estimates
from paraclip_bench.metrics.statistic import Columns, Statistic
from paraclip_bench.results.schema import Part, Score
from paraclip_bench.tasks.base import Task

MIN_CLUSTERS = 10
"""Parts of fewer clusters (images, say) have no interval.

With c clusters a mean's percentile interval is too narrow by about sqrt((c - 1) / c) x 1.96 / t, t
Student's with c - 1 degrees of freedom: a fifth at 10, nearly two fifths at 5. Nor is there reason
to draw thousands of times for each of VG-Attribution's pairs, most of which have one case or two.
"""


def details(task: Task, columns: Columns, *, seed: int = 0) -> dict[str, list[Part]]:
    """For each column of `task.breakdown`, its values by name: how many examples, which scores.

    A part's scores are those of its examples alone, as if they were the whole set, but for the
    interval, which takes `MIN_CLUSTERS`. A column with one value (no subsets are named) has no
    table; the empty value is nobody's.
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
            _part(name, {key: held[rows] for key, held in columns.items()}, statistics, seed)
            for name, rows in parts.items()
        ]
    return tables


def _part(name: str, columns: Columns, statistics: dict[str, Statistic], seed: int) -> Part:
    found = estimates(statistics, columns, seed=seed, min_clusters=MIN_CLUSTERS)
    return Part(
        name=name,
        n=len(columns["cluster_id"]),
        scores={score: Score(**dataclasses.asdict(each)) for score, each in found.items()},
    )
