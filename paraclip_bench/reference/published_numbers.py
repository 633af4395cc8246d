"""Published numbers: where they are from, what was measured, and each model's values.

Their files are results/reference/ of the repository, shipped inside the wheel.
"""

from __future__ import annotations

import functools
import importlib.resources
import statistics
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paraclip_bench.errors import DataError

SCHEMA_VERSION = 1

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Publication(_Fact):
    """Who published the numbers, at which commit, and what is to be known of all of them."""

    name: str
    url: str
    commit: str
    paper: str
    note: str

    @property
    def label(self) -> str:
        """The name and the commit, as a line about a number says it."""
        return f"{self.name} @ {self.commit}"


class PublishedMeasure(_Fact):
    """A score as our tasks name it, and the data that it was published for, where that is known.

    n is the number of examples of the whole set as our task counts them, and notes are what its
    data's notes say of the whole set, such as the number of classes and whose names they have.
    note is a phrase about the number, and reproducible is false where it says why no rerun can be
    of the same texts. tolerance, a fraction of 1, is how near two sources of it are on the same
    models, on nineteen of twenty. mean_of names the file's measures whose mean this one is: no
    source gives it, so each model that has all of them has it derived.
    """

    task: str
    protocol: str
    score: str
    n: int
    notes: dict[str, int | str] = {}
    dataset: str | None = None
    dataset_revision: str | None = None
    note: str = ""
    reproducible: bool = True
    tolerance: Fraction | None = None
    mean_of: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """The note, which begins with "derived" where the source does not give the number."""
        return f"derived: {self.note}" if self.mean_of else self.note

    @property
    def key(self) -> tuple[str, str, str]:
        """What a measured score has to share with it."""
        return self.task, self.protocol, self.score


class PublishedModel(_Fact):
    """A model under the names that its source gives it.

    architecture and pretrained are open_clip's names in the families OpenCLIP and Scaling.
    hub_id is a repository of the hub, revision its commit, evaluator the program that measured it.
    """

    architecture: str | None = None
    pretrained: str | None = None
    family: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    evaluator: str | None = None

    @property
    def name(self) -> str:
        """A label; the family too where that is not open_clip: some names are in several."""
        if self.hub_id is not None:
            return self.hub_id
        name = f"{self.architecture}/{self.pretrained}"
        return name if self.family == "OpenCLIP" else f"{name}, {self.family}"


class PublishedScore(_Fact):
    """One number, a fraction of 1."""

    model: PublishedModel
    measure: PublishedMeasure
    value: Fraction
    source: Publication


class ModelValues(PublishedModel):
    """A model with its values, by the names that the file gives its measures."""

    values: dict[str, Fraction]


class ReferenceFile(Publication):
    """One file of results/reference/; values are fractions of 1."""

    schema_version: int
    measures: dict[str, PublishedMeasure]
    models: list[ModelValues]

    def scores(self) -> list[PublishedScore]:
        """Every number of the file, and those derived from them.

        `KeyError` for a value whose measure the file lacks.
        """
        source = Publication(**{name: getattr(self, name) for name in Publication.model_fields})
        return [
            PublishedScore(model=model, measure=self.measures[key], value=value, source=source)
            for row in self.models
            for model in [
                PublishedModel(**{name: getattr(row, name) for name in PublishedModel.model_fields})
            ]
            for key, value in (row.values | self._derived(row.values)).items()
        ]

    def _derived(self, values: dict[str, float]) -> dict[str, float]:
        """The means of a model's published values, where it has all parts of one."""
        return {
            key: statistics.fmean(values[part] for part in measure.mean_of)
            for key, measure in self.measures.items()
            if measure.mean_of and values.keys() >= set(measure.mean_of)
        }


_PLACE = "results/reference"


def reference_folder() -> Path:
    """The folder of the files: inside an installed package, or in the clone that it runs from.

    Raises `DataError` where neither is there.
    """
    package = Path(str(importlib.resources.files("paraclip_bench")))
    for folder in (package / _PLACE, package.parent / _PLACE):
        if any(folder.glob("*.json")):
            return folder
    raise DataError(
        f"the published numbers are missing ({package / _PLACE}); install paraclip-bench again"
    )


def read_file(path: Path) -> ReferenceFile:
    """Read one file; `DataError` for one that is damaged, or of another schema."""
    try:
        found = ReferenceFile.model_validate_json(path.read_bytes())
        # A derived measure has no values of its own, and is not part of another.
        given = {key for key, measure in found.measures.items() if not measure.mean_of}
        named = {key for row in found.models for key in row.values}
        named |= {key for measure in found.measures.values() for key in measure.mean_of}
        missing = named - given
        if found.schema_version != SCHEMA_VERSION or missing:
            wrong = f"measure {min(missing)!r}" if missing else f"version {found.schema_version}"
            raise ValueError(f"unknown {wrong}")
    except (ValidationError, ValueError, OSError) as error:
        raise DataError(
            f"{path} holds no published numbers ({str(error).splitlines()[0]}); "
            "install paraclip-bench again"
        ) from error
    return found


@functools.cache
def published_scores() -> tuple[PublishedScore, ...]:
    """Every published number that is shipped."""
    files = sorted(reference_folder().glob("*.json"))
    return tuple(score for path in files for score in read_file(path).scores())
