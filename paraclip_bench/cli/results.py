"""`paraclip-bench results show`: results in a table, or one of them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.options import JsonOption, SuiteOption, WorkspaceOption
from paraclip_bench.errors import UsageError


def show(
    file: Annotated[
        Path | None, typer.Argument(help="A result's JSON file, to show all that it holds.")
    ] = None,
    suite: SuiteOption = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Of this task alone.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Of this model alone, by name or spec.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show the results of a workspace, or with FILE one result with its parts (relations, subsets).

    Scores are x 100, with --json fractions.
    """
    from paraclip_bench.cli.show import result_rows, table
    from paraclip_bench.cli.show_result import result_text
    from paraclip_bench.progress import Progress
    from paraclip_bench.results.listing import list_results
    from paraclip_bench.results.store import read
    from paraclip_bench.workspace import Workspace

    if file is not None:
        if suite or task or model:
            raise UsageError(
                "FILE is one result, so --suite, --task and --model choose nothing; leave them out"
            )
        result = read(file)
        typer.echo(result.model_dump_json(indent=1) if as_json else result_text(file, result))
        return
    found, damaged = list_results(Workspace(workspace).results, suite=suite, task=task, model=model)
    rows = result_rows(found, percent=not as_json, with_suite=True)
    typer.echo(json.dumps(rows, indent=1) if as_json else table(rows))
    for reason in damaged:
        Progress().say(f"left out: {reason}")
