"""Rows of a Parquet file; images are paths, bytes, or the structs that `datasets` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.data.training.row import TEXTS
from paraclip_bench.errors import DataError

# Few, for each may carry the bytes of an image.
_AT_ONCE = 256
_COLUMNS = ("id", "image", "image_id", *TEXTS)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows in order, those columns alone that training reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(_AT_ONCE, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({error}); write it again"
        ) from error
