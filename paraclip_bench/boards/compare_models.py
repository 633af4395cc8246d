"""Two models or more, example by example: what differs, how sure that is, and what changed most."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.boards.board import Board
from paraclip_bench.boards.content import Cell
from paraclip_bench.boards.estimates import WORSE, Adjust
from paraclip_bench.boards.make_board import make_board, with_left_out
from paraclip_bench.boards.selection import Column, Entry
from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.evaluation.plan import choose_source, read_examples
from paraclip_bench.metrics.correlation import weighted_ranks
from paraclip_bench.metrics.metric import Columns, as_mean
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read_outcomes
from paraclip_bench.tasks.base import Examples, Task
from paraclip_bench.tasks.catalog import load_task

# So many first places of a ranking are shown with a changed example.
_FIRST = 3


@dataclasses.dataclass(frozen=True)
class Change:
    """One example that a candidate does better or worse than the baseline.

    baseline, candidate: what it counts for each, such as its average overlap. texts: its texts by
    field. images: its images' names. found: the first images of each ranking, by model and query,
    of several seeds those of the first.
    """

    example_id: str
    baseline: float
    candidate: float
    texts: Mapping[str, str]
    images: tuple[str, ...]
    found: Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A candidate against the baseline on one score.

    wins and losses count examples that the candidate does better and worse; None where a score is
    no sum over examples, or outcomes are missing. counted: what of an example is compared.
    """

    column: Column
    model: str
    baseline: Cell
    cell: Cell
    wins: int | None = None
    losses: int | None = None
    examples: int | None = None
    counted: str = ""
    changes: tuple[Change, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Candidates against a baseline, score by score; notes are sentences on what is missing."""

    board: Board
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare_models(
    results: Path,
    models: Sequence[str],
    *,
    suite: str | None = None,
    families: Sequence[str] = (),
    scores: Sequence[str] = (),
    all_scores: bool = False,
    with_limits: bool = False,
    adjust: Adjust = "holm",
    show: int = 0,
    data_dir: Path | None = None,
    each_seed: bool = False,
) -> Comparison:
    """Compare models by name or spec, the first being the baseline.

    families: these tasks or groups alone. scores, all_scores, with_limits, adjust, each_seed: as
    `make_board` has them. show: so many examples of each score that changed most, with their texts
    where the data are at hand: in data_dir, or where the results' data came from. Raises
    `UsageError` for fewer than two models, a name that is not on the board, or models that share no
    score.
    """
    if len(models) < 2:
        raise UsageError("give two models or more, the baseline first")
    if not isinstance(show, int) or show < 0:
        raise UsageError(f"show takes a number of examples, 0 or more, and not {show!r}")
    board = make_board(
        results,
        suite=suite,
        baseline=models[0],
        models=models,
        families=families,
        scores=scores,
        all_scores=all_scores,
        with_limits=with_limits,
        adjust=adjust,
        each_seed=each_seed,
    )
    if len(board.rows) < 2:
        raise UsageError(f"{' and '.join(models)} are one model on the board; name another")
    base, notes = board.rows[0], dict[str, None]()
    pairs = []
    # Scores of one result follow each other.
    outcomes = functools.lru_cache(maxsize=16)(lambda path: read_outcomes(path, _is_needed))
    for index, column in enumerate(board.columns):
        for row in board.rows[1:]:
            cell, other = row.cells[index], base.cells[index]
            if cell is None or other is None or cell.difference is None:
                continue
            pair = Pair(column, row.name, other, cell)
            if not column.is_group and not column.scored_by:
                sides = [board.results_of(each, column.measures[0]) for each in (base, row)]
                pair = _with_examples(pair, sides[0], sides[1], outcomes, show, data_dir, notes)
            pairs.append(pair)
    if not pairs:
        said = (
            f"{' and '.join(models)} have no result on the same examples; measure them on one task"
        )
        raise UsageError(with_left_out(said, board.left_out, models[-1]))
    return Comparison(board, tuple(pairs), tuple(notes))


def _with_examples(
    pair: Pair,
    base: Sequence[Entry],
    others: Sequence[Entry],
    outcomes: Callable[[Path], Columns],
    show: int,
    data_dir: Path | None,
    notes: dict[str, None],
) -> Pair:
    """Count the examples that differ, and name those that differ most; of seeds on average."""
    result = others[0].result
    try:
        task = load_task(result.task)
        columns = [[outcomes(entry.path) for entry in side] for side in (base, others)]
        values = [
            _mean([of_examples(task, pair.column.score, run) for run in side]) for side in columns
        ]
    # Outcomes may be missing, and a plugin's metric may raise anything.
    except Exception:
        return pair
    one, two = values
    if one is None or two is None or len(one[1]) != len(two[1]):
        return pair
    change = two[1] - one[1]
    gain = -change if pair.column.lower_is_better else change
    pair = dataclasses.replace(
        pair,
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
        examples=int(np.isfinite(gain).sum()),
        counted=one[0],
    )
    if not show:
        return pair
    size = np.nan_to_num(np.abs(change))
    order = [int(i) for i in np.argsort(-size, kind="stable")[:show] if size[i] > 0]
    found = examples_of(task, result, data_dir)
    examples = None if isinstance(found, str) else found
    if isinstance(found, str):
        said = f"texts are not shown ({found}); --data-dir says where its data are"
        notes[f"{result.task}: {said}"] = None
    names = ["baseline", "candidate"]
    tops = [read_outcomes(side[0].path, is_ranking, order) for side in (base, others)]
    ids = read_outcomes(others[0].path, lambda name: name == "example_id", order)["example_id"]
    changes = [
        Change(
            str(ids[place]),
            float(one[1][i]),
            float(two[1][i]),
            *texts_of(examples, i),
            {
                model: {
                    name.removeprefix("top_"): tuple(map(str, ids[place][:_FIRST]))
                    for name, ids in held.items()
                    if has_ranking(ids[place])
                }
                for model, held in zip(names, tops, strict=True)
            },
        )
        for place, i in enumerate(order)
    ]
    return dataclasses.replace(pair, changes=tuple(changes))


def has_ranking(ids: npt.NDArray[Any]) -> bool:
    """Whether an example has a ranking [k] of a kind that not every example has."""
    return len(ids) > 0 and str(ids[0]) != ""


def is_ranking(name: str) -> bool:
    """Whether an outcome column holds the first images of a ranking."""
    return name.startswith("top_")


_LISTS = ("top_", *(f"similarity_{side}" for side in ("query", "paraphrase", "negation")))


def is_counted(name: str) -> bool:
    """Whether an outcome column may be needed to say what an example counts: no long lists."""
    return not name.startswith(_LISTS)


def _is_needed(name: str) -> bool:
    return is_counted(name) and name not in {"example_id", "cluster_id"}


_OfExamples = tuple[str, npt.NDArray[np.float64]]


def _mean(runs: Sequence[_OfExamples | None]) -> _OfExamples | None:
    """The mean over seeds of what each example adds."""
    known = [run for run in runs if run is not None]
    if not known or len(known) < len(runs):
        return None
    return known[0][0], np.mean([values for _, values in known], axis=0)


def of_examples(task: Task, score: str, columns: Columns) -> _OfExamples | None:
    """What each example adds to a score [n], higher being better, and what that is called.

    NaN for an example that does not count. None where a score cannot be taken apart.
    """
    if (mean := as_mean(task.metric(score))) is not None:
        totals, counts = mean.of_examples(columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            return score, np.where(counts > 0, totals / counts, np.nan)
    if "correct" in columns:
        return "correct", columns["correct"].astype(np.float64)
    if {"cosine", "gold"} <= columns.keys():
        ranks = [
            weighted_ranks(columns[c], np.ones(len(columns[c]))) / len(columns[c])
            for c in ("cosine", "gold")
        ]
        return "rank of cosine - rank of gold", -np.abs(ranks[0] - ranks[1])
    return None


def examples_of(task: Task, result: Result, data_dir: Path | None = None) -> Examples | str:
    """The examples of a result, from data_dir or where they came from; else why they are not."""
    if data_dir is None and result.data.source == "folder":
        data_dir = Path(result.data.id.rpartition(":")[0])
    try:
        source = choose_source(result.suite, data_dir)
        examples = read_examples(task, source, result.protocol, result.limit)
        if examples_sha256(examples) == result.data.sha256:
            return examples
    except BenchError as error:
        return str(error)
    return "the data there are others than were measured"


def texts_of(examples: Examples | None, index: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """An example's texts by field, and its images' names."""
    if examples is None:
        return {}, ()
    row: Any = examples.rows[index]
    fields: dict[str, Any] = (
        dict(row)
        if isinstance(row, Mapping)
        else {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    )
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and value}
    texts |= {
        f"{name} {i + 1}": text
        for name, value in fields.items()
        if isinstance(value, list | tuple)
        for i, text in enumerate(value)
        if isinstance(text, str)
    }
    texts.pop("id", None)
    images = [value.id for value in fields.values() if isinstance(value, ImageRef)]
    target = fields.get("target")
    if isinstance(target, int) and 0 <= target < len(examples.shared):
        shared = examples.shared[target]
        images += [shared.id] if isinstance(shared, ImageRef) else []
    return texts, tuple(images)


@dataclasses.dataclass(frozen=True)
class Gate:
    """`--fail-if-worse TASK[:SCORE][=MARGIN]`: margin as a fraction, None without one.

    name: TASK[:SCORE], either of which may have a colon of its own.
    """

    text: str
    name: str
    margin: float | None

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read one; `UsageError` where it makes no sense."""
        # A score may have an = in brackets: rbo(p=0.5)@10.
        found = re.fullmatch(r"(.*?)(?:=([^()=]*))?", text, re.DOTALL)
        name, margin = found.groups() if found else ("", None)
        points = None
        if margin is not None:
            try:
                points = float(margin)
            except ValueError:
                points = -1.0
            if not 0 <= points < 100:
                raise UsageError(
                    f"--fail-if-worse {text}: the margin {margin!r} is no number of points of 0 or "
                    "more, such as vg-relation=0.5"
                )
        if not name or name.startswith(":"):
            raise UsageError(f"--fail-if-worse {text!r} names no task, such as vg-relation=0.5")
        return cls(text, name.removesuffix(":"), None if points is None else points / 100)

    def _means(self, column: Column) -> bool:
        names = _names_of(column)
        asked = self.name.casefold()
        return asked in names or asked in {f"{n}:{column.score.casefold()}" for n in names}

    def failures(self, comparison: Comparison) -> list[str]:
        """A sentence for each way in which the first candidate is worse; none where it passes.

        `UsageError` where the comparison has no such score, or cannot test it.
        """
        first = comparison.board.rows[1].name
        found = [
            pair for pair in comparison.pairs if pair.model == first and self._means(pair.column)
        ]
        if not found:
            pairs = comparison.pairs
            known = sorted({f"{min(_names_of(p.column), key=len)}:{p.column.score}" for p in pairs})
            raise UsageError(
                f"--fail-if-worse {self.text}: {first} and {comparison.board.baseline} have no "
                f"such score in common; known: {', '.join(known)}"
            )
        return [said for pair in found if (said := self._failure(pair, comparison))]

    def _failure(self, pair: Pair, comparison: Comparison) -> str | None:
        change = pair.cell.difference
        title = f"{pair.column.title} {pair.column.score}"
        if change is None or change.value is None or not change.verdict:
            raise UsageError(
                f"--fail-if-worse {self.text}: {title} cannot be tested, because there are too few "
                "examples or no outcomes"
            )
        sign = -1 if pair.column.lower_is_better else 1
        ends = [sign * end for end in (change.low, change.high) if end is not None]
        if self.margin is None:
            is_worse = change.verdict == WORSE
        else:
            # Without an interval all examples say the same: the value itself.
            is_worse = max(ends or [sign * change.value]) < -self.margin
        if not is_worse:
            return None
        interval = ""
        if change.low is not None and change.high is not None:
            interval = f" [{100 * change.low:.1f}, {100 * change.high:.1f}]"
        margin = "" if self.margin is None else f", beyond the margin of {100 * self.margin:g}"
        return (
            f"{pair.model} is worse than {comparison.board.baseline} on {title}: "
            f"{100 * change.value:+.1f}{interval} points{margin}"
        )


def _names_of(column: Column) -> set[str]:
    """What a gate may call a column: its task, or the group that it is the mean of."""
    if column.is_group:
        return {column.title.partition(" (")[0].casefold()}
    return {column.measures[0].task.casefold(), column.title.casefold()}
