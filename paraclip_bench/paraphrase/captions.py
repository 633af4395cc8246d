"""Captions from the files that people have: one pass, in order, without loading them all."""

from __future__ import annotations

import csv
import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip_bench.data.text_files import json_object, lines
from paraclip_bench.data.training import webdataset
from paraclip_bench.errors import DataError, UsageError

CAPTION_FIELDS = ("caption", "text", "TEXT", "alt_text", "sentence", "title")
IMAGE_FIELDS = ("image", "image_id", "image_path", "file_name", "filename", "filepath", "path")
ID_FIELDS = ("id", "key", "uid")
_ENDINGS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".tar": "tar",
}
# A web caption may be longer than csv's own limit of 131,072 characters.
_FIELD_LIMIT = 1 << 30
_PARQUET_ROWS = 4096


@dataclass(frozen=True)
class Caption:
    """One row of the input. text is whatever the field holds; `problem` says that there is none.

    place counts all rows of all files from 0; `where` names the row in messages.
    """

    place: int
    where: str
    text: Any = None
    image: str | None = None
    id: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Fields:
    """Which fields hold caption and image; None: the first known name that the rows have."""

    caption: str | None = None
    image: str | None = None


def caption_files(path: Path) -> list[Path]:
    """The file that `path` names, or the shards of a folder or a pattern, in order."""
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in _ENDINGS and f.is_file())
        if not files:
            raise UsageError(f"{path} has no files of captions ({', '.join(_ENDINGS)})")
    elif path.exists():
        files = [path]
    else:
        files = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
        if not files:
            raise UsageError(f"{path} does not exist; check the path of the captions")
    for file in files:
        if file.suffix not in _ENDINGS:
            raise UsageError(
                f"{file} has an ending that says no format of captions; "
                f"rename it to one of {', '.join(_ENDINGS)}"
            )
    return files


def read_captions(files: Sequence[Path], fields: Fields) -> Iterator[Caption]:
    """The rows of all files in order; memory does not grow with their number.

    A row that cannot be read has a `problem`. Raises `DataError` for a file that is not what its
    ending says, `UsageError` for a field that it does not have.
    """
    places = itertools.count()
    for file in files:
        kind = _ENDINGS[file.suffix]
        if kind == "txt":
            for number, line in _text_lines(file):
                yield Caption(next(places), f"{file}, line {number}", line)
            continue
        for row in _fields_of(file, kind, fields):
            yield Caption(next(places), *row)


# where, text, image, id, problem
_Row = tuple[str, Any, str | None, str | None, str | None]


def _fields_of(file: Path, kind: str, fields: Fields) -> Iterator[_Row]:
    """Rows of a file that has named fields; which they are is settled by the first good row."""
    chosen: tuple[str, str | None] | None = None
    for where, row, image, problem in _READERS[kind](file):
        if problem is not None:
            yield where, None, None, None, problem
            continue
        if chosen is None:
            chosen = _choose(row, fields, file)
        caption_field, image_field = chosen
        name = image if image is not None or image_field is None else row.get(image_field)
        id = next((row[key] for key in ID_FIELDS if row.get(key) is not None), None)
        yield (
            where,
            row.get(caption_field),
            None if name is None else str(name),
            None if id is None else str(id),
            None,
        )


def _choose(row: Mapping[str, Any], fields: Fields, file: Path) -> tuple[str, str | None]:
    for wanted, option in ((fields.caption, "--caption-field"), (fields.image, "--image-field")):
        if wanted is not None and wanted not in row:
            close = difflib.get_close_matches(wanted, list(row), 1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"{option}: {file} has no field {wanted!r} (it has {', '.join(row) or 'none'})"
                + meant
            )
    caption = fields.caption or next((name for name in CAPTION_FIELDS if name in row), None)
    if caption is None:
        raise UsageError(
            f"{file} has no field of a usual name for captions (it has "
            f"{', '.join(row) or 'none'}); name it with --caption-field"
        )
    return caption, fields.image or next((name for name in IMAGE_FIELDS if name in row), None)


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line, the empty ones too: each is a row that is counted."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, _decoded(raw, path, number)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8; convert the file to UTF-8") from error


# where, fields, image, problem
_Read = tuple[str, Mapping[str, Any], str | None, str | None]


def _jsonl(path: Path) -> Iterator[_Read]:
    for number, line in lines(path):
        where = f"{path}, line {number}"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8; convert the file to UTF-8") from error
        try:
            yield where, json_object(line, where), None, None
        except DataError as error:
            yield where, {}, None, str(error)


def _delimited(path: Path, delimiter: str) -> Iterator[_Read]:
    csv.field_size_limit(_FIELD_LIMIT)
    # A tab-separated file has no quotes; in one of commas they are what protects a comma.
    decoded = (line + "\n" for _, line in _text_lines(path))
    reader = (
        csv.reader(decoded, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        if delimiter == "\t"
        else csv.reader(decoded, delimiter=delimiter)
    )
    try:
        header = next(reader, None)
        if not header:
            raise DataError(f"{path} is empty; its first line must name the columns")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if len(row) == len(header):
                yield where, dict(zip(header, row, strict=True)), None, None
            elif row:
                said = f"{where}: {len(row)} fields where the header has {len(header)}"
                yield where, {}, None, said
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; mend that line") from error


def _csv(path: Path) -> Iterator[_Read]:
    return _delimited(path, ",")


def _tsv(path: Path) -> Iterator[_Read]:
    return _delimited(path, "\t")


def _parquet(path: Path) -> Iterator[_Read]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            # Columns of images as bytes are none of ours; names and texts are.
            plain = [
                field.name
                for field in file.schema_arrow
                if pa.types.is_string(field.type)
                or pa.types.is_large_string(field.type)
                or pa.types.is_integer(field.type)
            ]
            number = 0
            for batch in file.iter_batches(_PARQUET_ROWS, columns=plain):
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", row, None, None
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({error}); write it again"
        ) from error


def _tar(path: Path) -> Iterator[_Read]:
    for fields, image, where in webdataset.samples(path):
        name = None if image is None else f"{path.name}/{image.id}"
        yield where, fields, name, fields.get(webdataset.PROBLEM)


_READERS: dict[str, Callable[[Path], Iterator[_Read]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "tar": _tar,
}
