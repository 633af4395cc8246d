"""The data sets of the built-in tasks; the only place where revisions of the hub are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paraclip_bench.tasks.base import Task


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
class DataSet:
    """What a task's examples are: how many by protocol, under which licence, from where.

    pin is None where the hub has no copy that can be used, and `source` says where to get it.
    """

    licence: str
    source: str
    examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pin: Pin | None = None


def _pinned(licence: str, source: str, pin: Pin, *protocols: str, **others: int) -> DataSet:
    """The hub's whole split under each of these protocols; `others` have another size."""
    examples = {**others, **dict.fromkeys(protocols, pin.rows or 0)}
    return DataSet(licence, source, examples, pin)


def _sts(id: str, revision: str, rows: int, source: str, licence: str = "research") -> DataSet:
    return _pinned(licence, source, Pin(f"mteb/{id}", revision, rows=rows), "all")


# By task. Revisions, and rows where PROTOCOLS has none, as mteb 2.26 has them (task metadata).
DATA_SETS: dict[str, DataSet] = {
    "STS12": _sts("sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384", 3108, "SemEval 2012"),
    "STS13": _sts("sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca", 1500, "SemEval 2013"),
    "STS14": _sts("sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375", 3750, "SemEval 2014"),
    "STS15": _sts("sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3", 3000, "SemEval 2015"),
    "STS16": _sts("sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513", 1186, "SemEval 2016"),
    "STSBenchmark": _sts(
        "stsbenchmark-sts",
        "b0fddb56ed78048fa8b90373c8a3cfc37b684831",
        1379,
        "SemEval 2012 to 2017",
        "CC BY-SA 4.0",
    ),
    "SICK-R": _pinned(
        "CC BY-NC-SA 3.0",
        "SICK (Marelli et al. 2014)",
        Pin("mteb/sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d", rows=9927),
        "mteb",
        senteval=4927,
    ),
    "vg-relation": _pinned(
        "MIT, images CC BY 4.0",
        "ARO (Yuksekgonul et al. 2023)",
        Pin("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d", rows=23937),
        "aro",
        "mteb",
    ),
    "vg-attribution": _pinned(
        "MIT, images CC BY 4.0",
        "ARO (Yuksekgonul et al. 2023)",
        Pin("mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e", rows=28748),
        "aro",
        "mteb",
    ),
    "coco-order": _pinned(
        "MIT, captions CC BY 4.0",
        "ARO (Yuksekgonul et al. 2023)",
        Pin("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861", rows=25010),
        "aro",
        "mteb",
    ),
    "flickr30k-order": _pinned(
        "MIT, images for research",
        "ARO (Yuksekgonul et al. 2023)",
        Pin("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf", rows=5000),
        "aro",
        "mteb",
    ),
    "sugarcrepe": _pinned(
        "MIT",
        "SugarCrepe (Hsieh et al. 2023)",
        # Its only split is called train; mteb tests on it.
        Pin("mteb/SUGARCREPE_fmt", "e9e0e3ce40c94023c819d3413edb5d090ec9f0d8", "train", rows=7511),
        "sugarcrepe",
        "mteb",
    ),
    "sugarcrepe-pp": DataSet(
        "CC BY 4.0", "SugarCrepe++ (Dumpala et al. 2024)", {"tot": 4757, "itt": 4757}
    ),
    "winoground": _pinned(
        "Meta's own, to be accepted on the hub",
        "Winoground (Thrush et al. 2022)",
        Pin("facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763", rows=400),
        "winoground",
        "mteb",
    ),
    "coco-karpathy": DataSet(
        "captions CC BY 4.0, images Flickr's terms",
        "COCO val2014, split of Karpathy and Fei-Fei (2015)",
        {"karpathy": 5000},
    ),
    "flickr30k-karpathy": DataSet(
        "research",
        "Flickr30k, split of Karpathy and Fei-Fei (2015)",
        {"karpathy": 1000},
    ),
    "zero-shot-classification": DataSet(
        "that of your images", "folders of your own, or ImageNet's"
    ),
    "paraphrased-retrieval": DataSet(
        "that of your images",
        "the set of Cheng et al. 2024 is not public: make one with data build",
    ),
}


def data_set_of(task: Task) -> DataSet | None:
    """What a task says of its data: a plugin's by itself, a built-in's here."""
    return task.data_set or DATA_SETS.get(task.name)


def pin_of(task: Task) -> Pin | None:
    """The hub's copy of a task's data, where there is one that can be used."""
    data = data_set_of(task)
    return data.pin if data else None


def whole_size(task: Task, protocol: str) -> int | None:
    """How many examples the whole set has under a protocol, where that is known."""
    data = data_set_of(task)
    return data.examples.get(protocol) if data else None


PINS = {name: data.pin for name, data in DATA_SETS.items() if data.pin is not None}
