"""Which results may stand side by side, and which are left out and why."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

from paraclip_bench import registry
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.evaluation.choose import SUITES
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read

BASELINE = "clip"

RowKey = tuple[str, str]
"""(model fingerprint, dtype): what a row is; the name is a label."""

Measure = tuple[str, str]
"""(task, protocol)."""

_UNKNOWN = "unknown:"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A result and where it lies."""

    path: Path
    result: Result

    @property
    def row(self) -> RowKey:
        """What the model is, by its weights where they are known, else by its spec."""
        model = self.result.model
        return model.fingerprint or f"{_UNKNOWN}{model.spec}", self.result.provenance.dtype

    @property
    def measure(self) -> Measure:
        """What was measured."""
        return self.result.task, self.result.protocol

    @property
    def data(self) -> tuple[int, str]:
        """Which version of it, on which examples."""
        return self.result.task_version, self.result.data.sha256


@dataclasses.dataclass(frozen=True)
class Selection:
    """One entry a row and measure, all entries of a measure from the same examples."""

    suite: str
    cells: dict[tuple[RowKey, Measure], Entry]
    names: dict[RowKey, str]
    aliases: dict[str, list[RowKey]]
    left_out: list[str]

    @property
    def measures(self) -> list[Measure]:
        """Measures that have an entry, by first appearance of their task's name."""
        return sorted({measure for _, measure in self.cells})


def choose_board_suite(results: Path, asked: str | None) -> str:
    """The suite asked for, or the only one that has results; `UsageError` otherwise."""
    there = [suite for suite in SUITES if any((results / suite).glob("*/*.json"))]
    if asked is not None:
        if asked not in SUITES:
            raise registry.unknown("suite", asked, SUITES)
        if asked not in there:
            raise UsageError(
                f"there are no results of suite {asked} in {results}; make some with run"
            )
        return asked
    if not there:
        raise UsageError(f"there are no results in {results}; make some with `paraclip-bench run`")
    if len(there) > 1:
        raise UsageError(
            f"{results} has results of {' and '.join(there)}, which never share a table; "
            "say --suite NAME"
        )
    return there[0]


def select(results: Path, suite: str, *, with_limits: bool) -> Selection:
    """Read the suite's results and keep those that can be compared.

    A measure keeps the newest version of its task, on the examples that most models were run on
    (the newest of equals); results with a limit are kept only when asked for. Everything left out
    is named with its reason.
    """
    left_out: list[str] = []
    by_measure: dict[Measure, list[Entry]] = defaultdict(list)
    for path in sorted((results / suite).glob("*/*.json")):
        try:
            entry = Entry(path, read(path))
        except BenchError as error:
            left_out.append(str(error))
            continue
        shown = f"{path.parent.name}/{path.name}"
        if entry.result.suite != suite:
            left_out.append(f"{shown}: is of suite {entry.result.suite}")
        elif entry.result.limit is not None and not with_limits:
            left_out.append(f"{shown}: only its first {entry.result.limit} examples (--limit)")
        else:
            by_measure[entry.measure].append(entry)
    cells: dict[tuple[RowKey, Measure], Entry] = {}
    names: dict[RowKey, str] = {}
    aliases: dict[str, list[RowKey]] = defaultdict(list)
    shown_entries: list[Entry] = []
    for measure, entries in by_measure.items():
        kept = _most_shared(entries)
        for entry in sorted(entries, key=lambda e: e.result.provenance.time):
            if entry.data != kept:
                left_out.append(
                    f"{entry.path.parent.name}/{entry.path.name}: on other data or by another "
                    f"version of {measure[0]} than the column ({_version(entry.data)}, "
                    f"not {_version(kept)})"
                )
                continue
            if (older := cells.get((entry.row, measure))) is not None:
                left_out.append(
                    f"{older.path.parent.name}/{older.path.name}: the same model on the same "
                    f"examples as {entry.path.parent.name}/{entry.path.name}, which is newer"
                )
            cells[entry.row, measure] = entry
            shown_entries.append(entry)
    for entry in sorted(shown_entries, key=lambda e: e.result.provenance.time):
        model = entry.result.model
        # One model under several names: the baseline's own name wins, else the newest.
        if names.get(entry.row) != BASELINE:
            names[entry.row] = model.name
        for alias in (model.name, model.spec):
            if entry.row not in aliases[alias]:
                aliases[alias].append(entry.row)
    return Selection(suite, cells, _distinct(names), dict(aliases), left_out)


def _most_shared(entries: list[Entry]) -> tuple[int, str]:
    rows: dict[tuple[int, str], set[RowKey]] = defaultdict(set)
    newest: dict[tuple[int, str], str] = defaultdict(str)
    for entry in entries:
        rows[entry.data].add(entry.row)
        newest[entry.data] = max(newest[entry.data], entry.result.provenance.time)
    return max(rows, key=lambda data: (data[0], len(rows[data]), newest[data]))


def _version(data: tuple[int, str]) -> str:
    return f"version {data[0]}, data {data[1][:8]}"


def _distinct(names: dict[RowKey, str]) -> dict[RowKey, str]:
    """Labels that tell rows apart: the dtype or the weights are added where names repeat."""
    count: dict[str, list[RowKey]] = defaultdict(list)
    for row, name in names.items():
        count[name].append(row)
    labels = {}
    for row, name in names.items():
        alike = count[name]
        label = name
        if len({other[1] for other in alike}) > 1:
            label += f" ({row[1]})"
        if len({other[0] for other in alike}) > 1:
            known = not row[0].startswith(_UNKNOWN)
            label += f" #{row[0][:6]}" if known else f" ({row[0].removeprefix(_UNKNOWN)})"
        labels[row] = label
    return labels
