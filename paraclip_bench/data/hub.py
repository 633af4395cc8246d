"""The hub's data sets at pinned revisions, and what a network failure is called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from paraclip_bench.errors import BenchError, DataError


@dataclass(frozen=True)
class Pin:
    """A data set of the hub at one revision."""

    id: str
    revision: str
    split: str = "test"


# Revisions as mteb 2.x pins them (its task metadata).
PINS = {
    "STS12": Pin("mteb/sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384"),
    "STS13": Pin("mteb/sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca"),
    "STS14": Pin("mteb/sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375"),
    "STS15": Pin("mteb/sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3"),
    "STS16": Pin("mteb/sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513"),
    "STSBenchmark": Pin("mteb/stsbenchmark-sts", "b0fddb56ed78048fa8b90373c8a3cfc37b684831"),
    "SICK-R": Pin("mteb/sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d"),
    "vg-relation": Pin("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d"),
    "vg-attribution": Pin("mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e"),
}


def go_offline() -> None:
    """Forbid the hub's libraries any network, before they are imported."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"


def load(pin: Pin) -> Any:
    """The pinned split as a `datasets.Dataset`; images stay undecoded ({"bytes", "path"}).

    Raises `DataError` where the hub cannot be reached and the cache has no copy.
    """
    import datasets

    datasets.utils.logging.set_verbosity_error()
    try:
        rows = datasets.load_dataset(pin.id, split=pin.split, revision=pin.revision)
    # The libraries raise ConnectionError, OfflineModeIsEnabled, DatasetNotFoundError, httpx's own.
    except Exception as error:
        raise unreachable(f"data set {pin.id} @ {pin.revision[:8]}", error, DataError) from error
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def unreachable(what: str, error: Exception, kind: type[BenchError]) -> BenchError:
    """One sentence for whatever a hub library raises."""
    first = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    mend = (
        "it is not in the local cache and --offline forbids the network; fetch it once without it"
        if offline
        else "check the network, or give a local copy"
    )
    return kind(f"{what} cannot be had from the hub ({type(error).__name__}: {first}); {mend}")
