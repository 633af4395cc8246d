"""What a task is: load examples, measure outcomes through `embed`, score them.

A task never sees a tokenizer, a device or a model: it asks `embed` for unit vectors.


Which rows a limit keeps where the rows come part by part.

Tasks whose scores another program computes: scores alone, so no outcomes and no intervals."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn
from typing import Protocol as TypingProtocol

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.source import Source
from paraclip_bench.errors import BenchError
from paraclip_bench.metrics.statistic import Statistic

Side = Literal["text", "image"]
Vectors = npt.NDArray[np.float32]

DERIVED: Mapping[str, bool] = {"derived": True}
"""Metadata of a row's field that follows from the data set and is no part of its sha256."""


class Embed(TypingProtocol):
    """Gives unit float32 vectors in the order asked."""

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors [len(texts), d] of texts."""
        ...

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        """Vectors [len(images), d] of images."""
        ...


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One exact scoring rule of a task, and the encoder sides that it needs."""

    needs: tuple[Side, ...]
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Examples(Sequence[Any]):
    """A task's rows, what they share (a gallery, the classes), and where they are from.

    Rows are dataclasses or mappings of plain values and `ImageRef`s, and `shared` are such rows or
    `ImageRef`s themselves; all of them, in order, make the data's sha256, unless `sha256` itself
    says which data these are (where the rows are with somebody else). `id` and `revision` name the
    data set; `notes` are facts about the data that a reader of the result should know.
    """

    rows: Sequence[Any]
    shared: Sequence[Any] = ()
    id: str = ""
    revision: str | None = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    protocol: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class Task(ABC):
    """One task. A subclass sets the class attributes and writes `load` and `outcomes`.

    name: as results and boards show it. groups: names that stand for several tasks. mean_groups:
    those of them whose mean over tasks means something and is a column of the board (all members
    have the same main score). suites: the suites whose `all` includes it. version: raised when a
    score changes. protocols: headline first. scores: the main one first; each a pure function of
    (outcome columns, weights). board: the scores that a leaderboard shows by itself (the main one
    where empty).
    lower_is_better: scores where less is more. breakdown: an outcome column that names a part of
    the examples (a subset, a relation), and the scores that a result shows for each part.
    data_set: licence, origin and size of a plugin's data, for the `data` command.
    """

    name: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    mean_groups: ClassVar[tuple[str, ...]] = ()
    suites: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    protocols: ClassVar[Mapping[str, Protocol]]
    scores: ClassVar[Mapping[str, Statistic]]
    board: ClassVar[tuple[str, ...]] = ()
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    data_set: ClassVar[DataSet | None] = None

    @property
    def headline(self) -> str:
        """The protocol that runs where none is asked for."""
        return next(iter(self.protocols))

    @property
    def main_score(self) -> str:
        """The score that stands for the task."""
        return next(iter(self.scores))

    @abstractmethod
    def load(self, source: Source, protocol: str) -> Examples | Sequence[Any]:
        """Read and check the examples; `DataError` names what is missing or wrong."""

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The n rows that `--limit n` keeps; `limits.spread` is for rows in order of their part."""
        return rows[:n]

    @abstractmethod
    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Measure every example: columns of equal length, one row an example.

        `example_id` and `cluster_id` (what a resample draws whole) are the row numbers where a
        task leaves them out.
        """


def spread(rows: Sequence[Any], parts: Sequence[Hashable], n: int) -> list[Any]:
    """n rows, in their order: the first of each part, then the second of each, and so on.

    parts are the rows' own, and take turns in the order in which they first come.
    """
    first: dict[Hashable, int] = {}
    seen: defaultdict[Hashable, int] = defaultdict(int)
    turns = []
    for index, part in enumerate(parts):
        turns.append((seen[part], first.setdefault(part, len(first)), index))
        seen[part] += 1
    return [rows[index] for index in sorted(index for _, _, index in sorted(turns)[:n])]


Scores = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Scores of a whole task, fractions of 1 where the other program has such; None is undefined.

    tables: for each kind of part (a subset), the parts by name with their number of examples and
    their scores.
    """

    scores: Scores
    tables: Mapping[str, Mapping[str, tuple[int, Scores]]] = dataclasses.field(default_factory=dict)


class ScoredElsewhere(Task):
    """A task that `measured` gives scores for, in place of `outcomes` and `scores`.

    Its results are marked with `scored_by`, a program and its version. On a board they have columns
    of their own, without intervals, and take part in no group's mean. `--limit` is refused. remark:
    what a run should say beforehand. `Examples.sha256` says which data these are where `load` gives
    no rows of its own.
    """

    scores: ClassVar[Mapping[str, Statistic]] = {}

    @property
    @abstractmethod
    def main_score(self) -> str:
        """The score that stands for the task; `measured` gives it."""

    @property
    @abstractmethod
    def scored_by(self) -> str:
        """Who computes the scores, with its version."""

    @property
    def remark(self) -> str:
        """Nothing, or a sentence for those who ask for this task."""
        return ""

    @abstractmethod
    def measured(self, examples: Examples, embed: Embed) -> Measured:
        """Have the whole task scored, with vectors from `embed`."""

    def outcomes(self, examples: Examples, embed: Embed) -> NoReturn:
        """There are none: `BenchError`."""
        raise BenchError(f"{self.name} has no outcomes, for {self.scored_by} gives scores alone")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A mean of a group is one of our own scores, which these are not."""
        super().__init_subclass__(**kwargs)
        if cls.groups:
            raise TypeError(f"{cls.__name__} is scored elsewhere, so it can be of no group")
