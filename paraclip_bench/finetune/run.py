"""From a base, pairs and a recipe to a checkpoint folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paraclip_bench.data.training import Pair, read_pairs
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.ranks import ranks
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import slug
from paraclip_bench.finetune.checkpoint import BEGUN, begin, finish
from paraclip_bench.finetune.recipe import Recipe, read_recipe
from paraclip_bench.models.base import Context, Model
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import PROVENANCE, OpenCLIP
from paraclip_bench.models.paraclip import RECIPE
from paraclip_bench.progress import Progress
from paraclip_bench.results.provenance import versions
from paraclip_bench.workspace import Workspace

# Files of a base folder that describe it and do not belong to the new checkpoint.
_OWN = {RECIPE, PROVENANCE, BEGUN, "open_clip_config.json", "README.md"}


@dataclasses.dataclass(frozen=True)
class Job:
    """What one run of finetune is made from."""

    base: str
    recipe: Recipe
    data: Path
    images: Path
    suite: str
    data_name: str


def make_job(
    *,
    base: str | None = None,
    data: Path | None = None,
    images: Path | None = None,
    recipe: Path | None = None,
    seed: int | None = None,
) -> Job:
    """Settle base, data and recipe; without `data` they are the embedded demo world's.

    Raises `UsageError` where `data` comes without `images` or the other way round.
    """
    if (data is None) != (images is None):
        raise UsageError("--data and --images go together: the rows and the folder of their images")
    for path, what in ((data, "--data"), (images, "--images"), (recipe, "--recipe")):
        if path is not None and not path.exists():
            raise UsageError(f"{what} {path} does not exist; check the path")
    if data is None or images is None:
        from paraclip_bench.demo.store import recipe_file, world_folder
        from paraclip_bench.demo.world import WORLD_VERSION

        settings = read_recipe(recipe or recipe_file())
        folder = world_folder() / "train"
        data, images, suite = folder / "pairs.jsonl", folder / "images", "demo"
        name = f"demo-world-{WORLD_VERSION}, paraphrased by its grammar (not by an LLM)"
    else:
        settings = read_recipe(recipe) if recipe else Recipe()
        suite, name = "paper", data.name
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    spec = base or settings.base or "clip"
    settings = settings.model_copy(update={"base": spec})
    return Job(spec, settings, data, images, suite, name)


def finetune(
    job: Job,
    workspace: Workspace,
    progress: Progress,
    *,
    out: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    aside: bool = False,
) -> Path:
    """Fine-tune and write the checkpoint folder; returns it.

    The very same run, already finished, is not repeated. `aside`: where the folder is taken by
    another run, write beside it, under a name with this run's digest. Raises `UsageError` for a
    base that is no open_clip model or a folder in the way, `DataError` for rows that cannot be
    trained on.
    """
    if ranks().size > 1:
        raise UsageError(
            "finetune runs in one process as yet; start it without torchrun (run takes several)"
        )
    model = load_model(job.base, Context(suite=job.suite, checkpoints=workspace.checkpoints))
    if not isinstance(model.adapter, OpenCLIP):
        raise UsageError(f"the base {job.base!r} is no open_clip model, so it cannot be fine-tuned")
    model.to(device, None)
    model.adapter.check()
    pairs = read_pairs(job.data, job.images)
    batch = job.recipe.batch_size
    if len(pairs) < batch:
        raise DataError(
            f"{job.data} has {len(pairs)} pairs and a batch takes {batch}; "
            "lower batch_size in the recipe or give more pairs"
        )
    folder = out or workspace.checkpoints / f"{slug(model.name)}-{slug(job.recipe.name)}"
    digest = pairs_sha256(pairs)
    identity = {"base": model.fingerprint, "data": digest}
    try:
        is_new = begin(folder, job.recipe, identity, resume=resume)
    except UsageError:
        if not aside:
            raise
        run_digest = hashlib.sha256(f"{identity}{job.recipe.dump()}".encode()).hexdigest()
        folder = folder.with_name(f"{folder.name}-{run_digest[:6]}")
        is_new = begin(folder, job.recipe, identity, resume=resume)
    if not is_new:
        progress.say(f"{folder} is already made by this recipe from this base and data")
        return folder
    if job.suite == "demo":
        from paraclip_bench.demo.store import NOTICE

        progress.say(f"no data given, so the training pairs are the embedded ones. {NOTICE}")
    start = time.perf_counter()
    progress.say(
        f"finetune: {job.base} on {len(pairs)} pairs of {job.data_name}, recipe {job.recipe.name}, "
        f"{job.recipe.total_steps(len(pairs))} steps of {batch} pairs"
    )
    if job.recipe.warmup_steps >= (steps := job.recipe.total_steps(len(pairs))):
        progress.say(
            f"note: the warm-up ({job.recipe.warmup_steps} steps) is not shorter than the run "
            f"({steps} steps), so learning_rate is hardly reached; lower warmup_steps "
            "or batch_size, or raise epochs"
        )
    _train(model, model.adapter, pairs, job.recipe, folder, progress)
    seconds = time.perf_counter() - start
    _copy_companions(model.adapter, folder)
    provenance = {
        "suite": job.suite,
        "recipe": job.recipe.name,
        "seed": job.recipe.seed,
        "steps": job.recipe.total_steps(len(pairs)),
        "base": {
            "spec": job.base,
            "name": model.name,
            "fingerprint": model.fingerprint,
            "activation": model.activation,
        },
        "data": {"id": job.data_name, "file": job.data.name, "n": len(pairs), "sha256": digest},
        "versions": versions(),
        "device": model.device,
        "world_size": 1,
        "seconds": round(seconds, 1),
        "command": shlex.join(["paraclip-bench", *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    finish(folder, provenance)
    model.release()
    progress.say(f"finetune: {folder} written after {seconds:.0f} s")
    return folder


def pairs_sha256(pairs: Sequence[Pair]) -> str:
    """sha256 (hex) over the training rows in order, images by content."""
    hasher = hashlib.sha256()
    for pair in pairs:
        row = [pair.image.content, pair.caption, pair.paraphrase_1, pair.paraphrase_2]
        hasher.update(json.dumps(row).encode() + b"\n")
    return hasher.hexdigest()


def _train(
    model: Model,
    adapter: OpenCLIP,
    pairs: Sequence[Pair],
    recipe: Recipe,
    folder: Path,
    progress: Progress,
) -> None:
    import numpy as np
    import torch

    from paraclip_bench.finetune.loop import train
    from paraclip_bench.models.open_clip.network import save_folder

    embed = Embedder(model, Spaces(progress.say), progress)
    # The image tower is frozen: its features are computed once, without augmentation.
    images = embed.images([pair.image for pair in pairs])
    network = adapter.network()
    # Each distinct text is kept once, as 32-bit tokens; a pair has three places in that table.
    places: dict[str, int] = {}
    rows = np.array(
        [
            [places.setdefault(text, len(places)) for text in pair_texts]
            for pair_texts in ((p.caption, p.paraphrase_1, p.paraphrase_2) for p in pairs)
        ]
    )
    tokens = torch.stack([network.tokenize(text)[0].int() for text in places])
    steps = recipe.total_steps(len(pairs))
    shown = max(1, steps // 10)
    with progress.track("finetune", steps) as advance:

        def on_step(step: int, total: int, losses: dict[str, float], rate: float) -> None:
            advance(1)
            if step == 1 or step % shown == 0 or step == total:
                terms = ", ".join(f"{n} {v:.3f}" for n, v in losses.items() if n != "loss")
                progress.say(
                    f"step {step}/{total}: loss {losses['loss']:.3f} ({terms}), {rate:.0f} pairs/s"
                )

        def on_resume(done: int) -> None:
            advance(done)
            if done:
                progress.say(f"going on after step {done}, the last one saved")

        train(network.text, images, tokens, rows, recipe, folder, on_step, on_resume)
    network.model.eval()
    save_folder(folder, network.model, network.config)


def _copy_companions(adapter: OpenCLIP, folder: Path) -> None:
    """Copy a base folder's tokenizer and tower configs, which the new folder needs to load."""
    source: Any = adapter.folder
    if source is None:
        return
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".txt", ".model") and file.name not in _OWN:
            shutil.copyfile(file, folder / file.name)
