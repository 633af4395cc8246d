"""`paraclip-bench results`: show, check, compare, merge and export them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench import safe_text
from paraclip_bench.cli.shared import (
    JsonOption,
    SuiteOption,
    WorkspaceOption,
    folder_to_write,
    table,
)
from paraclip_bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from paraclip_bench.results.exchange import Difference
    from paraclip_bench.results.schema import Result, Score
    from paraclip_bench.workspace import Workspace

TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Of this task alone.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Of this model alone, by name, spec, or what the leaderboard calls it.",
    ),
]


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
                **({} if part.covered is None else {"texts covered": part.covered}),
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
    task: TaskOption = None,
    model: ModelOption = None,
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


def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="JSON files of results, workspaces, or folders of results.",
            show_default="the workspace",
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Check results: schema, digests, names, places, ranges, outcomes, contributions.

    Scores are computed again from the outcomes and compared. A row for each problem; exit code 1
    where there is one. The schema is paraclip_bench/results/result.schema.json.
    """
    from paraclip_bench.progress import Progress
    from paraclip_bench.results.checks import check, find_results, left_alone, summary

    named = paths or [workspace]
    places = {p.path.resolve(): p for path in named for p in find_results(path)}
    found = [check(place) for place in places.values()]
    problems, notes = [], []
    for each in found:
        file = str(each.place.path)
        problems += [{"file": file, "problem": p.what, "what to do": p.todo} for p in each.problems]
        if each.lacks_outcomes:
            todo = "copy them beside it, or measure it again with run --force"
            problems.append({"file": file, "problem": "its outcomes are gone", "what to do": todo})
        notes += [{"file": file, "note": note} for note in each.notes]
    for file in map(str, left_alone([*places.values()])):
        notes.append({"file": file, "note": "outcomes without a result; run makes both again"})
    numbers = summary(found)
    if as_json:
        typer.echo(json.dumps({**numbers, "found": problems, "notes": notes}, indent=1))
    else:
        if problems:
            typer.echo(f"{table(problems)}\n")
        for note in notes:
            Progress().say(f"note: {note['file']}: {note['note']}")
        typer.echo(
            f"{safe_text.counted(numbers['results'], 'result')}, {numbers['with_outcomes']:,} with "
            f"outcomes; {safe_text.counted(numbers['scores_recomputed'], 'score')} computed again "
            f"from them: {safe_text.counted(numbers['problems'], 'problem')}"
        )
    raise typer.Exit(1 if problems else 0)


