"""What a metric is: a pure function of outcome columns and example weights, under a name.

The weights carry intervals and paired tests: an example that is left out weighs nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import BenchError, UsageError, reason_of
from paraclip_bench.safe_text import counted

Floats = npt.NDArray[np.floating[Any]]
Columns = Mapping[str, npt.NDArray[Any]]
Statistic = Callable[[Columns, Floats], Any]
"""(columns, weights[n]) -> float; a `batched` one also takes weights[b, n] and gives [b]."""

S = TypeVar("S", bound=Statistic)
T = TypeVar("T")


class TooShallow(BenchError):
    """Outcomes keep fewer places of a ranking than a metric looks at."""

    def __init__(self, needed: int, kept: int) -> None:
        super().__init__(f"looks at {counted(needed, 'place')}, and the outcomes keep {kept}")
        self.needed, self.kept = needed, kept


@dataclasses.dataclass(frozen=True)
class Metric:
    """A statistic with a name that says its parameters: ao@10, rbo(p=0.8)@5, recall@1/query.

    It prints its own name, `parse` reads one, and it is called as a statistic is.

    name: without parameters. about: one line. make: the statistic of parameters, called with `k`,
    with `of` and with those of `defaults`, as far as the metric has them. source: who defined it.
    range: its least and largest value. lower_is_better: whether less is more.
    k: how many first places are looked at. of: which of several columns or groups, one of
    `choices`. defaults: further parameters and the values that the name leaves out; `given` are
    those that it says. tasks: of a plugin's metric, the tasks or groups whose outcomes it reads; a
    task's own metrics stand in its `scores`. needs: an outcome column that not every data set
    gives; a result of one that does not has no such score.
    """

    name: str
    about: str
    make: Callable[..., Statistic]
    source: str = ""
    range: tuple[float, float] = (0.0, 1.0)
    lower_is_better: bool = False
    k: int | None = None
    of: str = ""
    choices: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    defaults: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    given: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    needs: str = ""

    def __str__(self) -> str:
        said = [f"{key}={_exact(value)}" for key, value in self.given.items()]
        brackets = f"({', '.join(said)})" if said else ""
        depth = "" if self.k is None else f"@{self.k}"
        return f"{self.name}{brackets}{depth}{self.of and '/' + self.of}"

    def __call__(self, columns: Columns, weights: Floats) -> Any:
        """The statistic of outcome columns under weights [n], or [b, n]."""
        return self.statistic(columns, weights)

    @functools.cached_property
    def statistic(self) -> Statistic:
        """The plain statistic of these parameters."""
        arguments: dict[str, Any] = {**self.defaults, **self.given}
        if self.k is not None:
            arguments["k"] = self.k
        if self.choices:
            arguments["of"] = self.of
        return self.make(**arguments)

    def is_of(self, columns: Columns) -> bool:
        """Whether the outcome columns are those of a data set that gives what it needs."""
        return not self.needs or self.needs in columns

    @property
    def batched(self) -> bool:
        """Whether it takes many weights at once."""
        return bool(getattr(self.statistic, "batched", False))

    @property
    def pattern(self) -> str:
        """The names of its kind, for a listing: rbo(p=0.9)@K, recall@K/{query,paraphrase}."""
        defaults = ", ".join(f"{key}={_exact(value)}" for key, value in self.defaults.items())
        name = f"{self.name}({defaults})" if defaults else self.name
        name += "" if self.k is None else "@K"
        return f"{name}/{{{','.join(self.choices)}}}" if self.choices else name

    def at(self, *depths: int) -> tuple[Metric, ...]:
        """The same metric at other depths k."""
        return tuple(dataclasses.replace(self, k=k) for k in depths)

    def parse(self, text: str) -> Metric | None:
        """The metric of this kind that a name means; None for a name of another kind.

        Raises `UsageError` for a parameter that this kind does not have or that makes no sense.
        """
        found = re.fullmatch(
            re.escape(self.name) + r"(?:\((?P<given>[^()]*)\))?(?:@(?P<k>[^/]*))?(?:/(?P<of>.+))?",
            text,
        )
        if found is None or bool(self.choices) != (found["of"] is not None):
            return None
        if (self.k is None) != (found["k"] is None):
            return None
        k = None
        if found["k"] is not None:
            if not re.fullmatch(r"[0-9]{1,9}", found["k"]) or int(found["k"]) < 1:
                raise UsageError(f"the metric {text!r}: {found['k']!r} is not a number of places")
            k = int(found["k"])
        of = found["of"] or ""
        if self.choices and of not in self.choices:
            raise UsageError(
                f"the metric {text!r}: {of!r} is none of {', '.join(self.choices)} ({self.pattern})"
            )
        given = {}
        said = set[str]()
        for part in (found["given"] or "").split(",") if found["given"] else ():
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if key not in self.defaults or not equals:
                known = ", ".join(self.defaults) or "none"
                raise UsageError(f"the metric {text!r}: {part.strip()!r} sets none of: {known}")
            if key in said:
                raise UsageError(f"the metric {text!r} says {key} twice")
            said.add(key)
            try:
                number = float(value)
            except ValueError as error:
                raise UsageError(f"the metric {text!r}: {value!r} is not a number") from error
            # A default is left out, so that a metric has one name.
            if number != self.defaults[key]:
                given[key] = number
        parsed = dataclasses.replace(self, k=k, of=of, given=given)
        try:
            _ = parsed.statistic
        except ValueError as error:
            raise UsageError(f"the metric {text!r}: {error}") from error
        # A plugin's metric may raise anything.
        except Exception as error:
            raise UsageError(f"the metric {text!r} cannot be made ({reason_of(error)})") from error
        return parsed


def _exact(value: float) -> str:
    """A number as it is read again: 0.9, 2."""
    return str(int(value)) if value == int(value) else repr(value)


def named(*metrics: Metric) -> dict[str, Metric]:
    """Metrics by their names, as a task's `scores`."""
    return {str(metric): metric for metric in metrics}


