"""COCO-Order and Flickr30k-Order of ARO (Yuksekgonul et al., ICLR 2023, arXiv 2210.01936).

Does an image prefer its caption to four shuffles of its words? A case is right when no shuffle has
a higher similarity: an argmax over the options, the caption first, as the authors and mteb have
it, so a tie (a shuffle that changed nothing) is right. The mean is over cases.

The authors' code shuffles anew whenever it loads the captions. So options are read frozen, scores
compare on the same cases only, and published ones are met up to the luck of the shuffles. `aro`
cleans each option as the authors do, `mteb` takes it as it is stored.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import PINS
from paraclip_bench.data.hub import require_columns, with_images
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import read_jsonl, text_field
from paraclip_bench.data.source import FolderSource, HubSource, Source
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.metrics.similarity import row_dot
from paraclip_bench.metrics.statistic import Statistic
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task

OPTIONS = 5
MAX_WORDS = 30
HUB_COLUMNS = ("correct_caption", *(f"hard_text_{k}" for k in range(1, OPTIONS)))
_BLANKED = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


@dataclasses.dataclass(frozen=True)
class Case:
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
    scores: ClassVar[Mapping[str, Statistic]] = {
        "accuracy": mean_of("correct"),
        "tie_rate": mean_of("tie"),
    }
    lower_is_better = ("tie_rate",)

    def load(self, source: Source, protocol: str) -> Examples:
        """The hub's frozen copy, or cases.jsonl of a folder."""
        clean = protocol == "aro"
        if isinstance(source, HubSource):
            return self._from_hub(source, clean)
        return self._from_folder(source, clean)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the image's similarities to the five options of each case."""
        cases: list[Case] = list(examples)
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

    def _from_folder(self, source: FolderSource, clean: bool) -> Examples:
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
            cases.append(Case(image, _captions(options, clean, where)))
        if not cases:
            raise DataError(f"{path} holds no cases")
        return Examples(cases, id=f"{source.id}:{path.name}")

    def _from_hub(self, source: HubSource, clean: bool) -> Examples:
        pin = PINS[self.name]
        rows = source.rows(pin)
        require_columns(rows, ("images", *HUB_COLUMNS), self.name)
        cases = []
        for index, row, (image,) in with_images(rows, ["images"], self.name):
            where = f"{self.name} of the hub, row {index}"
            options = [(column, row[column]) for column in HUB_COLUMNS]
            cases.append(Case(image, _captions(options, clean, where)))
        if not cases:
            raise DataError(f"{self.name}: the hub's copy holds no rows")
        return Examples(cases, id=pin.id, revision=pin.revision)


def _captions(options: Sequence[tuple[str, Any]], clean: bool, where: str) -> tuple[str, ...]:
    captions = []
    for name, option in options:
        text = text_field({name: option}, name, where)
        if clean and not (text := clean_caption(text)):
            raise DataError(f"{where}: nothing of {name} is left after ARO's cleaning; mend it")
        captions.append(text)
    return tuple(captions)


class CocoOrder(_Order):
    """A caption of COCO against four shuffles of its words."""

    name = "coco-order"


class Flickr30kOrder(_Order):
    """A caption of Flickr30k against four shuffles of its words."""

    name = "flickr30k-order"
