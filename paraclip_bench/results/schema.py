"""A result: one model on one task and protocol, with where it came from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

SCHEMA_VERSION = 1


class _Part(BaseModel):
    # A later version may add keys; what this version does not know is kept.
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class Score(_Part):
    """A statistic's value and its 95% interval, fractions of 1; null where there is none."""

    value: float | None
    low: float | None
    high: float | None


class Part(_Part):
    """A part of the examples (a subset, a relation), and its scores."""

    name: str
    n: int
    scores: dict[str, Score]


class ModelInfo(_Part):
    """Which model, exactly."""

    spec: str
    name: str
    fingerprint: str | None
    activation: str | None
    base: str | None


class DataInfo(_Part):
    """Which examples; sha256 is over those used, in order, images by content."""

    source: str
    id: str
    revision: str | None
    sha256: str
    notes: dict[str, Any] = {}


class Provenance(_Part):
    """How the numbers were made; seconds are wall time, from_store is a share of vectors.

    `dtypes` says in what each side that was needed ran: on a CPU the image tower may stay in
    float32 where `dtype` is less. `run` is the same for all results of one call of run, and
    another for each call. `scored_by` names who computed the scores where it was not this package:
    there are then no outcomes, and no interval can be had. `depth` is how many first places of
    each ranking the outcomes keep, or the whole gallery where it is smaller; None where nothing is
    ranked, and in results before there was a depth, which keep ten.
    """

    versions: dict[str, str]
    device: str
    dtype: str
    dtypes: dict[str, str] = {}
    seed: int
    seconds: float
    encode_seconds: float
    from_store: float
    command: str
    time: str
    run: str = ""
    scored_by: str = ""
    depth: int | None = None


class Result(_Part):
    """One file of results/."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    task: str
    task_version: int
    protocol: str
    main_score: str
    n: int
    limit: int | None
    model: ModelInfo
    scores: dict[str, Score]
    details: dict[str, list[Part]] = {}
    data: DataInfo
    provenance: Provenance

    @model_validator(mode="after")
    def _has_main_score(self) -> Result:
        if self.main_score not in self.scores:
            raise ValueError(f"its scores lack {self.main_score}, the main one")
        return self