def diff(
    a: Annotated[Path, typer.Argument(help="A result's JSON file, or a workspace or folder.")],
    b: Annotated[Path, typer.Argument(help="The other one.")],
    suite: SuiteOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Times, seconds and the id of the run too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which results are only in A or only in B, and in which fields the others differ.

    Results of two folders are the same where suite, model folder and file name are. Of outcomes it
    says how many examples differ. Exit code 0 where all is equal, 1 where something differs, 2 in
    trouble, as diff has them. Values are as files hold them, fractions.
    """
    from paraclip_bench.progress import Progress
    from paraclip_bench.results.exchange import WHEN
    from paraclip_bench.results.exchange import diff as compare

    ignored = frozenset[str]() if everything else WHEN
    found = compare(a, b, suite=suite, task=task, model=model, ignored=ignored)
    if found.left_out and not a.is_dir():
        raise UsageError(found.left_out[0])
    if as_json:
        whole = {
            "only_in_a": list(map(str, found.only_in_a)),
            "only_in_b": list(map(str, found.only_in_b)),
            "equal": list(map(str, found.equal)),
            "different": [_as_data(each) for each in found.different],
            "left_out": found.left_out,
        }
        typer.echo(json.dumps(whole, indent=1))
    else:
        lines = [f"only in A: {path}" for path in found.only_in_a]
        lines += [f"only in B: {path}" for path in found.only_in_b]
        lines = list(map(safe_text.line, lines)) + _shown(found.different)
        if a.is_dir():
            counts = f"equal: {len(found.equal):,}, different: {len(found.different):,}, "
            counts += f"only in A: {len(found.only_in_a):,}, only in B: {len(found.only_in_b):,}"
            lines.append(counts)
        typer.echo("\n".join(lines or ["equal"]))
        for reason in found.left_out:
            Progress().say(f"left out: {reason}")
    raise typer.Exit(2 if found.left_out else int(not found.is_equal))


def _as_data(found: Difference) -> dict[str, Any]:
    outcomes = found.outcomes
    return {
        "result": found.name,
        "a": str(found.a),
        "b": str(found.b),
        "fields": [field._asdict() for field in found.fields],
        "outcomes": None if outcomes is None else dataclasses.asdict(outcomes),
    }


def _shown(found: Sequence[Difference]) -> list[str]:
    """Blocks of lines: both files, and what differs."""
    lines = []
    for each in found:
        lines += [safe_text.line(f"A: {each.a}"), safe_text.line(f"B: {each.b}")]
        # As JSON: all digits, and a text is not a number.
        rows = [
            {"field": f.name, "A": json.dumps(f.a, ensure_ascii=False), "B": json.dumps(f.b)}
            for f in each.fields
        ]
        lines += [table(rows)] if rows else []
        lines += [f"outcomes: {safe_text.line(str(each.outcomes))}"] if each.outcomes else []
        lines.append("")
    return lines


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Workspaces, or folders or JSON files of results.", metavar="FROM"),
    ],
    workspace: Annotated[
        Path,
        typer.Option(
            *("-o", "--output", "--workspace"),
            help="Workspace to merge into: its results/.",
            show_default="here",
        ),
    ] = Path(),
    suite: SuiteOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the results of several machines into one workspace, with outcomes and contributions.

    What is there already is kept. Where one key has other scores, data or outcomes in two places,
    both are shown and nothing is copied; time, machine and versions may differ. A damaged source is
    left out by name. Exit code 1 in both cases. A merge that was stopped can be run again.
    """
    from paraclip_bench.progress import Progress
    from paraclip_bench.results.exchange import merge as copy
    from paraclip_bench.workspace import Workspace

    target = Workspace(folder_to_write(workspace)).results
    if workspace.name == "results" and not target.exists():
        raise UsageError(f"{workspace} is a folder of results; name the workspace that it lies in")
    done = copy(sources, target, suite=suite, task=task, model=model)
    if as_json:
        whole = {
            "copied": list(map(str, done.copied)),
            "there": list(map(str, done.there)),
            "conflicts": [_as_data(each) for each in done.conflicts],
            "left_out": done.left_out,
            "remarks": done.remarks,
        }
        typer.echo(json.dumps(whole, indent=1))
    else:
        for line in done.remarks:
            Progress().say(f"note: {line}")
        for line in done.left_out:
            Progress().say(f"left out: {line}")
        if done.conflicts:
            typer.echo("\n".join(_shown(done.conflicts)))
        copied = safe_text.counted(len(done.copied), "result")
        typer.echo(f"{copied} copied to {target}; there already: {len(done.there):,}")
    if done.conflicts:
        keys = safe_text.counted(len(done.conflicts), "key")
        raise BenchError(
            f"{keys} with other content in two places, so nothing was copied; keep the right one "
            "of each pair (results validate), and merge again"
        )
    raise typer.Exit(1 if done.left_out else 0)


class ExportFormat(StrEnum):
    """Whose format."""

    MTEB = "mteb"
    CSV = "csv"
    PARQUET = "parquet"
    TREC = "trec"


def _mteb(place: Workspace, out: Path | None, **chosen: str | None) -> Any:
    from paraclip_bench.bridges.mteb_export import export as write

    if chosen["task"] or chosen["model"]:
        raise UsageError(
            "--format mteb writes all results of a suite; leave out --task and --model"
        )
    out = folder_to_write(out or place.root / "mteb" / "results")
    return write(place.results, out, suite=chosen["suite"])


def _csv(place: Workspace, out: Path | None, **chosen: str | None) -> Any:
    from paraclip_bench.bridges.table_export import write_csv

    return write_csv(place.results, out or place.root / "results.csv", **chosen)


def _parquet(place: Workspace, out: Path | None, **chosen: str | None) -> Any:
    from paraclip_bench.bridges.table_export import write_parquet

    return write_parquet(place.results, out or place.root / "results.parquet", **chosen)


def _trec(place: Workspace, out: Path | None, **chosen: str | None) -> Any:
    from paraclip_bench.bridges.trec_export import export as write

    return write(place.results, folder_to_write(out or place.root / "trec"), **chosen)


# What writes each format; a bridge is imported when it is asked for.
EXPORTS: dict[ExportFormat, Callable[..., Any]] = {
    ExportFormat.MTEB: _mteb,
    ExportFormat.CSV: _csv,
    ExportFormat.PARQUET: _parquet,
    ExportFormat.TREC: _trec,
}


def export(
    form: Annotated[ExportFormat, typer.Option("--format", help="Which format.")],
    out: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            help="Folder to write to; of csv and parquet a file (.csv, .parquet) or a folder.",
            show_default="mteb/results, results.csv, results.parquet, trec",
        ),
    ] = None,
    suite: SuiteOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write results for other programs; what has no place in a format is named.

    csv, parquet: one table, a row for each score of each result and part. trec: runs of queries and
    of paraphrases, and qrels, of results with rankings. mteb: DIR/MODEL/REVISION/TASK.json of what
    mteb measures too; mteb.ResultCache reads a DIR that is called `results`.
    """
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    progress = Progress()
    done = EXPORTS[form](Workspace(workspace), out, suite=suite, task=task, model=model)
    for line in done.remarks:
        progress.say(f"note: {line}")
    for line in done.left_out:
        progress.say(f"left out: {line}")
    if not done.written:
        raise BenchError(f"{form.value} has none of these measurements, so nothing was written")
    rows = [
        {"file": str(path), "rows": what}
        if isinstance(what, int)
        else {"model": what.model.name, "task": what.task, "file": str(path)}
        for path, what in done.written.items()
    ]
    # What goes to a pipe or a device is not followed by a table of files.
    is_stream = out is not None and out.exists() and not (out.is_file() or out.is_dir())
    typer.echo(
        json.dumps({"written": rows, "left_out": done.left_out}, indent=1)
        if as_json
        else table(rows),
        err=is_stream,
    )
