"""`paraclip-bench finetune`: make a ParaCLIP checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.options import DeviceOption, WorkspaceOption


def finetune(
    base: Annotated[
        str | None,
        typer.Option("--base", help="open_clip model to start from.", show_default="clip"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Pairs (jsonl): image, caption, paraphrase_1, paraphrase_2."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder that the pairs' images are relative to.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Settings (TOML); keys left out have defaults.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the recipe's.", show_default="0")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run of this folder.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder to write.", show_default="checkpoints/BASE-RECIPE"
        ),
    ] = None,
    device: DeviceOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Fine-tune a CLIP's text tower on paraphrases; without --data, on the embedded demo world."""
    from paraclip_bench.finetune import run
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    if offline:
        from paraclip_bench.data.hub import go_offline

        go_offline()
    progress = Progress()
    job = run.make_job(base=base, data=data, images=images, recipe=recipe, seed=seed)
    folder = run.finetune(
        job, Workspace(workspace), progress, out=out, resume=resume, device=device
    )
    typer.echo(str(folder))
