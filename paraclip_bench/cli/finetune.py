"""`paraclip-bench finetune` and `merge`: a ParaCLIP checkpoint, and what lies before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paraclip_bench.cli.shared import DeviceOption, WorkspaceOption, folder_to_write, table
from paraclip_bench.errors import UsageError

BAD_ROWS = ("fail", "skip")


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
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="N,N,...",
            help="One checkpoint a seed, in folders seed-N: one row on a board.",
        ),
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
    exif: Annotated[
        bool,
        typer.Option("--exif", help="Rotate or mirror images as EXIF says (own photographs)."),
    ] = False,
    device: DeviceOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Fine-tune a CLIP's text tower on paraphrases; without --data, on the embedded demo world."""
    from paraclip_bench.api import finetune_job
    from paraclip_bench.distributed import process_group
    from paraclip_bench.progress import Progress
    from paraclip_bench.training import finetune as training
    from paraclip_bench.workspace import Workspace

    if bad_rows not in BAD_ROWS:
        raise UsageError(f"--bad-rows {bad_rows!r} is neither of {' and '.join(BAD_ROWS)}")

    if seeds is not None and seed is not None:
        raise UsageError("--seed is one and --seeds are several; give one of them")
    numbers = None if seeds is None else _numbers(seeds)
    if out is not None:
        folder_to_write(out)
    if offline:
        from paraclip_bench.data.hub import go_offline

        go_offline()
    is_first = process_group().is_first
    progress = Progress(quiet=not is_first)
    with progress.track("reading data", None):
        job = finetune_job(base=base, data=data, images=images, recipe=recipe, seed=seed)
    if print_recipe:
        if (
            job.notice and recipe is None
        ):  # of the demo world, which is not what is trained on later
            typer.echo("# The demo world's recipe. For your own data: --recipe paraclip")
        typer.echo(job.recipe.dump(), nl=False)
        return
    options: dict[str, Any] = {
        "out": out,
        "resume": resume,
        "device": device,
        "skip_bad": bad_rows == "skip",
        "tensorboard": tensorboard,
        "exif": exif,
    }
    place = Workspace(workspace)
    if numbers is None:
        folder = training.finetune(job, place, progress, **options)
    else:
        folder = training.finetune_seeds(job, numbers, place, progress, **options)
    if is_first:
        typer.echo(str(folder))


def _numbers(text: str) -> list[int]:
    """Seeds with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UsageError(f"--seeds {text!r} is not a list of seeds; write them as 0,1,2")
    return [int(part) for part in parts]


def merge(
    base: Annotated[str, typer.Argument(help="The base's spec.")],
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint's: paraclip, paraclip:DIR.")],
    alpha: Annotated[
        list[float] | None,
        typer.Option(
            "--alpha", help="Share of the checkpoint; several with --sweep.", show_default="0.5"
        ),
    ] = None,
    do_sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Measure paraphrased retrieval along the way, and draw it."),
    ] = False,
    suite: Annotated[
        str | None, typer.Option("--suite", help="paper or demo.", show_default="the checkpoint's")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder with the task's data, for --sweep.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="The first examples alone, for --sweep.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write; with --sweep the table's and the picture's name.",
            show_default="checkpoints/CHECKPOINT-alpha-ALPHA or -sweep",
        ),
    ] = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Interpolate the weights of a base and its checkpoint (WiSE-FT)."""
    import json

    from paraclip_bench.evaluation.run import Options
    from paraclip_bench.models.adapter import Context
    from paraclip_bench.models.load import load_model
    from paraclip_bench.progress import Progress
    from paraclip_bench.training import merge as merging
    from paraclip_bench.workspace import Workspace

    if out is not None and not do_sweep:
        folder_to_write(out)
    if offline:
        from paraclip_bench.data.hub import go_offline

        go_offline()
    place, progress = Workspace(workspace), Progress()
    fine_tuned = load_model(checkpoint, Context(suite or "paper", place.checkpoints))
    suite = suite or fine_tuned.adapter.suite or "paper"
    if not do_sweep:
        if len(alpha or []) > 1:
            raise UsageError("several --alpha are for --sweep; give one, or say --sweep")
        if data_dir is not None or limit is not None:
            raise UsageError("--data-dir and --limit are for --sweep; say that too")
        share = alpha[0] if alpha else 0.5
        with progress.track("merging", None):
            folder = merging.merge(base, checkpoint, share, place, suite=suite, out=out)
        typer.echo(json.dumps({"checkpoint": str(folder)}) if as_json else str(folder))
        return
    options = Options(suite=suite, data_dir=data_dir, limit=limit, offline=offline, device=device)
    target = out or merging.default_out(fine_tuned.name, place)
    # Both are written, whichever of them is named.
    target = target.with_suffix("") if target.suffix.lower() in (".json", ".svg") else target
    rows = merging.sweep(
        base, checkpoint, alpha or merging.ALPHAS, options, place, progress, target
    )
    progress.say(
        f"merge: {merging.file_of(target, 'json')} and {merging.file_of(target, 'svg')} written"
    )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    names = [name for name in merging.SCORES if name in rows[0]]
    shown = [
        {"alpha": f"{row['alpha']:g}", **{name: _cell(row[name]) for name in names}} for row in rows
    ]
    typer.echo(table(shown))


def _cell(score: dict[str, float | None]) -> str:
    value, low, high = (score[key] for key in ("value", "low", "high"))
    if value is None:
        return "undefined"
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value:.1f}{interval}"
