"""From a base, pairs and a recipe to a checkpoint folder, in the order in which it happens.

`finetune` loads the base, reads the rows, claims the folder, trains the text tower and describes
what came of it. Each step is a function of one `_Run`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from paraclip_bench import interrupts
from paraclip_bench.data.images import exif_applied
from paraclip_bench.data.training_rows import BadRow
from paraclip_bench.distributed import ProcessGroup, local_device, local_world_size, process_group
from paraclip_bench.encoding.batching import memory_of
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import only_process, slug, write_text
from paraclip_bench.models.adapter import SIDES, Context, Model
from paraclip_bench.models.aliases import RECIPE
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.models.training_digests import TrainingDigests
from paraclip_bench.progress import Progress
from paraclip_bench.results.provenance import command_line, versions
from paraclip_bench.safe_text import counted
from paraclip_bench.training.checkpoint import (
    LOSSES,
    PLOT,
    PREPARED,
    REPORT,
    STATE,
    begin,
    copy_companions,
    finish,
    give_back,
)
from paraclip_bench.training.describe import TrainingProgress, model_card, plot_run
from paraclip_bench.training.prepare import Preparation
from paraclip_bench.training.recipe import FinetuneJob
from paraclip_bench.training.table import RowReport, Table, open_table
from paraclip_bench.workspace import Workspace

# Says for which base a folder was prepared: tokens and features are that model's.
_BASE = "base"
# How the model card calls a kind of term.
_KINDS = {"info_nce": "InfoNCE", "hard_negatives": "InfoNCE with hard negatives"}
# Of the machine's memory, the share that activations with a graph may take.
_GRAPH_SHARE = 0.25


@dataclasses.dataclass
class _Run:
    """One run of fine-tuning: what it is given, and what the steps have made so far.

    folder: where the checkpoint goes. is_new: whether this run made it, known to rank 0. made: the
    table of tokens and the features, on disk. how: what the provenance says of the training.
    """

    job: FinetuneJob
    progress: Progress
    group: ProcessGroup
    model: Model
    adapter: OpenCLIP
    folder: Path
    made: Preparation
    resume: bool
    skip_bad: bool
    tensorboard: bool
    aside: bool
    exif: bool = False
    table: Table = dataclasses.field(init=False)
    report: RowReport = dataclasses.field(init=False)
    is_new: bool = dataclasses.field(init=False, default=False)
    how: dict[str, Any] = dataclasses.field(init=False)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with, the recipe apart."""
        return {
            "base": self.model.fingerprint,
            "data": self.table.sha256,
            "world_size": self.group.size,
            # Its images are other data; a message can say so.
            **({"exif": True} if self.exif else {}),
        }

    @property
    def batch(self) -> int:
        """Pairs of one step, over all processes."""
        return self.job.recipe.batch_size * self.group.size


def finetune(
    job: FinetuneJob,
    workspace: Workspace,
    progress: Progress,
    *,
    out: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    skip_bad: bool = False,
    tensorboard: bool = False,
    exif: bool = False,
    aside: bool = False,
) -> Path:
    """Fine-tune and write the checkpoint folder; returns it.

    The very same run, already finished, is not repeated. `aside`: where the folder is taken by
    another run, write beside it, under a name with this run's digest. `skip_bad` leaves out rows
    that cannot be trained on. `exif`: images are rotated as their EXIF orientation says. Raises
    `UsageError` for a base that is not an open_clip model or a folder in the way, `DataError` for
    rows that cannot be trained on.
    """
    if tensorboard:
        _check_tensorboard()
    group = process_group()
    # First of all: who forgot --data need not wait for the base to hear of it.
    if job.notice:
        progress.say(job.notice)
    model, adapter = _load_base(job, workspace, device)
    folder = out or _default_folder(model, job, workspace)
    made = Preparation(
        job,
        model,
        adapter,
        folder.with_name(f".{folder.name}.preparing"),
        folder.with_name(f"{folder.name}.bad-rows.json"),
        group,
        progress,
    )
    # torchrun starts the same command again after a failure.
    resume = resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    run = _Run(
        *(job, progress, group, model, adapter, folder, made, resume, skip_bad, tensorboard, aside),
        exif=exif,
    )
    with exif_applied(exif), contextlib.ExitStack() as held:
        # No rank of its own run is another process: rank 0 holds it for all.
        group.on_first(lambda: _hold(folder, held))
        if not _read_and_claim(run, held):
            interrupts.note("")
            progress.say(f"{run.folder} is already made by this recipe from this base and data")
            return run.folder
        try:
            _train(run)
        except BenchError:
            if run.is_new and group.is_first:
                give_back(run.folder)
            raise
    interrupts.note("")
    group.barrier()
    return run.folder


