"""Keeps the store to a size: what was used longest ago goes, what a living process uses stays."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

from paraclip_bench.encoding.store import running
from paraclip_bench.encoding.store.database import transaction

HOUR = 3_600_000
"""Milliseconds. A stamp of last use is renewed only where it is older."""
FOREVER = 2**62
# Entries of one transaction, so that other writers wait for seconds at most.
AT_ONCE = 50_000
FREE = "freelist_count"
# Pages that one step of a vacuum gives back.
PAGES = 4096


def bytes_in_use(connection: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something; a few microseconds."""
    page, pages, free = (_pragma(connection, p) for p in ("page_size", "page_count", FREE))
    return page * (pages - free)


def remove_oldest(
    connection: sqlite3.Connection, folder: Path, target: int = 0, before: int = FOREVER
) -> int:
    """Remove entries, least recently used first, until `target` bytes or fewer are in use.

    Only entries last used before `before` (ms), and never those that a living process may count
    on: its stamps are at most an hour older than its start. Returns how many were removed.
    """
    removed = 0
    while True:
        with transaction(connection):
            excess = bytes_in_use(connection) - target
            start = running.earliest_start(folder)
            until = before if start is None else min(before, start - HOUR)
            rows = _oldest(connection, until, excess) if excess > 0 else []
            connection.executemany(
                "DELETE FROM entries WHERE space=? AND key=?", [r[:2] for r in rows]
            )
            connection.executemany("DELETE FROM vectors WHERE id=?", [r[2:] for r in rows])
            if not rows:
                _drop_empty_spaces(connection)
                return removed
        removed += len(rows)


def shrink(connection: sqlite3.Connection, size: int = 0) -> None:
    """Give free pages back to the system, as far as the file is longer than `size` bytes."""
    keep = size // _pragma(connection, "page_size")
    while True:
        beyond = _pragma(connection, "page_count") - keep
        count = min(beyond, _pragma(connection, FREE), PAGES)
        if count <= 0:
            break
        pages = _pragma(connection, "page_count")
        # One page a row: the rows have to be fetched.
        connection.execute(f"PRAGMA incremental_vacuum({count})").fetchall()
        if _pragma(connection, "page_count") == pages:
            break
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _oldest(
    connection: sqlite3.Connection, until: int, excess: int
) -> list[tuple[int, bytes, int]]:
    row = connection.execute("SELECT length(value) FROM vectors LIMIT 1").fetchone()
    page = _pragma(connection, "page_size")
    # What a row of each table takes; a page of vectors is rarely full to the last byte.
    each = 50 + page / max(1, page // (12 + (row[0] if row else 0)))
    # A few more than needed: each call looks at all entries.
    count = 8 + math.ceil(excess / each)
    return connection.execute(
        "SELECT space, key, vector FROM entries WHERE used < ? ORDER BY used, vector LIMIT ?",
        (until, min(count, AT_ONCE)),
    ).fetchall()


def _drop_empty_spaces(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM spaces WHERE NOT EXISTS (SELECT 1 FROM entries WHERE space = spaces.id)"
    )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
