"""A board in a terminal: as many columns side by side as fit, then the next ones below."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from paraclip_bench.leaderboard.board import Board, Cell
from paraclip_bench.leaderboard.formats import bounds, difference, legend, percent

_PADDING = 3
_PIPE_WIDTH = 160


def render(board: Board, width: int) -> RenderableType:
    """Tables no wider than `width` characters, each with the models' names."""
    names = max(len("model"), *(len(row.name) for row in board.rows))
    widths = [_width(board, index) for index in range(len(board.columns))]
    blocks: list[list[int]] = [[]]
    used = names + _PADDING
    for index, column_width in enumerate(widths):
        if blocks[-1] and used + column_width + _PADDING > width:
            blocks.append([])
            used = names + _PADDING
        blocks[-1].append(index)
        used += column_width + _PADDING
    return Group(*(_table(board, block) for block in blocks), Text(legend(board), style="dim"))


def show(board: Board) -> None:
    """Print the board on stdout; a pipe gets a wide one without colours."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(f"Leaderboard, suite {board.suite}", style="bold")
    console.print(render(board, console.width))


def text(board: Board) -> str:
    """The board as plain text."""
    console = Console(file=io.StringIO(), width=_PIPE_WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(f"Leaderboard, suite {board.suite}")
        console.print(render(board, console.width))
        for reason in board.left_out:
            console.print(f"left out: {reason}", markup=False, soft_wrap=True)
    return capture.get()


def _table(board: Board, indices: list[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, title_justify="left")
    table.add_column("model", no_wrap=True)
    for index in indices:
        column = board.columns[index]
        table.add_column(f"{column.title}\n{column.score}", justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(row.name, *(_cell(row.cells[index]) for index in indices))
    return table


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("–", style="dim")
    text = Text(percent(cell.estimate.value), style="bold" if cell.best else "")
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


def _width(board: Board, index: int) -> int:
    column = board.columns[index]
    lines = [column.title, column.score]
    for row in board.rows:
        if (cell := row.cells[index]) is not None:
            lines += _cell(cell).plain.split("\n")
    return max(len(line) for line in lines)
