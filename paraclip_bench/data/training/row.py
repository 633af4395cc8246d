"""One row of training data, checked; or what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paraclip_bench.data.images import ImageRef, is_file
from paraclip_bench.data.tar_files import image_in_tar
from paraclip_bench.errors import DataError

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
_ENDINGS = ("", ".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Row:
    """A row that can be trained on.

    texts has, for each of caption, paraphrase_1 and paraphrase_2, the texts to choose among: one
    or several, none of a view that is not needed. `where` names the row in messages.
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
) -> Row | BadRow:
    """A row of these fields, of which `needed` ("image", "caption", …) must be there.

    `image` is the row's where the file itself holds it; else a field names it in `images`. Raises
    `DataError` where there is no folder of images to look in.
    """
    if "image" not in needed:
        image = None
    elif image is None:
        found = _image(fields, where, images)
        if isinstance(found, BadRow):
            return found
        image = found
    texts = []
    for key in TEXTS:
        several = _texts(fields.get(key))
        if key in needed and not several:
            has = "must be a text that is not empty" if key in fields else "is not there"
            return BadRow("empty text", f"{where}: {key!r} {has}")
        texts.append(several if key in needed else ())
    id = fields.get("id")
    return Row(image, tuple(texts), where, None if id is None else str(id))


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
        return BadRow("missing image", f"{where}: there is no 'image' {has}")
    if images is None:
        raise DataError(
            f"{where} names its image, {name!r}, and there is no folder to find it in; "
            "name it with --images"
        )
    found = find_image(images, name)
    if found is not None:
        return found
    return BadRow("missing image", f"{where}: the image {images / name} does not exist")


def find_image(images: Path, name: str) -> ImageRef | None:
    """The image that a row calls `name`: a file of the folder, its ending left out or not, or
    SHARD.tar/KEY.jpg; None where there is none."""
    if (inside := image_in_tar(images, name)) is not None:
        return inside
    for ending in _ENDINGS:
        if is_file(file := images / (name + ending)):
            return ImageRef(id=file.name, path=file)
    return None
