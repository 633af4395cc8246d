"""Keeps the store to a size: what was used longest ago goes, what a living process uses stays.

Each process that uses the store holds a lock file. The system drops a lock with its process,
however that ends, so a file whose lock can be had is stale. `register` and `earliest_start` are
called with the database's write lock held: whoever evicts either sees a process or is done before
that process looks at what is stored.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import re
import secrets
import sqlite3
import time
from pathlib import Path

import filelock

from paraclip_bench.encoding.database import abandon, transaction
from paraclip_bench.errors import UsageError

VARIABLE = "PARACLIP_STORE_LIMIT"
DEFAULT = 20 * 1000**3

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kmgt])(i?)b?|b?)\s*", re.IGNORECASE)


def store_limit() -> int:
    """The limit in bytes: `PARACLIP_STORE_LIMIT`, or 20 GB; `UsageError` where it is not a size."""
    text = os.environ.get(VARIABLE)
    return parse_size(text, VARIABLE) if text else DEFAULT


def parse_size(text: str, where: str) -> int:
    """Bytes of a size such as 20GB, 0.5 GiB or 0; `where` is what a `UsageError` names."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{where} is {text!r}, which is not a size; write one such as 20GB or 500MB"
        )
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


# The lock and the start of this process, by its id and the store's folder.
_own: dict[tuple[int, Path], tuple[filelock.BaseFileLock, int]] = {}


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def register(folder: Path) -> int:
    """Name this process as a user of the store in `folder`, once; returns its start (ms)."""
    place = (os.getpid(), folder)
    if place not in _own:
        start = now()
        files = folder / "running"
        files.mkdir(parents=True, exist_ok=True)
        # The start is in the name, so that no one reads a file that is only half written.
        path = files / f"{start}-{os.getpid()}-{secrets.token_hex(4)}.lock"
        lock = filelock.FileLock(path, timeout=0, thread_local=False)
        lock.acquire()
        _own[place] = (lock, start)
    return _own[place][1]


def is_registered(folder: Path) -> bool:
    """Whether this process is named as a user of the store in `folder`."""
    return (os.getpid(), folder) in _own


def earliest_start(folder: Path) -> int | None:
    """When the oldest living user of the store began (ms), or None; removes stale files."""
    starts = []
    own = _own.get((os.getpid(), folder))
    for path in (folder / "running").glob("*.lock"):
        start = path.name.partition("-")[0]
        if start.isascii() and start.isdecimal() and (_is_own(path, own) or _is_alive(path)):
            starts.append(int(start))
    return min(starts, default=None)


def _is_own(path: Path, own: tuple[filelock.BaseFileLock, int] | None) -> bool:
    return own is not None and Path(own[0].lock_file).name == path.name


def _is_alive(path: Path) -> bool:
    lock = filelock.FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except (filelock.Timeout, PermissionError):
        return True
    lock.release()
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return False


def _leave() -> None:
    for (process, _), (lock, _) in list(_own.items()):
        if process == os.getpid():
            with contextlib.suppress(OSError):
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)


def _after_fork() -> None:
    # A child that released its parent's lock would call its parent dead.
    for lock, _ in _own.values():
        abandon(lock)
    _own.clear()


atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
            start = earliest_start(folder)
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
