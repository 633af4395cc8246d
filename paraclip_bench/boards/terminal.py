"""A board in a terminal, at any width: nothing is cut, a task is named once over its scores.

Up to four models are columns, and a row is a score; more are rows, one table a family of tasks.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from paraclip_bench import safe_text
from paraclip_bench.boards.content import (
    BoardContent,
    Cell,
    bounds,
    change,
    difference,
    legend,
    percent,
    rank,
    remarks,
)
from paraclip_bench.boards.estimates import BETTER, WORSE
from paraclip_bench.metrics.inference import Estimate

# So many models stand side by side.
_SIDE_BY_SIDE = 4
_WIDTH = 80
_GAP = "  "
_COLOURS = {BETTER: "green", WORSE: "red"}
_MARKS = {BETTER: "▲", WORSE: "▼"}


def show(board: BoardContent) -> None:
    """Print the board on stdout; a pipe gets it without colours, as wide as COLUMNS says, or 80."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _pipe_width()
    _print(board, console)


def text(board: BoardContent, width: int | None = None) -> str:
    """The board as plain text with its remarks; its width is that of COLUMNS, or 80."""
    console = Console(
        file=io.StringIO(),
        width=width or _pipe_width(),
        highlight=False,
        color_system=None,
        force_terminal=False,
    )
    with console.capture() as capture:
        _print(board, console)
        for line in remarks(board):
            console.print(safe_text.line(line), markup=False, soft_wrap=True)
    return capture.get()


def _pipe_width() -> int:
    asked = os.environ.get("COLUMNS", "")
    return max(int(asked), 20) if asked.isdecimal() and int(asked) else _WIDTH


def _print(board: BoardContent, console: Console) -> None:
    plain = console.color_system is None
    console.print(Text(board.title, style="bold"))
    if board.caption:
        console.print(Text(safe_text.line(board.caption)))
    for line in lines(board, console.width, plain=plain):
        console.print(line, soft_wrap=True)


def lines(board: BoardContent, width: int, *, plain: bool) -> Iterator[Text]:
    """The lines of a board, none longer than `width` where its names leave room for a number.

    `plain`: signs beside the values mark what is best and tied, where there is no bold.
    """
    look = _Look(board.precision, plain)
    by_scores = len(board.rows) <= _SIDE_BY_SIDE
    table = _scores_as_rows if by_scores else _models_as_rows
    yield from table(board, width, look)
    yield Text()
    yield from _published(board, width, look)
    best, tied = ("*", "=") if plain else ("bold", "underlined")
    said = [legend(board, best, tied)]
    if not by_scores and board.baseline is not None:
        said.append(f"{_MARKS[BETTER]} is better than {board.baseline}, {_MARKS[WORSE]} worse.")
    for sentence in said:
        style = "dim" if sentence == said[0] else ""
        yield from (Text(line, style=style) for line in _sentence(safe_text.line(sentence), width))


@dataclasses.dataclass(frozen=True)
class _Look:
    """How cells read: with so many decimals, and with signs or with styles."""

    precision: int
    plain: bool

    def value(self, cell: Cell) -> Text:
        """A value, marked where it is the best of its column or tied with that."""
        sign = "*" if cell.best else "=" if cell.tied else " "
        style = Style(bold=cell.best, underline=cell.tied)
        shown = Text(percent(cell.estimate.value, self.precision), style=style)
        return shown + Text(sign) if self.plain else shown

    def cell(self, cell: Cell | None, form: int) -> list[Text]:
        """The lines of a cell; form 0 is the widest and 3 the narrowest."""
        if cell is None:
            return [Text("–", style="dim")]
        interval = Text(bounds(cell.estimate, self.precision), style="dim")
        found = [_joined(self.value(cell), interval)] if form < 3 else [self.value(cell), interval]
        colour = _COLOURS.get(cell.difference.verdict if cell.difference else "", "")
        words = cell.difference.verdict if cell.difference else ""
        apart = Text(difference(cell, self.precision), style=colour)
        said = Text(words, style=colour)
        if form == 0:
            found.append(_joined(apart, said))
        elif form == 1:
            found += [apart, said]
        elif form == 2:
            found.append(_joined(apart, Text(_MARKS.get(words, " "), style=colour)))
        else:
            found.append(Text(change(cell, self.precision), style=colour))
            if cell.difference is not None:
                found.append(Text(bounds(cell.difference, self.precision), style=colour))
            found += [Text(word, style=colour) for word in _broken(words)]
        return [line for line in found if line.plain.strip()]


def _joined(one: Text, two: Text) -> Text:
    return one + Text(" ") + two if one.plain and two.plain else one + two


