"""Zero-shot retrieval between images and their captions, on the test parts of Karpathy's splits.

Recall@k of both directions (Hodosh et al. 2013; Karpathy and Fei-Fei 2015, arXiv 1412.2306): a
caption finds its image, an image finds any of its captions, among all of the test part. This is
the price list of a text tower fine-tuned on paraphrases, which may lose here what it gains there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import read_json, read_jsonl, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.metric import Metric, Statistic, mean_over, named
from paraclip_bench.metrics.ranking import places, recall_of
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task

SPLIT = "test"
SEEN_COCO = (
    "models trained on COCO's captions know how they are written, and train2017 has most of these "
    "photos with these very captions (Karpathy's training parts have none)"
)
SEEN_FLICKR30K = "models trained on Flickr30k's or COCO's captions know how these are written"
"""What is known of models that have seen data of Karpathy's parts for evaluation."""


@dataclasses.dataclass(frozen=True)
class CaptionedImage:
    """An image and what people say of it, at least one caption."""

    image: ImageRef
    captions: tuple[str, ...]


_RECALLS = tuple(
    recall
    for direction, found in (
        ("text-to-image", "captions that find their image"),
        ("image-to-text", "images that find any of their captions"),
    )
    for recall in Metric(
        f"{direction}/recall",
        f"share of the {found} in the first k places",
        functools.partial(recall_of, f"rank_{direction.replace('-', '_')}"),
        source="Karpathy and Fei-Fei 2015 (arXiv 1412.2306)",
        k=1,
    ).at(1, 5, 10)
)
_MEAN_RECALL = Metric(
    "mean_recall",
    "mean of recall at 1, 5 and 10 in both directions",
    functools.partial(mean_over, _RECALLS),
    source="common use",
)


class _CaptionedRetrieval(Task):
    groups = ("zero-shot",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "karpathy": Protocol(
            ("text", "image"), "caption finds its image, image any of its captions; ties in order"
        )
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(_MEAN_RECALL, *_RECALLS)
    board = ("mean_recall", "text-to-image/recall@1", "image-to-text/recall@1")
    annotation: ClassVar[str]

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """One row an image; the captions are Karpathy's test part, or the user's own."""
        rows, file = captioned_images(source, self.name, self.annotation)
        if len(rows) < 2:
            raise DataError(f"{file} has one image, which nothing can be mistaken for; give more")
        notes = {"captions": sum(len(row.captions) for row in rows)}
        return Examples(rows, id=f"{source.id}:{self.name}/{file.name}", notes=notes)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank all images for each caption, and all captions for each image.

        A row is an image: the ranks of its image by each of its captions (0 where others have more
        captions), and the best rank of its captions. So whole rows are what varies.
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
    data_set = DataSet(
        "captions CC BY 4.0, images Flickr's terms",
        "COCO val2014, split of Karpathy and Fei-Fei (2015)",
        layout={
            "coco-karpathy/dataset_coco.json": "Karpathy's file, or captions.jsonl of your own",
            "coco-karpathy/images/": "the images, in val2014/ or here",
        },
        examples={"karpathy": 5000},
        not_on_hub="no copy of Karpathy's split on the hub is pinned",
        contamination=SEEN_COCO,
    )


class Flickr30kKarpathy(_CaptionedRetrieval):
    """Flickr30k: 1,000 images and their 5,000 captions."""

    name = "flickr30k-karpathy"
    annotation = "dataset_flickr30k.json"
    data_set = DataSet(
        "research",
        "Flickr30k, split of Karpathy and Fei-Fei (2015)",
        layout={
            "flickr30k-karpathy/dataset_flickr30k.json": "Karpathy's file, or captions.jsonl of "
            "your own",
            "flickr30k-karpathy/images/": "the images",
        },
        examples={"karpathy": 1000},
        not_on_hub="no copy of Karpathy's split on the hub is pinned",
        contamination=SEEN_FLICKR30K,
    )


def captioned_images(
    source: FolderSource, name: str, annotation: str
) -> tuple[list[CaptionedImage], Path]:
    """The images of the folder `name` in the layout of --data-dir, and the file that lists them.

    That is Karpathy's, called `annotation`, or captions.jsonl. Raises `DataError` where there is
    neither, or both.
    """
    folder = source.folder(name)
    own, karpathy = folder / "captions.jsonl", folder / annotation
    if own.is_file() and karpathy.is_file():
        raise DataError(f"{folder} has both {own.name} and {karpathy.name}; keep one of them")
    if not own.is_file() and not karpathy.is_file():
        raise DataError(
            f"{folder} has neither {karpathy.name} nor {own.name}; "
            "put one of them there (docs/data.md has the layout)"
        )
    images = source.folder(f"{name}/images")
    if own.is_file():
        return read_captions(own, images), own
    return read_karpathy(karpathy, images), karpathy


def read_karpathy(path: Path, images: Path) -> list[CaptionedImage]:
    """The test part of a `dataset_*.json` of Karpathy and Fei-Fei (2015, arXiv 1412.2306).

    Its images lie in `images`, under `filepath` (of COCO: val2014) or without it. Raises
    `DataError` that names the file and the entry.
    """
    chosen = [(where, e) for where, e in karpathy_entries(path) if e.get("split") == SPLIT]
    if not chosen:
        raise DataError(
            f"{path} has no image of the split {SPLIT!r}, which is the one measured; "
            "give Karpathy's own file"
        )
    return _checked(_karpathy_image(entry, images, where) for where, entry in chosen)


def karpathy_entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The images of a `dataset_*.json` of all its splits, each with where it stands.

    What is no object is passed over. Raises `DataError` for another kind of file.
    """
    content = read_json(path)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path} has no list 'images'; give Karpathy's own file")
    return [(f"{path}, image {i}", e) for i, e in enumerate(entries) if isinstance(e, dict)]


def read_captions(path: Path, images: Path) -> list[CaptionedImage]:
    """JSON lines of {"image": a name in `images`, "captions": [text, ...]}; errors as above."""
    rows = []
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        name = text_field(row, "image", where)
        rows.append((where, _captioned(name, [name], row.get("captions"), images, where)))
    if not rows:
        raise DataError(f"{path} holds no images")
    return _checked(iter(rows))


Found = tuple[str, CaptionedImage]


def _karpathy_image(entry: dict[str, Any], images: Path, where: str) -> Found:
    name = text_field(entry, "filename", where)
    folder = entry.get("filepath")
    places = [f"{folder}/{name}", name] if isinstance(folder, str) and folder else [name]
    sentences = entry.get("sentences")
    if isinstance(sentences, list):
        sentences = [s.get("raw") if isinstance(s, dict) else None for s in sentences]
    return where, _captioned(name, places, sentences, images, where)


def _captioned(
    name: str, places: list[str], captions: object, images: Path, where: str
) -> CaptionedImage:
    if not isinstance(captions, list) or not captions:
        raise DataError(f"{where}: the image {name} has no captions; give it some or drop it")
    if not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise DataError(
            f"{where}: a caption of the image {name} is not a text with something in it; fix it"
        )
    return CaptionedImage(image_in(images, name, where, places), tuple(captions))


def _checked(found: Iterator[Found]) -> list[CaptionedImage]:
    """The rows, each image once."""
    rows: dict[str, CaptionedImage] = {}
    for where, row in found:
        if row.image.id in rows:
            raise DataError(
                f"{where}: the image {row.image.id} came before; put its captions in one place"
            )
        rows[row.image.id] = row
    return list(rows.values())
