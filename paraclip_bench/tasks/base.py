"""What a task is: load examples, measure outcomes through `embed`, score them.

A task never sees a tokenizer, a device or a model: it asks `embed` for unit vectors.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn
from typing import Protocol as TypingProtocol

import numpy as np
import numpy.typing as npt

from paraclip_bench import registry
from paraclip_bench.data.data_set import DataSet, Pin
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.source import FolderSource, HubSource, Source
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.metrics.metric import Columns, Metric, Statistic
from paraclip_bench.metrics.ranking import row_dot

Side = Literal["text", "image"]
Vectors = npt.NDArray[np.float32]

DERIVED: Mapping[str, bool] = {"derived": True}
"""Metadata of a row's field that follows from the data set and is not part of its sha256."""
OPTIONAL: Mapping[str, bool] = {"optional": True}
"""Metadata of a row's field that is part of the sha256 only where a row sets it."""
LEAST_DEPTH = 10
"""Places of a ranking that are compared, so that outcomes keep and a gallery has as many."""


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
class Group:
    """A name that stands for several tasks.

    has_mean: the mean of its tasks' main scores means something, and is a column of the board (all
    of them have the same main score).
    """

    name: str
    has_mean: bool = False


@dataclasses.dataclass(frozen=True)
class Examples(Sequence[Any]):
    """A task's rows, what they share (a gallery, the classes), and where they are from.

    Rows are dataclasses or mappings of plain values and `ImageRef`s, and `shared` are such rows or
    `ImageRef`s themselves; all of them, in order, make the data's sha256, unless `sha256` itself
    says which data these are (where the rows are with somebody else). `id` and `revision` name the
    data set; `notes` are facts about the data that a reader of the result should know; `remarks`
    are sentences for those who run the task.
    """

    rows: Sequence[Any]
    shared: Sequence[Any] = ()
    id: str = ""
    revision: str | None = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remarks: Sequence[str] = ()
    protocol: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class UnknownScore(UsageError):
    """A task has no score of that name, and no metric with such parameters."""


def load_metric(name: str) -> Metric:
    """The metric of a plugin; `BenchError` for one that cannot be used."""
    plugin = registry.find("metric", name)
    metric = plugin.load()
    if not isinstance(metric, Metric) or metric.name != name or not metric.tasks:
        raise BenchError(
            f"metric {name!r} of {plugin.origin}: {plugin.value} must be a Metric of that name "
            "that says its tasks (docs/plugins.md)"
        )
    return metric


