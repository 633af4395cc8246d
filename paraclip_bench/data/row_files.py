"""Readers of TSV, JSON, JSON lines and Parquet that name the file, the row and the fix."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from paraclip_bench import safe_text
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import ending, parse_json, regular

LINE_BYTES = 1 << 24
"""The longest line that a reader of lines takes into memory."""
JSON_LINES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
"""Endings of what `json_rows` reads."""
# A JSON document is read whole: so large a one, unpacked, and no larger.
_DOCUMENT_BYTES = 1 << 31


def wrong_ending(file: Path, known: Sequence[str], what: str) -> UsageError:
    """Why a file is not read whose ending is not among the `known` ones of `what`."""
    found = ending(file)
    if found.endswith((".gz", ".bz2", ".xz", ".zst")) or found in (".zip", ".tgz", ".7z", ".rar"):
        kind = "tar" if "tar" in found or found == ".tgz" else "file"
        return UsageError(f"{file} is compressed; unpack it, and give the plain {kind}")
    return UsageError(
        f"{file} has an ending that says no format of {what}; write it as one of {', '.join(known)}"
    )


def read_text(path: Path) -> str:
    """The UTF-8 text of a file (a byte-order mark is dropped)."""
    try:
        raw = regular(path, streams=True).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if raw.startswith(_UTF_16):
            raise _utf_16(path) from error
        line = raw[: error.start].count(b"\n") + 1
        raise not_utf_8(f"{path}, line {line}") from error


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _utf_16(path: Path) -> DataError:
    return DataError(
        f"{path} is UTF-16 and not UTF-8; convert the file to UTF-8 (iconv -f UTF-16 -t UTF-8; "
        "Excel: save it as CSV UTF-8)"
    )


def not_utf_8(where: str) -> DataError:
    """The error for bytes that are not UTF-8, which names the encoding that they mostly have."""
    return DataError(
        f"{where}: not UTF-8; convert the file to UTF-8 (from cp1252, as Excel saves CSV: iconv -f "
        "CP1252 -t UTF-8)"
    )


def read_tsv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a tab-separated file with a header, each with its line number.

    Quotes are plain characters, as in the STS releases. Raises `DataError` for a missing column
    or a row with another number of fields.
    """
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    if not lines[0]:
        raise DataError(f"{path} is empty; its first line must name the columns")
    header = lines[0].split("\t")
    for column in columns:
        if column not in header:
            raise DataError(
                f"{path} has no column {column!r} (it has {', '.join(header)}); "
                f"its header must name {', '.join(columns)}"
            )
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(fields)} fields where the header has {len(header)}; "
                "fix that line"
            )
        yield number, dict(zip(header, fields, strict=True))


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON file that holds a list of objects."""
    rows = read_json(path)
    _refuse_columns(rows, str(path))
    return _objects(rows, path)


def read_json_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """A JSON file that holds objects, in a list or under keys; each with its place or its key.

    Raises `DataError` for a key that comes twice.
    """
    rows = read_json(path, functools.partial(_unique, path))
    _refuse_columns(rows, str(path))
    if isinstance(rows, dict):
        return list(zip(rows, _objects(list(rows.values()), path, list(rows)), strict=True))
    return [(str(index), row) for index, row in enumerate(_objects(rows, path))]


def read_json(path: Path, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What a JSON file holds; `pairs_hook` makes an object of its pairs, in place of dict.

    Raises `DataError` for a file that is not JSON or has a half of a character anywhere.
    """
    text = read_text(path)
    found = _parsed(text, path, pairs_hook)
    if _HALF.search(text):
        refuse_torn(found, f"{path}")
    return found


def _parsed(
    content: str | bytes,
    path: Path,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """What the JSON of a whole file holds; `DataError` where it cannot be read."""
    try:
        return parse_json(content, pairs_hook)
    except UnicodeDecodeError as error:
        raise not_utf_8(str(path)) from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise DataError(
                f"{path}, line {error.lineno}: there is more behind the JSON's end, as in JSON "
                "lines; write one list, [ … ], with commas between its objects"
            ) from error
        raise DataError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); "
            "the file may be cut off, copy it again"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON that can be read ({error}); copy it again") from error


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"{path}: the key {twice!r} comes twice in one object; fix the file")
    return found


