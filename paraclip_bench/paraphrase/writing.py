"""Answers on their way to the disk: all that wait are committed together, by one thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from paraclip_bench.paraphrase.journal import Answer, Journal

T = TypeVar("T")


class Writer:
    """Uses a journal from one thread, so that syncing the disk does not stop the questions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[tuple[Answer, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def add(self, answer: Answer) -> None:
        """Return when the answer is on the disk."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, kept))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await kept

    async def call(self, use: Callable[[Journal], T]) -> T:
        """What a function of the journal gives, called in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, use, self._journal)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            answers = [answer for answer, _ in batch]
            try:
                await self.call(functools.partial(Journal.add, answers=answers))
            except Exception as error:
                for _, kept in batch:
                    if not kept.done():
                        kept.set_exception(error)
            else:
                for _, kept in batch:
                    if not kept.done():
                        kept.set_result(None)

    async def close(self) -> None:
        """Commit what is waiting; ends the thread."""
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown()
