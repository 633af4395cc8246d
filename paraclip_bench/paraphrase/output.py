"""Rows as jsonl or Parquet, which finetune reads as they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
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
def rows_to(path: Path, first: Iterable[dict[str, Any]] = ()) -> Iterator[Add]:
    """Give a function that writes one row; the file appears whole, at the end.

    A Parquet file's columns are those of the rows in `first`, or of the first row written.
    """
    check_format(path)
    with atomic(path) as temporary:
        if path.suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as file:
                yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
            return
        table = _Parquet(temporary, first)
        try:
            yield table.add
            table.flush()
        finally:
            table.close()


class _Parquet:
    """Rows on their way to a Parquet file; objects become the text of JSON."""

    def __init__(self, path: Path, first: Iterable[dict[str, Any]]) -> None:
        self._path = path
        self._waiting: list[dict[str, Any]] = []
        self._kinds: dict[str, str] = {}
        self._writer: Any = None
        for row in first:
            self._learn(row)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        if self._writer is None and not self._waiting and not self._kinds:
            self._learn(row)
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
            kinds = {**dict.fromkeys(_TEXTS, "a text"), **self._kinds}
            schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
            self._writer = pq.ParquetWriter(self._path, schema)
        self._writer.write_table(pa.Table.from_pylist(self._waiting, self._writer.schema))
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
