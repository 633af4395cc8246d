"""Rows of pairs from any format that finetune reads, for reports and conversions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.data.parquet_files import parquet_rows
from paraclip_bench.data.text_files import json_object, lines
from paraclip_bench.errors import DataError, UsageError

TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
_ROWS = 4096
# Columns that Parquet holds as the text of JSON.
_OBJECTS = ("sampling", "usage", "flags")


def read_pairs(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a jsonl or Parquet file; `DataError` where one has no caption or paraphrase."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; check the path of the pairs")
    if path.suffix not in (".jsonl", ".json", ".parquet"):
        raise UsageError(f"{path} must end in .jsonl or .parquet, which says its format")
    for where, row in _parquet(path) if path.suffix == ".parquet" else _jsonl(path):
        missing = [key for key in TEXTS if not row.get(key)]
        if missing:
            raise DataError(f"{where}: there is no {missing[0]!r} (there is {', '.join(row)})")
        yield row


def first_text(value: Any) -> str:
    """A text, or the first of several."""
    return str(value[0] if isinstance(value, list) else value)


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in lines(path):
        where = f"{path}, line {number}"
        yield where, json_object(line, where)


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(parquet_rows(path, _ROWS)):
        where = f"{path}, row {number}"
        for key in _OBJECTS:
            if isinstance(row.get(key), str):
                row[key] = json_object(row[key].encode(), f"{where}, {key}")
        yield where, {key: value for key, value in row.items() if value is not None}
