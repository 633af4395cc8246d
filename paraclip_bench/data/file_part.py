"""A stretch of a file that is read when it is needed, such as an image in a tar."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from paraclip_bench.data import memo
from paraclip_bench.errors import DataError


@dataclasses.dataclass(frozen=True)
class FilePart:
    """`size` bytes of a file from `offset` on; calling it reads them. Picklable."""

    path: Path
    offset: int
    size: int

    def __call__(self) -> bytes:
        """The bytes; `DataError` where the file has become too short for them."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise DataError(f"{self.path} changed while it was used; run the command again")
        return data

    def sha256(self) -> str:
        """sha256 (hex) of the bytes, read again only if the file's size or time changed."""
        key = f"sha256:{memo.stamp([self.path])}:{self.offset}:{self.size}"
        return memo.remembered(key, lambda: hashlib.sha256(self()).hexdigest())