class Resampled(dict[str, npt.NDArray[Any]]):
    """Outcome columns of many calls, with what `derived` made of them; nobody writes to them."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self.made: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, columns: Columns) -> Resampled:
        """The columns as such; what was made of them already is kept."""
        return columns if isinstance(columns, cls) else cls(columns)


def derived(columns: Columns, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives of the columns alone, made once where they are `Resampled`.

    For what does not depend on the weights and costs more than they do, such as a sort of names.
    """
    if not isinstance(columns, Resampled):
        return make()
    if key not in columns.made:
        columns.made[key] = make()
    found: T = columns.made[key]
    return found


def batched(statistic: S) -> S:
    """Mark a statistic that takes weights of shape [b, n] at once and returns [b] values."""
    statistic.batched = True  # type: ignore[attr-defined]
    return statistic


def evaluate(statistic: Statistic, columns: Columns, weights: Floats) -> npt.NDArray[np.float64]:
    """Values [b] of a statistic for weights [b, n], whether it is batched or not."""
    if getattr(statistic, "batched", False):
        return np.asarray(statistic(columns, weights), dtype=np.float64)
    return np.asarray([statistic(columns, row) for row in weights], dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class MeanOf:
    """A statistic that is a mean over examples: the sum of totals by the sum of counts.

    each: columns -> (totals [n], counts [n]) as float64. A count is how many cases an example
    stands for: 1, or 0 where it does not count. NaN where no case has weight. What is known to be a
    mean has an exact paired test.
    """

    each: Callable[[Columns], tuple[Floats, Floats]]
    batched: ClassVar[bool] = True

    def __call__(self, columns: Columns, weights: Floats) -> Floats:
        """The mean under weights [..., n] -> [...]."""
        totals, counts = self.of_examples(columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ totals) / (weights @ counts))

    def of_examples(self, columns: Columns) -> tuple[Floats, Floats]:
        """`each` of the columns, made once."""
        return derived(columns, ("mean", self.each), lambda: self.each(columns))


def as_mean(statistic: Statistic) -> MeanOf | None:
    """The mean over examples that a statistic is, or None where it is no such mean."""
    plain = statistic.statistic if isinstance(statistic, Metric) else statistic
    return plain if isinstance(plain, MeanOf) else None


def mean_over(statistics: Sequence[Statistic]) -> Statistic:
    """The plain mean of several batched statistics of the same examples."""

    @batched
    def mean(columns: Columns, weights: Floats) -> Floats:
        return np.asarray(np.mean([score(columns, weights) for score in statistics], axis=0))

    return mean
