"""Which of our tasks, under which protocol, measures what a task of mteb's measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """A task of mteb's, the protocol of ours that is the same measurement, and the scores' names.

    scores: ours -> mteb's. only_hub: a folder's data may be other than mteb's though as many.
    """

    name: str
    protocol: str
    scores: Mapping[str, str]
    only_hub: bool = False


_STS = {"spearman": "cosine_spearman", "pearson": "cosine_pearson"}
_PAIRS = {"accuracy": "text_acc"}

# By our task's name. Both read the same revision of the same data set (data/pins.py).
EQUIVALENTS = {
    "STS12": Equivalent("STS12", "all", _STS),
    "STS13": Equivalent("STS13", "all", _STS),
    "STS14": Equivalent("STS14", "all", _STS),
    "STS15": Equivalent("STS15", "all", _STS),
    "STS16": Equivalent("STS16", "all", _STS),
    "STSBenchmark": Equivalent("STSBenchmark", "all", _STS),
    "SICK-R": Equivalent("SICK-R", "mteb", _STS),
    "vg-relation": Equivalent("AROVisualRelation", "mteb", _PAIRS),
    "vg-attribution": Equivalent("AROVisualAttribution", "mteb", _PAIRS),
    "coco-order": Equivalent("AROCocoOrder", "mteb", _PAIRS, only_hub=True),
    "flickr30k-order": Equivalent("AROFlickrOrder", "mteb", _PAIRS, only_hub=True),
    "sugarcrepe": Equivalent("SugarCrepe", "mteb", _PAIRS),
    "winoground": Equivalent(
        "Winoground", "mteb", {"group": "accuracy", "text": "text_acc", "image": "image_acc"}
    ),
}
