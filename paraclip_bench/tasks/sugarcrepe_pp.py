"""SugarCrepe++ (Dumpala et al. 2024): invariant to rewording and sensitive to meaning, at once.

Each item has two captions that mean the same, P1 and P2, and a third, N, of nearly the same words
that does not. TOT asks of texts alone: P1 and P2 are nearer to each other than either is to N. ITT
asks with the image: it is nearer to P1 and to P2 than to N. A tie is wrong, as the authors have it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.metrics.accuracy import ACCURACY_MICRO, macro_mean_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import row_dot
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, spread
from paraclip_bench.tasks.sugarcrepe import (
    SEEN_VAL2017,
    missing_subsets,
    read_items,
    subset_accuracies,
    subset_files,
)

SEEN_PLUS = (
    f"{SEEN_VAL2017}; training sets made from SugarCrepe++ (such as SemCLIP's, arXiv 2511.16527) "
    "have these very captions"
)
"""What is known of models that have seen SugarCrepe++."""
SUBSETS = ("swap_obj", "swap_att", "replace_obj", "replace_att", "replace_rel")


@dataclasses.dataclass(frozen=True)
class SugarCrepePPItem:
    """Two captions of one meaning and a third of another; `image` where the protocol needs it.

    id is the subset and the item's own id, filename the image's name, with or without the image.
    """

    id: str
    subset: str
    filename: str
    caption: str
    caption2: str
    negative_caption: str
    image: ImageRef | None = None


class SugarCrepePP(Task):
    """Are two captions of one meaning told from a third that differs in a few words?"""

    name = "sugarcrepe-pp"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "tot": Protocol(("text",), "captions alone; both pairs must win; ties wrong"),
        "itt": Protocol(("text", "image"), "image against captions; both must win; ties wrong"),
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "mean over the subsets of the share of items that are right",
            functools.partial(macro_mean_of, "correct", "subset"),
            source="subsets: Dumpala et al. 2024; their mean: READ-CLIP",
        ),
        ACCURACY_MICRO,
        *subset_accuracies(SUBSETS),
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"subset": ("accuracy_micro",)}

    data_set = DataSet(
        "CC BY 4.0",
        "SugarCrepe++ (Dumpala et al. 2024)",
        layout={
            "sugarcrepe-pp/{swap_obj,swap_att,replace_obj,replace_att,replace_rel}.json": "the "
            "authors' files, as many as there are",
            "sugarcrepe-pp/images/": "COCO val2017, for protocol itt",
        },
        examples={"tot": 4757, "itt": 4757},
        not_on_hub="no revision of the hub's copy is pinned",
        contamination=SEEN_PLUS,
    )

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The items of the subsets that a folder has."""
        folder = source.folder(self.name)
        there = subset_files(folder, SUBSETS)
        images = source.folder(f"{self.name}/images") if protocol == "itt" else None
        items = [
            item for subset, file in there.items() for item in self._items(subset, file, images)
        ]
        notes = missing_subsets(SUBSETS, list(there))
        return Examples(items, id=f"{source.id}:{self.name}", notes=notes)

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first case of each subset, then the second of each, and so on."""
        return spread(rows, [row.subset for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the similarities of each item."""
        items: list[SugarCrepePPItem] = list(examples)
        n = len(items)
        # One request, so that equal captions are one vector and tie.
        texts = embed.texts(
            [item.caption for item in items]
            + [item.caption2 for item in items]
            + [item.negative_caption for item in items]
        )
        one, two, negative = texts[:n], texts[n : 2 * n], texts[2 * n :]
        if examples.protocol == "itt":
            images = embed.images([item.image for item in items if item.image is not None])
            measured = {
                "similarity_image_caption": row_dot(images, one),
                "similarity_image_caption2": row_dot(images, two),
                "similarity_image_negative": row_dot(images, negative),
            }
            first, second, wrong = measured.values()
            correct = (first > wrong) & (second > wrong)
        else:
            measured = {
                "similarity_captions": row_dot(one, two),
                "similarity_caption_negative": row_dot(one, negative),
                "similarity_caption2_negative": row_dot(two, negative),
            }
            same, first, second = measured.values()
            correct = (same > first) & (same > second)
        return {
            "example_id": np.array([item.id for item in items], dtype=object),
            "cluster_id": np.array([item.filename for item in items], dtype=object),
            **measured,
            "correct": correct,
            "subset": np.array([item.subset for item in items], dtype=object),
        }

    def _items(self, subset: str, file: Path, images: Path | None) -> Iterator[SugarCrepePPItem]:
        for id, where, row in read_items(subset, file):
            name = text_field(row, "filename", where)
            yield SugarCrepePPItem(
                id,
                subset,
                name,
                text_field(row, "caption", where),
                text_field(row, "caption2", where),
                text_field(row, "negative_caption", where),
                None if images is None else image_in(images, name, where),
            )
