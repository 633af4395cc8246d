"""What is on a board, and the words and numbers that all its forms share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from paraclip_bench.boards.estimates import Difference
from paraclip_bench.boards.published_rows import PublishedRow
from paraclip_bench.boards.selection import Column, Entry, Measure
from paraclip_bench.boards.views import ShownView
from paraclip_bench.metrics.inference import FEWEST, Estimate
from paraclip_bench.results.model_names import RowKey
from paraclip_bench.safe_text import counted

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
_REMARKS = 6
# Of so many seeds, how they differ is known as well as most studies know it.
_ENOUGH_SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value with its interval, and the difference to the baseline with its own.

    best: the best value of its column; tied: cannot be told from it. seeds: the mean of how many
    checkpoints it is.
    """

    estimate: Estimate
    difference: Difference | None
    best: bool
    tied: bool = False
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class BoardRow:
    """A model in one precision, or the mean of checkpoints of several seeds.

    rank: its mean rank over all columns, where it has them all; in a view the worst of those over
    the columns of each family. seeds: how many checkpoints it
    stands for; a cell may be of fewer.
    """

    name: str
    fingerprint: str
    dtype: str
    cells: tuple[Cell | None, ...]
    rank: Estimate | None = None
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class BoardContent:
    """What a leaderboard shows; left_out says which results it does not show, and why.

    sources are the kinds of data that its results are on: hub, folder, demo. partial names sets of
    another size than the published ones. published are rows
    of others' numbers, apart from `rows`; None where they were not asked for. notes are sentences
    on results that are shown. adjust: how the verdicts hold, see `estimates.ADJUST`. precision:
    decimals of scores x 100. caption: a sentence of the user's own. entries: the results that its
    numbers are of, by checkpoint and measure; members: the checkpoints of a row of several seeds.
    view: what was asked for in place of the tasks' own columns.
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
    precision: int = 1
    caption: str | None = None
    entries: Mapping[tuple[RowKey, Measure], Entry] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    members: Mapping[RowKey, tuple[RowKey, ...]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    view: ShownView | None = None

    def results_of(self, row: BoardRow, measure: Measure) -> list[Entry]:
        """A row's results on a measure: one, one a seed, or none."""
        key = (row.fingerprint, row.dtype)
        runs = self.members.get(key, (key,))
        return [entry for run in runs if (entry := self.entries.get((run, measure)))]

    @property
    def families(self) -> dict[str, list[int]]:
        """By family: the columns' indices, in the board's order."""
        numbers = range(len(self.columns))
        grouped = itertools.groupby(numbers, key=lambda index: self.columns[index].family)
        return {family: list(indices) for family, indices in grouped}

    @property
    def ranked(self) -> bool:
        """Whether mean ranks say more than the scores: for three models and two columns or more.

        In a view they are the order of models, also of two.
        """
        fewest = 3 if self.view is None else 2
        return len(self.columns) > 1 and sum(row.rank is not None for row in self.rows) >= fewest

    @property
    def ranks(self) -> dict[str, tuple[Estimate | None, ...]]:
        """By heading each row's mean rank: of a view the worst, by which they are, and by family.

        Empty where there are none to show.
        """
        if not self.ranked:
            return {}
        own = tuple(row.rank for row in self.rows)
        if self.view is None:
            return {"mean rank": own}
        return {"rank": own, **{f"{name} rank": r for name, r in self.view.ranks.items()}}

    @property
    def title(self) -> str:
        """What the board is, as a heading."""
        view = "" if self.view is None else f", view {self.view.name}"
        return f"Leaderboard, suite {self.suite}{view}"


def remarks(board: BoardContent) -> list[str]:
    """Notes and what was left out, a line each; the last counts those that there is no room for."""
    lines = [f"note: {note}" for note in board.notes]
    lines += [f"left out: {reason}" for reason in board.left_out[:_REMARKS]]
    if (more := len(board.left_out) - _REMARKS) > 0:
        lines.append(f"left out: {more} more; leaderboard --format md or json names them all")
    return lines


def _is_bare(cell: Cell) -> bool:
    return cell.estimate.value is not None and cell.estimate.low is None


def percent(value: float | None, precision: int = 1) -> str:
    """A fraction as a table shows it: x 100."""
    return "–" if value is None else f"{100 * value:.{precision}f}"


