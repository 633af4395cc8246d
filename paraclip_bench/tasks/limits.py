"""Which rows a limit keeps where the rows come part by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any


def spread(rows: Sequence[Any], parts: Sequence[Hashable], n: int) -> list[Any]:
    """n rows, in their order: the first of each part, then the second of each, and so on.

    parts are the rows' own, and take turns in the order in which they first come.
    """
    first: dict[Hashable, int] = {}
    seen: defaultdict[Hashable, int] = defaultdict(int)
    turns = []
    for index, part in enumerate(parts):
        turns.append((seen[part], first.setdefault(part, len(first)), index))
        seen[part] += 1
    return [rows[index] for index in sorted(index for _, _, index in sorted(turns)[:n])]
