"""The public functions: what the commands do, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench.progress import Progress
from paraclip_bench.workspace import Workspace

if TYPE_CHECKING:
    from paraclip_bench.evaluation.run import Report
    from paraclip_bench.leaderboard.board import Board
    from paraclip_bench.models.base import Model
    from paraclip_bench.tasks.base import Task


def load_model(spec: str, *, suite: str = "paper", workspace: Path = Path()) -> Model:
    """The model that a spec names; weights load when they are first needed."""
    from paraclip_bench.models import load
    from paraclip_bench.models.base import Context

    return load.load_model(spec, Context(suite, Workspace(workspace).checkpoints))


def load_task(name: str) -> Task:
    """The task of that name (case-blind)."""
    from paraclip_bench.evaluation import choose

    return choose.load_task(name)


def evaluate(
    models: Sequence[str],
    tasks: Sequence[str],
    *,
    workspace: Path = Path(),
    quiet: bool = False,
    **options: Any,
) -> Report:
    """Run models on tasks as `paraclip-bench run` does; options are those of `Options`.

    Returns results with their files, what was skipped, and what failed (each a sentence).
    """
    from paraclip_bench.evaluation.run import Options, execute, plan_run

    chosen, place = Options(**options), Workspace(workspace)
    return execute(plan_run(models, tasks, chosen, place), chosen, place, Progress(quiet=quiet))


def finetune(
    *,
    base: str | None = None,
    data: Path | None = None,
    images: Path | None = None,
    recipe: Path | None = None,
    seed: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    workspace: Path = Path(),
    quiet: bool = False,
) -> Path:
    """Fine-tune as `paraclip-bench finetune` does; returns the checkpoint folder."""
    from paraclip_bench.finetune import run

    job = run.make_job(base=base, data=data, images=images, recipe=recipe, seed=seed)
    progress = Progress(quiet=quiet)
    return run.finetune(job, Workspace(workspace), progress, out=out, resume=resume, device=device)


def leaderboard(*, workspace: Path = Path(), **options: Any) -> Board:
    """The board of a workspace; options are those of `make_board`."""
    from paraclip_bench.leaderboard.board import make_board

    return make_board(Workspace(workspace).results, **options)
