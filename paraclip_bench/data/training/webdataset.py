"""Samples of a WebDataset shard: the files of a tar that share a name up to the first dot.

The fields come from KEY.json and from texts such as KEY.txt (the caption) and
KEY.paraphrase_1.txt. Images stay in the tar, which gives them by their place in it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.data.file_part import FilePart
from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import DataError

_IMAGES = ("jpg", "jpeg", "png", "webp")
_TEXTS = {
    "txt": "caption",
    "caption.txt": "caption",
    "paraphrase_1.txt": "paraphrase_1",
    "paraphrase_2.txt": "paraphrase_2",
}


# A field of a sample that cannot be read: what is wrong with it.
PROBLEM = "\0problem"


def samples(path: Path) -> Iterator[tuple[dict[str, Any], ImageRef | None, str]]:
    """(fields, image, where) of each sample, in order; the key is its id.

    A sample whose fields cannot be read has `PROBLEM` among them. Raises `DataError` for a file
    that is no plain tar.
    """
    try:
        # Without compression alone is a file's place in the tar its place on the disk.
        with tarfile.open(path, "r:") as tar:
            key: str | None = None
            fields: dict[str, Any] = {}
            image: ImageRef | None = None
            for member in tar:
                if not member.isfile():
                    continue
                stem, ending = _split(member.name)
                if stem != key:
                    if key is not None:
                        yield {"id": key, **fields}, image, f"{path}, sample {key}"
                    key, fields, image = stem, {}, None
                if ending in _IMAGES:
                    place = FilePart(path, member.offset_data, member.size)
                    image = ImageRef(id=member.name, read=place)
                elif ending == "json" or ending in _TEXTS:
                    file = tar.extractfile(member)
                    content = b"" if file is None else file.read()
                    _add(fields, ending, content, f"{path}, {member.name}")
            if key is not None:
                yield {"id": key, **fields}, image, f"{path}, sample {key}"
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{path} is not a whole, uncompressed tar file ({error}); write that shard again"
        ) from error


def _split(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _add(fields: dict[str, Any], ending: str, content: bytes, where: str) -> None:
    try:
        if ending == "json":
            read = json.loads(content)
            if isinstance(read, dict):
                # A text of its own wins over the same field of the json.
                fields.update({key: value for key, value in read.items() if key not in fields})
        else:
            fields[_TEXTS[ending]] = content.decode("utf-8").strip()
    except ValueError as error:
        fields[PROBLEM] = f"{where} is not valid ({error})"
