"""`paraclip-bench results`: results in a table, one of them whole, and other formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench import safe_text
from paraclip_bench.cli.shared import JsonOption, SuiteOption, WorkspaceOption, table
from paraclip_bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from paraclip_bench.results.schema import Result, Score


def result_text(path: Path, result: Result) -> str:
    """The result as text, scores x 100."""
    about = result.model_dump(exclude={"scores", "details"})
    blocks = [
        safe_text.line(str(path)),
        table([{"field": name, "value": value} for name, value in _flat(about)]),
        table([{"score": name, **_percent(score)} for name, score in result.scores.items()]),
    ]
    for kind, parts in result.details.items():
        rows = [
            {
                kind: part.name,
                "n": part.n,
                **{k: v for name, score in part.scores.items() for k, v in _named(name, score)},
            }
            for part in parts
        ]
        blocks.append(table(rows))
    return "\n\n".join(blocks)


def _percent(score: Score) -> dict[str, float | None]:
    values = {"value": score.value, "low": score.low, "high": score.high}
    return {name: None if value is None else 100 * value for name, value in values.items()}


def _named(name: str, score: Score) -> list[tuple[str, float | None]]:
    """A part's score with its interval, where it has one, as columns of its row."""
    values = _percent(score)
    columns = [(name, values.pop("value"))]
    if score.low is not None or score.high is not None:
        columns += [(f"{name} {bound}", value) for bound, value in values.items()]
    return columns


def _flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Fields of fields as model.name; what is empty is left out."""
    rows = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], ()):
            # As text: a number of seconds is not a score.
            rows.append((prefix + name, str(value)))
    return rows


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
    from paraclip_bench.cli.shared import result_rows, table
    from paraclip_bench.progress import Progress
    from paraclip_bench.results.store import list_results, read
    from paraclip_bench.workspace import Workspace

    if file is not None:
        if suite or task or model:
            raise UsageError(
                "FILE is one result, so --suite, --task and --model choose nothing; leave them out"
            )
        result = read(file)
        if result.digests is None:
            Progress().say(f"note: {_OLD}")
        whole = json.dumps(result.model_dump(mode="json"), indent=1) if as_json else None
        typer.echo(whole or result_text(file, result))
        return
    found, damaged = list_results(Workspace(workspace).results, suite=suite, task=task, model=model)
    rows = result_rows(found, percent=not as_json, with_suite=True)
    typer.echo(json.dumps(rows, indent=1) if as_json else table(rows))
    for reason in damaged:
        Progress().say(f"left out: {reason}")
    if old := sum(result.digests is None for _, result in found):
        Progress().say(f"note: of {safe_text.counted(old, 'result')}: {_OLD}")


_OLD = (
    "written by version 0.1.0, without a digest, so that an edit is not seen here; `leaderboard` "
    "compares it with the outcomes"
)


class ExportFormat(StrEnum):
    """Whose format."""

    MTEB = "mteb"


def _mteb() -> Callable[..., Any]:
    from paraclip_bench.bridges.mteb_export import export as write

    return write


# What writes each format, imported when it is asked for.
EXPORTS = {ExportFormat.MTEB: _mteb}


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
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    place, progress = Workspace(workspace), Progress()
    write = EXPORTS[form]()
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
