"""What a run would do: its data read and checked, what is missing named, what is done found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from paraclip_bench.data.source import FolderSource, Source, folder_source
from paraclip_bench.errors import (
    BenchError,
    MissingData,
    NotServed,
    UsageError,
    is_fetchable,
    sentence_of,
)
from paraclip_bench.models.adapter import Context, Model
from paraclip_bench.models.load import load_models, suite_of
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.results.store import result_key, result_path
from paraclip_bench.tasks.base import Examples, ExternallyScoredTask, Task
from paraclip_bench.tasks.catalog import find_suite
from paraclip_bench.tasks.perturbation import Perturbation


@dataclasses.dataclass(frozen=True)
class Work:
    """One task under one protocol with its examples, ready for any model."""

    task: Task
    protocol: str
    examples: Examples
    sha256: str
    limit: int | None
    source: str
    perturbation: Perturbation | None = None

    @property
    def title(self) -> str:
        """What a line about it calls it."""
        title = title_of(self.task, self.protocol)
        return title if self.perturbation is None else f"{title} ~ {self.perturbation.name}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Models and work of a run, and the problems that were found on the way.

    idle are tasks that none of the models can run, so that their data was not looked at.
    """

    suite: str
    source: Source
    models: list[Model]
    work: list[Work]
    problems: list[str]
    notes: list[str]
    idle: list[tuple[Task, str]]
    missing_models: list[tuple[str, str]]
    missing_data: list[tuple[str, str, str]]


def make_plan(
    specs: Sequence[str | Model],
    pairs: Sequence[tuple[Task, str]],
    *,
    suite: str,
    source: Source,
    checkpoints: Path,
    limit: int | None,
    device: str | None,
    dtype: str | None,
    broken: Sequence[str] = (),
    notes: Sequence[str] = (),
    perturbations: Sequence[Perturbation] = (),
) -> Plan:
    """Construct the models and read the data; what fails becomes a problem, the rest goes on.

    Each task is measured plainly and under each of the perturbations.

    `broken` are problems and `notes` remarks that choosing the tasks brought. Wrong usage
    (`UsageError`) is raised at once.
    """
    problems = list(broken)
    models, missing_models = [], []
    context = Context(suite=suite, checkpoints=checkpoints)
    for spec in dict.fromkeys(specs):
        try:
            for model in [spec] if isinstance(spec, Model) else load_models(spec, context):
                model.to(device, dtype)
                model.adapter.check()
                models.append(model)
        except UsageError:
            raise
        # An adapter's check() is foreign code; one model's failure leaves the others alone.
        except (Exception, SystemExit) as error:
            reason = _reason(str(spec), error)
            missing_models.append((str(spec), reason))
            if not is_fetchable(error):
                problems.append(reason)
    work, missing_data, idle = [], [], []
    for task, protocol in pairs:
        if models and all(skip_reason(model, task, protocol) for model in models):
            idle.append((task, protocol))
            continue
        try:
            own = source.of(task.pin)
            try:
                examples = read_examples(task, own, protocol, limit)
            except NotServed as error:
                if (layout := own.layout()) is None:
                    raise
                own, examples = layout, _beside(task, layout, protocol, limit, error)
            digest = examples_sha256(examples)
            notes = [*notes, *examples.remarks]
            plain = Work(task, protocol, examples, digest, limit, own.kind)
            work.append(plain)
            if perturbations and isinstance(task, ExternallyScoredTask):
                said = f"{task.name} is measured plainly alone, because {task.scored_by} scores it"
                notes = [*notes, said]
                continue
            work += [dataclasses.replace(plain, perturbation=each) for each in perturbations]
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            reason = _reason(task.name, error)
            missing_data.append((task.name, protocol, reason))
            if not is_fetchable(error):
                problems.append(reason)
    return Plan(
        suite, source, models, work, problems, list(notes), idle, missing_models, missing_data
    )


def _beside(
    task: Task, layout: FolderSource, protocol: str, limit: int | None, error: NotServed
) -> Examples:
    """What a prefetched copy does not serve, from the layout in the same folder; else `error`."""
    try:
        return read_examples(task, layout, protocol, limit)
    except MissingData:
        raise error from None


def _reason(name: str, error: BaseException) -> str:
    said = sentence_of(error)
    return said if isinstance(error, BenchError) else f"{name} failed ({said})"


def read_examples(task: Task, source: Source, protocol: str, limit: int | None) -> Examples:
    """All examples of a task, or the `limit` that it keeps of them, under one protocol.

    Raises `UsageError` for a limit on a task that is scored externally, as a whole.
    """
    if limit is not None and isinstance(task, ExternallyScoredTask):
        raise UsageError(
            f"{task.name} is scored as a whole by {task.scored_by}, so --limit cannot be obeyed; "
            "leave it or that task out"
        )
    loaded = task.load(source, protocol)
    examples = loaded if isinstance(loaded, Examples) else Examples(list(loaded), id=task.name)
    rows = list(examples.rows)
    if limit is not None:
        rows = list(task.limited(rows, limit))
    return dataclasses.replace(examples, rows=rows, protocol=protocol)


