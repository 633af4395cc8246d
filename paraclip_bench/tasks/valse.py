"""VALSE (Parcalabescu et al., ACL 2022, arXiv 2112.07566): a caption against its foil.

Eleven instruments for existence, plurals, counting, relations, actions, coreference and nouns
(FOIL-it): the foil has a phrase exchanged and is no longer true of the image. An item is right
when the image is strictly nearer to the caption, which is the paper's pairwise accuracy acc_r.

Only valid items count, those whose caption, and not the foil, at least two of three annotators
chose (`mturk.caption` of 2 or more), as in the authors' lxmert_valse_eval.py (Heidelberg-NLP/VALSE
@ 2152d90). That script prints each instrument; `accuracy` is the mean of the eleven.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import int_field, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import ACCURACY_MICRO, TIE_RATE, macro_mean_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, compare_captions, spread
from paraclip_bench.tasks.sugarcrepe import (
    missing_subsets,
    read_items,
    subset_accuracies,
    subset_files,
)

INSTRUMENTS = (
    "existence",
    "plurals",
    "counting-hard",
    "counting-small-quant",
    "counting-adversarial",
    "relations",
    "action-replacement",
    "actant-swap",
    "coreference-standard",
    "coreference-hard",
    "foil-it",
)
VOTES = 2
"""So many of the three annotators have to have chosen the caption alone."""


@dataclasses.dataclass(frozen=True)
class Foil:
    """An image, its caption, and the foil that is not true of it; subset is the instrument."""

    id: str
    subset: str
    image: ImageRef
    caption: str
    foil: str


class Valse(Task):
    """Does an image prefer its caption to a foil with one phrase exchanged?"""

    name = "valse"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "valse": Protocol(
            ("text", "image"), "valid items; ties wrong; mean over the eleven instruments"
        )
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "mean over the instruments of the share of valid items that are right",
            functools.partial(macro_mean_of, "correct", "subset"),
            source="Parcalabescu et al. 2022 (arXiv 2112.07566)",
        ),
        ACCURACY_MICRO,
        *subset_accuracies(INSTRUMENTS),
        TIE_RATE,
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"subset": ("accuracy_micro", "tie_rate")}

    data_set = DataSet(
        "MIT, images of their sources",
        "VALSE (Parcalabescu et al. 2022)",
        layout={
            "valse/{existence,plurals,…,foil-it}.json": "the authors' eleven files, as many as "
            "there are",
            "valse/images/": "the images, here or in a folder for each dataset, such as SWiG/",
        },
        examples={"valse": 7702},
        not_on_hub="no copy on the hub is the authors' own",
    )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first item of each instrument, then the second of each, and so on."""
        return spread(rows, [row.subset for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the image's similarities to caption and foil of each item."""
        items: list[Foil] = list(examples)
        return {
            "example_id": np.array([item.id for item in items], dtype=object),
            "cluster_id": np.array([item.image.sha256 for item in items], dtype=object),
            **compare_captions(
                [item.image for item in items],
                [item.caption for item in items],
                [item.foil for item in items],
                embed,
                tie_is_right=False,
            ),
            "subset": np.array([item.subset for item in items], dtype=object),
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The valid items of the instruments that a folder has."""
        there = subset_files(source.folder(self.name), INSTRUMENTS)
        images = source.folder(f"{self.name}/images")
        items: list[Foil] = []
        left_out = 0
        for subset, file in there.items():
            before = len(items)
            read = list(read_items(subset, file))
            for id, where, row in read:
                if _votes(row, where) < VOTES:
                    continue
                name, dataset = text_field(row, "image_file", where), row.get("dataset")
                places = [name, f"{dataset}/{name}"] if isinstance(dataset, str) else [name]
                items.append(
                    Foil(
                        id,
                        subset,
                        image_in(images, name, where, places),
                        text_field(row, "caption", where),
                        text_field(row, "foil", where),
                    )
                )
            left_out += len(read) - (len(items) - before)
            if len(items) == before:
                raise DataError(
                    f"{file}: none of its {len(read)} items is valid ('mturk' with a 'caption' of "
                    f"at least {VOTES}); give the authors' own file"
                )
        notes: dict[str, Any] = missing_subsets(INSTRUMENTS, list(there))
        if left_out:
            notes["not_valid"] = left_out
        return Examples(items, id=f"{source.id}:{self.name}", notes=notes)


def _votes(row: Mapping[str, Any], where: str) -> int:
    """How many annotators chose the caption and not the foil."""
    votes = row.get("mturk")
    if not isinstance(votes, dict):
        raise DataError(
            f"{where}: there is no 'mturk' with the annotators' votes, which say whether an item "
            "is valid; give the authors' own file"
        )
    return int_field(votes, "caption", f"{where}, 'mturk'")
