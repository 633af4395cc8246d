"""Result files: results/<suite>/<model>/<task>.<protocol>.<key>.json and its outcomes.

A result is done when its JSON file exists; its outcomes are written before it. `list_results` finds
those of a workspace.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from paraclip_bench import registry
from paraclip_bench.data.row_files import refuse_torn
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import atomic, parse_json, regular, slug, write_text
from paraclip_bench.metrics.inference import Contributions
from paraclip_bench.metrics.metric import Metric
from paraclip_bench.results.contributions import keep
from paraclip_bench.results.model_names import labels_by_row, row_of
from paraclip_bench.results.schema import Digests, Result, UnknownVersion, migrated
from paraclip_bench.tasks.base import ExternallyScoredTask, UnknownScore
from paraclip_bench.tasks.catalog import all_tasks

OUTCOMES = ".outcomes.parquet"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def result_key(
    fingerprint: str,
    dtype: str,
    task_version: int,
    data_sha256: str,
    limit: int | None,
    perturbation: str | None = None,
) -> str:
    """8 hex digits that tell results of one model folder apart.

    perturbation: the digest of what rewords the texts, where they are reworded.
    """
    parts = [fingerprint, dtype, task_version, data_sha256, limit]
    parts += [] if perturbation is None else [perturbation]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def result_path(
    results: Path,
    suite: str,
    model: str,
    task: str,
    protocol: str,
    key: str,
    perturbation: str | None = None,
) -> Path:
    """Where a result's JSON file lies; perturbation: the name of what rewords its texts."""
    return results / suite / slug(model) / _file_name(task, protocol, key, perturbation)


def _file_name(task: str, protocol: str, key: str, perturbation: str | None) -> str:
    # No slug has a ~ in it. Together with what stands behind them they stay below 255 bytes.
    reworded = "" if perturbation is None else f"~{slug(perturbation, 50)}"
    return f"{slug(task, 90)}.{slug(protocol, 40)}{reworded}.{key}.json"


def outcomes_path(path: Path) -> Path:
    """Where the outcomes of a result's JSON file lie."""
    return path.with_name(path.name.removesuffix(".json") + OUTCOMES)


def write(
    path: Path,
    result: Result,
    columns: Mapping[str, npt.NDArray[Any]] | None,
    contributions: Mapping[str, Contributions] | None = None,
) -> Result:
    """Write the outcomes, where there are any, then the result; each whole or not at all.

    contributions: kept beside them, where they are known already. Returns the result as it was
    written, with the digests by which it and its outcomes are known again.
    """
    digests = Digests(scores=result.scores_digest)
    if columns is not None:
        rows = max((len(values) for values in columns.values()), default=0)
        sha256 = _write_outcomes(outcomes_path(path), columns)
        digests = Digests(scores=result.scores_digest, outcomes=sha256, rows=rows)
    result = result.model_copy(update={"digests": digests})
    text = result.model_dump_json(indent=1) + "\n"
    write_text(path, text)
    if contributions is not None:
        keep(path, text.encode(), header_of(result), contributions, outcomes_state(path))
    return result


def header_of(result: Result) -> str:
    """A result without its parts, as JSON: what a board needs of it."""
    return result.model_copy(update={"details": {}}).model_dump_json()


def outcomes_state(path: Path) -> tuple[int, int] | None:
    """Size and time of change (ns) of a result's outcomes; None where there are none."""
    try:
        found = outcomes_path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def read(path: Path) -> Result:
    """Read one result; `DataError` for a file that is not one, was edited, or of a later schema."""
    try:
        text = regular(path).read_text(encoding="utf-8")
        raw = parse_json(text)
        if _SURROGATE.search(text):
            refuse_torn(raw, str(path))
        # First of all: a later schema may lack what this one needs, and is not a damaged file.
        result = Result.model_validate(migrated(raw))
        # Here, because what is nested so deeply that it cannot be written again is damaged too.
        found = result.scores_digest
    except UnknownVersion as error:
        raise DataError(f"{path} {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; results show lists what there is") from error
    except (ValidationError, ValueError, OSError) as error:
        first = _first_of(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{path} is not a result of run ({first}); what was one is made again by run --force"
        ) from error
    if result.digests is not None and result.digests.scores != found:
        raise DataError(
            f"{path} was changed after it was written: its scores are not those that it has a "
            "digest of; measure it again with run --force"
        )
    return result


