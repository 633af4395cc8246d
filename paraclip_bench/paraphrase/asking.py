"""How a service is asked: at most so fast, again after what may pass, and not while it is down."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from paraclip_bench.errors import BenchError
from paraclip_bench.paraphrase.services.base import Again, Question, Said, Service

# A limit a minute holds in every span of so many seconds: services count in short windows too.
_SPAN = 6.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# So many failures in a row, of a service that seems not to work, are no accident.
_DOWN_AFTER = 20
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Manners:
    """Limits of a run: how many questions at once and a minute, how often and how long to wait."""

    concurrency: int = 16
    requests_a_minute: float | None = None
    tokens_a_minute: float | None = None
    retries: int = 8
    patience: float = 900.0


class GaveUp(Exception):
    """A question that was asked as often as may be; the run goes on without it."""


class Asker:
    """Asks a service with manners. One for a run; any number of tasks may ask at once."""

    def __init__(
        self,
        service: Service,
        manners: Manners,
        say: Callable[[str], None],
        *,
        prompt_characters: Callable[[Question], int] = lambda question: len(question.text),
        first_wait: float = _FIRST_WAIT,
    ) -> None:
        self._service, self._manners, self._say = service, manners, say
        self._first_wait, self._prompt_characters = first_wait, prompt_characters
        self._requests = _limiter(manners.requests_a_minute)
        self._tokens = _limiter(manners.tokens_a_minute)
        # What an answer takes, learned from those that came.
        self._answer_tokens = 32.0
        self._is_up = asyncio.Event()
        self._is_up.set()
        self._down_after = max(_DOWN_AFTER, manners.concurrency)
        self._down_in_a_row = 0
        self.failures = 0

    async def ask(self, question: Question) -> Said:
        """An answer, or `GaveUp`; `BenchError` where asking anybody is pointless."""
        failed = 0
        while True:
            await self._is_up.wait()
            try:
                return await self._once(question)
            except Again as error:
                if self._breaks(error):
                    said = await self._until_up(question, error)
                    if said is not None:
                        return said
                elif self._is_up.is_set():
                    failed += 1
                    if failed > self._manners.retries:
                        raise GaveUp(str(error)) from error
                    await asyncio.sleep(self._wait(failed, error.after))
                # Else it is down since: that was not this question's failure.

    async def _once(self, question: Question) -> Said:
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            characters = self._prompt_characters(question)
            tokens = characters / _CHARACTERS_A_TOKEN + self._answer_tokens
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))
        try:
            said = await self._service.ask(question)
        except Again:
            self.failures += 1
            raise
        self._down_in_a_row = 0
        if said.completion_tokens:
            self._answer_tokens += 0.05 * (said.completion_tokens - self._answer_tokens)
        return said

    def _wait(self, failed: int, after: float | None) -> float:
        """Seconds: drawn below a bound that doubles, on top of what the service asks for.

        Drawn from nothing up (full jitter, Brooker 2015), so that questions that failed together
        do not come back together.
        """
        longest = min(_LONGEST_WAIT, self._first_wait * 2 ** (failed - 1))
        return random.uniform(0, longest) + (after or 0.0)

    def _breaks(self, error: Again) -> bool:
        """Whether this failure is the one by which the service counts as down."""
        self._down_in_a_row = self._down_in_a_row + 1 if error.down else 0
        if self._down_in_a_row < self._down_after or not self._is_up.is_set():
            return False
        self._is_up.clear()
        return True

    async def _until_up(self, question: Question, error: Again) -> Said | None:
        """Ask this one question, more and more seldom, while all others wait.

        None where the service is there again and has no answer to it.
        """
        since, wait = time.monotonic(), self._first_wait
        self._say(
            f"{self._service.name} does not work ({error}); pausing, and trying again for up to "
            f"{self._manners.patience:.0f} s"
        )
        said = None
        while True:
            if time.monotonic() - since > self._manners.patience:
                raise BenchError(
                    f"{self._service.name} has not worked for {self._manners.patience:.0f} s "
                    f"({error}); every answer that came is kept: run the same command again later"
                )
            await asyncio.sleep(wait + random.uniform(0, wait / 4))
            wait = min(_LONGEST_WAIT, 2 * wait)
            try:
                said = await self._once(question)
            except Again as again:
                error = again
                if error.down:
                    continue
            break
        self._say(f"{self._service.name} works again after {time.monotonic() - since:.0f} s")
        self._down_in_a_row = 0
        self._is_up.set()
        return said


def _limiter(a_minute: float | None) -> AsyncLimiter | None:
    if a_minute is None:
        return None
    span = max(_SPAN, 60.0 / a_minute)
    return AsyncLimiter(max(1.0, a_minute * span / 60.0), span)
