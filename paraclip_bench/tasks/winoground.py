"""Winoground and ColorSwap: two images and two captions of the same words.

Winoground (Thrush et al., CVPR 2022, arXiv 2204.03162) and ColorSwap (Burapacheep et al., Findings
of ACL 2024, arXiv 2402.04492), which swaps colours and follows Winoground's schema.

With s the similarity, an example's text score asks that each image prefers its own caption,
s(C0, I0) > s(C1, I0) and s(C1, I1) > s(C0, I1); its image score that each caption prefers its own
image, s(C0, I0) > s(C0, I1) and s(C1, I1) > s(C1, I0); its group score both (the paper's section
on metrics). Guessing gets 1/4, 1/4 and 1/6.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.hub import require_columns, with_images
from paraclip_bench.data.images import ImageRef, file_in, image_in
from paraclip_bench.data.row_files import read_json_list, read_jsonl, text_field
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import TIE_RATE, mean_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import row_dot
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task

TAGS = ("collapsed_tag", "secondary_tag", "num_main_preds", "tag")
SWAP_TAGS = ("image_source", "caption_source")
SCORES = {
    "group": "share of the examples that are right by `text` and by `image`",
    "text": "share of the examples in which each image prefers its own caption",
    "image": "share of the examples in which each caption prefers its own image",
}


@dataclasses.dataclass(frozen=True)
class WinogroundExample:
    """Two images and their captions; the tags are "" where the data has none."""

    id: str
    image_0: ImageRef
    image_1: ImageRef
    caption_0: str
    caption_1: str
    collapsed_tag: str
    secondary_tag: str
    num_main_preds: str
    tag: str


@dataclasses.dataclass(frozen=True)
class ColorSwapExample:
    """Two images and their captions, and what made them ("" where the data does not say)."""

    id: str
    image_0: ImageRef
    image_1: ImageRef
    caption_0: str
    caption_1: str
    image_source: str
    caption_source: str


def _scores(source: str) -> dict[str, Metric]:
    return named(
        *(
            Metric(score, about, functools.partial(mean_of, score), source=source)
            for score, about in SCORES.items()
        ),
        TIE_RATE,
    )


class Winoground(Task):
    """Are two captions of the same words in another order matched with their images?"""

    name = "winoground"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "winoground": Protocol(("text", "image"), "ties wrong, as in the paper"),
        "mteb": Protocol(
            ("text", "image"),
            "the first of a tie wins; group, text, image are accuracy, text_acc, image_acc there",
        ),
    }
    scores: ClassVar[Mapping[str, Statistic]] = _scores("Thrush et al. 2022 (arXiv 2204.03162)")
    board = ("text", "image", "group")
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(TAGS, tuple(SCORES))

    data_set = DataSet(
        "Meta's own, to be accepted on the hub",
        "Winoground (Thrush et al. 2022)",
        layout={
            "winoground/examples.jsonl": "the authors' file",
            "winoground/images/": "NAME.png",
        },
        examples={"winoground": 400, "mteb": 400},
        pin=Pin("facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763", rows=400),
        mteb=MtebEquivalent(
            "Winoground", "mteb", {"group": "accuracy", "text": "text_acc", "image": "image_acc"}
        ),
    )

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the four similarities of each example."""
        return _compared(list(examples), embed, TAGS, first_wins=examples.protocol == "mteb")

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The authors' examples.jsonl."""
        path = source.file(f"{self.name}/examples.jsonl")
        folder = source.folder(f"{self.name}/images")
        rows = []
        for number, row in read_jsonl(path):
            where = f"{path}, line {number}"
            images = [_image(folder, row, key, where) for key in ("image_0", "image_1")]
            rows.append((row, images, where))
        return Examples(_examples(rows, str(path)), id=f"{source.id}:{path.name}")

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        """The hub's copy; its licence must be accepted there."""
        pin = self.data_set.pin
        assert pin is not None
        found = source.rows(pin)
        columns = ("image_0", "image_1")
        require_columns(found, (*columns, "caption_0", "caption_1"), self.name)
        rows = [
            (row, images, f"{self.name} of the hub, row {index}")
            for index, row, images in with_images(found, columns, self.name)
        ]
        name = f"{self.name}: the hub's copy"
        return Examples(_examples(rows, name), id=pin.id, revision=pin.revision)


