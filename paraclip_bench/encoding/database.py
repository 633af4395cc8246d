"""The store's SQLite file: opened once a process, made again where it is damaged.

Here too: the bytes of one stored vector with the checksum that ties it to its key, and handles
that a forked child must not close, because that could take locks and files from its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock
import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import BenchError

CHECKSUM = 8
"""Bytes of a checksum, which follow the vector's."""


def space_identity(side: str, fingerprint: str, dtype: str) -> bytes:
    """16 bytes that name a space."""
    # JSON keeps the parts apart and takes any string, lone surrogates too.
    return hashlib.sha256(json.dumps([side, fingerprint, dtype]).encode()).digest()[:16]


def key_digest(key: str) -> bytes:
    """16 bytes that name an item; the text itself is never stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]


def pack(identity: bytes, key: bytes, flags: int, vector: npt.NDArray[np.float32]) -> bytes:
    """The stored form of a vector [d]: little-endian float32, then its checksum."""
    data = vector.astype("<f4", copy=False).tobytes()
    return data + _checksum(identity, key, flags, data)


def unpack(identity: bytes, key: bytes, flags: Any, value: Any) -> npt.NDArray[np.float32] | None:
    """The vector [d], float32 and read-only, or None where the checksum does not hold."""
    # A damaged page may give a value of any type that SQLite knows.
    if type(flags) is not int or type(value) is not bytes:
        return None
    data = value[:-CHECKSUM]
    if not data or len(data) % 4 or value[-CHECKSUM:] != _checksum(identity, key, flags, data):
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _checksum(identity: bytes, key: bytes, flags: int, data: bytes) -> bytes:
    head = identity + key + flags.to_bytes(8, "little", signed=True)
    digest = hashlib.blake2b(head, digest_size=CHECKSUM)
    digest.update(data)
    return digest.digest()


_kept: list[Any] = []


def abandon(handle: object) -> None:
    """Keep a handle open until the system takes it back with the process."""
    _kept.append(handle)
    # Python closes what a module holds when it ends; one reference too many prevents that.
    if sys.implementation.name == "cpython":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


WAIT = 60
"""Seconds that a process waits for another one's transaction."""
VERSION = 1
# Entries are narrow rows by themselves: to stamp one must not rewrite its vector.
TABLES = (
    "CREATE TABLE spaces (id INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE,"
    " side TEXT NOT NULL, fingerprint TEXT NOT NULL, dtype TEXT NOT NULL, label TEXT NOT NULL,"
    " created INTEGER NOT NULL)",
    "CREATE TABLE entries (space INTEGER NOT NULL, key BLOB NOT NULL, vector INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, value BLOB NOT NULL)",
)

T = TypeVar("T")


class StoreUnavailable(BenchError):
    """The embedding store cannot be used; whoever has vectors to keep does without it."""


@dataclass(frozen=True)
class _Open:
    connection: sqlite3.Connection
    file: tuple[int, int]
    """Device and inode: they tell when the path holds another file than this one."""


_opened: dict[tuple[int, Path], _Open] = {}
# In a list, so that a forked child can take a new one: another thread may hold the parent's.
_locks = [threading.RLock()]


