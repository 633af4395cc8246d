"""Run models on tasks: models outer, tasks inner; each result is written as soon as it is made.

`plan_run` says what there is to do, `execute` does it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paraclip_bench.data.images import exif_applied
from paraclip_bench.distributed import ProcessGroup, RankFailed, local_device, process_group
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import BenchError, UsageError, sentence_of
from paraclip_bench.evaluation.perturbed import DROP, Reworded, measure_reworded, score_reworded
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
from paraclip_bench.evaluation.scoring import Scored, measure, score
from paraclip_bench.files import atomic
from paraclip_bench.models.adapter import Model
from paraclip_bench.progress import Advance, Progress
from paraclip_bench.reference.comparison import comparison
from paraclip_bench.results.provenance import command_line, versions
from paraclip_bench.results.schema import DataInfo, ModelInfo, Provenance, Result
from paraclip_bench.results.store import has_outcomes, read, write
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import LEAST_DEPTH, Task
from paraclip_bench.tasks.catalog import choose_protocols, choose_tasks
from paraclip_bench.tasks.perturbation import (
    Perturbation,
    check_perturbation,
    find_perturbation,
)
from paraclip_bench.workspace import Workspace

# More versions of a perturbation than this are worth a word beforehand.
_MANY_VERSIONS = 50


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
    depth: int | None = None
    exif: bool = False
    perturb: tuple[str | Perturbation, ...] = ()


@dataclasses.dataclass
class RunReport:
    """What a run did: its results (new and found), what was skipped, and what failed."""

    results: list[tuple[Path, Result]] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


def plan_run(
    models: Sequence[str | Model],
    tasks: Sequence[str | Task],
    options: Options,
    workspace: Workspace,
    *,
    dry: bool = False,
) -> Plan:
    """Resolve names, suite and data; `UsageError` for wrong names, problems for missing things.

    `dry`: fetch nothing; what a run would fetch is not a problem.
    """
    if options.offline or dry:
        from paraclip_bench.data.hub import go_offline, offline_by

        if options.offline:
            go_offline()
        elif not offline_by():
            go_offline(dry=True)
    suite = choose_suite(options.suite, models, workspace.checkpoints)
    choice = choose_tasks(tasks, suite)
    chosen = choice.tasks
    if options.depth is not None:
        if options.depth < LEAST_DEPTH:
            raise UsageError(
                f"a depth of {options.depth} is too little; keep at least {LEAST_DEPTH} places"
            )
        # Copies, because a task may be the caller's own object.
        chosen = [copy.copy(task) for task in chosen]
        for task in chosen:
            task.depth = None if task.depth is None else options.depth
    perturbations = [
        find_perturbation(asked) if isinstance(asked, str) else check_perturbation(asked)
        for asked in dict.fromkeys(options.perturb)
    ]
    names = [each.name for each in perturbations]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two perturbations are called {twice.pop()}, and their results would be, too; rename "
            "one of the files"
        )
    many = [
        f"{each.name} has {counted(len(each.versions), 'version')}, and each task is measured with "
        "all of them; a file with fewer paraphrases of a text is faster"
        for each in perturbations
        if len(each.versions) > _MANY_VERSIONS
    ]
    with exif_applied(options.exif):
        return make_plan(
            models,
            choose_protocols(chosen, options.protocols),
            suite=suite,
            source=choose_source(suite, options.data_dir),
            checkpoints=workspace.checkpoints,
            limit=options.limit,
            device=local_device(options.device),
            dtype=options.dtype,
            broken=choice.problems,
            notes=[*choice.notes, *many],
            perturbations=perturbations,
        )


def execute(plan: Plan, options: Options, workspace: Workspace, progress: Progress) -> RunReport:
    """Run what is not done yet; a task that fails is named and the others go on."""
    run = _Run(plan, options, workspace.results, progress)
    if run.group.is_first:
        check_writable(run.folder)
    for note in plan.notes:
        progress.say(f"note: {note}")
    for model in plan.models:
        if work_for_it := run.skip_what_it_cannot(model):
            run.run_model(model, work_for_it)
        model.adapter.release()
    return run.report


@dataclasses.dataclass
class _Step:
    """A piece of work, and whether it failed."""

    failed: bool = False


class _Run:
    """One run: what it is given, and what it keeps for itself on the way.

    id marks the results of this run. said are the lines that are said once.
    """

    def __init__(self, plan: Plan, options: Options, folder: Path, progress: Progress) -> None:
        self.plan = plan
        self.options = options
        self.folder = folder
        self.progress = progress
        self.report = RunReport(failures=list(plan.problems))
        self.group: ProcessGroup = process_group()
        self.spaces = Spaces(progress.say)
        self.id = secrets.token_hex(4)
        self.said: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[_Step]:
        """A piece of work that all ranks end together; a failure is named, and ends it alone."""
        step = _Step()
        try:
            yield step
            self.group.barrier()
        except RankFailed:
            raise
        # A plugin may raise anything.
        except (Exception, SystemExit) as error:
            self.group.barrier(error)
            if self.options.debug and not isinstance(error, BenchError):
                raise
            step.failed = True
            self.report.failures.append(f"{what} failed: {sentence_of(error)}")
            self.progress.say(f"error: {self.report.failures[-1]}")

    def waiting(self, title: str) -> AbstractContextManager[Advance]:
        """Show that something takes its time."""
        return self.progress.track(title, None)

    def skip_what_it_cannot(self, model: Model) -> list[Work]:
        """The work that a model has the sides for; the other tasks are named."""
        plan = self.plan
        for task, protocol in [*plan.idle, *((w.task, w.protocol) for w in plan.work)]:
            if reason := skip_reason(model, task, protocol):
                self.report.skipped.append(f"{title_of(task, protocol)} is skipped: {reason}")
                self.progress.say(self.report.skipped[-1])
        return [w for w in plan.work if not skip_reason(model, w.task, w.protocol)]

    def run_model(self, model: Model, work: Sequence[Work]) -> None:
        """Load a model, then take or measure each result."""
        # What keeps a model from loading is said once, not once a task.
        with self.step(model.name) as loading, self.waiting(f"{model.name}: loading"):
            _ = model.fingerprint
        if loading.failed:
            return
        todo = self.look_what_is_there(model, work)
        left = [w for w, _, is_there in todo if not is_there]
        with self.step(model.name), self.waiting(f"{model.name}: loading"):
            if left:
                model.adapter.need({s for w in left for s in w.task.protocols[w.protocol].needs})
        for w, path, is_there in todo:
            with self.step(f"{model.name} on {w.title}"):
                if is_there:
                    self.take_what_is_there(model, w, path)
                else:
                    self.measure(model, w, path)

    def look_what_is_there(
        self, model: Model, work: Sequence[Work]
    ) -> list[tuple[Work, Path, bool]]:
        """Each piece of work, where its result lies, and whether that is there and stands.

        Rank 0 looks, for all: a rank that is late would find what was written meanwhile.
        """
        paths = [place(self.folder, self.plan, model, w) for w in work]
        there = self.group.broadcast([is_done(p, model) and not self.options.force for p in paths])
        return list(zip(work, paths, there, strict=True))

    def take_what_is_there(self, model: Model, work: Work, path: Path) -> None:
        """Report a result of an earlier run."""
        result = read(path)
        is_resampled = not result.provenance.scored_by and result.perturbation is None
        if is_resampled and not has_outcomes(path, result):
            self.progress.say(f"note: the outcomes of {path.name} are missing; --force makes them")
        self.report.results.append((path, result))
        self.progress.say(f"{model.name} on {work.title}: already there, {path.name}")
        kept, asked = result.provenance.depth, self.options.depth
        if asked is not None and work.task.depth is not None and kept != asked:
            self.progress.say(
                f"note: {path.name} was measured with depth {kept or LEAST_DEPTH}; "
                f"--force measures it again with {asked}"
            )
        self.compare(result, model, work)

    def measure(self, model: Model, work: Work, path: Path) -> None:
        """Encode, measure, score and write one result; rank 0 alone scores and writes."""
        start = time.perf_counter()
        embed = Embedder(model, self.spaces, self.progress, lenient=self.options.allow_truncated)
        task, perturbation = work.task, work.perturbation
        found = (
            measure(task, work.examples, embed)
            if perturbation is None
            else measure_reworded(task, work.examples, embed, perturbation)
        )
        self.describe(model)
        if not self.group.is_first:
            return
        with self.waiting(f"{model.name} on {work.title}: scoring"):
            if isinstance(found, Reworded):
                scored, reworded = score_reworded(task, found)
            else:
                scored, reworded = score(task, found), None
        result = self.result(model, work, embed, scored, time.perf_counter() - start)
        result = result.model_copy(update={"perturbation": reworded})
        result = write(path, result, scored.columns, scored.contributions)
        if embed.cut_off:
            files = counted(len(set(embed.cut_off)), "image file")
            self.progress.say(
                f"note: {files} cut off, decoded as far as they go; {path.name} lists them"
            )
        for line in embed.inputs.lines():
            self.progress.say(f"note: {line}")
        self.report.results.append((path, result))
        self.progress.say(f"{model.name} on {work.title}: {_summary(result, work, embed)}")
        self.compare(result, model, work)

    def result(
        self, model: Model, work: Work, embed: Embedder, scored: Scored, seconds: float
    ) -> Result:
        """What is written of one model on one task."""
        return Result(
            suite=self.plan.suite,
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
                activation=model.adapter.activation,
                base=model.adapter.base,
                method=model.adapter.method,
                seed=model.adapter.seed,
            ),
            scores=scored.scores,
            details=scored.details,
            data=DataInfo(
                source=work.source,
                id=work.examples.id,
                revision=work.examples.revision,
                sha256=work.sha256,
                notes={
                    **work.examples.notes,
                    **_cut_off(embed.cut_off),
                    **embed.inputs.notes(),
                },
            ),
            provenance=Provenance(
                versions=versions(),
                device=model.device,
                dtype=model.dtype,
                dtypes=embed.dtypes,
                seed=self.options.seed,
                seconds=round(seconds, 3),
                encode_seconds=round(embed.seconds, 3),
                from_store=round(embed.found / embed.requested, 4) if embed.requested else 0.0,
                command=command_line(),
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                run=self.id,
                scored_by=scored.scored_by,
                depth=work.task.depth,
            ),
        )

    def compare(self, result: Result, model: Model, work: Work) -> None:
        """Say what was published for this model; not a part of the result, so it cannot fail it."""
        if not self.group.is_first or result.perturbation is not None:
            return
        try:
            for line in comparison(result, f"{model.name} on {work.title}"):
                self.progress.say(line)
        # The task is done: whatever is wrong with others' numbers is worth a note, and only one.
        except Exception as error:
            why = sentence_of(error)
            self.say_once("", f"note: no result is compared with published numbers: {why}")

    def describe(self, model: Model) -> None:
        """Say how the model computes; foreign code, which cannot fail a task that is measured."""
        with contextlib.suppress(Exception):
            if how := model.adapter.describe():
                self.say_once(model.name, f"{model.name}: {how}")

    def say_once(self, who: str, line: str) -> None:
        """A line that a run says once."""
        if (who, line) not in self.said:
            self.said.add((who, line))
            self.progress.say(line)


def check_writable(folder: Path) -> None:
    """`BenchError` where results could not be written, before anything is computed."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    with atomic(folder / ".writable"):
        pass
    (folder / ".writable").unlink(missing_ok=True)
    # A run that is refused leaves nothing; a result makes its folders itself.
    for one in made:
        with contextlib.suppress(OSError):
            one.rmdir()


