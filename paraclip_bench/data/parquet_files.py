"""Rows of a Parquet file, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.errors import DataError


def parquet_rows(
    path: Path, at_once: int, columns: Callable[[Any], list[str]] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows in order; `columns` chooses of an Arrow schema which are read.

    Raises `DataError` for a file that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            chosen = None if columns is None else columns(file.schema_arrow)
            for batch in file.iter_batches(at_once, columns=chosen):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({error}); write it again"
        ) from error
