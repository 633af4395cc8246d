"""`paraclip-bench demo`: everything, on the embedded world, offline."""

from __future__ import annotations

from pathlib import Path

import typer

from paraclip_bench.cli.shared import WorkspaceOption


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
