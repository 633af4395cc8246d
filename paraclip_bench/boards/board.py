"""A board, and how it reads in a terminal: as many columns side by side as fit, the next below."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from paraclip_bench import safe_text
from paraclip_bench.boards.estimates import BETTER, WORSE, Difference
from paraclip_bench.boards.published_rows import PublishedRow
from paraclip_bench.boards.selection import Column, Entry, Measure, RowKey
from paraclip_bench.metrics.inference import FEWEST, Estimate

DEMO_NOTICE = "Demo world: small drawn scenes, not photographs."
PUBLISHED_NOTICE = (
    "Published rows are the runs of others, not measured here; their data's revision and text may "
    "differ."
)
_HOLDS = {
    "holm": "Better and worse hold over all differences shown together (Holm, 5%).",
    "bh": "Of all that is called better or worse, 5% may be false (Benjamini-Hochberg).",
    "none": "Better and worse hold for each difference alone (5%), not for all of them together.",
}
_PADDING = 3
_PIPE_WIDTH = 160
_REMARKS = 6


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value with its interval, and the difference to the baseline with its own.

    best: the best value of its column; tied: cannot be told from it.
    """

    estimate: Estimate
    difference: Difference | None
    best: bool
    tied: bool = False


@dataclasses.dataclass(frozen=True)
class BoardRow:
    """A model in one precision. rank: its mean rank over all columns, where it has them all."""

    name: str
    fingerprint: str
    dtype: str
    cells: tuple[Cell | None, ...]
    rank: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class Board:
    """A leaderboard; left_out says which results it does not show, and why.

    sources are the kinds of data that its results are on: hub, folder, demo. partial names sets of
    another size than the published ones. published are rows
    of others' numbers, apart from `rows`; None where they were not asked for. notes are sentences
    on results that are shown. adjust: how the verdicts hold, see `estimates.ADJUST`. entries: the
    result that each number is of, by (fingerprint, dtype) and measure.
    """

    suite: str
    sources: tuple[str, ...]
    baseline: str | None
    columns: tuple[Column, ...]
    rows: tuple[BoardRow, ...]
    left_out: tuple[str, ...]
    published: tuple[PublishedRow, ...] | None = None
    partial: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    adjust: str = "holm"
    entries: Mapping[tuple[RowKey, Measure], Entry] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def __str__(self) -> str:
        return text(self)


