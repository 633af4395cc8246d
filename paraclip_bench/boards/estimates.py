"""Values, intervals, differences and verdicts of a board, from what is kept beside each result."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from paraclip_bench.boards.selection import (
    Column,
    Entry,
    Measure,
    Selection,
    can_compute,
)
from paraclip_bench.errors import DataError, reason_of
from paraclip_bench.metrics.comparison_tests import (
    Pair,
    hochberg,
    holm,
    paired,
    smallest_difference,
)
from paraclip_bench.metrics.correlation import ranks_within
from paraclip_bench.metrics.inference import (
    ANY,
    Contributions,
    Estimate,
    around,
    bounds_of,
    estimates,
    mean_of_seeds,
    mean_of_tasks,
    reaches,
    score_with_interval,
    spread,
)
from paraclip_bench.metrics.metric import Floats, Metric, Resampled, Statistic, TooShallow
from paraclip_bench.results.contributions import Kept, keep
from paraclip_bench.results.model_names import RowKey
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import header_of, outcomes_state, read_outcomes
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Task

Adjust = Literal["holm", "bh", "none"]
ADJUST: tuple[Adjust, ...] = ("holm", "bh", "none")
ALPHA = 0.05
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"


@dataclasses.dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference to the baseline, and what is said of it.

    p: two-sided, of this difference alone. adjusted: over all differences that are shown. verdict:
    better, worse or no clear difference, by the adjusted p at 0.05; empty without a test.
    smallest: the difference that the test would have shown in four of five such sets.
    """

    p: float | None = None
    adjusted: float | None = None
    verdict: str = ""
    smallest: float | None = None


class Ranks(NamedTuple):
    """By row: the worst of a row's mean ranks, and by family each of them."""

    worst: dict[RowKey, Estimate]
    by_family: dict[str, dict[RowKey, Estimate]]

    def key(self, row: RowKey) -> tuple[float, ...] | None:
        """What rows are sorted by: the worst, of equal ones the sum; None without a rank."""
        found = [ranks[row].value or 0.0 for ranks in self.by_family.values() if row in ranks]
        return (max(found), sum(found)) if found else None


