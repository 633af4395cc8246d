"""Reads training rows one after the other, from jsonl, Parquet or WebDataset shards."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from paraclip_bench.data.text_files import json_object, lines
from paraclip_bench.data.training import parquet, webdataset
from paraclip_bench.data.training.row import BadRow, Row, checked_row
from paraclip_bench.errors import DataError, UsageError

_ENDINGS = {".jsonl": "jsonl", ".json": "jsonl", ".parquet": "Parquet", ".tar": "WebDataset"}


def training_files(data: Path) -> list[Path]:
    """The files that `data` names: one, those of a folder, or those that match a pattern.

    Raises `UsageError` where there are none, or files of several formats.
    """
    if data.is_dir():
        files = sorted(f for f in data.iterdir() if f.suffix in _ENDINGS and f.is_file())
    elif data.exists():
        return [data]
    else:
        files = sorted(data.parent.glob(data.name)) if data.parent.is_dir() else []
    if not files and data.is_dir():
        raise UsageError(f"--data {data} has no .jsonl, .parquet or .tar files; check the path")
    if not files:
        raise UsageError(f"--data {data} does not exist; check the path")
    formats = sorted({_ENDINGS.get(file.suffix, "jsonl") for file in files})
    if len(formats) > 1:
        raise UsageError(
            f"--data {data} has files of several formats ({', '.join(formats)}); "
            "keep one in the folder, or name its files by a pattern"
        )
    return files


def read_rows(
    files: Sequence[Path], images: Path | None, needed: Collection[str]
) -> Iterator[Row | BadRow]:
    """The rows of all files in order, good and bad; each holds what `needed` says, or is bad.

    Memory does not grow with the number of rows. Raises `DataError` for files that cannot be read
    and for a folder of images that is not there.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"the image folder {images} does not exist; name it with --images")
    return itertools.chain.from_iterable(_rows(file, images, needed) for file in files)


def _rows(file: Path, images: Path | None, needed: Collection[str]) -> Iterator[Row | BadRow]:
    kind = _ENDINGS.get(file.suffix, "jsonl")
    if kind == "WebDataset":
        for fields, image, where in webdataset.samples(file):
            if (problem := fields.get(webdataset.PROBLEM)) is not None:
                yield BadRow("unreadable row", problem)
            elif image is None and "image" in needed:
                yield BadRow("missing image", f"{where}: it has no image")
            else:
                yield checked_row(fields, where, needed, images, image)
    elif kind == "Parquet":
        for number, fields in enumerate(parquet.rows(file)):
            yield checked_row(fields, f"{file}, row {number}", needed, images)
    else:
        for number, line in lines(file):
            try:
                fields = json_object(line, where := f"{file}, line {number}")
            except DataError as error:
                yield BadRow("unreadable row", str(error))
            else:
                yield checked_row(fields, where, needed, images)
