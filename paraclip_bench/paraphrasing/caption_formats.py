"""Rows of captions from each format: lines, JSON, tables, Parquet, WebDataset shards."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from paraclip_bench.data import tar_files
from paraclip_bench.data.images import IMAGE_SUFFIXES, is_image_name
from paraclip_bench.data.row_files import (
    all_lines,
    json_document,
    json_object,
    lines,
    not_utf_8,
    parquet_rows,
)
from paraclip_bench.errors import DataError, UsageError

CAPTION_FIELDS = (
    *("caption", "captions", "text", "TEXT", "alt_text", "sentence", "title"),
    *("comment", "sentences", "raw"),
)
IMAGE_FIELDS = (
    *("image", "image_id", "image_path", "file_name", "filename", "filepath", "path"),
    *("image_name", "img_id"),
)
ID_FIELDS = ("id", "key", "uid")
# Of a table that has its paraphrases and negations itself, as SemCLIP's has.
PARAPHRASE_FIELDS = ("paraphrase", "paraphrased")
NEGATION_FIELDS = ("negation",)
ENDINGS = {
    ".txt": "txt",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".tar": "tar",
    ".ndjson": "json",
    ".token": "txt",  # as Flickr8k's and Flickr30k's own files end
    **{
        f"{ending}.gz": kind
        for ending, kind in ((".txt", "txt"), (".jsonl", "json"), (".json", "json"))
    },
    **{f"{ending}.gz": kind for ending, kind in ((".csv", "csv"), (".tsv", "tsv"))},
}
"""Which reader reads a file, by its ending in lower case."""
# A web caption may be longer than csv's own limit of 131,072 characters.
_FIELD_LIMIT = 1 << 30
_PARQUET_ROWS = 4096
# So many lines are looked at to learn whether a text file is a table.
_FIRST_LINES = 100
# So large a share of them must be rows of a table; captions never are.
_ROWS_OF_A_TABLE = 0.9

Row = tuple[str, Mapping[str, Any], str | None, str | None]
"""Where it is, its fields, its image where the file itself says so, its problem."""


def rows_of(file: Path, kind: str) -> Iterator[Row]:
    """The rows of a file. A line of plain text has one field, "caption"."""
    return _READERS[kind](file)


# --- lines and tables ------------------------------------------------------------------------


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line, the empty ones too: each is a row that is counted."""
    for number, raw in all_lines(path):
        try:
            yield number, raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise not_utf_8(f"{path}, line {number}") from error


def _txt(path: Path) -> Iterator[Row]:
    """A caption a line; or a table of image and caption, where all lines are rows of one."""
    first = [line for _, line in islice(_text_lines(path), _FIRST_LINES)]
    if _separator(path) is not None:
        yield from _csv(path)
        return
    if len(first) == 1 and "\r" in first[0]:
        raise DataError(
            f"{path} is one line with carriage returns in it, as old Macs end lines; convert them "
            "to new lines"
        )
    table = _table([line for line in first if line.strip()], path)
    if table is not None:
        yield from _table_rows(path, table)
        return
    for number, line in _text_lines(path):
        yield f"{path}, line {number}", {"caption": line}, None, None


@dataclass(frozen=True)
class _Table:
    """A delimiter and the names of the columns, or none where a file name begins each line."""

    delimiter: str = ""
    names: tuple[str, ...] = ()


_DELIMITERS = "\t|,;"
_ENDING = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
# 1.jpg,A dog   1.jpg#0<TAB>A dog   1.jpg| 0| A dog   1.jpg: A dog   "1.jpg","A dog"   1.jpg A dog
# COCO_val2014_000000391895 A dog   1000268201_693b08cb0e A dog
_NAMED_LINE = re.compile(
    rf"\s*(?P<quote>\"?)(?P<image>[^\s|,;#\"]+\.(?:{_ENDING})|COCO_\w+_\d{{12}}|\d{{5,}}_[0-9a-f]{{8,}})"
    r"(?P=quote)(?:#(?P<number>\d+))?"
    r"(?:\s*[\t|,;]\s*\d{1,2}(?=\s*[\t|,;]))?(?:\s*[\t|,;:]\s*|\s+)(?P<text>\S.*)",
    re.IGNORECASE,
)
# A dog,1.jpg
_NAMED_BEHIND = re.compile(rf".*\S\s*[\t|,;]\s*\"?[^\s|,;]+\.(?:{_ENDING})\"?\s*", re.IGNORECASE)


