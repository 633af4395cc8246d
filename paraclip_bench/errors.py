"""What a user did, or what their files hold, told in one sentence."""


class BenchError(Exception):
    """Something failed and is named: one sentence that says what, where and what to do."""

    exit_code = 1
    fetchable = False
    """Whether only the network is wanting, and that because a dry run does without it."""


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
