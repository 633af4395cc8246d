"""The errors of the package: what a user did, or what their files hold, in one sentence."""

from __future__ import annotations

from paraclip_bench import safe_text


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


def reason_of(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says, for one sentence."""
    lines = str(error).strip().splitlines()
    said = safe_text.sentence(lines[0]) if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
