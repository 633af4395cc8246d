"""What a data set is, said once by the task that reads it.

The `data` commands, the messages about missing data and the tables of the docs come from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Pin:
    """A split of a data set of the hub at one revision; `config` where it has several.

    rows is how many the split has, None where that is not known.
    """

    id: str
    revision: str
    split: str = "test"
    config: str | None = None
    rows: int | None = None

    def __str__(self) -> str:
        return f"{self.id} @ {self.revision[:8]}"


@dataclasses.dataclass(frozen=True)
class MtebEquivalent:
    """A task of mteb's, the protocol of ours that is the same measurement, and the scores' names.

    scores: ours -> mteb's. only_hub: a folder's data may be other than mteb's though as many.
    """

    name: str
    protocol: str
    scores: Mapping[str, str]
    only_hub: bool = False


@dataclasses.dataclass(frozen=True)
class DataSet:
    """What a task's examples are.

    licence: of the data, in a few words. source: who made them, or where to get them.
    layout: the places below --data-dir that the task reads, the first one needed, each with what is
    there. examples: how many the whole set has, by protocol. pin: the hub's copy, None where there
    is none that can be used; not_on_hub is then a clause that says why. mteb: the task of mteb's
    that is the same measurement. contamination: a clause on models that are known to have seen it,
    which a board shows with such a column; empty where nothing is known.
    """

    licence: str
    source: str
    layout: Mapping[str, str] = dataclasses.field(default_factory=dict)
    examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pin: Pin | None = None
    not_on_hub: str = "the hub has no copy of it that can be used"
    mteb: MtebEquivalent | None = None
    contamination: str = ""
