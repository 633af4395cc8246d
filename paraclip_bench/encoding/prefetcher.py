"""Images opened and preprocessed ahead of the network, a bounded number of them at a time.

In worker processes where there are enough images to pay for starting them, else in threads.
Prepared images come back through a pipe, as bytes: a container's shared memory (64 MB of /dev/shm
by default) holds only some hundred of them.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import Any

from paraclip_bench import interrupts
from paraclip_bench.data import images
from paraclip_bench.data.images import ImageRef
from paraclip_bench.distributed import local_world_size
from paraclip_bench.errors import UsageError, reason_of

# A worker imports torch first, which takes as long as preparing some hundred images.
_WORTH_PROCESSES = 2000
_MOST_WORKERS = 16
# A worker gets this many images at once; a prepared one is about 0.6 MB.
_PIECE = 16
# A `prepare` that pickles to more carries weights, and stays in this process.
_MOST_PICKLED = 1 << 20
# Bytes that the workers' pipe holds (Linux): with its usual 64 kB an image takes ten turns.
_PIPE = 1 << 20

Prepared = tuple[Any, int, bool]
"""Data, its size, and whether the image's file was cut off."""


def workers() -> int:
    """How many worker processes prepare images: PARACLIP_WORKERS, or one less than there are CPUs.

    The processes that torchrun started on this machine share its CPUs. Raises `UsageError` for a
    setting that is not a number.
    """
    setting = os.environ.get("PARACLIP_WORKERS")
    if setting is None:
        return max(1, min(_MOST_WORKERS, _cpus() - 1))
    if not setting.isdecimal():
        raise UsageError(
            f"PARACLIP_WORKERS is {setting!r}; give a number of processes, 0 for threads alone"
        )
    return int(setting)


class Prefetcher:
    """Prepares chunks of `refs` in order, the next one while the last is used.

    `total` is how many images that will be; where they are worth it, worker processes are started
    (spawned, with `prepare` pickled). `lenient`: a cut-off file is decoded as far as it goes.
    """

    def __init__(
        self,
        prepare: Callable[[Any], tuple[Any, int]],
        refs: Sequence[ImageRef],
        total: int,
        *,
        lenient: bool,
        say: Callable[[str], None],
    ) -> None:
        self._prepare = prepare
        self._refs = refs
        self._lenient = lenient
        self._say = say
        self._pool = self._processes(total) or self._threads()

    def chunks(
        self, chunks: Iterable[Sequence[int]]
    ) -> Iterator[tuple[Sequence[int], list[Prepared]]]:
        """Each chunk of indices into the refs, with what became of them."""
        waiting: deque[tuple[Sequence[int], list[Future[list[Prepared]]]]] = deque()
        is_stopped = False
        try:
            for chunk in chunks:
                waiting.append((chunk, self._submit(chunk)))
                if len(waiting) > 1:
                    yield self._finish(*waiting.popleft())
            while waiting:
                yield self._finish(*waiting.popleft())
        except KeyboardInterrupt:
            is_stopped = True
            raise
        finally:
            # Of what a stop leaves unfinished nothing is waited for.
            is_stopped = is_stopped or interrupts.requested()
            if is_stopped and isinstance(self._pool, ProcessPoolExecutor):
                for process in list((self._pool._processes or {}).values()):
                    process.kill()
            self._pool.shutdown(wait=not is_stopped, cancel_futures=True)
            images.be_lenient(False)

    def _submit(self, chunk: Sequence[int]) -> list[Future[Any]]:
        refs = [self._refs[index] for index in chunk]
        pieces = [refs[start : start + _PIECE] for start in range(0, len(refs), _PIECE)]
        try:
            return self._handed_over(pieces)
        except BrokenExecutor:
            self._leave_processes()
            return self._handed_over(pieces)

    def _handed_over(self, pieces: Sequence[Sequence[ImageRef]]) -> list[Future[Any]]:
        work = _prepare_there if isinstance(self._pool, ProcessPoolExecutor) else _prepare
        # Processes are started here, as they are needed.
        with interrupts.not_for_children():
            return [self._pool.submit(work, self._prepare, piece) for piece in pieces]

    def _finish(
        self, chunk: Sequence[int], futures: list[Future[Any]]
    ) -> tuple[Sequence[int], list[Prepared]]:
        try:
            return chunk, _taken(futures)
        except BrokenExecutor:
            self._leave_processes()
            return chunk, _taken(self._submit(chunk))

    def _leave_processes(self) -> None:
        interrupts.check()
        if isinstance(self._pool, ProcessPoolExecutor):
            self._say(
                "note: the worker processes ended, so images are prepared in threads; a script "
                'needs `if __name__ == "__main__":` for them, PARACLIP_WORKERS=0 does without'
            )
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._threads()

    def _processes(self, total: int) -> Executor | None:
        count = workers()
        if not count or total < _WORTH_PROCESSES:
            return None
        try:
            travels = len(pickle.dumps(self._prepare)) <= _MOST_PICKLED
        # Foreign code: whatever cannot be pickled is prepared here.
        except Exception:
            return None
        if not travels:
            return None
        spawn = multiprocessing.get_context("spawn")
        try:
            pool = ProcessPoolExecutor(count, spawn, initializer=_start, initargs=(self._lenient,))
        # Its queue has semaphores, which some containers and sandboxes do not allow.
        except (OSError, ImportError, NotImplementedError) as error:
            self._say(
                f"note: no worker processes here ({reason_of(error)}), so images are prepared in "
                "threads"
            )
            return None
        _widen(pool)
        return pool

    def _threads(self) -> Executor:
        images.be_lenient(self._lenient)
        return ThreadPoolExecutor(_cpus())