def bounds(estimate: Estimate, precision: int = 1) -> str:
    """An interval as a table shows it, empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{percent(estimate.low, precision)}, {percent(estimate.high, precision)}]"


def change(cell: Cell, precision: int = 1) -> str:
    """The difference to the baseline, signed; empty where there is none."""
    if cell.difference is None or cell.difference.value is None:
        return ""
    return f"{100 * cell.difference.value:+.{precision}f}"


def difference(cell: Cell, precision: int = 1) -> str:
    """The difference to the baseline, signed, with its interval."""
    if not (value := change(cell, precision)):
        return ""
    assert cell.difference is not None
    return f"{value} {bounds(cell.difference, precision)}".strip()


def rank(found: Estimate | None) -> str:
    """A mean rank with its interval."""
    if found is None or found.value is None:
        return "–"
    text = f"{found.value:.1f}"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:.1f}, {found.high:.1f}]"
    return text


def cells_of(board: BoardContent) -> Iterable[Cell]:
    """All cells that have something in them."""
    return (cell for row in board.rows for cell in row.cells if cell is not None)


def legend(board: BoardContent, best: str = "bold", tied: str = "underlined") -> str:
    """What the numbers of a table are; how the best of a column and those tied with it look."""
    parts = ["Scores x 100 with 95% intervals."]
    if any(cell.best for cell in cells_of(board)):
        ties = f", {tied} what cannot be told from it"
        has_ties = any(cell.tied for cell in cells_of(board))
        parts.append(f"{best.capitalize()} is the best of a column{ties if has_ties else ''}.")
        if any(cell.best and cell.estimate.low is None for cell in cells_of(board)):
            parts.append("What ties with a best value that has no interval is not known.")
    if any(_is_bare(cell) for cell in cells_of(board)):
        parts.append(f"No interval from fewer than {FEWEST} clusters, or where none can be had.")
    if len(board.rows) > 1:
        parts.append(
            "No baseline to compare with: --baseline MODEL names one."
            if board.baseline is None
            else f"Signed numbers are paired differences to {board.baseline}."
        )
        parts += [holds(board)] * (board.baseline is not None)
    parts += about_view(board)
    if board.ranked and board.view is None:
        parts.append("The mean rank is over all columns, 1 the best.")
    parts += caveats(board)
    if board.published is not None:
        parts.append(published_notice(board.columns, board.published))
    return " ".join(parts)


def about_view(board: BoardContent) -> list[str]:
    """What a view's columns are, and by what models are ordered; nothing of another board."""
    if board.view is None:
        return []
    parts = [f"{phrase}." for phrase in board.view.about]
    reworded = list(dict.fromkeys(m.perturbation for c in board.columns for m in c.measures))
    if named := [name for name in reworded if name]:
        parts.append(
            f"TASK ~ NAME: with texts that NAME ({', '.join(named)}) rewords. A ~drop is the plain "
            "score less that, and less of it is better."
        )
    if board.ranked:
        families = " and over those of ".join(board.view.ranks)
        parts.append(
            f"The rank is the worse of two mean ranks, over the columns of {families} (1 is the "
            "best): to be alike under any wording is not enough, nor to tell all apart."
        )
    return parts


def caveats(board: BoardContent) -> list[str]:
    """What a reader of any form must know of the numbers."""
    parts = _about_seeds(board)
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
    return parts


def _about_seeds(board: BoardContent) -> list[str]:
    """What a mean over seeds says, how little few of them say, and where some have no result."""
    several = [row for row in board.rows if row.seeds > 1]
    if not several:
        return []
    parts = [
        "A row of several seeds is the mean of its checkpoints: its intervals are of other "
        "examples and other seeds, and better or worse is said of the method. Of other rows it is "
        "said of that checkpoint."
    ]
    if (fewest := min(row.seeds for row in several)) < _ENOUGH_SEEDS:
        parts.append(
            f"{fewest} seeds tell little of how seeds differ, so that such intervals are wide (t "
            f"with {counted(fewest - 1, 'degree')} of freedom for that part)."
        )
    lacking = {
        f"{row.name}: {column.title} {column.score} is of {counted(cell.seeds, 'seed')} alone."
        for row in several
        for column, cell in zip(board.columns, row.cells, strict=True)
        if cell is not None and cell.seeds < row.seeds
    }
    return [*parts, *sorted(lacking)]


def holds(board: BoardContent) -> str:
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


def verdict(board: BoardContent) -> list[str]:
    """A sentence for each model: on which scores it is better or worse than the baseline."""
    sentences = []
    for row in board.rows:
        sides: dict[str, dict[str, list[str]]] = {}
        for column, cell in zip(board.columns, row.cells, strict=True):
            found = cell.difference if cell else None
            if found is None or not found.verdict:
                continue
            sides.setdefault(found.verdict, {}).setdefault(column.title, []).append(column.score)
        said = [
            f"{side} on " + ", ".join(f"{title} {', '.join(s)}" for title, s in scores.items())
            for side, scores in sorted(sides.items())
        ]
        if said:
            who = f"the method {row.name}" if row.seeds > 1 else row.name
            sentences.append(f"{who} against {board.baseline}: {'; '.join(said)}.")
    return sentences