class ColorSwap(Task):
    """Are two captions that swap the colours of two things matched with their images?"""

    name = "colorswap"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "colorswap": Protocol(("text", "image"), "the test part; ties wrong, as in Winoground")
    }
    scores: ClassVar[Mapping[str, Statistic]] = _scores(
        "Burapacheep et al. 2024 (arXiv 2402.04492), after Thrush et al. 2022"
    )
    board = ("text", "image", "group")
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(SWAP_TAGS, tuple(SCORES))

    data_set = DataSet(
        "MIT",
        "ColorSwap (Burapacheep et al. 2024)",
        layout={
            "colorswap/test.json": "the authors' file",
            "colorswap/images/": "the authors' images",
        },
        examples={"colorswap": 300},
        not_on_hub="no revision of the authors' gated copy on the hub is known",
    )

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the four similarities of each example."""
        return _compared(list(examples), embed, SWAP_TAGS, first_wins=False)

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The authors' test.json, whose images are named from the folder that it is in."""
        path = source.file(f"{self.name}/test.json")
        examples = []
        ids: set[str] = set()
        for index, row in enumerate(read_json_list(path)):
            where = f"{path}, example {index}"
            first, second = (
                image_in(path.parent, text_field(row, key, where), where)
                for key in ("image_1", "image_2")
            )
            examples.append(
                ColorSwapExample(
                    _new_id(row, index, ids, where),
                    first,
                    second,
                    text_field(row, "caption_1", where),
                    text_field(row, "caption_2", where),
                    **_tags(row, SWAP_TAGS),
                )
            )
        return Examples(examples, id=f"{source.id}:{self.name}/{path.name}")


def _compared(
    rows: Sequence[WinogroundExample] | Sequence[ColorSwapExample],
    embed: Embed,
    tags: Sequence[str],
    *,
    first_wins: bool,
) -> Mapping[str, Any]:
    """The outcome columns of examples; `first_wins`: number 0 wins a tie, else nobody does."""
    n = len(rows)
    # One request a side, so that what is equal is one vector and ties.
    images = embed.images([row.image_0 for row in rows] + [row.image_1 for row in rows])
    texts = embed.texts([row.caption_0 for row in rows] + [row.caption_1 for row in rows])
    image_0, image_1, text_0, text_1 = images[:n], images[n:], texts[:n], texts[n:]
    c0_i0, c1_i0 = row_dot(text_0, image_0), row_dot(text_1, image_0)
    c0_i1, c1_i1 = row_dot(text_0, image_1), row_dot(text_1, image_1)
    # An argmax gives a tie to number 0: right for the first of a pair, wrong for the second.
    above = np.greater_equal if first_wins else np.greater
    text = above(c0_i0, c1_i0) & (c1_i1 > c0_i1)
    image = above(c0_i0, c0_i1) & (c1_i1 > c1_i0)
    tie = (c0_i0 == c1_i0) | (c1_i1 == c0_i1) | (c0_i0 == c0_i1) | (c1_i1 == c1_i0)
    return {
        "example_id": np.array([row.id for row in rows], dtype=object),
        "cluster_id": np.array([row.image_0.sha256 for row in rows], dtype=object),
        "similarity_c0_i0": c0_i0,
        "similarity_c1_i0": c1_i0,
        "similarity_c0_i1": c0_i1,
        "similarity_c1_i1": c1_i1,
        "text": text,
        "image": image,
        "group": text & image,
        "tie": tie,
        **{tag: np.array([getattr(row, tag) for row in rows], dtype=object) for tag in tags},
    }


def _tags(row: Mapping[str, Any], tags: Sequence[str]) -> dict[str, str]:
    return {tag: "" if row.get(tag) is None else str(row[tag]) for tag in tags}


def _new_id(row: Mapping[str, Any], index: int, ids: set[str], where: str) -> str:
    """An example's id, which is its number where it has none; `DataError` for one of `ids`."""
    id = str(row.get("id", index))
    if id in ids:
        raise DataError(f"{where}: the id {id} came before; fix the file")
    ids.add(id)
    return id


def _examples(
    rows: list[tuple[dict[str, Any], list[ImageRef], str]], name: str
) -> list[WinogroundExample]:
    if not rows:
        raise DataError(f"{name} holds no examples")
    examples: list[WinogroundExample] = []
    ids: set[str] = set()
    for index, (row, (first, second), where) in enumerate(rows):
        examples.append(
            WinogroundExample(
                _new_id(row, index, ids, where),
                first,
                second,
                text_field(row, "caption_0", where),
                text_field(row, "caption_1", where),
                **_tags(row, TAGS),
            )
        )
    return examples


def _image(folder: Path, row: Mapping[str, Any], key: str, where: str) -> ImageRef:
    """The authors' file names images without their extension, .png."""
    name = text_field(row, key, where)
    there = file_in(folder, name, where) is not None
    return image_in(folder, name if there else f"{name}.png", where)
