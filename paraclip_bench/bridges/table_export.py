"""Results as one table for pandas, R or a spreadsheet: a row for each score of a result or part."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paraclip_bench.errors import UsageError
from paraclip_bench.files import atomic, has_name_of_file
from paraclip_bench.results.schema import Result, Score
from paraclip_bench.results.store import list_results
from paraclip_bench.safe_text import csv_cell

COLUMNS: dict[str, str] = {
    **dict.fromkeys(("suite", "model", "spec", "fingerprint", "activation", "base"), "text"),
    **{"dtype": "text", "device": "text", "training": "text", "seed": "int"},
    **{"task": "text", "protocol": "text", "perturbation": "text", "task_version": "int"},
    **{"part_of": "text", "part": "text", "score": "text", "is_main": "bool"},
    **dict.fromkeys(("value", "low", "high"), "float"),
    **{"method": "text", "n": "int", "limit": "int", "depth": "int"},
    **dict.fromkeys(("data_source", "data_id", "data_revision", "data_sha256"), "text"),
    **{"scored_by": "text", "time": "time", "version": "text", "file": "text"},
}
"""The columns and what they hold; what a result does not have is empty.

perturbation: what rewords the texts (docs/perturbations.md). part_of and part: of which relation,
subset or class; empty where a score is of the whole. value,
low and high are fractions. version: of paraclip-bench. time: UTC. file: below results/.
"""
_MOST = 2**63


@dataclasses.dataclass(frozen=True)
class Table:
    """What was written: the number of rows by file. What was left out and why, and remarks."""

    written: dict[Path, int]
    left_out: list[str]
    remarks: list[str]


def write_csv(results: Path, out: Path, **chosen: str | None) -> Table:
    """Write the table to `out`, a file, or `results.csv` in a folder; UTF-8 with a header.

    A file is what ends in .csv or .txt, and what is there and no folder. Raises `UsageError` for
    the ending of another kind of file.

    Cells that a spreadsheet would take for a formula begin with an apostrophe. chosen: suite, task
    and model, as `list_results` takes them, which says what is raised.
    """
    rows, left_out = table_rows(results, **chosen)
    path = _file(out, ".csv", ".txt")
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([_cell(row[name]) for name in COLUMNS])
    return Table({path: len(rows)}, left_out, [])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return csv_cell(value)
    return value.isoformat() if isinstance(value, datetime) else value


def write_parquet(results: Path, out: Path, **chosen: str | None) -> Table:
    """Write the table to `out`, a file, or `results.parquet` in a folder; otherwise `write_csv`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, left_out = table_rows(results, **chosen)
    types = {
        **{"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()},
        "time": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    path = _file(out, ".parquet", ".pq")
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return Table({path: len(rows)}, left_out, [])


def _file(out: Path, ending: str, other: str) -> Path:
    """The file that `out` names by one of its endings, or that lies in the folder `out`."""
    if out.is_dir():
        return out / f"results{ending}"
    if out.suffix.lower() in (ending, other):
        return out
    if has_name_of_file(out):
        raise UsageError(
            f"{out} has the ending of another kind of file; name one that ends in {ending}, or a "
            f"folder for results{ending}"
        )
    # A pipe, a device, or a file to be replaced.
    return out if out.exists() else out / f"results{ending}"


def table_rows(results: Path, **chosen: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of all results, values by the names of `COLUMNS`; and what is left out, and why."""
    found, left_out = list_results(results, **chosen)
    rows: list[dict[str, Any]] = []
    for path, result in found:
        of_result = list(_rows(result, path.relative_to(results).as_posix()))
        # No column of a table can hold it, and no seed or count is such a number.
        if any(type(v) is int and not -_MOST <= v < _MOST for r in of_result for v in r.values()):
            left_out.append(f"{path}: it has a number of more than 64 bits")
        else:
            rows += of_result
    return rows, left_out


def _rows(result: Result, file: str) -> Iterator[dict[str, Any]]:
    model, data, about = result.model, result.data, result.provenance
    shared = {
        "suite": result.suite,
        "model": model.name,
        "spec": model.spec,
        "fingerprint": model.fingerprint,
        "activation": model.activation,
        "base": model.base,
        "dtype": about.dtype,
        "device": about.device,
        "training": model.method,
        "seed": model.seed,
        "task": result.task,
        "protocol": result.protocol,
        "perturbation": None if result.perturbation is None else result.perturbation.name,
        "task_version": result.task_version,
        "limit": result.limit,
        "depth": about.depth,
        "data_source": data.source,
        "data_id": data.id,
        "data_revision": data.revision,
        "data_sha256": data.sha256,
        "scored_by": about.scored_by or None,
        "time": _time(about.time),
        "version": about.versions.get("paraclip-bench"),
        "file": file,
    }

    def row(name: str, score: Score, n: int, part_of: str | None, part: str | None) -> Any:
        values = {"value": score.value, "low": score.low, "high": score.high}
        about_score = {"score": name, "is_main": name == result.main_score, "method": score.method}
        return {**shared, **values, **about_score, "n": n, "part_of": part_of, "part": part}

    for name, score in result.scores.items():
        yield row(name, score, result.n, None, None)
    for kind, parts in result.details.items():
        for part in parts:
            for name, score in part.scores.items():
                yield row(name, score, part.n, kind, part.name)


def _time(text: str) -> datetime | None:
    """A time in UTC; None for what is none."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
