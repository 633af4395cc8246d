"""Run models on tasks: models outer, tasks inner; each result is written as soon as it is made."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paraclip_bench.data.data_set import whole_size
from paraclip_bench.distributed import RankFailed, Ranks, local_device, ranks
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import BenchError, reason_of
from paraclip_bench.evaluation.plan import (
    Plan,
    Work,
    choose_source,
    choose_suite,
    is_done,
    make_plan,
    place,
    skip_reason,
    title_of,
)
from paraclip_bench.evaluation.scoring import measure, score
from paraclip_bench.files import atomic
from paraclip_bench.models.adapter import Model
from paraclip_bench.progress import Progress
from paraclip_bench.reference.comparison import comparison
from paraclip_bench.results.provenance import versions
from paraclip_bench.results.schema import DataInfo, ModelInfo, Provenance, Result
from paraclip_bench.results.store import read, write
from paraclip_bench.tasks.catalog import choose_protocols, choose_tasks
from paraclip_bench.workspace import Workspace


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run goes; each field is an option of `paraclip-bench run`."""

    suite: str | None = None
    protocols: tuple[str, ...] = ()
    data_dir: Path | None = None
    limit: int | None = None
    force: bool = False
    offline: bool = False
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    debug: bool = False
    allow_truncated: bool = False


@dataclasses.dataclass
class Report:
    """What a run did: its results (new and found), what was skipped, and what failed."""

    results: list[tuple[Path, Result]] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    run: str = dataclasses.field(default_factory=lambda: secrets.token_hex(4))
    said: set[tuple[str, str]] = dataclasses.field(default_factory=set, repr=False)


def plan_run(
    models: Sequence[str | Model],
    tasks: Sequence[str],
    options: Options,
    workspace: Workspace,
    *,
    dry: bool = False,
) -> Plan:
    """Resolve names, suite and data; `UsageError` for wrong names, problems for missing things.

    `dry`: fetch nothing; what a run would fetch is no problem.
    """
    if options.offline or dry:
        from paraclip_bench.data.hub import go_offline, offline_by

        if options.offline:
            go_offline()
        elif not offline_by():
            go_offline(dry=True)
    suite = choose_suite(options.suite, models, workspace.checkpoints)
    choice = choose_tasks(tasks, suite)
    return make_plan(
        models,
        choose_protocols(choice.tasks, options.protocols),
        suite=suite,
        source=choose_source(suite, options.data_dir),
        checkpoints=workspace.checkpoints,
        limit=options.limit,
        device=local_device(options.device),
        dtype=options.dtype,
        broken=choice.problems,
        notes=choice.notes,
    )


def execute(plan: Plan, options: Options, workspace: Workspace, progress: Progress) -> Report:
    """Run what is not done yet; a task that fails is named and the others go on."""
    team = ranks()
    if team.is_first:
        check_writable(workspace.results)
    report = Report(failures=list(plan.problems))
    for note in plan.notes:
        progress.say(f"note: {note}")
    spaces = Spaces(progress.say)
    for model in plan.models:
        pairs = [*plan.idle, *((work.task, work.protocol) for work in plan.work)]
        for task, protocol in pairs:
            if reason := skip_reason(model, task, protocol):
                report.skipped.append(f"{title_of(task, protocol)} is skipped: {reason}")
                progress.say(report.skipped[-1])
        work_left = [w for w in plan.work if not skip_reason(model, w.task, w.protocol)]
        # What keeps a model from loading is said once, not once a task.
        load = functools.partial(getattr, model, "fingerprint")
        guard = functools.partial(_guarded, options=options, progress=progress, report=report)
        if work_left and guard(model.name, load):
            todo = _todo(plan, model, work_left, options, workspace, team)
            left = [work for work, _, is_there in todo if not is_there]
            guard(model.name, functools.partial(_need, model, left))
            for work, path, is_there in todo:
                if is_there:
                    step = functools.partial(_found, model, work, path, progress, report)
                else:
                    step = functools.partial(
                        _run_one, plan, model, work, path, spaces, options, progress, report
                    )
                guard(f"{model.name} on {work.title}", step)
        model.release()
    return report


def _todo(
    plan: Plan,
    model: Model,
    work: Sequence[Work],
    options: Options,
    workspace: Workspace,
    team: Ranks,
) -> list[tuple[Work, Path, bool]]:
    """Each piece of work, where its result lies, and whether that is there and stands.

    Rank 0 looks, for all: a rank that is late would find what was written meanwhile.
    """
    paths = [place(workspace.results, plan, model, w) for w in work]
    there = team.share([is_done(path, model) and not options.force for path in paths])
    return list(zip(work, paths, there, strict=True))