def _summary(result: Result, work: Work, embed: Embedder) -> str:
    """The main score and how it was had, for one line."""
    main, about = result.scores[result.main_score], result.provenance
    if result.perturbation is not None:
        return _reworded(result)
    undefined = (
        "undefined, because the outcomes do not vary (does the model give one vector for all?)"
    )
    shown = undefined if main.value is None else f"{100 * main.value:.2f}"
    return (
        f"{result.main_score} {shown} ({_examples(work)}, {about.seconds:.1f} s, "
        f"{about.from_store:.0%} of {counted(embed.requested, 'vector')} from the store)"
        + (f", scored by {about.scored_by}: no interval" if about.scored_by else "")
    )


def _reworded(result: Result) -> str:
    """Level, drop and what was covered, for one line."""
    found = [result.scores[result.main_score + end] for end in ("", DROP)]
    level, drop = ("undefined" if s.value is None else f"{100 * s.value:.2f}" for s in found)
    ends = [f"{100 * end:+.2f}" for end in (found[1].low, found[1].high) if end is not None]
    interval = f" [{', '.join(ends)}]" if ends else ""
    about = result.perturbation
    assert about is not None
    return (
        f"{result.main_score} {level}, a drop of {drop}{interval} (mean of "
        f"{counted(about.k, 'version')}, which reword {about.covered:,} of "
        f"{counted(about.texts, 'text')}; {result.provenance.seconds:.1f} s)"
    )


def _examples(work: Work) -> str:
    """How many there are, and of how many where they are not the whole set."""
    whole = work.task.whole_size(work.protocol)
    shown = f"{counted(len(work.examples), 'example')}"
    is_compared = whole is not None and work.limit is None and work.source != "demo"
    is_part = is_compared and len(work.examples) != whole
    return f"{shown}, where the whole set has {whole}" if is_part else shown


def _cut_off(names: Sequence[str]) -> dict[str, Any]:
    """A note that names the images whose files were cut off, where there are any."""
    return {"truncated_images": sorted(set(names))} if names else {}
