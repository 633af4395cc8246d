"""A file of pairs: written as jsonl or Parquet, read in the formats of finetune, converted."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from paraclip_bench.data.row_files import (
    JSON_LINES,
    json_object,
    json_rows,
    parquet_rows,
    wrong_ending,
)
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import atomic, ending, regular
from paraclip_bench.safe_text import is_torn

FORMATS = (".jsonl", ".parquet")
_AT_ONCE = 4096
_TEXTS = ("id", "image", "caption", "paraphrase_1", "paraphrase_2", "prompt_1", "prompt_2", "llm")
Add = Callable[[dict[str, Any]], None]


def check_format(path: Path) -> None:
    """`UsageError` for a file whose ending names no format."""
    if ending(path) not in FORMATS:
        raise UsageError(
            f"the output {path} must end in {' or '.join(FORMATS)}, which says its format"
        )


@contextlib.contextmanager
def rows_to(
    path: Path, first: Iterable[dict[str, Any]] = (), *, texts: Sequence[str] = ()
) -> Iterator[Add]:
    """Give a function that writes one row; the file appears whole, at the end.

    A Parquet file's columns are those of the rows in `first`, or of the first row written, and
    `texts`: fields of text that not every row has.
    """
    check_format(path)
    with atomic(path) as temporary:
        if ending(path) == ".jsonl":
            with temporary.open("w", encoding="utf-8") as file:
                yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
            return
        table = _Parquet(temporary, first, texts)
        try:
            yield table.add
            table.flush()
        finally:
            table.close()


class _Parquet:
    """Rows on their way to a Parquet file; objects become the text of JSON."""

    def __init__(
        self, path: Path, first: Iterable[dict[str, Any]], texts: Sequence[str] = ()
    ) -> None:
        self._path, self._texts = path, texts
        self._waiting: list[dict[str, Any]] = []
        self._kinds: dict[str, str] = {}
        self._writer: Any = None
        for row in first:
            self._learn(row)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        if self._writer is None and not self._waiting and not self._kinds:
            self._learn({**row, **dict.fromkeys(self._texts, "")})
        for key, value in row.items():
            kind, known = _kind(value), self._kinds.get(key)
            fits = known == kind or (known, kind) == ("a number", "a whole number")
            if value is not None and not fits:
                told = known or "missing"
                raise DataError(
                    f"{key!r} is {told} in some rows and {kind} in others, which one Parquet file "
                    "cannot hold; write jsonl"
                )
        self._waiting.append(
            {k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()}
        )
        if len(self._waiting) == _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits; a file without rows has its columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            types = {
                "a text": pa.string(),
                "an object": pa.string(),
                "several texts": pa.list_(pa.string()),
                "a number": pa.float64(),
                "a whole number": pa.int64(),
                "true or false": pa.bool_(),
            }
            kinds = {**dict.fromkeys((*_TEXTS, *self._texts), "a text"), **self._kinds}
            schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
            self._writer = pq.ParquetWriter(self._path, schema)
        try:
            table = pa.Table.from_pylist(self._waiting, self._writer.schema)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"a row has a value that no column of Parquet holds ({error}); convert to .jsonl"
            ) from error
        self._writer.write_table(table)
        self._waiting.clear()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _learn(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if value is None:
                continue
            kind = _kind(value)
            if (known := self._kinds.setdefault(key, kind)) == kind:
                continue
            if {known, kind} == {"a number", "a whole number"}:
                self._kinds[key] = "a number"


def _kind(value: Any) -> str:
    """What a value is, in the words of a message."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, dict):
        return "an object"
    return "several texts" if isinstance(value, list) else "a text"


TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
_ROWS = 4096
# Columns that Parquet holds as the text of JSON.
_OBJECTS = ("sampling", "usage", "flags")


def read_pairs(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a jsonl or Parquet file; `DataError` where one has no caption or paraphrase.

    A `negation` may be there, and may be empty.
    """
    if not regular(path).is_file():
        raise UsageError(f"{path} does not exist; check the path of the pairs")
    if ending(path) not in (*JSON_LINES, ".parquet"):
        raise wrong_ending(path, FORMATS, "pairs")
    for where, row in _parquet(path) if ending(path) == ".parquet" else _jsonl(path):
        missing = [key for key in TEXTS if not row.get(key)]
        if missing:
            raise DataError(f"{where}: there is no {missing[0]!r} (there is {', '.join(row)})")
        for key in (*TEXTS, "negation") if row.get("negation") else TEXTS:
            several = row[key] if isinstance(row[key], list) else [row[key]]
            if not all(isinstance(t, str) and t.strip() and not is_torn(t) for t in several):
                raise DataError(f"{where}: {key!r} must be a text that is not empty, or several")
        yield row


def first_text(value: Any) -> str:
    """A text, or the first of several, of a row of `read_pairs`."""
    text: str = value[0] if isinstance(value, list) else value
    return text


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in json_rows(path):
        if isinstance(row, DataError):
            raise row
        yield where, row


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(parquet_rows(path, _ROWS)):
        where = f"{path}, row {number}"
        for key in _OBJECTS:
            if isinstance(row.get(key), str):
                row[key] = json_object(row[key].encode(), f"{where}, {key}")
        yield where, {key: value for key, value in row.items() if value is not None}


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