def _table(first: Sequence[str], path: Path) -> _Table | None:
    """What table the first lines of a text file are of; None where they are captions.

    Raises `UsageError` for a table whose columns nobody knows.
    """
    if not first:
        return None
    head, rest = first[0], first[1:]
    for delimiter in _DELIMITERS:
        names = _names(head, delimiter)
        table = _Table(delimiter, names)
        if names and _mostly(rest, functools.partial(_has_image, table)):
            return table
    body = rest if rest and not _NAMED_LINE.fullmatch(head) else first
    if _mostly(body, lambda line: bool(_NAMED_LINE.fullmatch(line))):
        headers = [d for d in _DELIMITERS if d in head and all(d in line for line in body)]
        if body is rest and headers and not is_image_name(head.split(headers[0])[0].strip()):
            return _Table(headers[0], tuple(n.strip() for n in head.split(headers[0])))
        return _Table()
    if _mostly(first, lambda line: bool(_NAMED_BEHIND.fullmatch(line))):
        raise UsageError(
            f"{path} has an image's name at the end of its lines, so it is a table and not a "
            "caption a line; let its first line name the columns (caption,image) and its name end "
            "in .csv"
        )
    # A tab in front of a caption, or behind it, makes no column.
    tabs = head.strip().count("\t")
    if tabs and len(first) > 1 and _mostly(first, lambda line: line.strip().count("\t") == tabs):
        raise UsageError(
            f"{path} has tabs in its lines, so it is a table and not a caption a line; let its "
            "first line name the columns (image, caption) and its name end in .tsv"
        )
    return None


def _mostly(several: Sequence[str], fits: Callable[[str], bool]) -> bool:
    return bool(several) and sum(map(fits, several)) >= _ROWS_OF_A_TABLE * len(several)


def _names(head: str, delimiter: str) -> tuple[str, ...]:
    """The columns that a header names, if one is of captions and one of images; else none."""
    told = [name.strip().strip('"') for name in head.split(delimiter)]
    lower = {name.lower(): name.lower() for name in (*CAPTION_FIELDS, *IMAGE_FIELDS, *ID_FIELDS)}
    names = tuple(lower.get(name.lower(), name) for name in told)
    has_both = {*names} & {*CAPTION_FIELDS} and {*names} & {*IMAGE_FIELDS, *ID_FIELDS}
    return names if has_both and all(re.fullmatch(r"\w+", name) for name in names) else ()


def _has_image(table: _Table, line: str) -> bool:
    """Whether a line has all of the columns, and in that of the image no space."""
    fields = _split(line, table)
    image = next(i for i, name in enumerate(table.names) if name in (*IMAGE_FIELDS, *ID_FIELDS))
    return len(fields) == len(table.names) and bool(re.fullmatch(r"\S+", fields[image]))


def _split(line: str, table: _Table) -> list[str]:
    """The fields of a line; a last one that holds the caption may have the delimiter in it."""
    delimiter, names = table.delimiter, table.names
    if '"' in line and delimiter != "|":
        try:
            quoted = next(csv.reader([line], delimiter=delimiter, strict=True))
        except csv.Error:  # quotes that are the caption's own
            quoted = []
        if len(quoted) == len(names):
            return [field.strip() for field in quoted]
    most = len(names) - 1 if names[-1] in CAPTION_FIELDS else -1
    return [field.strip() for field in line.split(delimiter, most)]