class Estimates:
    """Cells of a board; what is not kept yet is computed from outcomes once, and kept."""

    def __init__(
        self, selection: Selection, tasks: Mapping[str, Task], baseline: RowKey | None
    ) -> None:
        self._selection = selection
        self._tasks = tasks
        self._baseline = baseline
        self.not_computed: dict[str, None] = {}
        self._kept: dict[Path, Kept] = {}
        self._newest: dict[Measure, Entry] = {}
        for entry in selection.cells.values():
            if entry.has_outcomes:
                older = self._newest.setdefault(entry.measure, entry)
                if entry.result.provenance.time > older.result.provenance.time:
                    self._newest[entry.measure] = entry
        # By path: an entry holds what cannot be a key.
        self._found: dict[tuple[Path, str], Contributions | None] = {}
        # With their column, so that no other one gets its number.
        self._cells: dict[tuple[int, RowKey], tuple[Column, Estimate | None]] = {}
        self._runs: dict[tuple[int, RowKey], tuple[Column, tuple[Contributions, ...] | None]] = {}
        self._made: dict[tuple[Path, str], tuple[float | None, Contributions | None]] = {}
        self._outcomes = functools.lru_cache(maxsize=8)(read_outcomes)

    def cell(self, column: Column, row: RowKey) -> Estimate | None:
        """Value and interval, or None where this model has no such result.

        Of several seeds the mean over those that have one; examples and seeds are both in its
        interval.
        """
        key = (id(column), row)
        if key not in self._cells:
            self._cells[key] = (column, self._of_seeds(column, row))
        return self._cells[key][1]

    def _of_seeds(self, column: Column, row: RowKey) -> Estimate | None:
        cells = [self._cell(column, run) for run in self._selection.runs(row)]
        found = [each for each in cells if each is not None]
        if len(found) < 2:
            return found[0] if found else None
        values = [each.value for each in found if each.value is not None]
        if len(values) < len(found):
            return Estimate(None, None, None)
        value, runs = float(np.mean(values)), self.runs(column, row)
        if runs is None:
            return Estimate(value, None, None)
        return score_with_interval(value, runs, self._bounds(column))

    def seeds(self, column: Column, row: RowKey) -> int:
        """How many checkpoints of a row have a result in a column."""
        runs = self._selection.runs(row)
        return sum(column.entries(self._selection, run) is not None for run in runs)

    def _cell(self, column: Column, row: RowKey) -> Estimate | None:
        entries = column.entries(self._selection, row)
        if entries is None:
            return None
        if not column.is_group and not column.is_computed:
            score = entries[0].result.scores[column.score]
            has_outcomes = entries[0].has_outcomes or entries[0].result.perturbation is not None
            if column.scored_by or not has_outcomes:
                return Estimate(score.value, None, None)
            # Without a digest of it an interval may be anybody's.
            has_digest = score.method is not None and entries[0].result.digests is not None
            if has_digest or score.value is None or not self._can_compute(entries[0]):
                return Estimate(score.value, score.low, score.high, score.method)
        if column.is_computed:
            value, parts = self._computed(entries[0], column.score)
            if value is None or parts is None:
                return None if value is None else Estimate(value, None, None)
            return self._estimate(column, value, parts)
        parts = self.contributions(column, row)
        values = [entry.result.scores[column.score].value for entry in entries]
        known = [value for value in values if value is not None]
        value = float(np.mean(known)) if len(known) == len(values) else None
        if value is None or parts is None:
            return Estimate(value, None, None)
        return self._estimate(column, value, parts)

    def _estimate(self, column: Column, value: float, parts: Contributions) -> Estimate:
        return score_with_interval(value, parts, self._bounds(column))

    def _bounds(self, column: Column) -> tuple[float, float]:
        statistic = self._statistic(column.measures[0].task, column.score)
        return bounds_of(statistic) if statistic is not None else ANY

    def runs(self, column: Column, row: RowKey) -> tuple[Contributions, ...] | None:
        """The contributions of each of a row's checkpoints; None where any is not known."""
        # A column's own hash is slow, and each is asked for often.
        key = (id(column), row)
        if key not in self._runs:
            self._runs[key] = (column, self._of_runs(column, row))
        return self._runs[key][1]

    def _of_runs(self, column: Column, row: RowKey) -> tuple[Contributions, ...] | None:
        there = [
            run
            for run in self._selection.runs(row)
            if column.entries(self._selection, run) is not None
        ]
        found = [self.contributions(column, run) for run in there]
        known = [each for each in found if each is not None]
        if not known or len(known) < len(found) or len({each.digest for each in known}) > 1:
            return None
        return tuple(known)

    def contributions(self, column: Column, row: RowKey) -> Contributions | None:
        """What each block of clusters adds to a column's score; None where that is not known."""
        entries = column.entries(self._selection, row)
        if entries is None or column.scored_by:
            return None
        found = [self._once(entry, column.score) for entry in entries]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return mean_of_tasks(known) if column.is_group else known[0]

    def differences(
        self, columns: Sequence[Column], rows: Sequence[RowKey], adjust: Adjust
    ) -> dict[tuple[int, RowKey], Difference]:
        """By index of a column and row: differences to the baseline, adjusted together."""
        found: dict[tuple[int, RowKey], Difference] = {}
        tested: list[tuple[tuple[int, RowKey], Pair]] = []
        if self._baseline is None:
            return found
        for index, column in enumerate(columns):
            base, base_parts = self._value(column, self._baseline)
            if base is None:
                continue
            for row in rows:
                value, parts = self._value(column, row)
                if row == self._baseline or value is None:
                    continue
                found[index, row] = Difference(value - base, None, None)
                if not column.is_judged:
                    continue
                if parts and base_parts and parts[0].digest == base_parts[0].digest:
                    tested.append(((index, row), (parts, base_parts)))
        if not tested:
            return found
        spreads = [spread(*pair) for _, pair in tested]
        p = paired([pair for _, pair in tested], spreads)
        adjusted = holm(p) if adjust == "holm" else hochberg(p) if adjust == "bh" else p
        reach, smallest = reaches(spreads), smallest_difference(spreads)
        for i, ((key, _), own, among) in enumerate(zip(tested, p, adjusted, strict=True)):
            value = found[key].value
            assert value is not None
            interval = around(value, spreads[i], float(reach[i]))
            is_lower = columns[key[0]].lower_is_better
            verdict = UNCLEAR
            if among < ALPHA and value != 0:
                verdict = BETTER if (value > 0) != is_lower else WORSE
            found[key] = Difference(
                value,
                interval.low,
                interval.high,
                interval.method,
                float(own),
                float(among),
                verdict,
                float(smallest[i]),
            )
        return found

    def ties(
        self, columns: Sequence[Column], rows: Sequence[RowKey], best: Sequence[RowKey | None]
    ) -> set[tuple[int, RowKey]]:
        """By index of a column and row: those that cannot be told from the column's best.

        Holm over all of these pairs at 0.05: a row that is not here is clearly worse.
        """
        keys, pairs = list[tuple[int, RowKey]](), list[Pair]()
        for index, column in enumerate(columns):
            leader = best[index]
            parts = None if leader is None else self.runs(column, leader)
            if leader is None or parts is None:
                continue
            for row in rows:
                other = self.runs(column, row)
                if row != leader and other is not None and other[0].digest == parts[0].digest:
                    keys.append((index, row))
                    pairs.append((other, parts))
        adjusted = holm(paired(pairs))
        return {key for key, p in zip(keys, adjusted, strict=True) if p >= ALPHA}

    def ranks(
        self,
        columns: Sequence[Column],
        rows: Sequence[RowKey],
        draws: int = 400,
        *,
        by_family: bool = False,
    ) -> Ranks:
        """Mean rank over columns (1 = best), with its interval, of rows that have all of them.

        by_family: over those of each family, and the worst of these. Ranks are no smooth function
        of scores, so their interval is by draws: blocks of clusters get normal weights, the same
        ones for all models and for all scores of one set (the multiplier bootstrap, van der Vaart &
        Wellner 1996, section 2.9). A row of several seeds varies by these, too.
        """
        found = {row: [self.runs(c, row) for c in columns] for row in rows}
        whole = [row for row in rows if columns and all(found[row])]
        if len(whole) < 2:
            return Ranks({}, {})
        drawn_of = dict[tuple[Measure, str], npt.NDArray[np.float32]]()
        totals = dict[str, Floats]()
        sizes = Counter(column.family if by_family else "" for column in columns)
        for index, column in enumerate(columns):
            runs = [each for row in whole if (each := found[row][index]) is not None]
            parts = [mean_of_seeds(each) for each in runs]
            if len({each.digest for each in parts}) > 1:
                return Ranks({}, {})
            values = np.array([each.value for each in parts])[:, None]
            # A group's mean is that of its members' draws, which are columns as a rule.
            drawn, start = values, 0
            for measure, g in zip(column.measures, parts[0].strata, strict=True):
                key, end = (measure, column.score), start + g
                if key not in drawn_of:
                    shares = np.stack([each.deviations[start:end] for each in parts])
                    # Single precision is enough for draws, and twice as fast.
                    own = (len(column.measures) * shares).astype(np.float32)
                    drawn_of[key] = own @ _weights(measure, g, draws)
                drawn, start = drawn + drawn_of[key] / len(column.measures), end
            for i, seeds in enumerate(runs):
                # The first source is the examples, the others are seeds.
                sources = spread(seeds).sources[1:] if len(seeds) > 1 else ()
                if variance := sum(each for each, _ in sources):
                    noise = np.random.default_rng([index, i]).normal(size=draws)
                    drawn[i] += math.sqrt(variance) * noise
            scores = np.hstack([values, drawn])
            family = column.family if by_family else ""
            found_ranks = ranks_within(scores if column.lower_is_better else -scores)
            totals[family] = totals.get(family, 0.0) + found_ranks
        means = {family: total / sizes[family] for family, total in totals.items()}
        worst = functools.reduce(np.maximum, means.values())
        return Ranks(
            _with_quantiles(whole, worst),
            {family: _with_quantiles(whole, mean) for family, mean in means.items()},
        )

    def _value(
        self, column: Column, row: RowKey
    ) -> tuple[float | None, tuple[Contributions, ...] | None]:
        found = self.cell(column, row)
        value = None if found is None else found.value
        return value, None if value is None else self.runs(column, row)

    def _statistic(self, task: str, score: str) -> Statistic | None:
        try:
            return self._tasks[task].metric(score)
        # A plugin's task may raise anything.
        except Exception:
            return None

    def _can_compute(self, entry: Entry) -> bool:
        return can_compute(entry, self._tasks.get(entry.result.task))

    def _once(self, entry: Entry, score: str) -> Contributions | None:
        key = (entry.path, score)
        if key not in self._found:
            self._found[key] = self._contributions(entry, score)
        return self._found[key]

    def _computed(self, entry: Entry, score: str) -> tuple[float | None, Contributions | None]:
        key = (entry.path, score)
        if key not in self._made:
            self._made[key] = self._compute(entry, score)
        return self._made[key]

    def _contributions(self, entry: Entry, score: str) -> Contributions | None:
        """Those of one result; for a score that it lacks from its outcomes, and not kept."""
        if entry.result.perturbation is not None:
            # Of several measurements there are no outcomes, only what was kept of them.
            return None if entry.kept is None else entry.kept.score(score)
        if not self._can_compute(entry):
            return None
        if score not in entry.result.scores:
            return self._computed(entry, score)[1]
        newest = self._newest[entry.measure]
        found = self._kept_score(entry, score)
        if found is None or entry is newest:
            return found
        # Clusters of an earlier version may be others; those of the newest result count.
        of_newest = self._kept_score(newest, score)
        if of_newest is not None and of_newest.digest != found.digest:
            return self._computed(entry, score)[1]
        return found

    def _kept_score(self, entry: Entry, score: str) -> Contributions | None:
        kept = self._kept.get(entry.path) or entry.kept
        found = None if kept is None else kept.score(score)
        if kept is None or (found is None and score in kept):
            self._kept[entry.path] = kept = self._keep(entry)
            found = kept.score(score)
        return found

    def _keep(self, entry: Entry) -> Kept:
        """Compute what is kept of a result from its outcomes, and write it beside it."""
        raw, state = entry.path.read_bytes(), outcomes_state(entry.path)
        columns = Resampled.of(self._outcomes(entry.path))
        found = dict[str, Contributions]()
        for name in entry.result.scores:
            with contextlib.suppress(Exception):  # a plugin's statistic may raise anything
                metric = self._tasks[entry.result.task].metric(name)
                _, parts, _ = estimates({name: metric}, columns)
                found |= parts
        return keep(entry.path, raw, header_of(entry.result), found, state)

    def _compute(self, entry: Entry, score: str) -> tuple[float | None, Contributions | None]:
        """A score and its contributions from the outcomes, under the newest result's clusters."""
        newest = self._newest[entry.measure]
        try:
            columns = self._outcomes(entry.path)
            if entry is not newest:
                columns = {**columns, "cluster_id": self._outcomes(newest.path)["cluster_id"]}
            metric = self._tasks[entry.result.task].metric(score)
            if isinstance(metric, Metric) and not metric.is_of(columns):
                what = f"its outcomes have no {metric.needs}"
                raise DataError(f"{entry.shown}: {score} is of another kind of set ({what})")
            found, parts, _ = estimates({score: metric}, columns)
            return found[score].value, parts.get(score)
        except TooShallow as error:
            self.not_computed[f"{entry.shown}: {score} {too_shallow(entry.result, error)}"] = None
        except DataError as error:
            self.not_computed[str(error)] = None
        # A plugin's metric may raise anything.
        except Exception as error:
            said = f"{entry.shown}: {score} cannot be computed from the outcomes"
            self.not_computed[f"{said} ({reason_of(error)})"] = None
        return None, None