def _objects(rows: Any, path: Path, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise DataError(f"{path} must hold a list of objects, not one {type(rows).__name__}")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            case = keys[index] if keys else index
            raise DataError(f"{path}, case {case}: must be an object, not {row!r:.40}")
    if not rows:
        raise DataError(f"{path} holds no rows")
    return rows


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file, each with its line number; blank lines are passed over."""
    for number, line in lines(path):
        yield number, json_object(line, f"{path}, line {number}")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where its name ends in .gz; `DataError` if unreadable."""
    try:
        with (
            regular(path).open("rb") as file,
            gzip.GzipFile(fileobj=file) if ending(path).endswith(".gz") else file as content,
        ):
            if content.peek(2).startswith(_UTF_16):
                raise _utf_16(path)
            yield content  # type: ignore[misc]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; check the path") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def all_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line of a file with its number, one at a time, without a byte-order mark.

    Raises `DataError` for a line of more than `LINE_BYTES`: it is another kind of file.
    """
    with opened(path) as file:
        for number in itertools.count(1):
            if not (line := file.readline(LINE_BYTES + 1)):
                break
            if len(line) > LINE_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than {LINE_BYTES:,} bytes, so this is not "
                    "a file of one row a line; check the path"
                )
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with something in them, as `all_lines` gives them."""
    return ((number, line) for number, line in all_lines(path) if line.strip())


# How pandas writes a table in a row or a file: columns, each of which has values by row number.
_USUAL_COLUMNS = {"caption", "captions", "text", "image", "query", "paraphrase_1"}


def _refuse_columns(found: Any, where: str) -> None:
    """Raise `DataError` for JSON that pandas wrote by columns, or without their names."""
    if isinstance(found, list):
        is_table = bool(found) and isinstance(found[0], list)
    elif isinstance(found, dict) and found:
        columns = list(found.values())
        is_split = found.keys() >= {"columns", "data"} and isinstance(found["data"], list)
        is_table = is_split or (
            all(isinstance(column, dict) for column in columns)
            and all(column.keys() == columns[0].keys() for column in columns)
            and bool(columns[0])
            and (all(map(str.isdigit, columns[0])) or bool(_USUAL_COLUMNS & found.keys()))
        )
    else:
        is_table = False
    if is_table:
        raise DataError(
            f"{where} is a table as pandas' to_json writes it; write one object a row, with "
            'to_json(…, orient="records", lines=True)'
        )


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
    """The rows of JSON lines, or of a file that is one JSON list; each with where it is.

    A row that is not an object is a `DataError` in its place. Raises `DataError` for a file that
    cannot be read.
    """
    document = json_document(path)
    if isinstance(document, dict):
        yield f"{path}, line 1", _checked(document, f"{path}, line 1")
    elif document is not None:
        for number, row in enumerate(document):
            where = f"{path}, row {number}"
            yield where, _checked(row, where)
    else:
        for number, line in lines(path):
            where = f"{path}, line {number}"
            try:
                yield where, json_object(line, where)
            except DataError as error:
                yield where, error


def _checked(row: Any, where: str) -> dict[str, Any] | DataError:
    try:
        if not isinstance(row, dict):
            raise DataError(f"{where}: must be an object")
        refuse_torn(row, where)
    except DataError as error:
        return error
    return row


def json_document(path: Path) -> Any:
    """The list or object of a file that is one JSON document; None where it is JSON lines.

    Only a document is read whole. Raises `DataError` for one that is cut off or too large, or is a
    table as pandas writes it.
    """
    found = _one_document(path)
    _refuse_columns(found, str(path))
    return found


def _one_document(path: Path) -> Any:
    with opened(path) as file:
        first, second = _first_two(file)
    if first[:1] not in (b"[", b"{"):
        return None
    if len(first) > LINE_BYTES:
        return _document(path)
    try:
        parsed = parse_json(first)
    except ValueError:
        # Over several lines, or JSON lines of which the first is damaged.
        several = second[:1] != b"{" and (
            first in (b"[", b"{") or ending(path) in (".json", ".json.gz")
        )
        return _document(path) if several or first[:1] == b"[" else None
    return None if second else parsed


def _first_two(file: IO[bytes]) -> tuple[bytes, bytes]:
    """The first two lines with something in them, stripped; the second empty where there is none,
    or where the first is longer than a line may be."""
    found: list[bytes] = []
    while len(found) < 2 and (line := file.readline(LINE_BYTES + 1)):
        if not found:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) > LINE_BYTES:
            found += [line, b""]
        elif line.strip():
            found.append(line.strip())
    return found[0] if found else b"", found[1] if len(found) > 1 else b""


