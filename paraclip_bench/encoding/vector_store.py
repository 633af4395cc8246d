"""Vectors on disk, shared by all runs of a user and by processes that run at once.

The file is SQLite rather than lmdb: a damaged page is an error and not a crash of the process, the
file shrinks when it is pruned, there is no map size to fix beforehand, and no further dependency.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.encoding import eviction
from paraclip_bench.encoding.database import (
    Database,
    StoreUnavailable,
    key_digest,
    pack,
    space_identity,
    transaction,
    unpack,
)
from paraclip_bench.encoding.eviction import store_limit
from paraclip_bench.workspace import cache_dir

__all__ = ["Space", "SpaceSummary", "StoreSummary", "StoreUnavailable", "VectorStore"]

NAME = "embeddings.sqlite"
# Keys of one query: a few hundred vectors are in memory at a time.
CHUNK = 256
# Keys of one transaction that stamps.
CLAIMS = 50_000
# A store that is over its limit and cannot help it does not look again before that (seconds).
PAUSE = 60
# What is left after an eviction, so that the next write does not start another.
LOW_WATER = 0.9

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SpaceSummary:
    """What the store holds of one encoder in one precision; times are UTC."""

    label: str
    side: str
    dtype: str
    fingerprint: str
    vectors: int
    bytes: int
    last_used: datetime
    created: datetime


@dataclass(frozen=True)
class StoreSummary:
    """What the store holds; `bytes` is the size on disk, with what SQLite keeps beside the file."""

    path: Path
    bytes: int
    limit: int
    spaces: list[SpaceSummary]


class VectorStore:
    """The store in `folder` (None: the user's cache), kept to `limit` bytes (None: the setting).

    Nothing is touched before the first call of a method. Each method, and each of a space, raises
    `StoreUnavailable` where the file cannot be used; the constructor raises `UsageError` for a
    setting that is not a size.

    damaged counts entries that were found damaged and were deleted. over_limit says that the store
    is larger than its limit because living processes count on what it holds.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = (cache_dir() if folder is None else folder).absolute()
        self.limit = store_limit() if limit is None else limit
        self.damaged = 0
        self.over_limit = False
        self._database = Database(self.folder / NAME)
        self._next_look = 0.0

    @property
    def path(self) -> Path:
        """The store's file."""
        return self._database.path

    @property
    def was_reset(self) -> bool:
        """Whether the file was damaged and was started again, empty."""
        return self._database.was_reset

    def space(self, side: str, fingerprint: str, dtype: str, label: str) -> Space:
        """The vectors of one encoder in one precision; `label` is shown and means nothing."""
        return Space(self, self._database, (side, fingerprint, dtype), label)

    def close(self) -> None:
        """Close the file for this process; the next call opens it again."""
        self._database.close()

    def summary(self) -> StoreSummary:
        """What is there; makes no file."""
        spaces = self._database.call(_summary) if self._database.exists() else []
        return StoreSummary(self.path, self._database.size_on_disk(), self.limit, spaces)

    def prune(
        self, max_size: int | None = None, older_than: timedelta | None = None
    ) -> tuple[int, int]:
        """Remove what was not used for so long, then the least recently used beyond `max_size`.

        `max_size` is in bytes. What a living process asked for stays. Returns how many vectors
        were removed and how many bytes of the file that freed.
        """
        if not self._database.exists():
            return 0, 0

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            before, removed = eviction.bytes_in_use(connection), 0
            if older_than is not None:
                age = int(older_than.total_seconds() * 1000)
                removed += eviction.remove_oldest(
                    connection, self.folder, before=eviction.now() - age
                )
            if max_size is not None:
                removed += eviction.remove_oldest(connection, self.folder, target=max_size)
            eviction.shrink(connection)
            return removed, max(0, before - eviction.bytes_in_use(connection))

        return self._database.call(work)

    def _keep_to_limit(self, connection: sqlite3.Connection) -> None:
        if eviction.bytes_in_use(connection) <= self.limit:
            self.over_limit = False
        elif time.monotonic() >= self._next_look:
            target = int(self.limit * LOW_WATER)
            eviction.remove_oldest(connection, self.folder, target)
            # Free pages below the limit will be written again; to give them back costs as much.
            eviction.shrink(connection, self.limit)
            self.over_limit = eviction.bytes_in_use(connection) > self.limit
            self._next_look = time.monotonic() + PAUSE if self.over_limit else 0.0


class Space:
    """The vectors of one encoder in one precision, by key.

    A key is any string that names an item: a text, or the digest of an image's content.
    """

    def __init__(
        self, store: VectorStore, database: Database, names: tuple[str, str, str], label: str
    ) -> None:
        self._store = store
        self._database = database
        self._names = names
        self._label = label
        self._identity = space_identity(*names)

    @property
    def dimension(self) -> int | None:
        """How many numbers its vectors have; None where it holds none."""
        return self._database.call(self._dimension)

    def read(self, keys: Sequence[str]) -> Iterator[tuple[int, Vector, int]]:
        """The stored ones of `keys`, in their order: index into `keys`, vector [d] and flags.

        Vectors are float32, read-only, bit for bit as written. At most a few hundred are in memory
        at a time. A damaged entry is deleted, counted in the store's `damaged`, and not given.
        """
        for start in range(0, len(keys), CHUNK):
            digests = [key_digest(key) for key in keys[start : start + CHUNK]]
            found = {key: (vector, flags) for key, vector, flags in self._read(digests)}
            for index, digest in enumerate(digests, start):
                if digest in found:
                    yield index, *found[digest]

    def write(
        self, keys: Sequence[str], vectors: Vector, flags: Sequence[int] | None = None
    ) -> None:
        """Keep vectors [len(keys), d], float32, with a number each (0 where none is given).

        All in one transaction. The first write of a key wins: `read` gives what the store holds.
        """
        values = np.ascontiguousarray(vectors)
        if values.dtype != np.float32 or values.ndim != 2 or not values.shape[1]:
            raise ValueError(f"vectors must be float32 [n, d], not {values.dtype} {values.shape}")
        marks = [0] * len(keys) if flags is None else [int(flag) for flag in flags]
        if not len(keys) == len(values) == len(marks):
            raise ValueError(f"{len(keys)} keys, {len(values)} vectors and {len(marks)} flags")
        if not keys:
            return
        fresh: dict[bytes, tuple[int, bytes]] = {}
        for name, vector, mark in zip(keys, values, marks, strict=True):
            key = key_digest(name)
            if key not in fresh:
                fresh[key] = (mark, pack(self._identity, key, mark, vector))

        self._database.call(partial(self._write, fresh=fresh))

    def claim(self, keys: Sequence[str]) -> None:
        """Say that this process asked for `keys`: while it lives, no one evicts those stored.

        What it writes is claimed too. A stamp is renewed only where it is more than an hour old.
        """
        if not eviction.is_registered(self._store.folder):
            self._database.call(self._register)
        for start in range(0, len(keys), CLAIMS):
            # In the order of the table: neighbours share pages.
            digests = sorted({key_digest(key) for key in keys[start : start + CLAIMS]})
            self._database.call(partial(self._claim, digests=digests))

    def _read(self, digests: list[bytes]) -> list[tuple[bytes, Vector, int]]:
        sound, broken = self._check(self._database.call(partial(self._rows, digests=digests)))
        if broken:
            self._database.call(partial(self._drop_broken, suspects=broken))
        return sound

    def _rows(
        self, connection: sqlite3.Connection, digests: list[bytes]
    ) -> list[tuple[bytes, Any, Any]]:
        return connection.execute(
            "SELECT key, flags, value FROM entries LEFT JOIN vectors ON vectors.id = vector"
            f" WHERE space = (SELECT id FROM spaces WHERE identity = ?) AND key IN {_in(digests)}",
            (self._identity, *digests),
        ).fetchall()

    def _check(
        self, rows: list[tuple[bytes, Any, Any]]
    ) -> tuple[list[tuple[bytes, Vector, int]], list[bytes]]:
        """The entries whose checksum holds, and the keys of the others."""
        sound, broken = [], []
        for key, flags, value in rows:
            vector = unpack(self._identity, key, flags, value)
            if vector is None:
                broken.append(key)
            else:
                sound.append((key, vector, flags))
        return sound, broken

    def _drop_broken(self, connection: sqlite3.Connection, suspects: list[bytes]) -> None:
        with transaction(connection):
            # Another process may have written them again meanwhile.
            _, broken = self._check(self._rows(connection, suspects))
            space = self._id(connection)
            for key in broken:
                (vector,) = connection.execute(
                    "SELECT vector FROM entries WHERE space=? AND key=?", (space, key)
                ).fetchone()
                connection.execute("DELETE FROM vectors WHERE id=?", (vector,))
                connection.execute("DELETE FROM entries WHERE space=? AND key=?", (space, key))
        self._store.damaged += len(broken)

    def _write(self, connection: sqlite3.Connection, fresh: dict[bytes, tuple[int, bytes]]) -> None:
        with transaction(connection):
            self._insert(connection, fresh)
        self._store._keep_to_limit(connection)

    def _register(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
            eviction.register(self._store.folder)

    def _insert(
        self, connection: sqlite3.Connection, fresh: dict[bytes, tuple[int, bytes]]
    ) -> None:
        stamp = max(eviction.now(), eviction.register(self._store.folder))
        space = self._id(connection)
        if space is None:
            side, fingerprint, dtype, label = map(_printable, (*self._names, self._label))
            space = connection.execute(
                "INSERT INTO spaces (identity, side, fingerprint, dtype, label, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (self._identity, side, fingerprint, dtype, label, stamp),
            ).lastrowid
        known = self._used_before(connection, space, list(fresh), eviction.FOREVER)
        self._stamp(connection, space, known, stamp)
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM vectors").fetchone()
        taken = set(known)
        new = [key for key in fresh if key not in taken]
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?)",
            [(last + 1 + i, fresh[key][1]) for i, key in enumerate(new)],
        )
        connection.executemany(
            "INSERT INTO entries (space, key, vector, flags, used) VALUES (?, ?, ?, ?, ?)",
            [(space, key, last + 1 + i, fresh[key][0], stamp) for i, key in enumerate(new)],
        )

    def _claim(self, connection: sqlite3.Connection, digests: list[bytes]) -> None:
        stamp = max(eviction.now(), eviction.register(self._store.folder))
        old = stamp - eviction.HOUR
        stale = self._used_before(connection, self._id(connection), digests, old)
        if stale:
            with transaction(connection):
                # The space may have been dropped and made again since.
                self._stamp(connection, self._id(connection), stale, stamp)

    def _used_before(
        self, connection: sqlite3.Connection, space: int | None, digests: list[bytes], when: int
    ) -> list[bytes]:
        found: list[bytes] = []
        for chunk in _chunks(digests):
            query = f"SELECT key FROM entries WHERE space=? AND key IN {_in(chunk)} AND used < ?"
            found += [key for (key,) in connection.execute(query, (space, *chunk, when))]
        return found

    def _stamp(
        self, connection: sqlite3.Connection, space: int | None, digests: list[bytes], stamp: int
    ) -> None:
        for chunk in _chunks(digests):
            connection.execute(
                f"UPDATE entries SET used=? WHERE space=? AND key IN {_in(chunk)} AND used < ?",
                (stamp, space, *chunk, stamp - eviction.HOUR),
            )

    def _id(self, connection: sqlite3.Connection) -> int | None:
        # Asked each time: the space may be pruned, or the whole file started again, meanwhile.
        row = connection.execute("SELECT id FROM spaces WHERE identity=?", (self._identity,))
        found = row.fetchone()
        return None if found is None else int(found[0])

    def _dimension(self, connection: sqlite3.Connection) -> int | None:
        query = (
            "SELECT key, flags, value FROM entries JOIN vectors ON vectors.id = vector"
            " WHERE space = (SELECT id FROM spaces WHERE identity = ?)"
        )
        with closing(connection.execute(query, (self._identity,))) as rows:
            for key, flags, value in rows:
                vector = unpack(self._identity, key, flags, value)
                if vector is not None:
                    return len(vector)
        return None


def _summary(connection: sqlite3.Connection) -> list[SpaceSummary]:
    rows = connection.execute(
        "SELECT label, side, dtype, fingerprint, count(*), max(used), created, max(vector)"
        " FROM spaces JOIN entries ON space = spaces.id GROUP BY spaces.id ORDER BY label, side"
    ).fetchall()
    summaries = []
    for label, side, dtype, fingerprint, count, used, created, vector in rows:
        # The vectors of a space have one size; to look at each would read the whole file.
        row = connection.execute("SELECT length(value) FROM vectors WHERE id=?", (vector,))
        size = (row.fetchone() or (0,))[0]
        times = [datetime.fromtimestamp(stamp / 1000, UTC) for stamp in (used, created)]
        summaries.append(SpaceSummary(label, side, dtype, fingerprint, count, count * size, *times))
    return summaries


def _chunks(digests: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(digests), CHUNK):
        yield digests[start : start + CHUNK]


def _in(values: Sequence[object]) -> str:
    return f"({','.join('?' * len(values))})"


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