def render(board: Board, width: int, *, plain: bool) -> RenderableType:
    """Tables no wider than `width` characters, each with the models' names.

    `plain`: a star marks the best value, for where there is no bold.
    """
    labels = [safe_text.line(row.label) for row in board.published or ()]
    names = max(len("model"), *(len(safe_text.line(row.name)) for row in board.rows))
    names = max(names, min(width // 3, max(map(len, labels), default=0)))
    widths = [_width(board, index, plain) for index in range(len(board.columns))]
    blocks: list[list[int]] = [[]]
    used = names + _PADDING
    for index, column_width in enumerate(widths):
        if blocks[-1] and used + column_width + _PADDING > width:
            blocks.append([])
            used = names + _PADDING
        blocks[-1].append(index)
        used += column_width + _PADDING
    return Group(
        *(
            table
            for block in blocks
            for table in (
                _table(board, block, plain, names),
                *_published(board, block, names, [widths[index] for index in block]),
            )
        ),
        Text(safe_text.line(legend(board, "*" if plain else "bold")), style="dim"),
        *(Text(safe_text.line(sentence)) for sentence in verdict(board)),
    )


def show(board: Board) -> None:
    """Print the board on stdout; a pipe gets a wide one without colours."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(f"Leaderboard, suite {board.suite}", style="bold")
    console.print(render(board, console.width, plain=console.color_system is None))


def text(board: Board) -> str:
    """The board as plain text."""
    console = Console(
        file=io.StringIO(),
        width=_PIPE_WIDTH,
        highlight=False,
        color_system=None,
        force_terminal=False,
    )
    with console.capture() as capture:
        console.print(f"Leaderboard, suite {board.suite}")
        console.print(render(board, console.width, plain=console.color_system is None))
        for line in remarks(board):
            console.print(safe_text.line(line), markup=False, soft_wrap=True)
    return capture.get()


def remarks(board: Board) -> list[str]:
    """Notes and what was left out, a line each; the last counts those that there is no room for."""
    lines = [f"note: {note}" for note in board.notes]
    lines += [f"left out: {reason}" for reason in board.left_out[:_REMARKS]]
    if (more := len(board.left_out) - _REMARKS) > 0:
        lines.append(f"left out: {more} more; --format md or json names them all")
    return lines


def _table(board: Board, indices: list[int], plain: bool, names: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, title_justify="left")
    table.add_column("model", no_wrap=True, min_width=names)
    for index in indices:
        column = board.columns[index]
        # As text: what stands in brackets is not markup.
        head = Text(f"{safe_text.line(column.title)}\n{safe_text.line(column.score)}")
        table.add_column(head, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(
            Text(safe_text.line(row.name)), *(_cell(row.cells[index], plain) for index in indices)
        )
    return table


def _published(board: Board, indices: list[int], names: int, widths: list[int]) -> list[Table]:
    """The published rows with a number in these columns, in a table below; none without them."""
    rows = [row for row in board.published or () if any(row.cells[i] for i in indices)]
    if not rows:
        return []
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", style="dim", header_style="dim")
    table.add_column("published, not measured here", width=names)
    for width in widths:
        table.add_column("", justify="right", no_wrap=True, width=width)
    for row in rows:
        cells = (row.cells[index] for index in indices)
        values = (Text(percent(cell.value if cell else None), style="dim") for cell in cells)
        table.add_row(Text(safe_text.line(row.label), style="dim"), *values)
    return [table]


def _cell(cell: Cell | None, plain: bool) -> Text:
    if cell is None:
        return Text("–", style="dim")
    star = "*" if cell.best and plain else ""
    text = Text(percent(cell.estimate.value) + star, style="bold" if cell.best else "")
    if interval := bounds(cell.estimate):
        text.append(f"\n{interval}", style="not bold dim")
    if change := difference(cell):
        text.append(f"\n{change}", style=f"not bold {_colour(cell)}")
    return text


def _colour(cell: Cell) -> str:
    """Green where the difference is for the better, red for the worse."""
    verdict = cell.difference.verdict if cell.difference else ""
    return {BETTER: "green", WORSE: "red"}.get(verdict, "default")


def _width(board: Board, index: int, plain: bool) -> int:
    column = board.columns[index]
    lines = [safe_text.line(column.title), safe_text.line(column.score)]
    for row in board.rows:
        if (cell := row.cells[index]) is not None:
            lines += _cell(cell, plain).plain.split("\n")
    return max(len(line) for line in lines)


def _is_bare(cell: Cell) -> bool:
    return cell.estimate.value is not None and cell.estimate.low is None


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
    parts = [f"Scores x 100 with 95% intervals; {best} is the best value of a column."]
    cells = [cell for row in board.rows for cell in row.cells if cell is not None]
    if any(_is_bare(cell) for cell in cells):
        parts.append(f"No interval from fewer than {FEWEST} clusters, or where none can be had.")
    if len(board.rows) > 1:
        parts.append(
            "No baseline to compare with: --baseline MODEL names one."
            if board.baseline is None
            else f"Signed numbers are paired differences to {board.baseline}."
        )
        parts += [holds(board)] * (board.baseline is not None)
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


def holds(board: Board) -> str:
    """What better and worse on a board hold for."""
    return _HOLDS[board.adjust]


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
    """A sentence for each model: on which scores it is better or worse than the baseline."""
    sentences = []
    for row in board.rows:
        sides: dict[str, dict[str, list[str]]] = {}
        for column, cell in zip(board.columns, row.cells, strict=True):
            change = cell.difference if cell else None
            if change is None or not change.verdict:
                continue
            sides.setdefault(change.verdict, {}).setdefault(column.title, []).append(column.score)
        said = [
            f"{side} on " + ", ".join(f"{title} {', '.join(s)}" for title, s in scores.items())
            for side, scores in sorted(sides.items())
        ]
        if said:
            sentences.append(f"{row.name} against {board.baseline}: {'; '.join(said)}.")
    return sentences