def title_of(task: Task, protocol: str) -> str:
    """The task, and its protocol where there are several."""
    return task.name if len(task.protocols) == 1 else f"{task.name} ({protocol})"


def skip_reason(model: Model, task: Task, protocol: str) -> str | None:
    """Why a model cannot run a task, or None."""
    needs = task.protocols[protocol].needs
    lacking = [side for side in needs if model.encoder(side) is None]
    return f"{model.name} has no {' and no '.join(lacking)} encoder" if lacking else None


def place(results: Path, plan: Plan, model: Model, work: Work) -> Path:
    """Where this result lies, or will lie."""
    # Without a fingerprint the spec stands in: such a result is made again each time.
    fingerprint = model.fingerprint or f"unknown:{model.spec}"
    reworded = work.perturbation
    digest, called = (None, None) if reworded is None else (reworded.digest, reworded.name)
    version = work.task.version
    key = result_key(fingerprint, model.dtype, version, work.sha256, work.limit, digest)
    task, protocol = work.task.name, work.protocol
    return result_path(results, plan.suite, model.name, task, protocol, key, called)


def is_done(path: Path, model: Model) -> bool:
    """Whether a result is there and still stands for this model."""
    return model.fingerprint is not None and path.is_file()


def describe(plan: Plan, results: Path) -> list[dict[str, str | int | None]]:
    """One row a (model, task, protocol) for --dry-run; nothing is loaded or computed.

    What is missing has a row of its own, a model without task or a task without model.
    """
    rows = [_row(model=spec, state=_absent(plan, reason)) for spec, reason in plan.missing_models]
    rows += [
        _row(task=name, protocol=protocol, state=_absent(plan, reason))
        for name, protocol, reason in plan.missing_data
    ]
    for task, protocol in plan.idle:
        for model in plan.models:
            state = f"skip: {skip_reason(model, task, protocol)}"
            rows.append(_row(model=model.name, task=task.name, protocol=protocol, state=state))
    if not plan.work and not plan.idle:
        rows += [_row(model=model.name, state="ready, but no data") for model in plan.models]
    for work in plan.work:
        found: dict[str, str | int | None] = {
            "task": work.task.name,
            "protocol": work.protocol,
            **({} if work.perturbation is None else {"perturbation": work.perturbation.name}),
            "data": f"{work.examples.id} ({work.source})",
            "n": len(work.examples),
        }
        if not plan.models:
            rows.append(_row(**found, state="data found"))
        for model in plan.models:
            state = _state(plan, results, model, work)
            rows.append(_row(**found, model=model.name, state=state))
    return rows


def _absent(plan: Plan, reason: str) -> str:
    return f"missing: {reason}" if reason in plan.problems else f"to fetch: {reason}"


def _row(**cells: str | int | None) -> dict[str, str | int | None]:
    names = ["model", "task", "protocol", "data", "n", "state"]
    # Not for a plan without any, whose rows are as they ever were.
    names[3:3] = ["perturbation"] if "perturbation" in cells else []
    return {name: cells.get(name) for name in names}


def _state(plan: Plan, results: Path, model: Model, work: Work) -> str:
    reason = skip_reason(model, work.task, work.protocol)
    if reason:
        return f"skip: {reason}"
    if not model.adapter.is_identified():
        return "to run (never loaded before)"
    try:
        path = place(results, plan, model, work)
    # A lazy fingerprint may be foreign code.
    except (Exception, SystemExit) as error:
        if is_fetchable(error):
            return f"to fetch: {error}"
        plan.problems.append(_reason(model.name, error))
        return f"missing: {plan.problems[-1]}"
    return f"done: {path.name}" if is_done(path, model) else "to run"


def choose_suite(asked: str | None, models: Sequence[str | Model], checkpoints: Path) -> str:
    """The suite asked for, else that of the checkpoints among the models, else `paper`.

    Raises `UsageError` for an unknown suite, or checkpoints of different suites.
    """
    if asked is not None:
        return find_suite(asked).name
    context = Context(suite="paper", checkpoints=checkpoints)
    found = {
        str(model): suite_of(model, context) if isinstance(model, str) else model.adapter.suite
        for model in models
    }
    suites = {suite for suite in found.values() if suite is not None}
    if len(suites) > 1:
        named = ", ".join(f"{spec} is of {suite}" for spec, suite in found.items() if suite)
        raise UsageError(f"these models are of different suites ({named}); say --suite NAME")
    return find_suite(suites.pop()).name if suites else "paper"


def choose_source(suite: str, data_dir: Path | None) -> Source:
    """The folder given, else the suite's own data."""
    return find_suite(suite).source() if data_dir is None else folder_source(data_dir)