def _document(path: Path) -> Any:
    with opened(path) as file:
        content = file.read(_DOCUMENT_BYTES + 1)
    if len(content) > _DOCUMENT_BYTES:
        raise DataError(
            f"{path} is one JSON document of more than {_DOCUMENT_BYTES >> 30} GiB; "
            "write it as JSON lines, one object a line"
        )
    return _parsed(content.removeprefix(codecs.BOM_UTF8), path)


def json_object(line: bytes, where: str, *, with_torn: bool = False) -> dict[str, Any]:
    """The JSON object of one line; `with_torn`: one with halves of characters is taken too."""
    try:
        text = line.decode("utf-8")
        row = parse_json(text)
    except UnicodeDecodeError as error:
        raise not_utf_8(where) from error
    except json.JSONDecodeError as error:
        why = _no_line(line) or "the file may be cut off, fix or drop that line"
        raise DataError(f"{where}: not valid JSON ({error.msg}); {why}") from error
    except ValueError as error:
        raise DataError(f"{where}: not JSON that can be read ({error}); drop that line") from error
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: must be an object" + (f"; {hint}" if (hint := _no_line(line)) else "")
        )
    _refuse_columns(row, where)
    if not with_torn and _HALF.search(text):
        refuse_torn(row, where)
    return row


def _no_line(line: bytes) -> str | None:
    """What a line has that those of JSON lines have not, and what to do; None where nothing."""
    stripped = line.strip()
    if stripped[:1] in (b"[", b"]"):
        return (
            "this is a JSON list, where JSON lines are read; write one object a line, without "
            "brackets and commas"
        )
    if stripped.endswith(b"},"):
        return "there is a comma behind the object, which JSON lines have not; drop these commas"
    return None


def text_field(row: Mapping[str, Any], key: str, where: str) -> str:
    """A field that must be a text with something in it."""
    value = row.get(key)
    if key not in row:
        raise DataError(f"{where}: there is no {key!r} (there is {', '.join(row) or 'nothing'})")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key!r} must be a text that is not empty")
    refuse_torn(value, f"{where}, {key!r}")
    return value


def int_field(row: Mapping[str, Any], key: str, where: str) -> int:
    """A field that must be a whole number (12 or 12.0)."""
    value = row.get(key)
    # JSON as Python reads it also has NaN and Infinity.
    whole = value.is_integer() if isinstance(value, float) else isinstance(value, int)
    if value is None or isinstance(value, bool) or not whole:
        raise DataError(f"{where}: {key!r} must be a whole number, not {value!r}")
    return int(value)


# What is decoded from UTF-8 has no halves, so that JSON has them by these alone.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def refuse_torn(value: Any, where: str) -> None:
    """Raise `DataError` where a text (`safe_text.is_torn`) of what JSON holds is torn."""
    # Not by recursion, because JSON may be nested more deeply than Python calls may.
    left: list[tuple[Any, Any]] = [(value, None)]
    while left:
        part, place = left.pop()
        if isinstance(part, str):
            if safe_text.is_torn(part):
                shown = f"{where}{_told(place)}: {safe_text.cut(part, 80)!r}"
                if safe_text.is_of_bytes(part):
                    raise DataError(f"{shown} is not UTF-8; rename that file")
                raise DataError(
                    f"{shown} has a half of a character (a lone surrogate), which no file of text "
                    "can hold; fix that text"
                )
        elif isinstance(part, Mapping):
            left += [(item, (place, key)) for key, item in reversed(list(part.items()))]
            left += [(key, (place, None)) for key in part]
        elif isinstance(part, list):
            several = range(len(part) - 1, -1, -1)
            left += [(part[number], (place, number)) for number in several]


def _told(place: Any) -> str:
    """Where a part of a document is, behind where the document is."""
    names = []
    while place is not None:
        place, name = place
        names.append(", a key" if name is None else f", {name!r}")
    return "".join(reversed(names))


def parquet_rows(
    path: Path, at_once: int, columns: Callable[[Any], list[str]] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows in order; `columns` chooses of an Arrow schema which are read.

    Raises `DataError` for a file that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(regular(path)) as file:
            chosen = None if columns is None else columns(file.schema_arrow)
            for batch in file.iter_batches(at_once, columns=chosen):
                yield from batch.to_pylist()
    # Of a damaged file Arrow raises what it meets: ValueError for a name that is not UTF-8.
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({error}); write it again"
        ) from error