def _table_rows(path: Path, table: _Table) -> Iterator[Row]:
    is_header = bool(table.names)
    for number, line in _text_lines(path):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        if is_header:
            is_header = False
        elif table.names:
            yield _row(_split(line, table), table.names, where)
        elif (found := _NAMED_LINE.fullmatch(line)) is not None:
            image, count = found["image"], found["number"]
            id = {} if count is None else {"id": f"{image}#{count}"}
            yield where, {"image": image, "caption": _unquoted(found["text"]), **id}, None, None
        else:
            problem = f"{where}: no image and caption, as other lines have them"
            yield where, {}, None, problem


def _unquoted(text: str) -> str:
    try:
        fields = next(csv.reader([text], strict=True)) if text.startswith('"') else []
    except csv.Error:
        fields = []
    return fields[0] if len(fields) == 1 else text


def _row(fields: Sequence[str], names: Sequence[str], where: str) -> Row:
    if len(fields) == len(names):
        return where, dict(zip(names, fields, strict=True)), None, None
    return where, {}, None, f"{where}: {len(fields)} fields where the header has {len(names)}"


# The first line of a table that Excel is to read: sep=;
_SEPARATOR = re.compile(r"\"?sep=([,;|\t])\"?,*\s*", re.IGNORECASE)


def _separator(path: Path) -> str | None:
    """The delimiter that a table's first line names, if that is such a line."""
    head = next((line for _, line in _text_lines(path)), "")
    return None if (told := _SEPARATOR.fullmatch(head)) is None else told[1]


def _delimited_otherwise(path: Path, usual: str) -> _Table | None:
    """A table whose header has another delimiter than its ending says, such as Flickr30k's."""
    head = next((line for _, line in _text_lines(path) if line.strip()), "")
    if usual in head:
        return None
    several = ((d, _names(head, d)) for d in _DELIMITERS if d != usual and d in head)
    return next((_Table(delimiter, names) for delimiter, names in several if names), None)


def _csv(path: Path, delimiter: str = ",") -> Iterator[Row]:
    told = _separator(path)
    other = _delimited_otherwise(path, ",") if delimiter == "," and told is None else None
    if other is not None and other.delimiter == "|":
        yield from _table_rows(path, other)
        return
    delimiter = told or (delimiter if other is None else other.delimiter)
    csv.field_size_limit(_FIELD_LIMIT)
    before = 0 if told is None else 1
    text = (line + "\n" for number, line in _text_lines(path) if number > before)
    # Strict: a quote that is opened and not closed would swallow the rows behind it.
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        for row in reader:
            if row:
                yield _row(row, header or [], f"{path}, line {before + reader.line_num}")
    except csv.Error as error:
        where = f"{path}, line {before + reader.line_num}"
        raise DataError(f"{where}: {error}; fix that line") from error


def _tsv(path: Path) -> Iterator[Row]:
    """Without quotes: a tab is always between two fields."""
    if _separator(path) is not None:
        yield from _csv(path)
        return
    if (other := _delimited_otherwise(path, "\t")) is not None:
        yield from (
            _csv(path, other.delimiter) if other.delimiter in ",;" else _table_rows(path, other)
        )
        return
    header: list[str] | None = None
    for number, line in _text_lines(path):
        row = line.split("\t")
        if header is None:
            header = row
        elif line:
            yield _row(row, header, f"{path}, line {number}")


# --- JSON ------------------------------------------------------------------------------------


def _json(path: Path) -> Iterator[Row]:
    document = json_document(path)
    if document is not None:
        for where, row in _of_document(document, path):
            problem = row if isinstance(row, str) else None
            yield where, {} if isinstance(row, str) else row, None, problem
        return
    for number, line in lines(path):
        where = f"{path}, line {number}"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf_8(where) from error
        try:
            yield where, json_object(line, where, with_torn=True), None, None
        except DataError as error:
            yield where, {}, None, str(error)


# Where, and the fields or what is wrong.
_Found = tuple[str, Mapping[str, Any] | str]


