"""`paraclip-bench compare`: two models or more, score by score and example by example."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench import safe_text
from paraclip_bench.cli.leaderboard import Adjustment
from paraclip_bench.cli.shared import JsonOption, SuiteOption, WorkspaceOption
from paraclip_bench.errors import BenchError

if TYPE_CHECKING:
    from paraclip_bench.boards.compare_models import Change, Comparison, Pair


def compare(
    models: Annotated[
        list[str],
        typer.Argument(help="Models by name or spec; the others are compared to the first."),
    ],
    suite: SuiteOption = None,
    families: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="This task or group alone; repeatable."),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option("--score", help="This score alone, of every task that has it; repeatable."),
    ] = None,
    all_scores: Annotated[
        bool, typer.Option("--all", help="Every score of every task, not only the main ones.")
    ] = False,
    show: Annotated[
        int, typer.Option("--show", min=0, help="So many examples of each score that changed most.")
    ] = 0,
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if-worse",
            metavar="TASK[:SCORE][=MARGIN]",
            help="Exit 1 where the second model is worse on this task than the first, or with "
            "MARGIN, where it is worse by more than so many points; repeatable.",
        ),
    ] = None,
    adjust: Annotated[
        Adjustment,
        typer.Option("--adjust", help="What better and worse hold for; see leaderboard."),
    ] = Adjustment.HOLM,
    with_limits: Annotated[
        bool, typer.Option("--with-limits", help="Also results made with --limit.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            help="Where the texts of examples are.",
            show_default="where the results' data came from",
        ),
    ] = None,
    each_seed: Annotated[
        bool,
        typer.Option("--each-seed", help="A row a checkpoint, where several differ in the seed."),
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say on which scores models differ, how sure that is, and which examples changed."""
    from paraclip_bench.boards.compare_models import Gate, compare_models
    from paraclip_bench.boards.content import remarks
    from paraclip_bench.boards.make_board import no_collection
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    # Not only while the board is made: to print it makes many objects, too.
    with no_collection():
        gates = [Gate.parse(text) for text in fail_if_worse or ()]
        found = compare_models(
            Workspace(workspace).results,
            models,
            suite=suite,
            families=families or (),
            scores=score or (),
            all_scores=all_scores,
            with_limits=with_limits,
            adjust=adjust.value,
            show=show,
            data_dir=data_dir,
            each_seed=each_seed,
        )
        typer.echo(json.dumps(as_data(found), indent=1) if as_json else text(found))
        progress = Progress()
        for note in found.notes:
            progress.say(f"note: {note}")
        if not as_json:  # which holds it itself
            for line in remarks(found.board):
                progress.say(line)
        if failures := [said for gate in gates for said in gate.failures(found)]:
            raise BenchError("; ".join(failures))


def text(found: Comparison) -> str:
    """The comparison as lines that 80 columns hold, but for long names and texts; scores x 100."""
    from paraclip_bench.boards.content import holds, verdict

    board = found.board
    others = [row.name for row in board.rows[1:]]
    lines = [f"{', '.join(others)} against {board.baseline}, suite {board.suite}"]
    named = [pair.model if len(others) > 1 else pair.column.score for pair in found.pairs]
    width = max(map(len, named))
    title = score = ""
    for pair, name in zip(found.pairs, named, strict=True):
        if pair.column.title != title:
            title, score = pair.column.title, ""
            lines += ["", title]
        if len(others) > 1 and pair.column.score != score:
            score = pair.column.score
            lines.append(f" {score}")
        lines += [f"  {part}" for part in _pair(pair, name.ljust(width))]
    lines += ["", f"Scores x 100, differences with 95% intervals. {holds(board)}"]
    lines += verdict(board)
    for pair in found.pairs:
        if pair.changes:
            title = f"{pair.column.title} {pair.column.score}, {pair.model}"
            lines += ["", f"{title}: examples that changed most ({pair.counted})"]
            lines += [line for change in pair.changes for line in _example(change, pair)]
    return "\n".join(map(safe_text.line, lines))


def _pair(pair: Pair, name: str) -> list[str]:
    """Two lines on a score: the numbers, and what they say."""
    from paraclip_bench.boards.content import difference, percent

    change = pair.cell.difference
    assert change is not None
    values = [percent(cell.estimate.value) for cell in (pair.baseline, pair.cell)]
    said = change.verdict or "no test"
    if change.adjusted is not None:
        said += f" (p {change.adjusted:.2g})"
    if pair.wins is not None and pair.losses is not None:
        counts = f"{pair.wins:,} better, {pair.losses:,} worse"
        said += f"; of {pair.examples:,} examples {counts}"
    return [f"{name}  {values[0]:>5} -> {values[1]:>5}  {difference(pair.cell)}", f"    {said}"]


def _example(change: Change, pair: Pair) -> list[str]:
    """Lines on one example."""
    lines = [f"  {change.example_id}: {change.baseline:.3f} -> {change.candidate:.3f}"]
    lines += [f"    {name}: {value}" for name, value in change.texts.items()]
    if change.images:
        lines.append(f"    image: {', '.join(change.images)}")
    for model, rankings in change.found.items():
        for name, first in rankings.items():
            who = pair.model if model == "candidate" else "baseline"
            lines.append(f"    {who} finds for the {name}: {', '.join(first)}")
    return lines


def as_data(found: Comparison) -> dict[str, Any]:
    """The comparison as data, scores as fractions."""
    board = found.board
    return {
        "suite": board.suite,
        "baseline": board.baseline,
        "models": [row.name for row in board.rows[1:]],
        "adjust": board.adjust,
        "scores": [
            {
                "task": pair.column.title,
                "score": pair.column.score,
                "lower_is_better": pair.column.lower_is_better,
                "model": pair.model,
                "baseline": dataclasses.asdict(pair.baseline.estimate),
                "candidate": dataclasses.asdict(pair.cell.estimate),
                "difference": pair.cell.difference and dataclasses.asdict(pair.cell.difference),
                "wins": pair.wins,
                "losses": pair.losses,
                "examples": pair.examples,
                "counted": pair.counted,
                "changes": [dataclasses.asdict(change) for change in pair.changes],
            }
            for pair in found.pairs
        ],
        "notes": list(found.notes),
        "left_out": list(board.left_out),
    }
