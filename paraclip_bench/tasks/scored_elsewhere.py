"""Tasks whose scores another program computes: scores alone, so no outcomes and no intervals."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from paraclip_bench.errors import BenchError
from paraclip_bench.metrics.statistic import Statistic
from paraclip_bench.tasks.base import Embed, Examples, Task

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
