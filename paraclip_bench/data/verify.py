"""Is the data on this machine what a task says it must be? Hashes of files, numbers of examples."""

from __future__ import annotations

import dataclasses

from paraclip_bench.data.pins import data_set_of
from paraclip_bench.data.snapshot import check_cached, check_prefetched, files, whereabouts
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import BenchError, DataError, MissingData
from paraclip_bench.registry import reason_of
from paraclip_bench.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found of one task's data under one protocol.

    state: "right"; "wrong", with the reason in `why`; "missing"; or "other" where this copy does
    not serve the protocol. hashed is how many of its files could be compared with a checksum.
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
    """Check the files of a task's data and read its examples under each of its protocols."""
    data = data_set_of(task)
    own = source.of(data.pin if data else None)
    there = hashed = 0
    if isinstance(own, HubSource):
        if data is None or data.pin is None:
            why = f"the hub has no copy of it that can be used ({data.source if data else '?'})"
            return [Verdict(task.name, protocol, "missing", why=why) for protocol in task.protocols]
        if not whereabouts(data.pin, own.root):
            why = "not here; data prefetch fetches it"
            return [Verdict(task.name, protocol, "missing", why=why) for protocol in task.protocols]
        try:
            if own.root is None:
                folder = whereabouts(data.pin, None)
                hashed = check_cached(folder, data.pin) if folder else 0
            else:
                folder = check_prefetched(own.root, data.pin)
                hashed = len(files(folder))
            there = len(files(folder)) if folder else 0
            own.rows(data.pin)
        except DataError as error:
            return [
                Verdict(task.name, protocol, "wrong", why=str(error)) for protocol in task.protocols
            ]
    found = []
    for protocol in task.protocols:
        expected = data.examples.get(protocol) if data else None
        base = Verdict(task.name, protocol, "right", None, expected, there, hashed)
        found.append(_read(task, own, base))
    return found


def _read(task: Task, source: Source, verdict: Verdict) -> Verdict:
    try:
        n = len(task.load(source, verdict.protocol))
    # A plugin's task may raise anything.
    except Exception as error:
        why = str(error) if isinstance(error, BenchError) else reason_of(error)
        state = "wrong"
        if isinstance(source, HubSource):
            state = "other"
        elif isinstance(error, MissingData):
            state = "missing"
        return dataclasses.replace(verdict, state=state, why=why)
    verdict = dataclasses.replace(verdict, n=n)
    if verdict.expected is not None and n != verdict.expected:
        why = f"{n:,} examples where the whole set has {verdict.expected:,}"
        return dataclasses.replace(verdict, state="wrong", why=why)
    return verdict
