"""A result: one model on one task and protocol, with where it came from."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

SCHEMA_VERSION = 1


class _Part(BaseModel):
    # A later version may add keys; what this version does not know is kept.
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


def _without(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """What a part holds, but for these fields where they are None."""
    return {k: v for k, v in found.items() if v is not None or k not in names}


class Score(_Part):
    """A statistic's value and its 95% interval, fractions of 1; null where there is none.

    method: how the interval was made; None without one, and in results of 0.1.0, which drew
    clusters (percentiles of 2,000 bootstrap resamples).
    """

    value: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    method: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty_method(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(dump(self), "method")


class Part(_Part):
    """A part of the examples (a subset, a relation), and its scores."""

    name: str
    n: int
    scores: dict[str, Score]


class ModelInfo(_Part):
    """Which model, exactly. method, seed: of a checkpoint of ours, see `Adapter`."""

    spec: str
    name: str
    fingerprint: str | None
    activation: str | None
    base: str | None
    method: str | None = None
    seed: int | None = None

    @model_serializer(mode="wrap")
    def _without_unknown_training(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(dump(self), "method", "seed")


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


class Digests(_Part):
    """What the numbers of a result and its outcomes were when they were written.

    `scores` is `Result.scores_digest`, `outcomes` the sha256 of the outcomes' file, `rows` their
    number; the last two are None where there are no outcomes.
    """

    scores: str
    outcomes: str | None = None
    rows: int | None = None


class Result(_Part):
    """One file of results/. `digests` is None in results of 0.1.0, which had none."""

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
    digests: Digests | None = None

    @property
    def scores_digest(self) -> str:
        """sha256 (hex) over what a result says of how good which model is on what.

        What is None is left out, so that a later version may add fields.
        """
        parts: Any = {
            *("suite", "task", "task_version", "protocol", "main_score", "n", "limit", "model"),
            *("scores", "details", "data"),
        }
        said = self.model_dump(mode="json", include=parts, exclude_none=True)
        about = self.provenance
        said["provenance"] = [about.dtype, about.seed, about.scored_by, about.depth]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _has_main_score(self) -> Result:
        if self.main_score not in self.scores:
            raise ValueError(f"its scores lack {self.main_score}, the main one")
        for name, score in self.scores.items():
            if score.low is not None and score.high is not None and score.low > score.high:
                raise ValueError(f"the interval of {name} ends before it begins")
        return self
