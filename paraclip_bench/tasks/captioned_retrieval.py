"""Zero-shot retrieval between images and their captions, on the test parts of Karpathy's splits.

Recall@k of both directions (Hodosh et al. 2013; Karpathy and Fei-Fei 2015, arXiv 1412.2306): a
caption finds its image, an image finds any of its captions, among all of the test part. This is
the price list of a text tower fine-tuned on paraphrases, which may lose here what it gains there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.captioned_images import CaptionedImage, read_captions, read_karpathy
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.ranking import places, recall_of
from paraclip_bench.metrics.statistic import Statistic, mean_over
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task

_RECALLS: Mapping[str, Statistic] = {
    f"{direction}/recall@{k}": recall_of(f"rank_{direction.replace('-', '_')}", k)
    for direction in ("text-to-image", "image-to-text")
    for k in (1, 5, 10)
}


class _CaptionedRetrieval(Task):
    groups = ("zero-shot",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "karpathy": Protocol(
            ("text", "image"), "caption finds its image, image any of its captions; ties in order"
        )
    }
    scores: ClassVar[Mapping[str, Statistic]] = {
        "mean_recall": mean_over(list(_RECALLS.values())),
        **_RECALLS,
    }
    board = ("mean_recall", "text-to-image/recall@1", "image-to-text/recall@1")
    annotation: ClassVar[str]

    def load(self, source: Source, protocol: str) -> Examples:
        """One row an image; the captions are Karpathy's test part, or the user's own."""
        if isinstance(source, HubSource):
            raise DataError(
                f"{self.name}: no copy of Karpathy's split on the hub is pinned; give "
                f"{self.name}/{self.annotation} and images/ with --data-dir (docs/data.md)"
            )
        folder = source.folder(self.name)
        own, karpathy = folder / "captions.jsonl", folder / self.annotation
        if own.is_file() and karpathy.is_file():
            raise DataError(f"{folder} has both {own.name} and {karpathy.name}; keep one of them")
        if not own.is_file() and not karpathy.is_file():
            raise DataError(
                f"{folder} has neither {karpathy.name} nor {own.name}; "
                "put one of them there (docs/data.md has the layout)"
            )
        images = source.folder(f"{self.name}/images")
        path = own if own.is_file() else karpathy
        rows = read_captions(path, images) if path == own else read_karpathy(path, images)
        if len(rows) < 2:
            raise DataError(f"{path} has one image, which nothing can be mistaken for; give more")
        notes = {"captions": sum(len(row.captions) for row in rows)}
        return Examples(rows, id=f"{source.id}:{self.name}/{path.name}", notes=notes)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank all images for each caption, and all captions for each image.

        A row is an image: the ranks of its image by each of its captions (0 where others have more
        captions), and the best rank of its captions. So whole rows are what a resample draws.
        """
        rows: list[CaptionedImage] = list(examples)
        captions = [caption for row in rows for caption in row.captions]
        counts = np.array([len(row.captions) for row in rows])
        owner = np.repeat(np.arange(len(rows)), counts)
        slot = np.arange(len(captions)) - np.repeat(np.cumsum(counts) - counts, counts)
        texts = embed.texts(captions)
        images = embed.images([row.image for row in rows])
        of_captions = np.zeros((len(rows), counts.max()), dtype=np.int64)
        of_captions[owner, slot] = places(texts, images, owner[:, np.newaxis])[:, 0]
        targets = np.full(of_captions.shape, -1)
        targets[owner, slot] = np.arange(len(captions))
        of_images = places(images, texts, targets)
        return {
            "example_id": np.array([row.image.id for row in rows], dtype=object),
            "cluster_id": np.array([row.image.sha256 for row in rows], dtype=object),
            "rank_text_to_image": of_captions,
            "rank_image_to_text": np.where(of_images > 0, of_images, len(captions)).min(axis=1),
        }


class CocoKarpathy(_CaptionedRetrieval):
    """MS COCO: 5,000 images of val2014 and their 25,010 captions."""

    name = "coco-karpathy"
    annotation = "dataset_coco.json"


class Flickr30kKarpathy(_CaptionedRetrieval):
    """Flickr30k: 1,000 images and their 5,000 captions."""

    name = "flickr30k-karpathy"
    annotation = "dataset_flickr30k.json"
