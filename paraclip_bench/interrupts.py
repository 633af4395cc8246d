"""Ctrl-C and SIGTERM: what is done is kept, one sentence says how to go on, all within two seconds.

A signal raises `Stopped` in the main thread. A watching thread hears of it at once, also while the
main thread is inside of a long computation, and ends the process where it does not end by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that a process has to end by itself; with what the system needs that is less than two.
_GRACE = 1.2
_KEPT, _AGAIN = "what was finished is kept", "run the same command again"


class Stopped(KeyboardInterrupt):
    """The user, or the system, asked this process to end."""


class _Stop:
    """What is known of a stop: which signal, when, and what is said of it.

    deferred is how deep the main thread is in what a stop must not break; tell are calls that
    end such work early. keeping says what is being saved, which the end waits for until keep_until.
    """

    def __init__(self) -> None:
        self.is_active = self.is_raised = False
        self.number, self.since = 0, 0.0
        self.deferred = 0
        self.tell: list[Callable[[], None]] = []
        self.keeping, self.keep_until = "", 0.0
        self.kept, self.how, self.note, self.aloud = _KEPT, _AGAIN, "", True
        self.told = threading.Lock()

    def sentence(self) -> str:
        """What is said: what is kept, and how to go on."""
        note = f", {self.note}" if self.note else ""
        return f"stopped; {self.kept}: {self.how}{note}"

    def say(self) -> None:
        """Say it, once, whichever thread comes first."""
        if self.told.acquire(blocking=False) and self.aloud:
            _write(self.sentence())

    def receive(self, number: int) -> None:
        """Note a signal; the first one counts."""
        if not self.number:
            self.number, self.since = number, time.monotonic()


_stop = _Stop()


def requested() -> bool:
    """Whether this process was asked to end."""
    return bool(_stop.number)


def check() -> None:
    """Raise `Stopped` where this process was asked to end."""
    if _stop.number:
        raise Stopped


def go_on(how: str = _AGAIN, *, kept: str = _KEPT, aloud: bool = True) -> None:
    """How a user goes on after a stop, as an order, and what is kept until then.

    Not `aloud`: another process says it.
    """
    _stop.how, _stop.kept, _stop.aloud = how, kept, aloud


def note(what: str) -> None:
    """What is said besides: where the same command will go on. Nothing for an empty text."""
    _stop.note = what


@contextlib.contextmanager
def deferred(tell: Callable[[], None] | None = None) -> Iterator[None]:
    """What a stop must not break: it comes when the block is left. `tell` may end it early.

    Called from Python, outside of `handled`, Ctrl-C is the interpreter's own KeyboardInterrupt;
    without `tell` that comes later too, and a second one at once.
    """
    with contextlib.nullcontext() if tell else _own_ctrl_c_later(), _deferred(tell):
        yield


@contextlib.contextmanager
def _own_ctrl_c_later() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if heard:
            signal.default_int_handler(number, frame)
        heard.append(number)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if heard:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _deferred(tell: Callable[[], None] | None) -> Iterator[None]:
    _stop.deferred += 1
    if tell is not None:
        _stop.tell.append(tell)
        if _stop.number:
            tell()
    try:
        yield
    finally:
        _stop.deferred -= 1
        if tell is not None:
            _stop.tell.remove(tell)
        if _stop.number and not _stop.deferred:
            raise Stopped


@contextlib.contextmanager
def keeping(what: str, seconds: float = 20.0) -> Iterator[None]:
    """Save what is done at a stop, such as "the training state": the end waits for it so long."""
    _stop.keeping, _stop.keep_until = what, time.monotonic() + seconds
    try:
        yield
    finally:
        _stop.keeping, _stop.keep_until = "", min(_stop.keep_until, time.monotonic() + 0.2)


@contextlib.contextmanager
def not_for_children() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """End well at Ctrl-C, with exit code 130, and at SIGTERM, with 143.

    For the main thread of a program; does nothing within another such block. A second Ctrl-C ends
    the process at once.
    """
    global _stop
    if _stop.is_active or threading.current_thread() is not threading.main_thread():
        yield
        return
    _stop = _Stop()
    _stop.is_active = True
    hears, told = socket.socketpair()
    told.setblocking(False)
    # One that is ignored from the start (nohup, a script's background job) stays so.
    mine = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _handle) for number in mine}
    report, sys.unraisablehook = sys.unraisablehook, _report_other
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(hears,), name="interrupts", daemon=True).start()
    try:
        yield
        check()
    except BaseException as error:
        if not _stop.number and not isinstance(error, KeyboardInterrupt):
            raise
        _stop.say()
        if not _stop.number:
            raise SystemExit(128 + signal.SIGINT) from None
        # Without what the interpreter does at its end, such as waiting for threads.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        _end()
    finally:
        _stop.is_active = False
        sys.unraisablehook = report
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()


def _report_other(unraisable: sys.UnraisableHookArgs) -> None:
    """Print no traceback of a stop that came while an object was deleted: the watch ends it."""
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)


def _handle(number: int, _: FrameType | None) -> None:
    """Called in the main thread, between two steps of Python."""
    _stop.receive(number)
    # Later ones are the watching thread's: here they would only break what is being ended.
    if _stop.is_raised:
        return
    _stop.is_raised = True
    for tell in _stop.tell:
        tell()
    if not _stop.deferred:
        raise Stopped


def _watch(hears: socket.socket) -> None:
    """Wait for signals; after one, for the end, or make it."""
    # torchrun passes on what its processes may have heard already.
    may_repeat = "TORCHELASTIC_RUN_ID" in os.environ
    heard, said = 0, False
    while True:
        if select.select([hears], [], [], 0.05 if _stop.number else None)[0]:
            if not (numbers := hears.recv(64)):
                hears.close()
                return
            for number in numbers:
                if number not in _SIGNALS:
                    continue
                _stop.receive(number)
                if heard and number == signal.SIGINT and not may_repeat:
                    _end()
                heard += 1
        now = time.monotonic()
        if not _stop.number or now < _stop.since + _GRACE:
            continue
        if now > _stop.keep_until:
            _end()
        elif _stop.keeping and not said:
            said = True
            _write(f"saving {_stop.keeping} before the end; ctrl-C again does without")


def _end() -> NoReturn:
    """End this process and its workers now."""
    _stop.say()
    if "multiprocessing" in sys.modules:
        import multiprocessing
        import multiprocessing.util

        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()
            # Else its tracker of resources tells the user of semaphores that it had to remove.
            multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]
    os._exit(128 + _stop.number)


def _write(line: str) -> None:
    """A line on stderr, past its buffer, which the main thread may hold."""
    is_terminal = os.isatty(2)
    # A bar hides the cursor, and has the line for itself.
    start = "\r\x1b[K\x1b[?25h" if is_terminal else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{line}\n".encode())