def _first_of(error: ValidationError) -> str:
    """The first thing that is wrong, and in which field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, found["loc"])), found["msg"])))


def doubt(path: Path, result: Result) -> str | None:
    """Why a result cannot be what run wrote at `path`; None where nothing speaks against it.

    Looks at its name and place, and at the range of each score.
    """
    if wrong := misnamed(path, result):
        return wrong
    known = _tasks().get(result.task)
    if result.provenance.scored_by:
        if known is None or isinstance(known, ExternallyScoredTask):
            return None
        return f"it says that {result.provenance.scored_by} scored it, and {result.task} is ours"
    tables = [("", result.scores)]
    tables += [(f" of {p.name}", p.scores) for parts in result.details.values() for p in parts]
    for part, scores in tables:
        for score, values in scores.items():
            # A score's drop and spread have ranges of their own.
            least, most = _range(result.task, score) if "~" not in score else (-np.inf, np.inf)
            for value in (values.value, values.low, values.high):
                if value is not None and not least - 1e-9 <= value <= most + 1e-9:
                    return f"its {score}{part} of {value:g} is not within {least:g} to {most:g}"
    return None


def misnamed(path: Path, result: Result) -> str | None:
    """What is wrong with where a result lies; None where nothing is.

    A file's name holds a key of what was measured. Of a result without digests the folder is that
    of its model; of others the model's name is in the digest, so that a folder may be called
    otherwise.
    """
    fingerprint, dtype = row_of(result)
    sha256 = result.data.sha256
    reworded = result.perturbation
    digest = None if reworded is None else reworded.digest
    key = result_key(fingerprint, dtype, result.task_version, sha256, result.limit, digest)
    called = None if reworded is None else reworded.name
    name = _file_name(result.task, result.protocol, key, called)
    if path.name != name:
        return (
            "its file name is not that of what it says was measured, so one of them was changed; "
            f"what it says belongs in {name}"
        )
    folder = slug(result.model.name)
    if result.digests is None and path.parent.name != folder:
        return (
            f"it says that its model is {result.model.name!r}, and lies in the folder of another, "
            f"so one of them was changed; what it says belongs in {folder}/"
        )
    return None


@functools.cache
def _range(task: str, score: str) -> tuple[float, float]:
    """The range of a task's score; without bounds where the task or the score has none."""
    try:
        metric = _tasks()[task].metric(score)
    except (KeyError, UnknownScore, UsageError):
        metric = None
    return metric.range if isinstance(metric, Metric) else (-np.inf, np.inf)


@functools.cache
def _tasks() -> dict[str, Any]:
    return {task.name: task for task in all_tasks()[0]}


def has_outcomes(path: Path, result: Result) -> bool:
    """Whether a result's outcomes are there.

    Raises `DataError` where they are not those that were written with it. A result of 0.1.0 has no
    digest to compare.
    """
    file = outcomes_path(path)
    if result.digests is None:
        return file.is_file()
    if result.digests.outcomes is None or not file.is_file():
        return False
    try:
        found = hashlib.sha256(regular(file).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); check the disk") from error
    if found != result.digests.outcomes:
        raise DataError(
            f"its outcomes {file.name} were changed, or are those of another result; measure it "
            "again with run --force"
        )
    return True


