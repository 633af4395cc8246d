"""What one run of finetune is made from.

From a base, pairs and a recipe to a checkpoint folder."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paraclip_bench.distributed import Ranks, local_device, neighbours, ranks
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import slug, write_text
from paraclip_bench.models.adapter import SIDES, Context, Model
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.progress import Progress
from paraclip_bench.results.provenance import versions
from paraclip_bench.training.checkpoint import (
    LOSSES,
    PLOT,
    PREPARED,
    REPORT,
    begin,
    copy_companions,
    finish,
)
from paraclip_bench.training.prepare import Preparation
from paraclip_bench.training.recipe import Job, Recipe
from paraclip_bench.training.table import Report, Table, open_table
from paraclip_bench.workspace import Workspace

# Says for which base a folder was prepared: tokens and features are that model's.
_BASE = "base"
# Of the machine's memory, the share that activations with a graph may take.
_GRAPH_SHARE = 0.25


def finetune(
    job: Job,
    workspace: Workspace,
    progress: Progress,
    *,
    out: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    skip_bad: bool = False,
    tensorboard: bool = False,
    aside: bool = False,
) -> Path:
    """Fine-tune and write the checkpoint folder; returns it.

    The very same run, already finished, is not repeated. `aside`: where the folder is taken by
    another run, write beside it, under a name with this run's digest. `skip_bad` leaves out rows
    that cannot be trained on. Raises `UsageError` for a base that is no open_clip model or a folder
    in the way, `DataError` for rows that cannot be trained on.
    """
    team = ranks()
    # torchrun starts the same command again after a failure.
    resume = resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if tensorboard:
        _check_tensorboard()
    model = load_model(job.base, Context(suite=job.suite, checkpoints=workspace.checkpoints))
    adapter = model.adapter
    if not isinstance(adapter, OpenCLIP):
        raise UsageError(f"the base {job.base!r} is no open_clip model, so it cannot be fine-tuned")
    model.to(local_device(device), None)
    adapter.check()
    adapter.need(SIDES if job.recipe.needs_images or job.recipe.validation else {"text"})
    folder = out or workspace.checkpoints / f"{slug(model.name)}-{slug(job.recipe.name)}"
    aside_of = folder.with_name(f".{folder.name}.preparing")
    bad_rows = folder.with_name(f"{folder.name}.bad-rows.json")
    made = Preparation(job, model, adapter, aside_of, bad_rows, team, progress)
    try:
        table, report = made.table(skip_bad=skip_bad)
        pairs, batch = len(table), job.recipe.batch_size * team.size
        if pairs < batch:
            raise DataError(
                f"{job.data_name} has {pairs} pairs and a batch takes {batch}; "
                "lower batch_size in the recipe or give more pairs"
            )
        identity = {"base": model.fingerprint, "data": table.sha256, "world_size": team.size}
        folder, is_new = _claim(folder, job.recipe, identity, team, resume=resume, aside=aside)
        if not is_new:
            progress.say(f"{folder} is already made by this recipe from this base and data")
            return folder
        made, table = _settled(made, folder, table)
    finally:
        if made.folder == aside_of:
            made.discard()
    if job.suite == "demo":
        from paraclip_bench.demo.suite import NOTICE

        progress.say(f"no data given, so the training pairs are the embedded ones. {NOTICE}")
    start = time.perf_counter()
    trained = _train(
        model, adapter, made, table, folder, report, skip_bad=skip_bad, tensorboard=tensorboard
    )
    if not team.is_first:
        team.meet()
        return folder
    seconds = time.perf_counter() - start
    provenance = {
        "suite": job.suite,
        "recipe": job.recipe.name,
        "seed": job.recipe.seed,
        **trained,
        "base": {
            "spec": job.base,
            "name": model.name,
            "fingerprint": model.fingerprint,
            "activation": model.activation,
        },
        "data": {
            "id": job.data_name,
            "file": job.files[0].name if len(job.files) == 1 else f"{len(job.files)} files",
            "n": len(table),
            "left_out": dict(report.counts),
            "sha256": table.sha256,
        },
        "versions": versions(),
        "device": model.device,
        "world_size": team.size,
        "seconds": round(seconds, 1),
        "command": shlex.join(["paraclip-bench", *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    _describe(adapter, job.recipe, folder, provenance)
    model.release()
    progress.say(f"finetune: {folder} written after {seconds:.0f} s")
    team.meet()
    return folder


def _claim(
    folder: Path,
    recipe: Recipe,
    identity: dict[str, Any],
    team: Ranks,
    *,
    resume: bool,
    aside: bool,
) -> tuple[Path, bool]:
    """The folder to write, and whether there is anything to do; rank 0 looks, all hear of it."""

    def claim() -> tuple[Path, bool]:
        try:
            return folder, begin(folder, recipe, identity, resume=resume)
        except UsageError:
            if not aside:
                raise
        digest = hashlib.sha256(f"{identity}{recipe.dump()}".encode()).hexdigest()
        other = folder.with_name(f"{folder.name}-{digest[:6]}")
        return other, begin(other, recipe, identity, resume=resume)

    claimed: tuple[Path, bool] = team.on_first(claim)
    return claimed


def _settled(made: Preparation, folder: Path, table: Table) -> tuple[Preparation, Table]:
    """The preparation in the checkpoint's own folder; what a run that was killed left is kept."""
    place = folder / PREPARED
    base = str(made.model.fingerprint)
    if made.team.on_first(lambda: _holds(place, table, base)):
        made.discard()
        made = dataclasses.replace(made, folder=place)
    else:
        made = made.moved(place)
        if made.team.is_first:
            write_text(place / _BASE, base)
    return made, open_table(place)