class Task(ABC):
    """One task. A subclass sets the class attributes and writes `load` and `outcomes`.

    Instead of `load` it may write `load_folder` and `load_hub`, one for each kind of source.

    name: as results and boards show it. groups: what it is of, a `Group` or its name alone. suites:
    the suites whose `all` includes it. version: raised when a score changes. protocols: headline
    first. scores: the main one first; each a pure function of (outcome columns, weights), best a
    `Metric`. board: the scores that a leaderboard shows by itself (the main one where empty).
    lower_is_better: plain functions among the scores of which less is more; a `Metric` says it
    itself. breakdown: an outcome column that names a part of the examples (a subset, a relation),
    and the scores that a result shows for each part. data_set: what the examples are and where
    they are from. depth: how many first places of a ranking the outcomes keep at most, where the
    task ranks a gallery; `--depth` sets it.
    """

    name: ClassVar[str]
    groups: ClassVar[tuple[Group | str, ...]] = ()
    suites: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    protocols: ClassVar[Mapping[str, Protocol]]
    scores: ClassVar[Mapping[str, Statistic]]
    board: ClassVar[tuple[str, ...]] = ()
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    data_set: ClassVar[DataSet | None] = None
    depth: int | None = None

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names of its groups."""
        return tuple(group if isinstance(group, str) else group.name for group in self.groups)

    @property
    def headline(self) -> str:
        """The protocol that runs where none is asked for."""
        return next(iter(self.protocols))

    @property
    def main_score(self) -> str:
        """The score that stands for the task."""
        return next(iter(self.scores))

    @property
    def pin(self) -> Pin | None:
        """The hub's copy of the data, where there is one that can be used."""
        return self.data_set.pin if self.data_set else None

    def whole_size(self, protocol: str) -> int | None:
        """How many examples the whole set has under a protocol, where that is known."""
        return self.data_set.examples.get(protocol) if self.data_set else None

    def metric(self, name: str) -> Statistic:
        """The score of that name, or the same metric with the parameters that the name says.

        Raises `UnknownScore` for a name that is neither, `UsageError` for a wrong parameter.
        """
        if name in self.scores:
            return self.scores[name]
        kinds = [score for score in self.scores.values() if isinstance(score, Metric)]
        wrong: UsageError | None = None
        for kind in (*kinds, *self._plugin_metrics(name)):
            try:
                found = kind.parse(name)
            except UsageError as error:
                # Another kind of this name may know it: recall@K/negation beside recall@K/query.
                wrong = wrong or error
                continue
            if found is not None:
                return self.scores.get(str(found), found)
        if wrong is not None:
            raise wrong
        raise UnknownScore(str(registry.unknown("score", name, self.scores, f"of {self.name}")))

    def _plugin_metrics(self, name: str) -> list[Metric]:
        """The plugin's metric that a name without its parameters means, if it is for this task."""
        plain = re.split(r"[(@/]", name, maxsplit=1)[0]
        if plain not in {plugin.name for plugin in registry.plugins("metric")}:
            return []
        metric = load_metric(plain)
        return [metric] if {self.name, *self.group_names} & set(metric.tasks) else []

    def scores_of(self, columns: Columns) -> dict[str, Statistic]:
        """The scores of outcome columns: all but those that need what the data set lacks."""
        return {
            name: score
            for name, score in self.scores.items()
            if not isinstance(score, Metric) or score.is_of(columns)
        }

    def is_lower_better(self, score: str) -> bool:
        """Whether less is more of a score."""
        if score in self.lower_is_better:
            return True
        try:
            metric = self.metric(score)
        except UsageError:
            return False
        return isinstance(metric, Metric) and metric.lower_is_better

    def load(self, source: Source, protocol: str) -> Examples | Sequence[Any]:
        """Read and check the examples; `DataError` names what is missing or wrong."""
        if isinstance(source, HubSource):
            return self.load_hub(source, protocol)
        return self.load_folder(source, protocol)

    def load_folder(self, source: FolderSource, protocol: str) -> Examples | Sequence[Any]:
        """The examples of a folder in the layout of --data-dir; `DataError` where it has none."""
        raise DataError(
            f"{self.name} reads the hub's data alone; run it without --data-dir, in suite paper"
        )

    def load_hub(self, source: HubSource, protocol: str) -> Examples | Sequence[Any]:
        """The examples of the hub's copy; `DataError` where there is none that can be used."""
        data = self.data_set or DataSet("", "")
        where = next(iter(data.layout), "its files")
        raise DataError(
            f"{self.name}: {data.not_on_hub}; give {where} with --data-dir "
            "(docs/data.md has the layout)"
        )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The n rows that `--limit n` keeps; `spread` is for rows in order of their part."""
        return rows[:n]

    @abstractmethod
    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Measure every example: columns of equal length, one row an example.

        `example_id` and `cluster_id` (what varies as a whole) are the row numbers where a
        task leaves them out.
        """


ExternalScores = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class ExternallyMeasured:
    """Scores of a whole task, fractions of 1 where the other program has such; None is undefined.

    tables: for each kind of part (a subset), the parts by name with their number of examples and
    their scores.
    """

    scores: ExternalScores
    tables: Mapping[str, Mapping[str, tuple[int, ExternalScores]]] = dataclasses.field(
        default_factory=dict
    )


class ExternallyScoredTask(Task):
    """A task whose scores another program computes: `measured` in place of `outcomes` and `scores`.

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
    def measured(self, examples: Examples, embed: Embed) -> ExternallyMeasured:
        """Have the whole task scored, with vectors from `embed`."""

    def outcomes(self, examples: Examples, embed: Embed) -> NoReturn:
        """There are none: `BenchError`."""
        raise BenchError(
            f"{self.name} has no outcomes, because {self.scored_by} gives scores alone"
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A mean of a group is one of our own scores, which these are not."""
        super().__init_subclass__(**kwargs)
        if cls.groups:
            raise TypeError(f"{cls.__name__} is scored externally, so it can be of no group")


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


def compare_captions(
    images: Sequence[ImageRef],
    captions: Sequence[str],
    false_captions: Sequence[str],
    embed: Embed,
    *,
    tie_is_right: bool,
) -> dict[str, npt.NDArray[Any]]:
    """Does an image prefer its caption to a false one? What several benchmarks measure.

    Outcome columns of n cases: both similarities [n], float32, and `correct` and `tie` [n].
    """
    n = len(images)
    seen = embed.images(images)
    # One request, so that equal captions are one vector and tie.
    texts = embed.texts([*captions, *false_captions])
    true, false = row_dot(seen, texts[:n]), row_dot(seen, texts[n:])
    return {
        "similarity_true": true,
        "similarity_false": false,
        "correct": true >= false if tie_is_right else true > false,
        "tie": true == false,
    }
