"""Published numbers beside a board's own: rows apart, for the columns that they are numbers of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from paraclip_bench import registry
from paraclip_bench.boards.selection import Column, Entry, Selection
from paraclip_bench.reference.comparison import is_whole_set
from paraclip_bench.reference.identity import Identity, identity_of, is_same
from paraclip_bench.reference.published_numbers import (
    Publication,
    PublishedModel,
    PublishedScore,
    published_scores,
)
from paraclip_bench.results.model_names import RowKey

WHICH = ("matching", "all")


@dataclasses.dataclass(frozen=True)
class PublishedCell:
    """A number that somebody published, a fraction of 1, and what its data are known to be.

    note is a phrase about it, and begins with "derived" for a mean of published numbers;
    reproducible is false where no rerun can be of the same texts.
    """

    value: float
    dataset: str | None
    dataset_revision: str | None
    note: str
    reproducible: bool
    derived: bool

    @classmethod
    def of(cls, score: PublishedScore) -> PublishedCell:
        """The cell of a published number."""
        measure = score.measure
        return cls(
            value=score.value,
            dataset=measure.dataset,
            dataset_revision=measure.dataset_revision,
            note=measure.remark,
            reproducible=measure.reproducible,
            derived=bool(measure.mean_of),
        )

    @property
    def caution(self) -> str:
        """What a reader has to know of the number before comparing it, or nothing."""
        if not self.reproducible:
            return f"{self.note}, compare roughly"
        return self.note if self.derived else ""


@dataclasses.dataclass(frozen=True)
class PublishedRow:
    """A published model; cells are None where it has no number for a column.

    matches are the names of the board's rows that are this model, revision is the model's, and
    paper and note are what the source says of all its numbers.
    """

    name: str
    source: str
    url: str
    commit: str
    paper: str
    note: str
    revision: str | None
    matches: tuple[str, ...]
    cells: tuple[PublishedCell | None, ...]

    @property
    def label(self) -> str:
        """The name and where it is from."""
        return f"{self.name} ({self.source})"


def check_which(which: str) -> None:
    """`UsageError` for a word that is none of `WHICH`."""
    if which not in WHICH:
        raise registry.unknown("choice of published rows", which, WHICH)


def published_rows(
    selection: Selection, columns: Iterable[Column], which: str
) -> tuple[PublishedRow, ...]:
    """Rows with a number in some column, those that match a measured model first.

    `which` is "matching" for these alone, or "all". A column takes numbers of its own task,
    protocol and score, and only where its data are the whole set of the paper suite.
    """
    check_which(which)
    columns = list(columns)
    rows: dict[tuple[Publication, PublishedModel], dict[int, PublishedScore]] = {}
    for index, column in enumerate(columns):
        entry = _whole_entry(selection, column)
        if entry is None:
            continue
        key = (entry.result.task, entry.result.protocol, column.score)
        for score in published_scores():
            if score.measure.key == key and is_whole_set(entry.result, score.measure):
                rows.setdefault((score.source, score.model), {})[index] = score
    measured = _identities(selection)
    found = [
        _row(source, model, cells, _matches(measured, model), len(columns))
        for (source, model), cells in rows.items()
    ]
    shown = [row for row in found if row.matches or which == "all"]
    return tuple(sorted(shown, key=lambda r: (not r.matches, r.source, r.name.casefold())))


def _whole_entry(selection: Selection, column: Column) -> Entry | None:
    """A result of a column that may hold published numbers, or None for another column."""
    if selection.suite != "paper" or column.is_group:
        return None
    entry = selection.any_entry(column.measures[0])
    return None if entry.is_cut or entry.result.perturbation is not None else entry


def _identities(selection: Selection) -> dict[str, set[Identity]]:
    """What the rows of a board are, by their names; a row may have been run under several specs."""
    names: dict[RowKey, list[str]] = {}
    for row, name in selection.names.items():
        for run in selection.runs(row):
            names.setdefault(run, []).append(name)
    found: dict[str, set[Identity]] = {}
    for (run, _), entry in selection.cells.items():
        own = identity_of(entry.result.model, selection.suite)
        for name in names.get(run, ()):
            found.setdefault(name, set()).add(own)
    return found


def _matches(measured: dict[str, set[Identity]], model: PublishedModel) -> tuple[str, ...]:
    names = [name for name, own in measured.items() if any(is_same(i, model) for i in own)]
    return tuple(sorted(names, key=str.casefold))


def _row(
    source: Publication,
    model: PublishedModel,
    scores: dict[int, PublishedScore],
    matches: tuple[str, ...],
    width: int,
) -> PublishedRow:
    cells = [
        PublishedCell.of(score) if (score := scores.get(index)) else None for index in range(width)
    ]
    return PublishedRow(
        name=model.name,
        source=source.name,
        url=source.url,
        commit=source.commit,
        paper=source.paper,
        note=source.note,
        revision=model.revision,
        matches=matches,
        cells=tuple(cells),
    )
