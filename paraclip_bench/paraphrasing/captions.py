"""Captions from the files that people have, in one pass, and which are worth asking about."""

from __future__ import annotations

import csv
import difflib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from paraclip_bench.data import tar_files
from paraclip_bench.data.row_files import is_torn, json_object, lines, parquet_rows
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.paraphrasing.wording import word_count

Reason = Literal[
    "unreadable row", "empty", "not a text", "too few words", "too many words", "duplicate"
]
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|https?://\S+")


@dataclass(frozen=True)
class CaptionFilter:
    """Captions of min_words to max_words words, as `word_count` counts them.

    2 to 15 is what the ParaCLIP authors' script keeps (call_openai.py of dmis-lab/ParaCLIP).
    """

    min_words: int = 2
    max_words: int = 15

    def reason(self, text: Any) -> Reason | None:
        """Why a caption is left out; None where it is kept. Duplicates are the journal's."""
        if text is None or (isinstance(text, str) and not text.strip()):
            return "empty"
        if not isinstance(text, str):
            return "not a text"
        if is_torn(text):
            return "not a text"
        # Letters of any script; markup and addresses are not a caption.
        if _MARKUP.search(text) or not any(character.isalpha() for character in text):
            return "not a text"
        words = word_count(text)
        if words < self.min_words:
            return "too few words"
        return "too many words" if words > self.max_words else None


def normal(text: str) -> str:
    """The text as it is asked about: NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


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
# So many rows are looked at to learn which fields a file has.
_FIRST_ROWS = 100


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
class CaptionFields:
    """Which fields hold caption and image; None: the first usual name that a row has."""

    caption: str | None = None
    image: str | None = None


def caption_files(path: Path) -> list[Path]:
    """The file that `path` names, or the shards of a folder or a pattern, in order.

    Of a folder that has WebDataset shards only those: img2dataset writes its notes beside them.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in _ENDINGS and f.is_file())
        files = [f for f in files if f.suffix == ".tar"] or files
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
    formats = sorted({file.suffix for file in files})
    if len(formats) > 1:
        raise UsageError(
            f"{path} has files of several formats ({', '.join(formats)}), which may hold the same "
            "captions; name those of one by a pattern"
        )
    return files


def read_captions(files: Sequence[Path], fields: CaptionFields) -> Iterator[Caption]:
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


# where, fields, image, problem
_Read = tuple[str, Mapping[str, Any], str | None, str | None]
# where, text, image, id, problem
_Row = tuple[str, Any, str | None, str | None, str | None]


def _fields_of(file: Path, kind: str, fields: CaptionFields) -> Iterator[_Row]:
    """Rows of a file that has named fields: the first rows say which there are, each row which
    of them it has."""
    rows = _READERS[kind](file)
    first = list(islice(rows, _FIRST_ROWS))
    _check(first, fields, file)
    for where, row, image, problem in itertools.chain(first, rows):
        if problem is not None:
            yield where, None, None, None, problem
            continue
        text = _value(row, fields.caption, CAPTION_FIELDS)
        name = image if image is not None else _value(row, fields.image, IMAGE_FIELDS)
        if isinstance(name, Mapping):  # as `datasets` writes an image column
            name = name.get("path")
        id = _value(row, None, ID_FIELDS)
        yield where, text, _text(name), _text(id), None


def _value(row: Mapping[str, Any], chosen: str | None, names: Sequence[str]) -> Any:
    if chosen is not None:
        return row.get(chosen)
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _check(first: Sequence[_Read], fields: CaptionFields, file: Path) -> None:
    """`UsageError` for a field that the first rows do not have, or captions under no usual name."""
    names = list(dict.fromkeys(name for _, row, _, _ in first for name in row))
    if not names:
        return
    for wanted, option in ((fields.caption, "--caption-field"), (fields.image, "--image-field")):
        if wanted is not None and wanted not in names:
            close = difflib.get_close_matches(wanted, names, 1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"{option}: {file} has no field {wanted!r} (it has {', '.join(names)}){meant}"
            )
    if fields.caption is None and not any(name in names for name in CAPTION_FIELDS):
        raise UsageError(
            f"{file} has no field of a usual name for captions (it has {', '.join(names)}); "
            "name it with --caption-field"
        )


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


def _csv(path: Path) -> Iterator[_Read]:
    csv.field_size_limit(_FIELD_LIMIT)
    # Strict: a quote that is opened and not closed would swallow the rows behind it.
    reader = csv.reader((line + "\n" for _, line in _text_lines(path)), strict=True)
    try:
        header = next(reader, None)
        for row in reader:
            if row:
                yield _delimited(row, header or [], f"{path}, line {reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; fix that line") from error


def _tsv(path: Path) -> Iterator[_Read]:
    """Without quotes: a tab is always between two fields."""
    header: list[str] | None = None
    for number, line in _text_lines(path):
        row = line.split("\t")
        if header is None:
            header = row
        elif line:
            yield _delimited(row, header, f"{path}, line {number}")


def _delimited(row: Sequence[str], header: Sequence[str], where: str) -> _Read:
    if len(row) == len(header):
        return where, dict(zip(header, row, strict=True)), None, None
    return where, {}, None, f"{where}: {len(row)} fields where the header has {len(header)}"


def _parquet(path: Path) -> Iterator[_Read]:
    for number, row in enumerate(parquet_rows(path, _PARQUET_ROWS, _columns)):
        yield f"{path}, row {number}", row, None, None


def _columns(schema: Any) -> list[str]:
    """Columns that may hold texts, ids and names; the bytes of images are left where they are."""
    import pyarrow as pa

    kinds = pa.types
    found = []
    for field in schema:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        if kinds.is_struct(kind) and kind.get_field_index("path") >= 0:
            found.append(f"{field.name}.path")
        elif kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_integer(kind):
            found.append(field.name)
    return found


def _tar(path: Path) -> Iterator[_Read]:
    for fields, image, where in tar_files.samples(path):
        name = None if image is None else f"{path.name}/{image.id}"
        yield where, fields, name, fields.get(tar_files.PROBLEM)


_READERS: dict[str, Callable[[Path], Iterator[_Read]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "tar": _tar,
}
