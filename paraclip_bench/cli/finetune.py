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
        typer.Option(
            "--data",
            help="Rows with image, caption, paraphrase_1, paraphrase_2: a .jsonl, .parquet or "
            "WebDataset .tar file, a folder of them, or a pattern.",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder that the pairs' images are relative to.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Settings: a TOML file, or the name of a shipped recipe."),
    ] = None,
    print_recipe: Annotated[
        bool,
        typer.Option("--print-recipe", help="Print all settings of the recipe, and do nothing."),
    ] = False,
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
    bad_rows: Annotated[
        str,
        typer.Option(
            "--bad-rows", help="Rows that cannot be trained on: fail, or skip and name them."
        ),
    ] = "fail",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write a TensorBoard log too (an extra).")
    ] = False,
    device: DeviceOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Fine-tune a CLIP's text tower on paraphrases; without --data, on the embedded demo world."""
    from paraclip_bench.encoding.ranks import ranks
    from paraclip_bench.errors import UsageError
    from paraclip_bench.finetune import run
    from paraclip_bench.finetune.job import BAD_ROWS, make_job
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    if bad_rows not in BAD_ROWS:
        raise UsageError(f"--bad-rows {bad_rows!r} is neither of {' and '.join(BAD_ROWS)}")

    if offline:
        from paraclip_bench.data.hub import go_offline

        go_offline()
    job = make_job(base=base, data=data, images=images, recipe=recipe, seed=seed)
    if print_recipe:
        typer.echo(job.recipe.dump(), nl=False)
        return
    is_first = ranks().is_first
    folder = run.finetune(
        job,
        Workspace(workspace),
        Progress(quiet=not is_first),
        out=out,
        resume=resume,
        device=device,
        skip_bad=bad_rows == "skip",
        tensorboard=tensorboard,
    )
    if is_first:
        typer.echo(str(folder))
