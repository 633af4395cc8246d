"""The processes that torchrun started: which of them this is, and how they keep in step.

Vectors do not travel between them: each rank writes its share to the embedding store, and after a
barrier every rank reads all of it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from paraclip_bench.errors import BenchError, sentence_of

# Marks an error that all ranks know of.
_KNOWN = "paraclip_bench_known_to_all"
# A rank waits for the slowest; one that died is noticed by its connection, and by torchrun.
_PATIENCE = timedelta(days=7)
# Connecting takes no time once all are there.
_CONNECT, _ATTEMPTS = timedelta(seconds=20), 5


class RankFailed(BenchError):
    """Another process of this run failed, and so this one ends too."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process is number `rank` of `size`; one process alone is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def owns(self, number: int) -> bool:
        """Whether piece of work `number` is this rank's."""
        return number % self.size == self.rank

    def barrier(self, error: BaseException | None = None) -> None:
        """Wait for all ranks; an error of one ends all.

        An error is brought once, however often it is caught on its way. Raises `RankFailed` where
        some ranks bring an error and others do not: the run cannot go on in step. Where all bring
        one, each keeps its own and goes on as a single process would.
        """
        if self.size == 1 or (error is not None and is_known_to_all(error)):
            return
        # A stop is no news: every rank is stopped, and none waits for another.
        if isinstance(error, KeyboardInterrupt):
            return
        if error is not None:
            setattr(error, _KNOWN, True)
        errors = self.gather(None if error is None else sentence_of(error))
        failed = [rank for rank, text in enumerate(errors) if text is not None]
        if failed and len(failed) < self.size:
            raise RankFailed(f"rank {failed[0]} of {self.size} failed: {errors[failed[0]]}")

    def torch_group(self) -> Any:
        """torch.distributed, joined by all ranks."""
        return _joined()

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, on every rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            _joined().all_gather_object(values, value)
        return values

    def on_first(self, work: Callable[[], Any]) -> Any:
        """What `work` gives on rank 0, on every rank; an error of it ends all."""
        value: Any = None
        error: BaseException | None = None
        if self.is_first:
            try:
                value = work()
            except BaseException as raised:
                error = raised
        self.barrier(error)
        if error is not None:
            raise error
        return self.broadcast(value)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 gives, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        _joined().broadcast_object_list(box, src=0)
        return box[0]


def process_group() -> ProcessGroup:
    """What torchrun said of this process in its environment."""
    size = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" not in os.environ or not size.isdecimal() or int(size) < 2:
        return ProcessGroup()
    return ProcessGroup(int(os.environ["RANK"]), int(size))


def local_world_size() -> int:
    """How many processes of this run are on this machine, this one included."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(count)) if process_group().size > 1 and count.isdecimal() else 1


def is_known_to_all(error: BaseException) -> bool:
    """Whether every rank heard of this error, so that rank 0 tells it."""
    return isinstance(error, RankFailed) or hasattr(error, _KNOWN)


def local_device(device: str | None) -> str | None:
    """The device of this rank: `cuda` is one for each rank of a machine."""
    if device == "cuda" and process_group().size > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


def _joined() -> Any:
    """torch.distributed, joined: gloo for what lies on the CPU, nccl for what lies on a GPU."""
    import torch
    import torch.distributed as distributed

    if not distributed.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(
                int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
            )
            backend = "cpu:gloo,cuda:nccl"
        _join(distributed, backend)
        atexit.register(distributed.destroy_process_group)
    return distributed


def _join(distributed: Any, backend: str) -> None:
    """Join all ranks; connections that do not come about are tried again."""
    common, rank, size = next(distributed.rendezvous("env://", timeout=_PATIENCE))
    # What an earlier start of this run left in the store is not an address of now.
    store = distributed.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), common)
    # The slowest rank may still be starting: nobody connects before all are there.
    store.set(f"here/{rank}", "")
    store.wait([f"here/{other}" for other in range(size)], _PATIENCE)
    for attempt in range(_ATTEMPTS):
        try:
            # gloo loses a connection now and then when ranks restart, and then waits to the end.
            distributed.init_process_group(
                backend,
                store=distributed.PrefixStore(f"attempt/{attempt}", store),
                rank=rank,
                world_size=size,
                timeout=_CONNECT,
            )
            break
        except RuntimeError:
            if attempt + 1 == _ATTEMPTS:
                raise
    c10d = distributed.distributed_c10d
    getattr(c10d, "set_timeout", c10d._set_pg_timeout)(_PATIENCE)
