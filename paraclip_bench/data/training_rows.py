"""Rows of training data from jsonl, Parquet or WebDataset shards, each checked."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paraclip_bench.data import tar_files
from paraclip_bench.data.images import (
    IMAGE_SUFFIXES,
    ImageRef,
    file_in,
    is_hidden,
    leads_outside,
    outside,
)
from paraclip_bench.data.row_files import (
    JSON_LINES,
    json_rows,
    parquet_rows,
    refuse_torn,
    wrong_ending,
)
from paraclip_bench.data.tar_files import image_in_tar
from paraclip_bench.errors import DataError, UsageError, check_name
from paraclip_bench.files import ending

Kind = Literal[
    "unreadable row",
    "missing image",
    "damaged image",
    "empty text",
    "overlong text",
    "duplicated id",
]
TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
# Image files in the ParaCLIP authors' own format are named by id, without an ending.
_USUAL = ("", ".jpg", ".jpeg", ".png", ".webp")
_ENDINGS = (*_USUAL, *sorted(IMAGE_SUFFIXES - {*_USUAL}), *(e.upper() for e in _USUAL[1:]))


def text_views(needed: Collection[str]) -> tuple[str, ...]:
    """The text views of a row in their order: the usual three, then the others that are needed."""
    others = sorted(set(needed) - {"image", *TEXTS}, key=lambda view: (len(view), view))
    return (*TEXTS, *others)


@dataclass(frozen=True)
class TrainingRow:
    """A row that can be trained on.

    texts has, for each of `text_views`, the texts to choose among: one or several, none of a view
    that is not needed. `where` names the row in messages.
    """

    image: ImageRef | None
    texts: tuple[tuple[str, ...], ...]
    where: str
    id: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be trained on, the kind of its problem, and one sentence on it."""

    kind: Kind
    sentence: str


def checked_row(
    fields: Mapping[str, Any],
    where: str,
    needed: Collection[str],
    images: Path | None,
    image: ImageRef | None = None,
) -> TrainingRow | BadRow:
    """A row of these fields, of which `needed` ("image", "caption", …) must be there.

    `image` is the row's where the file itself holds it; else a field names it in `images`. Raises
    `DataError` where there is no folder of images to look in.
    """
    views = text_views(needed)
    named = {key: fields.get(key) for key in ("id", "image", "image_id", *views)}
    try:
        refuse_torn(named, where)
    except DataError as error:
        return BadRow("unreadable row", str(error))
    if "image" not in needed:
        image = None
    elif image is None:
        found = _image(fields, where, images)
        if isinstance(found, BadRow):
            return found
        image = found
    texts = []
    for key in views:
        several = _texts(fields.get(key))
        if key in needed and not several:
            has = (
                "must be a text that is not empty"
                if key in fields
                else "is not there; `paraclip-bench paraphrase --also negation` makes negations"
                if key == "negation"
                else "is not there; `paraclip-bench paraphrase` makes paraphrases of captions"
            )
            return BadRow("empty text", f"{where}: {key!r} {has}")
        texts.append(several if key in needed else ())
    id = fields.get("id")
    return TrainingRow(image, tuple(texts), where, None if id is None else str(id))


def _texts(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, list | tuple) else [value]
    if all(isinstance(text, str) and text.strip() for text in several):
        return tuple(several)
    return ()


def _image(fields: Mapping[str, Any], where: str, images: Path | None) -> ImageRef | BadRow:
    name: Any = fields.get("image", fields.get("image_id"))
    data: Any = None
    if isinstance(name, Mapping):  # as `datasets` writes an image column
        name, data = name.get("path"), name.get("bytes")
    if isinstance(name, bytes):
        name, data = None, name
    if isinstance(data, bytes):
        return ImageRef(id=str(name or where), data=data)
    if isinstance(name, int):
        name = str(name)
    if not isinstance(name, str) or not name.strip():
        has = f"(there is {', '.join(fields) or 'nothing'})"
        said = f"{where}: there is no 'image' {has}; paraphrase --image-field names another"
        return BadRow("missing image", said)
    if images is None:
        raise DataError(
            f"{where} names its image, {name!r}, and there is no folder to find it in; "
            "name it with --images"
        )
    if leads_outside(name):
        return BadRow("missing image", str(outside(images, name, where)))
    found = find_image(images, name, where)
    if found is not None:
        return found
    return BadRow("missing image", f"{where}: the image {images / name} does not exist")


