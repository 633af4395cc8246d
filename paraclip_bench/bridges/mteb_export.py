"""Our results as files of mteb's own format, as far as mteb has the same measurement."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import importlib_metadata

from paraclip_bench.boards.selection import Entry, choose_board_suite, select
from paraclip_bench.bridges.mteb import (
    NO_REVISION,
    find_task,
    import_mteb,
    model_meta,
    mteb_name,
    mteb_version,
)
from paraclip_bench.bridges.mteb_task import PARTS, PREFIX
from paraclip_bench.errors import BenchError
from paraclip_bench.files import atomic, write_text
from paraclip_bench.results.schema import Result, Score
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.catalog import load_task


@dataclasses.dataclass(frozen=True)
class Export:
    """What was written, by file; what was left out and why; what a reader should know."""

    written: dict[Path, Result]
    left_out: list[str]
    remarks: list[str]


class _LeftOut(Exception):
    """Why a result has no place among mteb's."""


@dataclasses.dataclass(frozen=True)
class _Translation:
    """mteb's task, the scores by split and subset, and whose version computed them."""

    task: Any
    scores: dict[str, dict[str, dict[str, Any]]]
    version: str


def export(results: Path, out: Path, *, suite: str | None = None) -> Export:
    """Write `out`/MODEL/REVISION/TASK.json and a model_meta.json beside them.

    Of several results of a model that mean one task of mteb's, mteb's own goes first, then one on
    the hub's data, then the newest. Raises `UsageError` where there are no results, `BenchError`
    where mteb is not installed.
    """
    import_mteb("results export --format mteb")
    suite = choose_board_suite(results, suite)
    selection = select(results, suite, with_limits=False)
    left_out = list(selection.left_out)
    found: dict[tuple[str, str, str], list[tuple[Entry, _Translation]]] = defaultdict(list)
    for (row, _), entry in selection.cells.items():
        try:
            translation = _translate(entry.result)
        except _LeftOut as reason:
            left_out.append(f"{entry.shown}: {reason}")
            continue
        revision = entry.result.model.fingerprint or NO_REVISION
        name = mteb_name(selection.names[row])
        found[name, revision, translation.task.metadata.name].append((entry, translation))
    export = Export({}, left_out, [])
    modalities: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (name, revision, task), rivals in found.items():
        rivals.sort(key=lambda rival: _rank(rival[0].result), reverse=True)
        (first, translation), *others = rivals
        left_out += [f"{entry.shown}: {task} is written from {first.shown}" for entry, _ in others]
        path = out / name.replace("/", "__") / revision / f"{task}.json"
        _write(path, first.result, translation)
        export.written[path] = first.result
        modalities[name, revision] |= set(translation.task.metadata.modalities)
        if first.result.data.source != "hub":
            export.remarks.append(
                f"{path} is on data of a folder, so its dataset_revision is "
                f"{_revision(first.result)} and none of the hub's"
            )
    for (name, revision), sides in modalities.items():
        _write_model(out / name.replace("/", "__") / revision, name, revision, sorted(sides))
    return export


def _rank(result: Result) -> tuple[bool, bool, str]:
    return bool(result.provenance.scored_by), result.data.source == "hub", result.provenance.time


def _translate(result: Result) -> _Translation:
    """mteb's view of a result; `_LeftOut` where there is none."""
    if result.perturbation is not None:
        raise _LeftOut(f"its texts are reworded by {result.perturbation.name}")
    if result.scores[result.main_score].value is None:
        raise _LeftOut(f"its {result.main_score} is undefined")
    try:
        datetime.fromisoformat(result.provenance.time)
    except ValueError:
        raise _LeftOut(f"its time, {result.provenance.time!r}, is none") from None
    try:
        if result.task.startswith(PREFIX):
            return _of_mteb(result, find_task(result.task.removeprefix(PREFIX)))
        return _of_ours(result)
    # A name that this version of mteb does not know, or a task of a plugin that is broken.
    except BenchError as error:
        raise _LeftOut(str(error)) from error


def _of_ours(result: Result) -> _Translation:
    data = load_task(result.task).data_set
    equivalent = data.mteb if data else None
    if equivalent is None:
        raise _LeftOut(f"mteb has no task that measures {result.task}")
    if result.protocol != equivalent.protocol:
        raise _LeftOut(
            f"mteb's {equivalent.name} is protocol {equivalent.protocol} of {result.task}, "
            f"and this is {result.protocol}"
        )
    if result.data.source == "demo":
        raise _LeftOut(f"it is on the demo world, and mteb's {equivalent.name} is not")
    if equivalent.only_hub and result.data.source != "hub":
        raise _LeftOut(f"its shuffles are a folder's own, and mteb's {equivalent.name} has others")
    theirs = find_task(equivalent.name)
    (split,) = theirs.metadata.eval_splits
    expected = (theirs.metadata.n_samples or {}).get(split)
    if expected is not None and result.n != expected:
        raise _LeftOut(
            f"it has {counted(result.n, 'example')}, and mteb's {equivalent.name} {expected}"
        )
    if lacking := [ours for ours in equivalent.scores if ours not in result.scores]:
        raise _LeftOut(f"it has no {', '.join(lacking)}, which mteb's {equivalent.name} has")
    scores = {name: result.scores[ours] for ours, name in equivalent.scores.items()}
    own = f"paraclip-bench {importlib_metadata.version('paraclip-bench')}"
    entry = {**_entry(scores, theirs.metadata.main_score), "evaluated_with": own}
    return _Translation(theirs, {split: {"default": entry}}, mteb_version())


def _of_mteb(result: Result, task: Any) -> _Translation:
    parts = {part.name: part.scores for part in result.details.get(PARTS, [])}
    if not parts:
        (split, *_), (subset, *_) = task.metadata.eval_splits, task.metadata.hf_subsets
        parts = {f"{split}/{subset}": result.scores}
    scores: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for name, values in parts.items():
        split, _, subset = name.partition("/")
        scores[split][subset] = _entry(values, result.main_score)
    return _Translation(task, dict(scores), result.provenance.scored_by.removeprefix("mteb "))


def _entry(scores: Mapping[str, Score], main: str) -> dict[str, Any]:
    values = {name: score.value for name, score in scores.items() if score.value is not None}
    if main not in values:
        raise _LeftOut(f"a part of it has no {main}")
    return {**values, "main_score": values[main]}


def _revision(result: Result) -> str:
    """The data set's; of a folder, which has none, a mark with the data's sha256."""
    return result.data.revision or f"{result.data.source}-{result.data.sha256[:16]}"


def _write(path: Path, result: Result, translation: _Translation) -> None:
    from mteb.results import TaskResult

    version = {"mteb_version": translation.version}
    theirs = TaskResult.from_task_results(
        translation.task,
        {
            split: {subset: {**entry, **version} for subset, entry in subsets.items()}
            for split, subsets in translation.scores.items()
        },
        evaluation_time=result.provenance.seconds,
        date=datetime.fromisoformat(result.provenance.time),
    )
    theirs.dataset_revision = _revision(result)
    with atomic(path) as temporary:
        theirs.to_disk(temporary)


def _write_model(folder: Path, name: str, revision: str, modalities: list[str]) -> None:
    text = json.dumps(model_meta(name, revision, modalities).to_dict(), default=str, indent=4)
    write_text(folder / "model_meta.json", text + "\n")
