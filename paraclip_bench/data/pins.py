"""The hub's data sets, each at one revision: the only place where revisions are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """A split of a data set of the hub at one revision; `config` where it has several."""

    id: str
    revision: str
    split: str = "test"
    config: str | None = None


# By task. Revisions as mteb 2.x pins them (its task metadata), so that scores can be compared.
PINS = {
    "STS12": Pin("mteb/sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384"),
    "STS13": Pin("mteb/sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca"),
    "STS14": Pin("mteb/sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375"),
    "STS15": Pin("mteb/sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3"),
    "STS16": Pin("mteb/sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513"),
    "STSBenchmark": Pin("mteb/stsbenchmark-sts", "b0fddb56ed78048fa8b90373c8a3cfc37b684831"),
    "SICK-R": Pin("mteb/sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d"),
    "vg-relation": Pin("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d"),
    "vg-attribution": Pin(
        "mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e"
    ),
    "coco-order": Pin("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861"),
    "flickr30k-order": Pin("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf"),
    # Its only split is called train; mteb tests on it.
    "sugarcrepe": Pin("mteb/SUGARCREPE_fmt", "e9e0e3ce40c94023c819d3413edb5d090ec9f0d8", "train"),
    "winoground": Pin("facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763"),
}
