"""A board in a terminal: as many columns side by side as fit, then the next ones below."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from paraclip_bench.boards.board import Board, Cell
from paraclip_bench.boards.formats import bounds, difference, legend, percent, verdict

_PADDING = 3
_PIPE_WIDTH = 160
_REMARKS = 6


def render(board: Board, width: int, *, plain: bool) -> RenderableType:
    """Tables no wider than `width` characters, each with the models' names.

    `plain`: a star marks the best value, for where there is no bold.
    """
    labels = [row.label for row in board.published or ()]
    names = max(len("model"), *(len(row.name) for row in board.rows))
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
        Text(legend(board, "*" if plain else "bold"), style="dim"),
        *(Text(sentence) for sentence in verdict(board)),
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
            console.print(line, markup=False, soft_wrap=True)
    return capture.get()


def remarks(board: Board) -> list[str]:
    """What was left out, a line each; the last line counts those that there is no room for."""
    lines = [f"left out: {reason}" for reason in board.left_out[:_REMARKS]]
    if (more := len(board.left_out) - _REMARKS) > 0:
        lines.append(f"left out: {more} more; --format md or json names them all")
    return lines


def _table(board: Board, indices: list[int], plain: bool, names: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, title_justify="left")
    table.add_column("model", no_wrap=True, min_width=names)
    for index in indices:
        column = board.columns[index]
        # As text: what stands in brackets is no markup.
        head = Text(f"{column.title}\n{column.score}")
        table.add_column(head, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(Text(row.name), *(_cell(row.cells[index], plain) for index in indices))
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
        table.add_row(Text(row.label, style="dim"), *values)
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
    """Green or red where the interval of the difference leaves out zero."""
    change = cell.difference
    if change is None or change.low is None or change.high is None:
        return "default"
    return "green" if change.low > 0 else "red" if change.high < 0 else "default"


def _width(board: Board, index: int, plain: bool) -> int:
    column = board.columns[index]
    lines = [column.title, column.score]
    for row in board.rows:
        if (cell := row.cells[index]) is not None:
            lines += _cell(cell, plain).plain.split("\n")
    return max(len(line) for line in lines)
