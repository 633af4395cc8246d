"""Rows of pairs from any format that finetune reads, for reports and conversions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    for key in _OBJECTS:
                        if isinstance(row.get(key), str):
                            row[key] = json.loads(row[key])
                    kept = {key: value for key, value in row.items() if value is not None}
                    yield f"{path}, row {number}", kept
                    number += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({error}); write it again"
        ) from error