def _with_quantiles(rows: Sequence[RowKey], ranks: Floats) -> dict[RowKey, Estimate]:
    """Ranks [m, 1 + draws], the first of which are those of the values, with 95% intervals."""
    low, high = np.quantile(ranks[:, 1:], [0.025, 0.975], axis=1)
    # Chance draws ranks to the middle, so that a rank may lie at the end of its draws.
    low, high = np.minimum(low, ranks[:, 0]), np.maximum(high, ranks[:, 0])
    return {
        row: Estimate(float(ranks[i, 0]), float(low[i]), float(high[i]), "multiplier bootstrap")
        for i, row in enumerate(rows)
    }


def _weights(measure: Measure, g: int, draws: int) -> npt.NDArray[np.float32]:
    """Normal weights [g, draws] of the blocks of a set, the same ones for all of its scores."""
    rng = np.random.default_rng([g, *measure.sha256.encode()])
    normal = rng.standard_normal((g, draws), dtype=np.float32)
    return normal * np.float32(math.sqrt(g / (g - 1)))


def too_shallow(result: Result, error: TooShallow) -> str:
    """What outcomes lack, with the command that measures the result again and keeps enough."""
    if result.provenance.depth is not None and error.kept < result.provenance.depth:
        return f"looks at {counted(error.needed, 'place')}, and the whole gallery has {error.kept}"
    words = ["run", "--model", result.model.spec, "--task", result.task]
    words += ["--protocol", result.protocol, "--suite", result.suite]
    if result.data.source == "folder":
        words += ["--data-dir", result.data.id.rpartition(":")[0]]
    if result.limit is not None:
        words += ["--limit", str(result.limit)]
    if result.provenance.dtype != "float32":
        words += ["--dtype", result.provenance.dtype]
    words += ["--depth", str(error.needed), "--force"]
    return f"{error}; make it again with `{shlex.join(['paraclip-bench', *words])}`"