def _of_document(document: Any, path: Path) -> Iterator[_Found]:
    """Rows of one JSON document: COCO's captions, Karpathy's, a list, or an object of images."""
    if isinstance(document, list):
        return _listed(document, path, "row")
    if any(name in document for name in CAPTION_FIELDS):
        return iter([(f"{path}, line 1", document)])
    images, annotations = document.get("images"), document.get("annotations")
    if isinstance(annotations, list):
        return _coco(images if isinstance(images, list) else [], annotations, path)
    if isinstance(images, list) and any(isinstance(i, dict) and "sentences" in i for i in images):
        return _karpathy(images, path)
    if document and all(map(is_image_name, document)):
        return ((f"{path}, {k}", {"image": k, "caption": v}) for k, v in document.items())
    if document and all(isinstance(value, dict) for value in document.values()):
        return ((f"{path}, {k}", {"key": k, **v}) for k, v in document.items())
    several = [k for k, v in document.items() if isinstance(v, list) and _are_objects(v)]
    if len(several) == 1:
        return _listed(document[several[0]], path, several[0])
    return iter([(f"{path}, line 1", document)])


def _are_objects(several: Sequence[Any]) -> bool:
    return bool(several) and isinstance(several[0], dict)


def _listed(several: Iterable[Any], path: Path, name: str) -> Iterator[_Found]:
    for number, row in enumerate(several):
        where = f"{path}, {name} {number}"
        if isinstance(row, str):
            yield where, {"caption": row}
        else:
            yield where, row if isinstance(row, dict) else f"{where}: must be an object"


def _coco(images: Sequence[Any], annotations: Sequence[Any], path: Path) -> Iterator[_Found]:
    """COCO's form: captions name their image by an id, and `images` have its file name."""
    names = {
        image["id"]: image["file_name"]
        for image in images
        if isinstance(image, dict)
        and isinstance(image.get("id"), int | str)
        and "file_name" in image
    }
    for where, row in _listed(annotations, path, "annotation"):
        image = None if isinstance(row, str) else row.get("image_id")
        if isinstance(row, str) or not names or image is None:
            yield where, row
        elif isinstance(image, int | str) and image in names:
            yield where, {"image": names[image], **row}
        else:
            yield where, f"{where}: there is no image with the id {image!r:.40}"


def _karpathy(images: Sequence[Any], path: Path) -> Iterator[_Found]:
    for where, row in _listed(images, path, "image"):
        if isinstance(row, str):
            yield where, row
            continue
        folder, name = row.get("filepath"), row.get("filename")
        sentences = row.get("sentences")
        for sentence in sentences if isinstance(sentences, list) else [None]:
            told = sentence if isinstance(sentence, dict) else {}
            yield (
                where,
                {
                    "image": f"{folder}/{name}" if folder and name else name,
                    "caption": told.get("raw"),
                    "id": told.get("sentid"),
                },
            )


# --- Parquet, WebDataset ---------------------------------------------------------------------


def _parquet(path: Path) -> Iterator[Row]:
    for number, row in enumerate(parquet_rows(path, _PARQUET_ROWS, _columns)):
        yield f"{path}, row {number}", row, None, None


def _columns(schema: Any) -> list[str]:
    """Columns that may hold texts, ids and names; the bytes of images are left where they are."""
    import pyarrow as pa

    kinds = pa.types
    found = []
    for field in schema:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        if kinds.is_list(kind) or kinds.is_large_list(kind):
            kind = kind.value_type
            if kinds.is_struct(kind) and field.name in CAPTION_FIELDS:
                found.append(field.name)
                continue
        if kinds.is_struct(kind) and kind.get_field_index("path") >= 0:
            found.append(f"{field.name}.path")
        elif kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_integer(kind):
            found.append(field.name)
    return found


def _tar(path: Path) -> Iterator[Row]:
    for fields, image, where in tar_files.samples(path):
        name = None if image is None else f"{path.name}/{image.id}"
        yield where, fields, name, fields.get(tar_files.PROBLEM)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "txt": _txt,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "tar": _tar,
}
