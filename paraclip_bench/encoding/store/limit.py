"""How large the embedding store may grow, and sizes as people write them."""

from __future__ import annotations

import os
import re

from paraclip_bench.errors import UsageError

VARIABLE = "PARACLIP_STORE_LIMIT"
DEFAULT = 20 * 1000**3

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kmgt])(i?)b?|b?)\s*", re.IGNORECASE)


def store_limit() -> int:
    """The limit in bytes: `PARACLIP_STORE_LIMIT`, or 20 GB; `UsageError` where it is no size."""
    text = os.environ.get(VARIABLE)
    return parse_size(text, VARIABLE) if text else DEFAULT


def parse_size(text: str, where: str) -> int:
    """Bytes of a size such as 20GB, 0.5 GiB or 0; `where` is what a `UsageError` names."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{where} is {text!r}, which is no size; write one such as 20GB or 500MB")
    number, prefix, binary = found.groups()
    power = " kmgt".index(prefix.lower()) if prefix else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def size_text(size: int) -> str:
    """A number of bytes for people: 123 B, 1.5 kB, 20.0 GB."""
    if size < 1000:
        return f"{size} B"
    value = size / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
