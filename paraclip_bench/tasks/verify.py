"""Is the data on this machine what a task says it must be? Hashes of files, numbers of examples."""

from __future__ import annotations

import dataclasses

from paraclip_bench.data.source import Source
from paraclip_bench.errors import DataError, MissingData, NotServed, sentence_of
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found of one task's data under one protocol.

    state: "right"; "wrong", with the reason in `why`; "partial" for fewer examples than the whole
    set has; "missing"; or "other" where this copy does not serve the protocol. hashed is how many
    of its files could be compared with a checksum.
    """

    task: str
    protocol: str
    state: str
    n: int | None = None
    expected: int | None = None
    files: int = 0
    hashed: int = 0
    why: str = ""


def verify(task: Task, source: Source) -> list[Verdict]:
    """Hash the files of a task's data again and read its examples under each of its protocols."""
    data, pin = task.data_set, task.pin
    own = source.of(pin)
    base = Verdict(task.name, "", "right")
    if data is not None:
        try:
            if own.kind == "hub" and pin is None:
                raise MissingData(f"the hub has no copy of it that can be used ({data.source})")
            there, hashed = own.check(pin)
        except DataError as error:
            state = "missing" if isinstance(error, MissingData) else "wrong"
            return _all(task, dataclasses.replace(base, state=state, why=str(error)))
        base = dataclasses.replace(base, files=there, hashed=hashed)
    return [_read(task, own, verdict) for verdict in _all(task, base)]


def _all(task: Task, verdict: Verdict) -> list[Verdict]:
    return [dataclasses.replace(verdict, protocol=protocol) for protocol in task.protocols]


def _read(task: Task, source: Source, verdict: Verdict) -> Verdict:
    verdict = dataclasses.replace(verdict, expected=task.whole_size(verdict.protocol))
    try:
        n = len(task.load(source, verdict.protocol))
    # A plugin's task may raise anything.
    except Exception as error:
        why = sentence_of(error)
        state = "wrong"
        if isinstance(error, NotServed | MissingData):
            state = "other" if isinstance(error, NotServed) else "missing"
        return dataclasses.replace(verdict, state=state, why=why)
    verdict = dataclasses.replace(verdict, n=n)
    if verdict.expected is not None and n != verdict.expected:
        why = f"{counted(n, 'example')} where the whole set has {verdict.expected:,}"
        # A folder may hold a part of a set, or a set of the user's own.
        state = "partial" if n < verdict.expected else "wrong"
        return dataclasses.replace(verdict, state=state, why=why)
    return verdict