def find_image(images: Path, name: str, where: str) -> ImageRef | None:
    """The image that a row calls `name`; None where there is none.

    It is a file of the folder, its ending left out or not, or SHARD.tar/KEY.jpg. Raises `DataError`
    for a name that leads outside of the folder, naming `where` it was read.
    """
    if leads_outside(name):  # before a shard of that name is opened
        raise outside(images, name, where)
    if (inside := image_in_tar(images, name)) is not None:
        return inside
    for suffix in _ENDINGS:
        if (file := file_in(images, name + suffix, where)) is not None:
            return ImageRef(id=file.name, path=file)
    return None


# Few, because each may carry the bytes of an image.
_AT_ONCE = 256


def rows(path: Path, needed: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows in order, those columns alone that training reads."""
    columns = ("id", "image", "image_id", *text_views(needed))
    return parquet_rows(
        path, _AT_ONCE, lambda schema: [name for name in columns if name in schema.names]
    )


_FORMATS = {**dict.fromkeys(JSON_LINES, "jsonl"), ".parquet": "Parquet", ".tar": "WebDataset"}
_TOLD = (".jsonl", ".parquet", ".tar")


def training_files(data: Path) -> list[Path]:
    """The files that `data` names: one, those of a folder, or those that match a pattern.

    Raises `UsageError` where there are none, or files of several formats or of an unknown one.
    """
    if data.is_dir():
        there = sorted(f for f in data.iterdir() if f.is_file() and not is_hidden(f.name))
        files = [file for file in there if ending(file) in _FORMATS]
        if not files:
            # An archive that could be unpacked is worth naming.
            archives = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
            odd = [str(wrong_ending(f, _TOLD, "")) for f in there if ending(f) in archives]
            raise UsageError(
                f"--data {data} has no .jsonl, .parquet or .tar files; "
                + (odd[0] if odd else "check the path")
            )
    elif data.exists():
        files = [data]
    else:
        files = sorted(data.parent.glob(data.name)) if data.parent.is_dir() else []
    if not files:
        raise UsageError(f"--data {data} does not exist; check the path")
    for file in files:
        check_name(file, "the file")
        if ending(file) not in _FORMATS:
            raise wrong_ending(file, _TOLD, "training data")
    formats = sorted({_FORMATS[ending(file)] for file in files})
    if len(formats) > 1:
        raise UsageError(
            f"--data {data} has files of several formats ({', '.join(formats)}); "
            "keep one in the folder, or name its files by a pattern"
        )
    return files


def read_rows(
    files: Sequence[Path], images: Path | None, needed: Collection[str]
) -> Iterator[TrainingRow | BadRow]:
    """The rows of all files in order, good and bad; each holds what `needed` says, or is bad.

    Memory does not grow with the number of rows. Raises `DataError` for files that cannot be read
    and for a folder of images that is not there.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"the image folder {images} does not exist; name it with --images")
    return itertools.chain.from_iterable(_rows(file, images, needed) for file in files)


def _rows(
    file: Path, images: Path | None, needed: Collection[str]
) -> Iterator[TrainingRow | BadRow]:
    kind = _FORMATS[ending(file)]
    if kind == "WebDataset":
        for fields, image, where in tar_files.samples(file):
            if (problem := fields.get(tar_files.PROBLEM)) is not None:
                yield BadRow("unreadable row", problem)
            elif image is None and "image" in needed:
                yield BadRow("missing image", f"{where}: it has no image")
            else:
                yield checked_row(fields, where, needed, images, image)
    elif kind == "Parquet":
        for number, fields in enumerate(rows(file, needed)):
            yield checked_row(fields, f"{file}, row {number}", needed, images)
    else:
        for where, found in json_rows(file):
            if isinstance(found, DataError):
                yield BadRow("unreadable row", str(found))
            else:
                yield checked_row(found, where, needed, images)
