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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paraclip_bench.workspace import cache_dir

# Digests that this process has asked for, by key.
_seen: dict[str, str] = {}
_connections: dict[tuple[int, Path], sqlite3.Connection] = {}
_LOCK = threading.Lock()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes, read again only if its size or time changed."""
    key = "sha256:" + stamp([path])
    # Thousands of cases share an image: asking SQLite for each would take longer than scoring.
    known = _seen.get(key) or get(key)
    if not isinstance(known, str):
        with path.open("rb") as file:
            known = hashlib.file_digest(file, "sha256").hexdigest()
        put(key, known)
    _seen[key] = known
    return known


def stamp(paths: Iterable[Path]) -> str:
    """A key that changes when one of the files changes: its path, size and time."""
    parts = []
    for path in paths:
        status = path.stat()
        parts.append(f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def get(key: str) -> Any:
    """The remembered value of a key, or None."""
    with contextlib.suppress(sqlite3.Error, OSError), _LOCK:
        row = _open().execute("SELECT value FROM memo WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None
    return None


def put(key: str, value: Any) -> None:
    """Remember a JSON value; a cache that cannot be written is no failure."""
    with contextlib.suppress(sqlite3.Error, OSError), _LOCK:
        _open().execute("INSERT OR REPLACE INTO memo VALUES (?, ?)", (key, json.dumps(value)))


def _open() -> sqlite3.Connection:
    """This process's connection, kept open: thousands of images ask one after the other."""
    folder = cache_dir()
    place = (os.getpid(), folder)
    if place not in _connections:
        folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            folder / "memo.sqlite", timeout=10, isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE IF NOT EXISTS memo (key TEXT PRIMARY KEY, value TEXT)")
        atexit.register(database.close)
        _connections[place] = database
    return _connections[place]
