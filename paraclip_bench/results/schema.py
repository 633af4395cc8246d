"""A result: one model on one task and protocol, with where it came from.

`SCHEMA_VERSION` and `MIGRATIONS` say which versions of the file there are. The schema for other
programs is result.schema.json beside this file, which `python docs/generate.py` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
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
MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From the content of a file of one version to that of the next; a key for each earlier one.

A new field that may be absent needs no new version: 0.1.0 wrote version 1, without `digests`,
`provenance.dtypes`, `provenance.run`, `provenance.depth` and the scores' `method`. Whatever is
renamed, removed or means something else does.
"""


class UnknownVersion(ValueError):
    """A result of a schema version that this version of the package does not read."""


def migrated(raw: Any) -> Any:
    """The content of a result's file as this version has it.

    A file is checked as it was written: where its scores are those of its digest, what it becomes
    has a digest of its own. Raises `UnknownVersion` for a later version, or one that never was.
    """
    version = raw.get("schema_version", SCHEMA_VERSION) if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version == SCHEMA_VERSION:
        return raw
    steps = range(version, SCHEMA_VERSION)
    if version > SCHEMA_VERSION or any(step not in MIGRATIONS for step in steps):
        todo = "update paraclip-bench" if version > SCHEMA_VERSION else "measure it again"
        raise UnknownVersion(
            f"has schema_version {version} and this version of paraclip-bench reads "
            f"{', '.join(map(str, (*sorted(MIGRATIONS), SCHEMA_VERSION)))}; {todo}"
        )
    try:
        return _migrated(raw, steps)
    # A damaged file may hold anything.
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its content is not that of schema_version {version}") from error


def _migrated(raw: dict[str, Any], steps: range) -> dict[str, Any]:
    digests = raw.get("digests")
    is_whole = isinstance(digests, dict) and digests.get("scores") == digest_of(raw)
    for step in steps:
        raw = MIGRATIONS[step](raw)
    raw = {**raw, "schema_version": SCHEMA_VERSION}
    if is_whole:
        scores = Result.model_validate({**raw, "digests": None}).scores_digest
        raw["digests"] = {**raw["digests"], "scores": scores}
    return raw


_DIGESTED = (
    *("suite", "task", "task_version", "protocol", "main_score", "n", "limit", "model"),
    *("scores", "details", "data", "perturbation"),
)


def digest_of(raw: Mapping[str, Any]) -> str:
    """sha256 (hex) over what the content of a file says of how good which model is on what.

    Fields that are None are left out, so that a later version may add some.
    """
    about = _part(raw.get("provenance"))
    said = {name: raw[name] for name in _DIGESTED if raw.get(name) is not None}
    said |= {name: _part(said[name]) for name in ("model", "data") if name in said}
    said["scores"] = _scores(said.get("scores"))
    if isinstance(details := said.get("details"), Mapping):
        said["details"] = {
            kind: [{**_part(part), "scores": _scores(_part(part).get("scores"))} for part in parts]
            for kind, parts in details.items()
        }
    of_provenance = ("dtype", "seed", "scored_by", "depth")
    said["provenance"] = [about.get(name) for name in of_provenance]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _scores(raw: Any) -> dict[str, Any]:
    return {name: _part(score) for name, score in raw.items()} if isinstance(raw, Mapping) else {}


def _part(raw: Any) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if v is not None} if isinstance(raw, Mapping) else {}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result's file, of this version."""
    schema = Result.model_json_schema()
    schema["properties"]["schema_version"]["const"] = SCHEMA_VERSION
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:paraclip-bench:result:{SCHEMA_VERSION}",
        **schema,
    }


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
    """A part of the examples (a subset, a relation), and its scores.

    covered: of a version of a perturbed task's texts, how many distinct texts it rewords.
    """

    name: str
    n: int
    scores: dict[str, Score]
    covered: int | None = None

    @model_serializer(mode="wrap")
    def _without_covered(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(dump(self), "covered")


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


class PerturbationInfo(_Part):
    """How a task's texts were reworded.

    digest: of what the perturbation does (sha256). texts: how many distinct texts the task has.
    covered: how many of them have another wording. k: in how many versions they were measured.
    """

    name: str
    digest: str
    texts: int
    covered: int
    k: int


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
    """One file of results/. `digests` is None in results of 0.1.0, which had none.

    perturbation: of a task under other wordings, whose scores are the level, `~drop` and `~spread`.
    """

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
    perturbation: PerturbationInfo | None = None

    @model_serializer(mode="wrap")
    def _without_perturbation(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(dump(self), "perturbation")

    @property
    def is_cut(self) -> bool:
        """Whether a limit may have left examples out."""
        return self.limit is not None and self.n >= self.limit

    @property
    def scores_digest(self) -> str:
        """sha256 (hex) over what a result says of how good which model is on what."""
        return digest_of(self.model_dump(mode="json"))

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, raw: Any) -> Any:
        return migrated(raw)

    @model_validator(mode="after")
    def _has_main_score(self) -> Result:
        if self.main_score not in self.scores:
            raise ValueError(f"its scores lack {self.main_score}, the main one")
        for name, score in self.scores.items():
            if score.low is not None and score.high is not None and score.low > score.high:
                raise ValueError(f"the interval of {name} ends before it begins")
        return self
