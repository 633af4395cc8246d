"""Training rows: an image, its caption T and the paraphrases T' and T''."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paraclip_bench.data.images import ImageRef, is_file
from paraclip_bench.data.text_files import read_jsonl, text_field
from paraclip_bench.errors import DataError

# Image files in the ParaCLIP authors' own format are named by id, without an ending.
_TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
_ENDINGS = ("", ".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Pair:
    """One row of training data; T, T' and T'' are caption, paraphrase_1 and paraphrase_2."""

    image: ImageRef
    caption: str
    paraphrase_1: str
    paraphrase_2: str


def read_pairs(path: Path, images: Path) -> list[Pair]:
    """Read training rows (jsonl); image paths are relative to `images`.

    The rows of the ParaCLIP authors' generation script, with `image_id`, are read too.

    Raises `DataError` that names the row for a missing field, an empty text or a missing image.
    """
    if not images.is_dir():
        raise DataError(f"the image folder {images} does not exist; name it with --images")
    pairs = []
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        name = text_field(row, "image" if "image" in row else "image_id", where)
        image = next((f for end in _ENDINGS if is_file(f := images / (name + end))), None)
        if image is None:
            raise DataError(
                f"{where}: the image {images / name} does not exist; put it there or drop the row"
            )
        texts = {key: text_field(row, key, where) for key in _TEXTS}
        pairs.append(Pair(ImageRef(id=image.name, path=image), **texts))
    if not pairs:
        raise DataError(f"{path} holds no rows")
    return pairs
