"""Progress on stderr; stdout carries data."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from paraclip_bench import safe_text

Advance = Callable[[int], None]

# Seconds until the first line of a long job, and between two, where there is no terminal.
_FIRST, _EVERY = 5.0, 10.0
# What comes at once was done before (stored vectors, kept answers), and is no measure of speed.
_AT_ONCE = 1.0
# A rate is that of so many lines, so about a minute's.
_WINDOW = 6


class Progress:
    """Lines and bars on stderr: a bar where that is a terminal, else a line every few seconds.

    first and every are the seconds until a job's first line, and between two; a job of which nobody
    knows how much it is gets its first line after three times as long.
    """

    def __init__(
        self, *, quiet: bool = False, first: float = _FIRST, every: float = _EVERY
    ) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._first, self._every = first, every

    @property
    def is_shown(self) -> bool:
        """Whether bars are drawn."""
        return self._console.is_terminal and not self._console.quiet

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(safe_text.line(line), markup=False, emoji=False)

    @contextlib.contextmanager
    def track(self, title: str, total: int | None) -> Iterator[Advance]:
        """Show a bar for `total` items, None if nobody knows; call it with the number just done.

        Without a terminal, lines with the count, the rate and the time left.
        """
        if not self.is_shown:
            with self._lines(title, total) as advance:
                yield advance
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(escape(safe_text.line(title)), total=total, note="")
            yield lambda count: bar.advance(task, count)

    @contextlib.contextmanager
    def _lines(self, title: str, total: int | None) -> Iterator[Advance]:
        count = Count(title, total)
        if self._console.quiet:
            yield count.advance
            return
        ended = threading.Event()

        def tell() -> None:
            # A thread's, because what takes long may not advance for long.
            if ended.wait(min(_AT_ONCE, self._first)):
                return
            count.sample()
            # What has no end to count to is mostly over soon: a library's start, a model's loading.
            wait = (self._first if total is not None else 3 * self._first) - _AT_ONCE
            while not ended.wait(max(wait, 0)):
                self.say(count.line())
                wait = self._every

        thread = threading.Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield count.advance
        finally:
            ended.set()
            thread.join()


class Count:
    """How far a job is, as a line. clock gives seconds."""

    def __init__(
        self, title: str, total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._total, self._clock = title, total, clock
        self._done, self._start = 0, clock()
        self._samples: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count

    def sample(self) -> None:
        """Measure the speed from now on."""
        self._samples.append((self._clock(), self._done))

    def line(self) -> str:
        """What is done, of how much, how fast, and how long the rest takes."""
        now, done = self._clock(), self._done
        since, before = self._samples[0] if self._samples else (self._start, 0)
        rate = (done - before) / (now - since) if now > since else 0.0
        self.sample()
        if self._total is None:
            told = f"{done:,} so far" if done else f"{duration(now - self._start)} so far"
            return f"{self._title}: {told}{_speed(rate)}"
        share = done / self._total if self._total else 1.0
        left = f", {duration((self._total - done) / rate)} left" if rate else ""
        return f"{self._title}: {done:,} of {self._total:,} ({share:.0%}){_speed(rate)}{left}"


def _speed(rate: float) -> str:
    if not rate:
        return ""
    if rate >= 10:
        return f", {rate:,.0f}/s"
    return f", {rate:.1f}/s" if rate >= 1 else f", {60 * rate:.1f}/min"


def duration(seconds: float) -> str:
    """A time for people: 45 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
