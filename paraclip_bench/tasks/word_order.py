"""COCO-Order and Flickr30k-Order of ARO (Yuksekgonul et al., ICLR 2023, arXiv 2210.01936).

Does an image prefer its caption to four shuffles of its words? A case is right when no shuffle has
a higher similarity: an argmax over the options, the caption first, as the authors and mteb have
it, so a tie (a shuffle that changed nothing) is right. The mean is over cases.

The authors' code shuffles again whenever it loads the captions. So options are read frozen, scores
compare on the same cases only, and published ones are met up to the luck of the shuffles. `aro`
cleans each option as the authors do, `mteb` takes it as it is stored.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.hub import require_columns, with_images
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import read_jsonl, text_field
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import TIE_RATE, mean_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import row_dot
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task
from paraclip_bench.tasks.captioned_retrieval import SEEN_COCO, SEEN_FLICKR30K

OPTIONS = 5
MAX_WORDS = 30
HUB_COLUMNS = ("correct_caption", *(f"hard_text_{k}" for k in range(1, OPTIONS)))
_BLANKED = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


@dataclasses.dataclass(frozen=True)
class WordOrderCase:
    """An image and five captions, the true one first."""

    image: ImageRef
    captions: tuple[str, ...]


def clean_caption(text: str, max_words: int = MAX_WORDS) -> str:
    """A caption as ARO's code gives it to a model: lower case, some marks blanked, 30 words.

    Each of . ! " ( ) * # : ; ~ is a blank, two or more characters of white space are one, ends are
    stripped, and a word is what stands between single blanks. (`pre_caption` of the authors'
    dataset_zoo/retrieval.py, with the 30 words of aro_datasets.py.)
    """
    blanked = re.sub(r"\s\s+", " ", text.lower().translate(_BLANKED))
    words = blanked.rstrip("\n").strip(" ").split(" ")
    return " ".join(words[:max_words])


class _Order(Task):
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "aro": Protocol(
            ("text", "image"), "options cleaned to 30 words; ties right; mean of cases"
        ),
        "mteb": Protocol(("text", "image"), "options as stored; ties right; mean of cases"),
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "share of the cases in which no shuffle is nearer to the image than the caption",
            functools.partial(mean_of, "correct"),
            source="Yuksekgonul et al. 2023 (arXiv 2210.01936)",
        ),
        TIE_RATE,
    )
    data_set: ClassVar[DataSet]

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the image's similarities to the five options of each case."""
        cases: list[WordOrderCase] = list(examples)
        n = len(cases)
        images = embed.images([case.image for case in cases])
        # One request, so that a shuffle that changed nothing is the same vector and ties.
        texts = embed.texts([case.captions[k] for k in range(OPTIONS) for case in cases])
        similarities = np.stack(
            [row_dot(images, texts[k * n : (k + 1) * n]) for k in range(OPTIONS)], axis=1
        )
        true, best = similarities[:, 0], similarities[:, 1:].max(axis=1)
        return {
            "cluster_id": np.array([case.image.sha256 for case in cases], dtype=object),
            "similarities": similarities,
            "correct": true >= best,
            "tie": true == best,
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The cases.jsonl of a folder."""
        path = source.file(f"{self.name}/cases.jsonl")
        images = source.folder(f"{self.name}/images")
        cases = []
        for number, row in read_jsonl(path):
            where = f"{path}, line {number}"
            captions = row.get("captions")
            if not isinstance(captions, list) or len(captions) != OPTIONS:
                raise DataError(
                    f"{where}: 'captions' must be a list of {OPTIONS} texts, the true one first"
                )
            options = [(f"caption {k}", caption) for k, caption in enumerate(captions)]
            image = image_in(images, text_field(row, "image", where), where)
            cases.append(WordOrderCase(image, _captions(options, protocol == "aro", where)))
        if not cases:
            raise DataError(f"{path} holds no cases")
        return Examples(cases, id=f"{source.id}:{path.name}")

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        """The hub's frozen copy."""
        pin = self.data_set.pin
        assert pin is not None
        rows = source.rows(pin)
        require_columns(rows, ("images", *HUB_COLUMNS), self.name)
        cases = []
        for index, row, (image,) in with_images(rows, ["images"], self.name):
            where = f"{self.name} of the hub, row {index}"
            options = [(column, row[column]) for column in HUB_COLUMNS]
            cases.append(WordOrderCase(image, _captions(options, protocol == "aro", where)))
        if not cases:
            raise DataError(f"{self.name}: the hub's copy holds no rows")
        return Examples(cases, id=pin.id, revision=pin.revision)


def _captions(options: Sequence[tuple[str, Any]], clean: bool, where: str) -> tuple[str, ...]:
    captions = []
    for name, option in options:
        text = text_field({name: option}, name, where)
        if clean and not (text := clean_caption(text)):
            raise DataError(f"{where}: nothing of {name} is left after ARO's cleaning; fix it")
        captions.append(text)
    return tuple(captions)


def _data_set(
    name: str, licence: str, pin: Pin, mteb: MtebEquivalent, contamination: str
) -> DataSet:
    return DataSet(
        licence,
        "ARO (Yuksekgonul et al. 2023)",
        layout={f"{name}/cases.jsonl": "image, captions", f"{name}/images/": "the images"},
        examples={"aro": pin.rows or 0, "mteb": pin.rows or 0},
        pin=pin,
        mteb=mteb,
        contamination=contamination,
    )


class CocoOrder(_Order):
    """A caption of COCO against four shuffles of its words."""

    name = "coco-order"
    data_set = _data_set(
        name,
        "MIT, captions CC BY 4.0",
        Pin("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861", rows=25010),
        MtebEquivalent("AROCocoOrder", "mteb", {"accuracy": "text_acc"}, only_hub=True),
        SEEN_COCO,
    )


class Flickr30kOrder(_Order):
    """A caption of Flickr30k against four shuffles of its words."""

    name = "flickr30k-order"
    data_set = _data_set(
        name,
        "MIT, images for research",
        Pin("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf", rows=5000),
        MtebEquivalent("AROFlickrOrder", "mteb", {"accuracy": "text_acc"}, only_hub=True),
        SEEN_FLICKR30K,
    )