def _widen(pool: ProcessPoolExecutor) -> None:
    """Let the pipe of a pool's results hold more, where the system can: it is only faster."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        reader = pool._result_queue._reader  # type: ignore[attr-defined]
        fcntl.fcntl(reader.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


def _cpus() -> int:
    """CPUs that this process may use, its share of them under torchrun."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, count // local_world_size())


def _start(lenient: bool) -> None:
    """What a worker process does first."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Each has one core; without this every one of them would start a thread a core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    images.be_lenient(lenient)


def _end_with_parent() -> None:
    # A worker holds both ends of its queue: without this it would outlive a killed run for ever.
    if (parent := multiprocessing.parent_process()) is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _taken(futures: Sequence[Future[Any]]) -> list[Prepared]:
    """What pieces became, of threads as it is and of processes from its bytes."""
    found: list[Prepared] = []
    for future in futures:
        piece = future.result()
        found += pickle.loads(piece) if isinstance(piece, bytes) else piece
    return found


def _prepare_there(prepare: Callable[[Any], tuple[Any, int]], refs: Sequence[ImageRef]) -> bytes:
    """As `_prepare`, in a worker: as bytes, because torch sends its tensors by shared memory."""
    sent = io.BytesIO()
    _TensorsAsArrays(sent, protocol=5).dump(_prepare(prepare, refs))
    return sent.getvalue()


class _TensorsAsArrays(pickle.Pickler):
    """Pickles tensors as numpy arrays where those have their type: quicker than torch's own way."""

    def reducer_override(self, thing: Any) -> Any:
        """See `pickle.Pickler`."""
        torch = sys.modules.get("torch")
        if torch is None or type(thing) is not torch.Tensor or thing.requires_grad:
            return NotImplemented
        try:
            return torch.from_numpy, (thing.numpy(),)
        except (TypeError, RuntimeError):
            return NotImplemented


def _prepare(prepare: Callable[[Any], tuple[Any, int]], refs: Sequence[ImageRef]) -> list[Prepared]:
    prepared = []
    for ref in refs:
        images.forget_cut_off()
        data, size = prepare(ref)
        prepared.append((data, size, images.was_cut_off()))
    return prepared
