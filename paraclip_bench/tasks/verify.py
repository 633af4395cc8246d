"""Is the data on this machine what a task says it must be? Hashes of files, numbers of examples."""

from __future__ import annotations

import dataclasses

from paraclip_bench.data.data_set import data_set_of, pin_of, whole_size
from paraclip_bench.data.snapshot import check_cached, check_prefetched, files, whereabouts
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import BenchError, DataError, MissingData, NotServed, reason_of
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
    """Hash the files of a task's data anew and read its examples under each of its protocols."""
    data, pin = data_set_of(task), pin_of(task)
    own = source.of(pin)
    base = Verdict(task.name, "", "right")
    if isinstance(own, HubSource) and data is not None:
        if pin is None:
            why = f"the hub has no copy of it that can be used ({data.source})"
            return _all(task, dataclasses.replace(base, state="missing", why=why))
        folder = whereabouts(pin, own.root)
        if folder is None:
            why = "not here; data prefetch fetches it"
            return _all(task, dataclasses.replace(base, state="missing", why=why))
        try:
            if own.root is None:
                hashed = check_cached(folder, pin, again=True)
            else:
                hashed = len(files(check_prefetched(own.root, pin, again=True)))
            own.rows(pin)
        except DataError as error:
            return _all(task, dataclasses.replace(base, state="wrong", why=str(error)))
        base = dataclasses.replace(base, files=len(files(folder)), hashed=hashed)
    return [_read(task, own, verdict) for verdict in _all(task, base)]


def _all(task: Task, verdict: Verdict) -> list[Verdict]:
    return [dataclasses.replace(verdict, protocol=protocol) for protocol in task.protocols]


def _read(task: Task, source: Source, verdict: Verdict) -> Verdict:
    verdict = dataclasses.replace(verdict, expected=whole_size(task, verdict.protocol))
    try:
        n = len(task.load(source, verdict.protocol))
    # A plugin's task may raise anything.
    except Exception as error:
        why = str(error) if isinstance(error, BenchError) else reason_of(error)
        state = "wrong"
        if isinstance(error, NotServed | MissingData):
            state = "other" if isinstance(error, NotServed) else "missing"
        return dataclasses.replace(verdict, state=state, why=why)
    verdict = dataclasses.replace(verdict, n=n)
    if verdict.expected is not None and n != verdict.expected:
        why = f"{n:,} examples where the whole set has {verdict.expected:,}"
        # A folder may hold a part of a set, or a set of the user's own.
        state = "partial" if n < verdict.expected else "wrong"
        return dataclasses.replace(verdict, state=state, why=why)
    return verdict
