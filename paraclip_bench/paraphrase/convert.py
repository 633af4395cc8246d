"""Pairs from one format to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.errors import UsageError
from paraclip_bench.paraphrase.output import rows_to
from paraclip_bench.paraphrase.pairs_file import read_pairs


def convert(source: Path, target: Path, *, image: str | None = None) -> int:
    """Write the rows of a file of pairs to another, jsonl or Parquet by its ending.

    image, with `{id}` and `{image}` in it, makes each row's image from its id and image: rows of
    the ParaCLIP authors' own script name images by an `image_id`. Returns how many rows there are.
    Raises `UsageError` where the target is there.
    """
    if image is not None and (wrong := re.sub(r"\{(id|image)\}", "", image)) and "{" in wrong:
        raise UsageError(f"--image {image!r} has a field that is neither {{id}} nor {{image}}")
    if target.exists():
        raise UsageError(f"{target} is there; choose another file with -o, or delete that one")
    count = 0
    # Twice over the rows: the first time for what they hold.
    with rows_to(target, _named(source, image)) as add:
        for row in _named(source, image):
            add(row)
            count += 1
    return count


def _named(source: Path, image: str | None) -> Iterator[dict[str, Any]]:
    """The rows, with ids and names of images as texts."""
    for row in read_pairs(source):
        image_id = row.pop("image_id", None)
        name = row.get("image", image_id)
        if image is not None:
            name = image.replace("{id}", str(row.get("id", ""))).replace("{image}", str(name))
        found = {"id": row.get("id"), "image": name, **{k: v for k, v in row.items() if k != "id"}}
        found["image"] = name
        yield {
            key: str(value) if key in ("id", "image") and isinstance(value, int) else value
            for key, value in found.items()
            if value is not None
        }
