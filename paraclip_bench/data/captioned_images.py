"""Readers of images with several captions each: Karpathy's JSON and JSON lines of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.data.images import ImageRef, is_file
from paraclip_bench.data.text_files import read_json, read_jsonl, text_field
from paraclip_bench.errors import DataError

SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class CaptionedImage:
    """An image and what people say of it, at least one caption."""

    image: ImageRef
    captions: tuple[str, ...]


def read_karpathy(path: Path, images: Path) -> list[CaptionedImage]:
    """The test part of a `dataset_*.json` of Karpathy and Fei-Fei (2015, arXiv 1412.2306).

    Its images lie in `images`, under `filepath` (of COCO: val2014) or without it. Raises
    `DataError` that names the file and the entry.
    """
    content = read_json(path)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path} has no list 'images'; give Karpathy's own file")
    chosen = [
        (f"{path}, image {index}", entry)
        for index, entry in enumerate(entries)
        if isinstance(entry, dict) and entry.get("split") == SPLIT
    ]
    if not chosen:
        raise DataError(
            f"{path} has no image of the split {SPLIT!r}, which is the one measured; "
            "give Karpathy's own file"
        )
    return _checked(_karpathy_image(entry, images, where) for where, entry in chosen)


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
            f"{where}: a caption of the image {name} is not a text with something in it; mend it"
        )
    there = [images / place for place in places if is_file(images / place)]
    if not there:
        wanted = " and ".join(str(images / place) for place in places)
        verb = "is" if len(places) == 1 else "are both"
        raise DataError(f"{where}: the image {wanted} {verb} missing; put it there")
    return CaptionedImage(ImageRef(id=name, path=there[0]), tuple(captions))


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