def read_outcomes(
    path: Path,
    columns: Callable[[str], bool] | None = None,
    rows: Sequence[int] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The outcome columns of a result's JSON path: [n], or [n, k] for lists.

    columns says of a name whether it is wanted, rows which examples are; all where they are None.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = outcomes_path(path)
    found = {}
    try:
        with pq.ParquetFile(regular(file)) as opened:
            schema, leaves = opened.schema_arrow, opened.schema
            paths = {leaves.column(i).path for i in range(len(leaves.names))}
            names = schema.names if columns is None else list(filter(columns, schema.names))
            if not names:
                return {}
            if rows is None:
                table = opened.read(columns=names)
        if rows is not None:
            # Of lists of names each name is read once: some ten times as fast, for a few rows.
            kinds = {f"{name}.list.element": schema.field(name).type for name in names}
            lists = [
                path
                for path, kind in kinds.items()
                if path in paths and pa.types.is_string(kind.value_type)
            ]
            with pq.ParquetFile(file, read_dictionary=lists) as opened:
                table = opened.read(columns=names).take(pa.array(rows, pa.int64()))
        for name in table.column_names:
            values = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(values.type):
                flat = _to_numpy(values.flatten())
                found[name] = flat.reshape(len(values), values.type.list_size)
            else:
                found[name] = _to_numpy(values)
    # Of a damaged file Arrow raises what it meets: ValueError for a name that is not UTF-8.
    except (OSError, pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{file} is missing or damaged; run the task again with --force") from error
    return found


def _to_numpy(values: Any) -> npt.NDArray[Any]:
    """As Arrow's own, which imports pandas first: that takes longer than a comparison."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if values.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        dtype = np.dtype(kind.to_pandas_dtype())
        start = values.offset * dtype.itemsize
        return np.frombuffer(values.buffers()[1], dtype, len(values), start)
    if values.null_count == 0 and pa.types.is_boolean(kind):
        return _to_numpy(values.cast(pa.uint8())).astype(bool)
    if pa.types.is_string(kind):
        found = np.empty(len(values), object)
        found[:] = values.to_pylist()
        return found
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _write_outcomes(file: Path, columns: Mapping[str, npt.NDArray[Any]]) -> str:
    """Write outcome columns; the sha256 of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: _to_arrow(values) for name, values in columns.items()})
    with atomic(file) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        return hashlib.sha256(temporary.read_bytes()).hexdigest()


def _to_arrow(values: npt.NDArray[Any]) -> Any:
    import pyarrow as pa

    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(_to_arrow(values.reshape(-1)), values.shape[1])
    if values.dtype.kind in "OUS":
        return pa.array(values.tolist(), type=pa.string())
    return pa.array(np.ascontiguousarray(values))


Found = list[tuple[Path, Result]]


def list_results(
    results: Path,
    *,
    suite: str | None = None,
    task: str | None = None,
    model: str | None = None,
) -> tuple[Found, list[str]]:
    """Results by suite, model, task, protocol and age; and which files are none, and why.

    `task` is case-blind, `model` a name or spec, or what a board calls it (`choose`). Raises
    `UsageError` where nothing is there, or a name that no result has.
    """
    found: Found = []
    damaged: list[str] = []
    for path in sorted(results.glob("*/*/*.json")):
        try:
            result = read(path)
        except BenchError as error:
            damaged.append(str(error))
            continue
        if (reason := doubt(path, result)) is None:
            found.append((path, result))
        else:
            damaged.append(f"{path}: {reason}")
    if not found:
        raise UsageError(f"there are no results in {results}; make some with `paraclip-bench run`")
    found = choose(found, suite=suite, task=task, model=model)
    found.sort(key=lambda f: _order(f[1]))
    return found, damaged


def choose(
    found: Found, *, suite: str | None = None, task: str | None = None, model: str | None = None
) -> Found:
    """The results of a suite, of a task and of a model; `UsageError` for what none of them has.

    A model may be what a board calls it: such a name of several seeds means each of them.
    """
    if suite is not None:
        found = _kept("suite", suite, found, lambda r: (r.suite,))
    # Of all tasks, for that is what a board has.
    labels = {} if model is None else labels_by_row(result for _, result in found)
    if task is not None:
        found = _kept("task", task, found, lambda r: (r.task,))
    if model is not None:
        found = _kept(
            "model",
            model,
            found,
            lambda r: (r.model.name, r.model.spec, *labels.get((r.suite, row_of(r)), ())),
        )
    return found


def _order(result: Result) -> tuple[str, ...]:
    about = result.provenance
    return result.suite, result.model.name, result.task, result.protocol, about.time


def _kept(kind: str, asked: str, found: Found, names: Callable[[Result], tuple[str, ...]]) -> Found:
    wanted = asked.casefold()
    kept = [(p, r) for p, r in found if wanted in (name.casefold() for name in names(r))]
    if not kept:
        known = {name for _, result in found for name in names(result)}
        raise registry.unknown(kind, asked, known, "among these results")
    return kept
