"""`paraclip-bench run`: models on tasks, and `demo`: all of it on the embedded world."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.shared import DeviceOption, JsonOption, SuiteOption, WorkspaceOption


def run(
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Model spec; may be given several times.")
    ],
    task: Annotated[
        list[str],
        typer.Option("--task", "-t", help="Task, group (sts) or all; may be given several times."),
    ],
    suite: SuiteOption = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="Scoring rule, for the tasks that have it; repeatable."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of local data (docs/data.md).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N examples of each task.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run again what is already there.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be run, and stop.")
    ] = False,
    device: DeviceOption = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, bfloat16 or float16.", show_default="float32"),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Kept for older scripts: intervals are computed, not drawn."
        ),
    ] = 0,
    allow_truncated: Annotated[
        bool,
        typer.Option("--allow-truncated", help="Decode cut-off image files as far as they go."),
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            min=10,
            help="First places of each ranking that the outcomes keep.",
            show_default="100",
        ),
    ] = None,
    exif: Annotated[
        bool,
        typer.Option("--exif", help="Rotate or mirror images as EXIF says (own photographs)."),
    ] = False,
    perturb: Annotated[
        list[str] | None,
        typer.Option(
            "--perturb",
            metavar="NAME|FILE",
            help="Measure again with other wordings: edits, a plugin's name, or a file of "
            "paraphrases; repeatable.",
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Measure models on tasks; what is already there is not measured again."""
    from paraclip_bench.cli.shared import result_rows, suite_line, table
    from paraclip_bench.distributed import process_group
    from paraclip_bench.evaluation.plan import describe
    from paraclip_bench.evaluation.run import Options, execute, plan_run
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    is_first = process_group().is_first
    place, progress = Workspace(workspace), Progress(quiet=not is_first)
    options = Options(
        suite,
        tuple(protocol or ()),
        data_dir,
        limit,
        force,
        offline,
        device,
        dtype,
        seed,
        debug="--debug" in sys.argv,
        allow_truncated=allow_truncated,
        depth=depth,
        exif=exif,
        perturb=tuple(perturb or ()),
    )
    with progress.track("reading data", None):
        plan = plan_run(model, task, options, place, dry=dry_run)
    line = suite_line(plan)
    if as_json:
        progress.say(line)
    elif is_first:
        typer.echo(line)
    if dry_run:
        rows = describe(plan, place.results)
        if is_first:
            typer.echo(
                json.dumps({"suite": plan.suite, "plan": rows}, indent=1)
                if as_json
                else table(rows)
            )
        raise typer.Exit(1 if plan.problems else 0)
    for problem in plan.problems:
        progress.say(f"error: {problem}")
    report = execute(plan, options, place, progress)
    if not is_first:
        raise typer.Exit(1 if report.failures else 0)
    rows = result_rows(report.results, percent=not as_json)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "suite": plan.suite,
                    "results": rows,
                    "skipped": report.skipped,
                    "failures": report.failures,
                },
                indent=1,
            )
        )
    elif rows:
        typer.echo(table(rows))
    raise typer.Exit(1 if report.failures else 0)


def demo(workspace: WorkspaceOption = Path()) -> None:
    """Fine-tune, measure clip and paraclip on every task, show the leaderboard. Offline."""
    from paraclip_bench.api import finetune_job
    from paraclip_bench.boards.content import remarks
    from paraclip_bench.boards.make_board import make_board
    from paraclip_bench.boards.terminal import show
    from paraclip_bench.data.hub import go_offline
    from paraclip_bench.evaluation.run import Options, execute, plan_run
    from paraclip_bench.progress import Progress
    from paraclip_bench.training.finetune import finetune
    from paraclip_bench.workspace import Workspace

    go_offline()
    place, progress = Workspace(workspace), Progress()
    with progress.track("making the demo world", None):
        job = finetune_job()
    checkpoint = finetune(job, place, progress, resume=True, aside=True)
    options = Options(suite="demo", offline=True)
    with progress.track("reading data", None):
        plan = plan_run(["clip", f"paraclip:{checkpoint}"], ["all"], options, place)
    report = execute(plan, options, place, progress)
    board = make_board(place.results, suite="demo")
    show(board)
    for line in remarks(board):
        progress.say(line)
    progress.say(f"checkpoint: {checkpoint}; results: {place.results / 'demo'}")
    raise typer.Exit(1 if report.failures else 0)