def _guarded(
    what: str,
    step: Callable[[], object],
    options: Options,
    progress: Progress,
    report: Report,
) -> bool:
    """Whether a step went well; a failure is named, and ends that step alone."""
    team = ranks()
    try:
        step()
        team.meet()
    except RankFailed:
        raise
    # A plugin may raise anything.
    except (Exception, SystemExit) as error:
        team.meet(error)
        if options.debug and not isinstance(error, BenchError):
            raise
        reason = str(error) if isinstance(error, BenchError) else reason_of(error)
        report.failures.append(f"{what} failed: {reason}")
        progress.say(f"error: {report.failures[-1]}")
        return False
    return True


def _need(model: Model, left: Sequence[Work]) -> None:
    """Tell an adapter which sides the work that is left needs: one tower then loads alone."""
    if left and hasattr(model.adapter, "need"):
        model.adapter.need({side for w in left for side in w.task.protocols[w.protocol].needs})


def _found(model: Model, work: Work, path: Path, progress: Progress, report: Report) -> None:
    result = read(path)
    report.results.append((path, result))
    progress.say(f"{model.name} on {work.title}: already there, {path.name}")
    _compare(result, model, work, progress, report)


def _compare(result: Result, model: Model, work: Work, progress: Progress, report: Report) -> None:
    """Say what was published for this model; no part of the result, so it cannot fail one."""
    if not ranks().is_first:
        return
    try:
        lines = comparison(result, f"{model.name} on {work.title}")
    # The task is done: whatever is wrong with others' numbers is worth a note, and only one.
    except Exception as error:
        reason = str(error) if isinstance(error, BenchError) else reason_of(error)
        note = f"note: no result is compared with published numbers: {reason}"
        lines = [] if ("", note) in report.said else [note]
        report.said.add(("", note))
    for line in lines:
        progress.say(line)


def _run_one(
    plan: Plan,
    model: Model,
    work: Work,
    path: Path,
    spaces: Spaces,
    options: Options,
    progress: Progress,
    report: Report,
) -> None:
    start = time.perf_counter()
    embed = Embedder(model, spaces, progress, lenient=options.allow_truncated)
    found = measure(work.task, work.examples, embed)
    if (how := getattr(model.adapter, "how", None)) and (model.name, how) not in report.said:
        report.said.add((model.name, how))
        progress.say(f"{model.name}: {how}")
    if not ranks().is_first:
        return  # rank 0 alone scores and writes
    scored = score(work.task, found, seed=options.seed)
    result = Result(
        suite=plan.suite,
        task=work.task.name,
        task_version=work.task.version,
        protocol=work.protocol,
        main_score=work.task.main_score,
        n=len(work.examples),
        limit=work.limit,
        model=ModelInfo(
            spec=model.spec,
            name=model.name,
            fingerprint=model.fingerprint,
            activation=model.activation,
            base=model.base,
        ),
        scores=scored.scores,
        details=scored.details,
        data=DataInfo(
            source=work.source,
            id=work.examples.id,
            revision=work.examples.revision,
            sha256=work.sha256,
            notes={**work.examples.notes, **_cut_off(embed.cut_off)},
        ),
        provenance=Provenance(
            versions=versions(),
            device=model.device,
            dtype=model.dtype,
            dtypes=embed.dtypes,
            seed=options.seed,
            seconds=round(time.perf_counter() - start, 3),
            encode_seconds=round(embed.seconds, 3),
            from_store=round(embed.found / embed.requested, 4) if embed.requested else 0.0,
            command=shlex.join(["paraclip-bench", *sys.argv[1:]]),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            run=report.run,
            scored_by=scored.scored_by,
        ),
    )
    write(path, result, scored.columns)
    if embed.cut_off:
        progress.say(
            f"note: {len(set(embed.cut_off))} image files are cut off and were decoded as far as "
            f"they go; {path.name} lists them"
        )
    report.results.append((path, result))
    main = scored.scores[work.task.main_score]
    undefined = "undefined, for the outcomes do not vary (does the model give one vector for all?)"
    shown = undefined if main.value is None else f"{100 * main.value:.2f}"
    progress.say(
        f"{model.name} on {work.title}: {work.task.main_score} {shown} "
        f"({_examples(work)}, {result.provenance.seconds:.1f} s, "
        f"{result.provenance.from_store:.0%} of {embed.requested} vectors from the store)"
        + (f", scored by {scored.scored_by}: no interval" if scored.scored_by else "")
    )
    _compare(result, model, work, progress, report)


def _examples(work: Work) -> str:
    """How many there are, and of how many where they are not the whole set."""
    whole = whole_size(work.task, work.protocol)
    shown = f"{len(work.examples)} examples"
    is_compared = whole is not None and work.limit is None and work.source != "demo"
    is_part = is_compared and len(work.examples) != whole
    return f"{shown}, where the whole set has {whole}" if is_part else shown


def _cut_off(names: Sequence[str]) -> dict[str, Any]:
    """A note that names the images whose files were cut off, where there are any."""
    return {"truncated_images": sorted(set(names))} if names else {}


def check_writable(folder: Path) -> None:
    """`BenchError` where results could not be written, before anything is computed."""
    with atomic(folder / ".writable"):
        pass
    (folder / ".writable").unlink(missing_ok=True)
