"""A board as Markdown, CSV or JSON. Markdown shows scores x 100; CSV and JSON hold fractions."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence

from paraclip_bench.boards.board import Board, Cell, Column
from paraclip_bench.boards.published_rows import PublishedRow
from paraclip_bench.metrics.resampling import Estimate

_MANY = 4
DEMO_NOTICE = "Demo world: small drawn scenes, not photographs."
PUBLISHED_NOTICE = (
    "Published rows are the runs of others, not measured here; their data's revision and text may "
    "differ."
)


def percent(value: float | None) -> str:
    """A fraction as a table shows it: x 100 with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}"


def bounds(estimate: Estimate) -> str:
    """An interval as a table shows it, empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def difference(cell: Cell) -> str:
    """The difference to the baseline, signed, with its interval."""
    if cell.difference is None or cell.difference.value is None:
        return ""
    return f"{100 * cell.difference.value:+.1f} {bounds(cell.difference)}".strip()


def legend(board: Board, best: str = "bold") -> str:
    """What the numbers of a table are."""
    parts = [f"Scores x 100 with 95% bootstrap intervals; {best} is the best value of a column."]
    if len(board.rows) > 1:
        parts.append(
            "No baseline to compare with: --baseline MODEL names one."
            if board.baseline is None
            else f"Signed numbers are paired differences to {board.baseline}."
        )
    elsewhere: dict[str, list[str]] = {}
    for column in board.columns:
        if column.scored_by and column.title not in elsewhere.setdefault(column.scored_by, []):
            elsewhere[column.scored_by].append(column.title)
    parts += [
        f"Scored by {who}, so without intervals: {', '.join(titles)}."
        for who, titles in elsewhere.items()
    ]
    if "demo" in board.sources:
        parts.append(DEMO_NOTICE if board.sources == ("demo",) else f"In part: {DEMO_NOTICE}")
    if board.partial:
        parts.append(f"Not the published set: {', '.join(board.partial)}.")
    if board.published is not None:
        parts.append(published_notice(board.columns, board.published))
    return " ".join(parts)


def published_notice(columns: Sequence[Column], rows: Sequence[PublishedRow]) -> str:
    """What published rows are, where they are from and which to take with caution, if any."""
    if not rows:
        return "No published number is of what is shown here."
    sources = sorted({f"{row.source} ({row.paper}): {row.url} @ {row.commit}" for row in rows})
    cautions = {
        f"{column.title} {column.score} of {row.source} is {cell.caution}.": None
        for index, column in enumerate(columns)
        for row in rows
        if (cell := row.cells[index]) and cell.caution
    }
    return " ".join([PUBLISHED_NOTICE, *cautions, f"Sources: {'; '.join(sources)}."])


def verdict(board: Board) -> list[str]:
    """A sentence for each model: on which scores its difference to the baseline is clear.

    Empty for a board of many models, where the table says it better.
    """
    if len(board.rows) > _MANY:
        return []
    sentences = []
    for row in board.rows:
        sides: dict[str, dict[str, list[str]]] = {}
        for column, cell in zip(board.columns, row.cells, strict=True):
            change = cell.difference if cell else None
            if change is None or change.low is None or change.high is None:
                continue
            side = "no clear difference"
            if change.low > 0 or change.high < 0:
                side = "better" if (change.low > 0) != column.lower_is_better else "worse"
            sides.setdefault(side, {}).setdefault(column.title, []).append(column.score)
        said = [
            f"{side} on " + ", ".join(f"{title} {', '.join(s)}" for title, s in scores.items())
            for side, scores in sorted(sides.items())
        ]
        if said:
            sentences.append(f"{row.name} against {board.baseline}: {'; '.join(said)}.")
    return sentences


def markdown(board: Board) -> str:
    """A Markdown table with its legend and what was left out."""
    heads = ["model", *(f"{c.title} {c.score}" for c in board.columns)]
    lines = [
        f"### Leaderboard, suite {board.suite}",
        "",
        "| " + " | ".join(_escape(head) for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in board.rows:
        shown = [_escape(row.name)]
        for cell in row.cells:
            if cell is None:
                shown.append("–")
                continue
            value = percent(cell.estimate.value)
            parts = [f"**{value}**" if cell.best else value, bounds(cell.estimate)]
            text = " ".join(part for part in parts if part)
            change = difference(cell)
            shown.append(f"{text}<br>{change}" if change else text)
        lines.append("| " + " | ".join(shown) + " |")
    if board.published:
        lines += ["", "#### Published, not measured here", "", *_published_lines(board)]
    lines += ["", " ".join([legend(board), *verdict(board)])]
    if board.left_out:
        lines += ["", "Left out:", *(f"- {_escape(reason)}" for reason in board.left_out)]
    return "\n".join(lines) + "\n"


def _published_lines(board: Board) -> list[str]:
    """A Markdown table of the published rows, with the columns that they have numbers for."""
    rows = board.published or ()
    used = [i for i in range(len(board.columns)) if any(row.cells[i] for row in rows)]
    heads = ["model (published by)"]
    heads += [f"{board.columns[i].title} {board.columns[i].score}" for i in used]
    lines = ["| " + " | ".join(_escape(head) for head in heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [row.cells[i] for i in used]
        shown = [percent(cell.value if cell else None) for cell in cells]
        lines.append("| " + " | ".join([_escape(row.label), *shown]) + " |")
    return lines


def _escape(text: str) -> str:
    """Text that cannot end a table cell or a line."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def as_csv(board: Board) -> str:
    """One row a model; per score its value, interval, and difference to the baseline.

    Where published rows were asked for, the last column names their source, empty for our own.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["suite", "model", "dtype", "fingerprint"]
    for column in board.columns:
        name = f"{column.title}/{column.score}"
        head += [
            name,
            *(f"{name}/{part}" for part in ("low", "high", "diff", "diff_low", "diff_high")),
        ]
    with_source = board.published is not None
    writer.writerow([*head, "published"] if with_source else head)
    for row in board.rows:
        fields: list[object] = [board.suite, row.name, row.dtype, row.fingerprint]
        for cell in row.cells:
            for estimate in (None, None) if cell is None else (cell.estimate, cell.difference):
                fields += ["", "", ""] if estimate is None else dataclasses.astuple(estimate)
        writer.writerow([*fields, ""] if with_source else fields)
    for published in board.published or ():
        fields = [board.suite, published.name, "", ""]
        for number in published.cells:
            fields += ["" if number is None else number.value, "", "", "", "", ""]
        writer.writerow([*fields, f"{published.source} @ {published.commit}"])
    return buffer.getvalue()


def as_json(board: Board) -> str:
    """The whole board, scores as fractions."""
    return json.dumps(dataclasses.asdict(board), indent=1) + "\n"