def _holds(place: Path, table: Table, base: str) -> bool:
    """Whether a folder has what was prepared of these rows for this base."""
    try:
        known = (place / _BASE).read_text(encoding="utf-8")
        return known == base and open_table(place).sha256 == table.sha256
    except (DataError, OSError):
        return False


def _train(
    model: Model,
    adapter: OpenCLIP,
    made: Preparation,
    table: Table,
    folder: Path,
    report: Report,
    *,
    skip_bad: bool,
    tensorboard: bool,
) -> dict[str, Any]:
    """Train, write the weights, and say how it went, for the provenance."""
    import numpy as np

    from paraclip_bench.data.training_rows import BadRow
    from paraclip_bench.models.open_clip.network import save_folder
    from paraclip_bench.training.describe import Show
    from paraclip_bench.training.loop import Data, train
    from paraclip_bench.training.trainable import TrainableText
    from paraclip_bench.training.validation import HeldOut, split

    recipe, team, progress = made.job.recipe, made.team, made.progress
    start = time.perf_counter()
    features, damaged = None, dict[int, str]()
    if len(table.source):
        features, damaged = made.features(table, skip_bad=skip_bad)
    feature_seconds = time.perf_counter() - start
    rows, held = split(table, recipe, damaged)
    if damaged:
        for number in np.flatnonzero(np.isin(table.image, list(damaged))):
            report.drop(BadRow("damaged image", damaged[int(table.image[number])]))
    batch, steps = recipe.batch_size * team.size, recipe.total_steps(len(rows), team.size)
    if report.counts:
        progress.say(f"note: {report.summary()} and are left out; {folder / REPORT} names them")
    if team.is_first:
        report.write(folder / REPORT)
    if len(rows) < batch:
        raise DataError(
            f"{len(rows)} pairs are left to train on and a batch takes {batch}; "
            "lower batch_size or validation.share in the recipe, or give more pairs"
        )
    progress.say(
        f"finetune: {made.job.base} on {len(rows)} pairs of {made.job.data_name}, recipe "
        f"{recipe.name}, {steps} steps of {batch} pairs"
    )
    if recipe.warmup_steps >= steps:
        progress.say(
            f"note: the warm-up ({recipe.warmup_steps} steps) is not shorter than the run "
            f"({steps} steps), so learning_rate is hardly reached; lower warmup_steps "
            "or batch_size, or raise epochs"
        )
    # The image tower has done its work: the text tower trains alone in memory.
    adapter.release()
    adapter.need({"text"})
    text = TrainableText(adapter.network(("text",)), recipe)
    chunk = recipe.chunk_tokens or _chunk_tokens(text.bytes_a_token, model.device)
    held_out = HeldOut(table, held, features) if len(held) and features is not None else None
    with Show(progress, folder, recipe, steps, tensorboard=tensorboard and team.is_first) as show:
        weights, best = train(
            text,
            Data(table, rows, features, held_out),
            recipe,
            folder,
            chunk_tokens=chunk,
            team=team,
            on_resume=show.resumed,
            on_line=show.line,
        )
    adapter.release()
    adapter.need(SIDES)
    if team.is_first:
        network = adapter.network()
        network.model.load_state_dict(weights, strict=False)
        save_folder(folder, network.model, network.config)
    how: dict[str, Any] = {
        "steps": show.steps_done,
        "chunk_tokens": chunk,
        "image_features_seconds": round(feature_seconds, 1),
    }
    if best is not None:
        how["validation"] = {"pairs": len(held), "step": best["step"], "scores": best["scores"]}
    return how


def _chunk_tokens(bytes_a_token: int, device: str) -> int:
    from paraclip_bench.encoding.batching import memory_of

    memory = memory_of(device) or 4 << 30
    if device.startswith("cpu"):
        memory //= neighbours()
    return max(512, int(_GRAPH_SHARE * memory) // bytes_a_token)


def _describe(adapter: OpenCLIP, recipe: Recipe, folder: Path, provenance: dict[str, Any]) -> None:
    """Write what a checkpoint has beside its weights; the provenance last."""
    from paraclip_bench.training.describe import model_card, plot_run

    copy_companions(adapter.folder, folder)
    plot_run(folder / LOSSES, folder / PLOT)
    loss = " + ".join(
        f"{'' if term.weight == 1 else f'{term.weight:.4g} '}InfoNCE({', '.join(term.views)})"
        for term in recipe.loss
    )
    batch = recipe.batch_size * provenance["world_size"]
    write_text(folder / "README.md", model_card(folder.name, provenance, loss, batch))
    finish(folder, provenance)


def _check_tensorboard() -> None:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard needs TensorBoard; install it with "
            "pip install 'paraclip-bench[tensorboard]'"
        )
