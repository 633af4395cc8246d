"""Digests of large files and models, remembered by the files' size and time.

One small SQLite file in the user's cache; several processes may use it at once. Losing it costs
time, never a result.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paraclip_bench.files import regular
from paraclip_bench.workspace import cache_dir

# Digests that this process has asked for, by key.
_seen: dict[str, str] = {}
_connections: dict[tuple[int, Path], sqlite3.Connection] = {}
# In a list, so that a forked child can take a new one: another thread may hold the parent's.
_locks = [threading.Lock()]


def file_sha256(path: Path, *, again: bool = False) -> str:
    """sha256 (hex) of a file's bytes, read again only if its size or time changed, or if asked."""

    def digest() -> str:
        with regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    key = "sha256:" + stamp([path])
    if again:
        _seen[key] = digest()
        put(key, _seen[key])
    return remembered(key, digest)


def remembered(key: str, make: Callable[[], str]) -> str:
    """The text remembered under a key, made now where there is none."""
    # Thousands of cases share an image: asking SQLite for each would take longer than scoring.
    known = _seen.get(key) or get(key)
    if not isinstance(known, str):
        known = make()
        put(key, known)
    _seen[key] = known
    return known


def stamp(paths: Iterable[Path]) -> str:
    """A key that changes when one of the files changes: its path, size and time."""
    parts = []
    for path in paths:
        status = path.stat()
        # Device and inode notice a link that was turned to another file of equal size and time.
        file = f"{status.st_dev}|{status.st_ino}|{status.st_size}|{status.st_mtime_ns}"
        parts.append(f"{path.absolute()}|{file}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def get(key: str) -> Any:
    """The remembered value of a key, or None."""
    with contextlib.suppress(sqlite3.Error, OSError), _locks[0]:
        row = _open().execute("SELECT value FROM memo WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None
    return None


def put(key: str, value: Any) -> None:
    """Remember a JSON value; a cache that cannot be written is not a failure."""
    with contextlib.suppress(sqlite3.Error, OSError), _locks[0]:
        _open().execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (key, json.dumps(value)))


def put_first(key: str, value: Any) -> Any:
    """Remember a JSON value unless there is one; returns what is remembered now."""
    with contextlib.suppress(sqlite3.Error, OSError), _locks[0]:
        _open().execute("INSERT OR IGNORE INTO memo VALUES (?, ?)", (key, json.dumps(value)))
    known = get(key)
    return value if known is None else known


def _open() -> sqlite3.Connection:
    """This process's connection, kept open: thousands of images ask one after the other."""
    folder = cache_dir()
    place = (os.getpid(), folder)
    if place not in _connections:
        folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            folder / "memo.sqlite", timeout=10, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")
            database.execute("CREATE TABLE IF NOT EXISTS memo (key TEXT PRIMARY KEY, value TEXT)")
        except sqlite3.Error:
            database.close()
            raise
        atexit.register(database.close)
        _connections[place] = database
    return _connections[place]


def _after_fork() -> None:
    _locks[0] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
