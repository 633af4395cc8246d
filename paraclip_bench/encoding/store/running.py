"""Which processes use the store now: a lock file for each, held as long as it lives.

The system drops a lock with its process, however that ends, so a file whose lock can be had is
stale. `register` and `earliest_start` are called with the database's write lock held: whoever
evicts either sees a process or is done before that process looks at what is stored.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import time
from pathlib import Path

import filelock

from paraclip_bench.encoding.store.abandon import abandon

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
