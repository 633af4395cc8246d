"""Progress on stderr; stdout carries data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from paraclip_bench import safe_text

Advance = Callable[[int], None]


class Progress:
    """Lines and bars on stderr; bars only where stderr is a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    @property
    def is_shown(self) -> bool:
        """Whether bars are drawn."""
        return self._console.is_terminal and not self._console.quiet

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(safe_text.line(line), markup=False, emoji=False)

    @contextlib.contextmanager
    def track(self, title: str, total: int | None) -> Iterator[Advance]:
        """Show a bar for `total` items, None if nobody knows; call it with the number just done."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(
            *columns, console=self._console, transient=True, disable=not self.is_shown
        ) as bar:
            task = bar.add_task(escape(safe_text.line(title)), total=total, note="")
            yield lambda count: bar.advance(task, count)