class Database:
    """The SQLite file at `path`; made, with its folder, when it is first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_reset = False
        """Whether the file was damaged and was started again."""

    def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns for this process's connection; one thread at a time.

        `work` is called once more, on an empty database, where the file turns out to be damaged.
        Raises `StoreUnavailable` for anything else that SQLite or the system objects to.
        """
        with _locks[0]:
            try:
                try:
                    return work(self._connection())
                except sqlite3.Error as error:
                    if not _is_damage(error) or self.was_reset:
                        raise
                    self._start_anew()
                    return work(self._connection())
            except (sqlite3.Error, OSError, NotImplementedError) as error:
                raise StoreUnavailable(_sentence(self.path, error)) from error

    def exists(self) -> bool:
        """Whether there is a file yet; `StoreUnavailable` where one may not look."""
        try:
            return self._file() is not None
        except OSError as error:
            raise StoreUnavailable(_sentence(self.path, error)) from error

    def size_on_disk(self) -> int:
        """Bytes of the file and of what SQLite keeps beside it."""
        total = 0
        for path in self._files():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Close this process's connection; the next call opens another."""
        with _locks[0]:
            held = _opened.pop((os.getpid(), self.path), None)
            if held is not None:
                self._close(held, WAIT)

    def _connection(self) -> sqlite3.Connection:
        place = (os.getpid(), self.path)
        held = _opened.get(place)
        if held is not None and held.file == self._file():
            return held.connection
        if held is not None:  # another process started the file again, or the folder was removed
            self._close(_opened.pop(place), WAIT)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(WAIT):
            connection = _connect(self.path)
            file = self._file()
            if file is None:
                raise FileNotFoundError(errno.ENOENT, "the file vanished", str(self.path))
            _opened[place] = _Open(connection, file)
        return connection

    def _start_anew(self) -> None:
        held = _opened.pop((os.getpid(), self.path), None)
        with self._alone(WAIT):
            if held.file == self._file() if held else not _is_sound(self.path):
                for path in self._files():
                    path.unlink(missing_ok=True)
                self.was_reset = True
            # Otherwise another process was faster.
        if held is not None:
            self._close(held, WAIT)

    def _close(self, held: _Open, wait: float) -> None:
        # SQLite sees whether the file is still in its place, then removes the -wal by name:
        # in between, no one must start the file again.
        try:
            with self._alone(wait):
                held.connection.close()
        except (sqlite3.Error, OSError, NotImplementedError):
            abandon(held)

    def _alone(self, wait: float) -> filelock.BaseFileLock:
        """A lock under which the file is opened, closed and replaced, and nothing else."""
        path = self.path.with_suffix(".lock")
        return filelock.FileLock(path, timeout=wait, thread_local=False)

    def _file(self) -> tuple[int, int] | None:
        # Never open() the file: closing it would drop the locks that SQLite holds on it.
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of the block or none of it, with the database's write lock held."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=WAIT, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        # The first two count only before there is a table.
        connection.execute("PRAGMA page_size=16384")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        # A crash of the whole machine may lose the last vectors, and nothing else.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA cache_size=-32768")
        connection.execute(f"PRAGMA journal_size_limit={64 * 1024**2}")
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with transaction(connection):
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={VERSION}")
        elif version != VERSION:
            why = f"it is of format {version}, and this version of paraclip-bench knows {VERSION}"
            raise OSError(errno.EINVAL, why)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_sound(path: Path) -> bool:
    try:
        _connect(path).close()
    except sqlite3.Error as error:
        if _is_damage(error):
            return False
        raise
    return True


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _sentence(path: Path, error: Exception) -> str:
    """What is wrong with the store at `path`, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    blocker = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    elsewhere = "or set PARACLIP_CACHE to another folder"
    if blocker is not None:
        why, what = f"{blocker} is a file, not a folder", f"move that file, {elsewhere}"
    elif code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        why, what = "the disk is full", f"make room, {elsewhere}"
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, TimeoutError):
        why = f"other processes kept it locked for {WAIT} seconds"
        what = f"wait until they are done, {elsewhere}"
    else:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        what = f"check its permissions or remove it, {elsewhere}"
    return f"the embedding store {path} cannot be used because {why}; {what}"


def _close_all() -> None:
    for place, held in list(_opened.items()):
        if place[0] == os.getpid():
            Database(place[1])._close(_opened.pop(place, held), 5)


def _after_fork() -> None:
    # SQLite forbids a child to use its parent's connection, and even to close it.
    for held in _opened.values():
        abandon(held)
    _opened.clear()
    _locks[0] = threading.RLock()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