def _broken(words: str) -> list[str]:
    """A verdict on lines as short as its words allow."""
    return ["no clear", "difference"] if len(words) > 10 else [words]


def _scores_as_rows(board: BoardContent, width: int, look: _Look) -> Iterator[Text]:
    names = [safe_text.line(row.name) for row in board.rows]
    longest = max(cell_len(part) for c in board.columns for part in _words(c.title, c.score)) + 2
    least = min(longest, 18)
    for form, labels in ((0, longest), (0, least), (1, longest), (1, least), (3, least)):
        labels = min(labels, max(3 * width // 10, 18))
        cells = [
            [look.cell(row.cells[index], form) for row in board.rows]
            for index in range(len(board.columns))
        ]
        ranks = [[_rank(one, form) for one in own] for own in board.ranks.values()]
        cells += ranks
        widths = [
            max(10, *(cell_len(line.plain) for at in cells for line in at[i]))
            for i in range(len(names))
        ]
        if labels + sum(len(_GAP) + each for each in widths) <= width:
            break
    shown = _fitting(labels, widths, width)
    for numbers in shown:
        heads = [_fold(names[i], widths[i]) for i in numbers]
        yield from _row(
            [],
            [[Text(p, style="bold") for p in head] for head in heads],
            labels,
            [widths[i] for i in numbers],
        )
        yield _rule(labels, [widths[i] for i in numbers])
        for family, indices in board.families.items():
            titles = itertools.groupby(indices, key=lambda index: board.columns[index].title)
            groups = [(title, list(same)) for title, same in titles]
            if len(groups) > 1 or groups[0][0].partition(" (")[0] != family:
                yield Text(safe_text.line(family).upper(), style="bold")
            for title, same in groups:
                said = _fold(safe_text.line(title), labels)
                if len(same) > 1:
                    yield Text(safe_text.line(title), style="bold")
                for index in same:
                    score = _fold(safe_text.line(board.columns[index].score), labels - 2)
                    label = [f"  {part}" for part in score]
                    if len(same) == 1:
                        label = said + label
                    yield from _row(
                        label,
                        [cells[index][i] for i in numbers],
                        labels,
                        [widths[i] for i in numbers],
                    )
        for name, own in zip(board.ranks, ranks, strict=True):
            yield from _row(
                _fold(name, labels), [own[i] for i in numbers], labels, [widths[i] for i in numbers]
            )


def _words(title: str, score: str) -> tuple[str, str]:
    return safe_text.line(title), safe_text.line(score)


def _rank(found: Estimate | None, form: int) -> list[Text]:
    said = rank(found)
    return [Text(part) for part in ([said] if form < 3 else said.split(" ", 1))]


def _models_as_rows(board: BoardContent, width: int, look: _Look) -> Iterator[Text]:
    names = [safe_text.line(row.name) for row in board.rows]
    labels = min(max(5, *(cell_len(name) for name in names)), max(width // 3, 14))
    if board.ranked:
        ranks = [[_rank(one, 2) for one in own] for own in board.ranks.values()]
        wides = [
            max(len(name), *(cell_len(line.plain) for lines in own for line in lines))
            for name, own in zip(board.ranks, ranks, strict=True)
        ]
        heads = [[Text(name, style="bold")] for name in board.ranks]
        for numbers in _fitting(labels, wides, width):
            shown = [wides[i] for i in numbers]
            yield Text()
            yield from _row(["model"], [heads[i] for i in numbers], labels, shown)
            for at, name in enumerate(names):
                yield from _row(_fold(name, labels), [ranks[i][at] for i in numbers], labels, shown)
    for family, indices in board.families.items():
        # Who has nothing here has no row here.
        there = [row for row in board.rows if any(row.cells[i] for i in indices)]
        cells = [[look.cell(row.cells[i], 2) for i in indices] for row in there]
        widths = [
            max(
                cell_len(safe_text.line(board.columns[index].score)),
                *(cell_len(line.plain) for at in cells for line in at[i]),
            )
            for i, index in enumerate(indices)
        ]
        yield Text()
        if {board.columns[i].title.partition(" (")[0] for i in indices} != {family}:
            yield Text(safe_text.line(family).upper(), style="bold")
        for number, numbers in enumerate(_fitting(labels, widths, width)):
            if number:
                yield Text()
            shown = [widths[i] for i in numbers]
            yield from _heads(board, [indices[i] for i in numbers], shown, labels)
            yield _rule(labels, shown)
            for row, found in zip(there, cells, strict=True):
                label = _fold(safe_text.line(row.name), labels)
                yield from _row(label, [found[i] for i in numbers], labels, shown)


def _heads(
    board: BoardContent, indices: Sequence[int], widths: Sequence[int], labels: int
) -> Iterator[Text]:
    """Tasks over their scores, over these columns."""
    tops, spans = list[list[Text]](), list[int]()
    numbers = range(len(indices))
    for title, same in itertools.groupby(numbers, key=lambda i: board.columns[indices[i]].title):
        over = list(same)
        span = sum(widths[i] for i in over) + len(_GAP) * (len(over) - 1)
        parts = _fold(safe_text.line(title), span)
        if len(over) > 1:
            parts = [part + " " * ((span - cell_len(part)) // 2) for part in parts]
        tops.append([Text(part, style="bold") for part in parts])
        spans.append(span)
    yield from _row([], tops, labels, spans, at_bottom=True)
    scores = [[Text(safe_text.line(board.columns[index].score))] for index in indices]
    yield from _row(["model"], scores, labels, widths)


def _rule(labels: int, widths: Sequence[int]) -> Text:
    return Text("─" * (labels + sum(len(_GAP) + width for width in widths)), style="dim")


def _fitting(labels: int, widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns in blocks that fit beside the labels, at least one in each."""
    blocks: list[list[int]] = [[]]
    used = labels
    for index, each in enumerate(widths):
        if blocks[-1] and used + len(_GAP) + each > width:
            blocks.append([])
            used = labels
        blocks[-1].append(index)
        used += len(_GAP) + each
    return blocks


def _row(
    label: Sequence[str],
    cells: Sequence[Sequence[Text]],
    labels: int,
    widths: Sequence[int],
    *,
    at_bottom: bool = False,
) -> Iterator[Text]:
    """The lines of one row: its label on the left, its cells to the right."""
    height = max(len(label), *(len(cell) for cell in cells))
    for at in range(height):
        line = Text(label[at] if at < len(label) else "")
        line.append(" " * (labels - cell_len(line.plain)))
        for cell, width in zip(cells, widths, strict=True):
            place = at - (height - len(cell)) if at_bottom else at
            found = cell[place] if 0 <= place < len(cell) else Text()
            line.append(_GAP + " " * (width - cell_len(found.plain)))
            line.append_text(found)
        line.rstrip()
        yield line


def _fold(words: str, width: int) -> list[str]:
    """Text on lines of so many cells, broken at spaces and hyphens where it has them."""
    folded, line = list[str](), ""
    for part in _parts(words):
        rest = part
        if cell_len(line + rest.rstrip()) > width and line.strip():
            folded.append(line.rstrip())
            line = ""
            rest = part.lstrip()
        while cell_len(rest.rstrip()) > width:
            cut = next(i for i in range(len(rest), 0, -1) if cell_len(rest[:i]) <= width or i == 1)
            folded.append(rest[:cut])
            rest = rest[cut:]
        line += rest
    if line.strip() or not folded:
        folded.append(line.rstrip())
    return folded


def _parts(words: str) -> list[str]:
    """Where a line may end: behind a space, a hyphen, a slash or a dot."""
    found, part = list[str](), ""
    for letter in words:
        part += letter
        if letter in " -/_.":
            found.append(part)
            part = ""
    return [*found, part] if part else found


def _sentence(words: str, width: int) -> Iterator[str]:
    """Text on lines of so many cells, broken at spaces alone: a command can be copied."""
    line = ""
    for word in words.split(" "):
        if line and cell_len(f"{line} {word}") > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _published(board: BoardContent, width: int, look: _Look) -> Iterator[Text]:
    """The published rows, in tables of their own: the columns that they have numbers for."""
    rows = board.published or ()
    used = [i for i in range(len(board.columns)) if any(row.cells[i] for row in rows)]
    if not used:
        return
    yield Text("Published, not measured here", style="bold dim")
    labels = min(max(cell_len(safe_text.line(row.label)) for row in rows), max(width // 3, 14))
    widths = [max(7, cell_len(safe_text.line(board.columns[i].score))) for i in used]
    for numbers in _fitting(labels, widths, width):
        shown = [widths[i] for i in numbers]
        yield from _heads(board, [used[i] for i in numbers], shown, labels)
        for row in rows:
            found = [row.cells[used[i]] for i in numbers]
            if any(found):
                values = [percent(cell.value if cell else None, look.precision) for cell in found]
                cells = [[Text(value, style="dim")] for value in values]
                yield from _row(_fold(safe_text.line(row.label), labels), cells, labels, shown)
    yield Text()
