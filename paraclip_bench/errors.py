"""The errors of the package: what a user did, or what their files hold, in one sentence."""

from __future__ import annotations

import errno

from paraclip_bench import safe_text

# What the machine lacks, which is nobody's bug.
_LACKS = {
    errno.ENOSPC: "the disk is full; make room, and run the same command again",
    errno.EDQUOT: "the disk quota is used up; make room, and run the same command again",
    errno.EROFS: "the disk is read-only; choose another place, or make it writable",
    errno.EACCES: "writing or reading is not permitted there; check its owner and mode",
    errno.EPERM: "writing or reading is not permitted there; check its owner and mode",
    errno.EIO: "the disk cannot be read or written; check it",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "the machine has too many files open; close other programs",
    errno.ENOMEM: "there is not enough memory; close other programs, or give smaller data",
}


class BenchError(Exception):
    """Something failed and is named: one sentence that says what, where and what to do.

    What it quotes may be foreign, so it is made safe for a terminal, and long values are cut.
    """

    exit_code = 1
    fetchable = False
    """Whether only the network is missing, because a dry run does without it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(safe_text.sentence(str(message)))


class UsageError(BenchError):
    """The command line or the call itself is wrong."""

    exit_code = 2


def check_name(name: object, what: str) -> None:
    """Raise `UsageError` for the name of `what` (a file, a folder) that is not UTF-8.

    No result, report or pair could be written that has it, which is better known beforehand.
    """
    if safe_text.is_torn(str(name)):
        raise UsageError(f"{what} {str(name)!r} is not UTF-8; rename that file or folder")


class DataError(BenchError):
    """A data file is missing, unreadable or does not hold what it should."""


class ModelError(BenchError):
    """A model cannot be loaded, or gives vectors that cannot be used."""


class NotServed(DataError):
    """A copy of a data set is right, but does not hold what a protocol needs."""


class MissingData(DataError):
    """A file or folder of the data layout is not there."""


def is_fetchable(error: BaseException) -> bool:
    """Whether only the network is missing, because a dry run does without it."""
    return isinstance(error, BenchError) and error.fetchable


def sentence_of(error: BaseException) -> str:
    """What an error says, for a line to the user: our own sentence, or a stranger's reason."""
    return str(error) if isinstance(error, BenchError) else reason_of(error)


def lack_of(error: BaseException) -> str | None:
    """What the machine lacks (room, memory, permission), and what to do; None for other errors."""
    if isinstance(error, MemoryError):
        return _LACKS[errno.ENOMEM]
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = safe_text.cut(repr(error.object), 80)
        return safe_text.sentence(f"{shown} is not UTF-8; rename that file, or fix that text")
    if not isinstance(error, OSError) or error.errno not in _LACKS:
        return None
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return safe_text.sentence(f"{where}{_LACKS[error.errno]}")


def reason_of(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says, for one sentence."""
    if (lack := lack_of(error)) is not None:
        return lack
    lines = str(error).strip().splitlines()
    said = safe_text.sentence(lines[0]) if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
