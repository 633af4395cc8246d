"""Rows of a Parquet file; images are paths, bytes, or the structs that `datasets` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paraclip_bench.data.parquet_files import parquet_rows
from paraclip_bench.data.training.row import TEXTS

# Few, for each may carry the bytes of an image.
_AT_ONCE = 256
_COLUMNS = ("id", "image", "image_id", *TEXTS)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows in order, those columns alone that training reads."""
    return parquet_rows(
        path, _AT_ONCE, lambda schema: [name for name in _COLUMNS if name in schema.names]
    )