def finetune_seeds(
    job: FinetuneJob,
    seeds: Sequence[int],
    workspace: Workspace,
    progress: Progress,
    *,
    out: Path | None = None,
    **options: Any,
) -> Path:
    """Fine-tune once a seed, each into a folder seed-N of `out`; returns `out`.

    `out` is by default the folder that a run without seeds would write. What is finished is not
    repeated. The other options are those of `finetune`. Raises `UsageError` where `out` itself is a
    checkpoint.
    """
    base = load_model(job.base, Context(suite=job.suite, checkpoints=workspace.checkpoints))
    folder = out or _default_folder(base, job, workspace)
    if (folder / RECIPE).is_file():
        raise UsageError(
            f"{folder} is a checkpoint of one seed, and several are to be written into it; choose "
            "another folder with -o"
        )
    is_new = not folder.exists()
    for seed in dict.fromkeys(seeds):
        own = dataclasses.replace(job, recipe=job.recipe.model_copy(update={"seed": seed}))
        try:
            finetune(own, workspace, progress, out=folder / f"seed-{seed}", **options)
        except BenchError:
            # What was refused leaves nothing but the lock.
            if is_new and all(f.name.startswith(".") for f in folder.glob("*")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _default_folder(base: Model, job: FinetuneJob, workspace: Workspace) -> Path:
    return workspace.checkpoints / slug(f"{slug(base.name)}-{slug(job.recipe.name)}", 150)


def _load_base(
    job: FinetuneJob, workspace: Workspace, device: str | None
) -> tuple[Model, OpenCLIP]:
    model = load_model(job.base, Context(suite=job.suite, checkpoints=workspace.checkpoints))
    adapter = model.adapter
    if not isinstance(adapter, OpenCLIP):
        raise UsageError(
            f"the base {job.base!r} is not an open_clip model, so it cannot be fine-tuned"
        )
    model.to(local_device(device), None)
    adapter.check()
    adapter.need(SIDES if job.recipe.needs_images or job.recipe.validation else {"text"})
    return model, adapter


def _hold(folder: Path, held: contextlib.ExitStack) -> None:
    """Keep other processes out of a folder until `held` closes."""
    busy = f"another process fine-tunes into {folder}; wait for it, or choose another with -o"
    held.enter_context(only_process(folder.with_name(f".{folder.name}.lock"), busy))


def _read_and_claim(run: _Run, held: contextlib.ExitStack) -> bool:
    """Read all rows, then claim the folder; whether there is anything to do.

    The rows come first, because their digest says whether a folder holds this very run. What is
    made of them lies beside the folder until that is claimed.
    """
    beside = run.made.folder
    _note_start(run)
    try:
        run.table, run.report = run.made.table(skip_bad=run.skip_bad)
        if len(run.table) < run.batch:
            raise DataError(
                f"{run.job.data_name} has {counted(len(run.table), 'pair')} and a batch takes "
                f"{run.batch}; lower batch_size in the recipe or give more pairs"
            )
        # Rank 0 looks, and all hear of it.
        run.folder, is_new = run.group.on_first(lambda: _claim(run, held))
        if is_new:
            # The folder may be another one now.
            _note_start(run)
            _settle(run)
    finally:
        if run.made.folder == beside:
            run.made.discard()
    return bool(is_new)


def _note_start(run: _Run) -> None:
    """What a stop says of a run without a state; the loop says it of one that has a state."""
    has_state = (run.folder / STATE).is_file()
    interrupts.note("" if has_state else "and training starts at step 1")


def _claim(run: _Run, held: contextlib.ExitStack) -> tuple[Path, bool]:
    """The folder to write, and whether this run is not finished in it already."""
    recipe = run.job.recipe
    run.is_new = not run.folder.exists()
    try:
        return run.folder, begin(run.folder, recipe, run.identity, resume=run.resume)
    except UsageError:
        if not run.aside:
            raise
    digest = hashlib.sha256(f"{run.identity}{recipe.dump()}".encode()).hexdigest()
    other = run.folder.with_name(f"{run.folder.name}-{digest[:6]}")
    _hold(other, held)
    run.is_new = not other.exists()
    return other, begin(other, recipe, run.identity, resume=run.resume)


def _settle(run: _Run) -> None:
    """Bring what was prepared into the folder; what a run that was killed left there is kept."""
    place = run.folder / PREPARED
    base = str(run.model.fingerprint)
    if run.group.on_first(lambda: _holds(place, run.table, base)):
        run.made.discard()
        run.made = dataclasses.replace(run.made, folder=place)
    else:
        run.made = run.made.moved(place)
        if run.group.is_first:
            write_text(place / _BASE, base)
    run.table = open_table(place)


def _holds(place: Path, table: Table, base: str) -> bool:
    """Whether a folder has what was prepared of these rows for this base."""
    try:
        known = (place / _BASE).read_text(encoding="utf-8")
        return known == base and open_table(place).sha256 == table.sha256
    except (DataError, OSError):
        return False


def _train(run: _Run) -> None:
    """Train the text tower, write the weights, and describe how it went."""
    from paraclip_bench.models.open_clip.network import save_folder
    from paraclip_bench.training.loop import TrainingData, train
    from paraclip_bench.training.trainable import TrainableText
    from paraclip_bench.training.validation import HeldOut, split

    recipe, group, table, progress = run.job.recipe, run.group, run.table, run.progress
    start = time.perf_counter()
    # First of all: a damaged file is no reason to lose what was trained.
    known = run.adapter.trained_on
    features, damaged = None, dict[int, str]()
    if len(table.source):
        features, damaged = run.made.features(table, skip_bad=run.skip_bad)
    feature_seconds = time.perf_counter() - start
    rows, held = split(table, recipe, damaged)
    for number in np.flatnonzero(np.isin(table.image, list(damaged))):
        run.report.drop(BadRow("damaged image", damaged[int(table.image[number])]))
    steps = recipe.total_steps(len(rows), group.size)
    _announce(run, len(rows), steps)
    # The image tower has done its work: the text tower trains alone in memory.
    run.adapter.release()
    run.adapter.need({"text"})
    text = TrainableText(run.adapter.network(("text",)), recipe)
    chunk = recipe.chunk_tokens or _chunk_tokens(text.bytes_a_token, run.model.device)
    held_out = HeldOut(table, held, features) if len(held) and features is not None else None
    tensorboard = run.tensorboard and group.is_first
    with TrainingProgress(progress, run.folder, recipe, steps, tensorboard=tensorboard) as shown:
        training = train(
            text,
            TrainingData(table, rows, features, held_out),
            recipe,
            run.folder,
            chunk_tokens=chunk,
            group=group,
            on_resume=shown.resumed,
            on_line=shown.line,
        )
        with training as (weights, best):
            run.how = {
                "steps": shown.steps_done,
                "chunk_tokens": chunk,
                "image_features_seconds": round(feature_seconds, 1),
            }
            if best is not None:
                found = {"step": best["step"], "scores": best["scores"]}
                run.how["validation"] = {"pairs": len(held), **found}
            run.adapter.release()
            run.adapter.need(SIDES)
            if group.is_first:
                network = run.adapter.network()
                network.model.load_state_dict(weights, strict=False)
                save_folder(run.folder, network.model, network.config)
                TrainingDigests.of_all([known, table.digests(rows)]).write(run.folder)
                seconds = time.perf_counter() - start
                _describe(run, seconds)
                run.adapter.release()
    if group.is_first:
        progress.say(f"finetune: {run.folder} written after {seconds:.0f} s")


def _announce(run: _Run, pairs: int, steps: int) -> None:
    """Say what will be trained on and what is left out; `DataError` where too little is left."""
    recipe, report, progress = run.job.recipe, run.report, run.progress
    if pairs < run.batch:
        dropped = f" ({report.summary()})" if report.counts else ""
        raise DataError(
            f"{counted(pairs, 'pair')} {'is' if pairs == 1 else 'are'} left to train on{dropped} "
            f"and a batch takes {run.batch}; lower batch_size or validation.share in the recipe, "
            "or give more pairs"
        )
    if report.counts:
        progress.say(f"note: {report.summary()} and are left out; {run.folder / REPORT} names them")
    if run.group.is_first:
        report.write(run.folder / REPORT)
    if remark := run.adapter.activation_remark():
        progress.say(f"note: {run.job.base} {remark}")
    progress.say(
        f"finetune: {run.job.base} on {counted(pairs, 'pair')} of {run.job.data_name}, recipe "
        f"{recipe.name}, {counted(steps, 'step')} of {counted(run.batch, 'pair')}"
    )
    if recipe.warmup_steps >= steps:
        progress.say(
            f"note: the warm-up ({counted(recipe.warmup_steps, 'step')}) is not shorter than the "
            f"run ({counted(steps, 'step')}), so learning_rate is hardly reached; lower "
            "warmup_steps or batch_size, or raise epochs"
        )


def _chunk_tokens(bytes_a_token: int, device: str) -> int:
    memory = memory_of(device) or 4 << 30
    if device.startswith("cpu"):
        memory //= local_world_size()
    return max(512, int(_GRAPH_SHARE * memory) // bytes_a_token)


def _describe(run: _Run, seconds: float) -> None:
    """Write what a checkpoint has beside its weights; the provenance last, which finishes it."""
    job, model, recipe = run.job, run.model, run.job.recipe
    provenance = {
        "suite": job.suite,
        "recipe": recipe.name,
        "seed": recipe.seed,
        **run.how,
        "base": {
            "spec": job.base,
            "name": model.name,
            "fingerprint": model.fingerprint,
            "activation": run.adapter.activation,
        },
        "data": {
            "id": job.data_name,
            "file": job.files[0].name if len(job.files) == 1 else f"{len(job.files)} files",
            "n": len(run.table),
            "left_out": dict(run.report.counts),
            "sha256": run.table.sha256,
            **({"exif": True} if run.exif else {}),
        },
        "versions": versions(),
        "device": model.device,
        "world_size": run.group.size,
        "seconds": round(seconds, 1),
        "command": command_line(),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    copy_companions(run.adapter.folder, run.folder)
    plot_run(run.folder / LOSSES, run.folder / PLOT)
    loss = " + ".join(
        f"{'' if term.weight == 1 else f'{term.weight:.4g} '}{_KINDS.get(term.kind, term.kind)}"
        f"({', '.join(term.views)})"
        for term in recipe.loss
    )
    card = model_card(run.folder.name, provenance, loss, run.batch)
    write_text(run.folder / "README.md", card)
    finish(run.folder, provenance)


def _check_tensorboard() -> None:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard needs TensorBoard; install it with "
            "pip install 'paraclip-bench[tensorboard]'"
        )
