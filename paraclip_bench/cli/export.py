"""`paraclip-bench results export`: results as files of another benchmark's format."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.options import JsonOption, SuiteOption, WorkspaceOption
from paraclip_bench.errors import BenchError


class ExportFormat(StrEnum):
    """Whose format."""

    MTEB = "mteb"


def export(
    form: Annotated[ExportFormat, typer.Option("--format", help="Whose format.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write to.", show_default="mteb/results"),
    ] = None,
    suite: SuiteOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write DIR/MODEL/REVISION/TASK.json for the results that mteb has the same measurement of.

    mteb.ResultCache reads a DIR that is called `results`. What has no equivalent is named.
    """
    from paraclip_bench.bridges.mteb_export import export as write
    from paraclip_bench.cli.show import table
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    place, progress = Workspace(workspace), Progress()
    done = write(place.results, out or place.root / "mteb" / "results", suite=suite)
    rows = [
        {"model": result.model.name, "task": result.task, "file": str(path)}
        for path, result in done.written.items()
    ]
    for line in done.remarks:
        progress.say(f"note: {line}")
    for line in done.left_out:
        progress.say(f"left out: {line}")
    if not rows:
        raise BenchError(f"{form.value} has none of these measurements, so nothing was written")
    typer.echo(
        json.dumps({"written": rows, "left_out": done.left_out}, indent=1)
        if as_json
        else table(rows)
    )
