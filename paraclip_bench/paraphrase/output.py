"""Rows as jsonl or Parquet, which finetune reads as they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import atomic

FORMATS = (".jsonl", ".parquet")
_AT_ONCE = 4096
_TEXTS = ("id", "image", "caption", "paraphrase_1", "paraphrase_2", "prompt_1", "prompt_2", "llm")
Add = Callable[[dict[str, Any]], None]


def check_format(path: Path) -> None:
    """`UsageError` for a file whose ending names no format."""
    if path.suffix not in FORMATS:
        raise UsageError(
            f"the output {path} must end in {' or '.join(FORMATS)}, which says its format"
        )


@contextlib.contextmanager
def rows_to(path: Path) -> Iterator[Add]:
    """Give a function that writes one row; the file appears whole, at the end."""
    check_format(path)
    with atomic(path) as temporary:
        writing = _jsonl if path.suffix == ".jsonl" else _parquet
        with writing(temporary) as add:
            yield add


@contextlib.contextmanager
def _jsonl(path: Path) -> Iterator[Add]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Add]:
    """One schema for the file: paraphrases are lists if the first row's are; objects are JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[dict[str, Any]] = []
    writer: Any = None

    def flush() -> None:
        nonlocal writer
        if writer is None:
            writer = pq.ParquetWriter(path, _schema(waiting[0] if waiting else {}))
        try:
            writer.write_table(pa.Table.from_pylist(waiting, writer.schema))
        except (pa.ArrowException, TypeError) as error:
            raise DataError(
                f"rows of several forms do not fit one Parquet file ({error}); write jsonl"
            ) from error
        waiting.clear()

    def add(row: dict[str, Any]) -> None:
        waiting.append(
            {
                key: json.dumps(value) if isinstance(value, dict) else value
                for key, value in row.items()
            }
        )
        if len(waiting) == _AT_ONCE:
            flush()

    try:
        yield add
        flush()
    finally:
        if writer is not None:
            writer.close()


def _schema(first: dict[str, Any]) -> Any:
    import pyarrow as pa

    fields = []
    for name in (*_TEXTS, *(key for key in first if key not in _TEXTS)):
        several = isinstance(first.get(name), list)
        fields.append((name, pa.list_(pa.string()) if several else pa.string()))
    return pa.schema(fields)
