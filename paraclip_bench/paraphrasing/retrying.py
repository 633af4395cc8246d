"""Rate limits, retries and a circuit breaker around a service."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from paraclip_bench.errors import BenchError
from paraclip_bench.paraphrasing.service import (
    FatalServiceError,
    Question,
    Reply,
    RequestCounts,
    RequestPolicy,
    RetryableError,
    Service,
    kind_of,
)

# A limit a minute holds in every span of so many seconds: services count in short windows too.
_SPAN = 6.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# So many failures in a row, of a service that seems not to work, are not an accident.
_DOWN_AFTER, _DISTINCT = 20, 10
# So many rejections in a row are not an accident either; so long one waits for a first answer.
_ALL_REJECTED, _UNTIL_TRUSTED = 20, 5.0
_TOLD_WAIT = 60.0
_MANY = 100_000
_CHARACTERS_A_TOKEN = 4


class RetriesExhausted(Exception):
    """A question that was asked as often as may be; the run goes on without it."""


class RetryingClient:
    """Asks a service under a request policy. One for a run; any number of tasks may ask at once.

    trusted: the service has answered under these settings before, so that a rejection is about its
    question. Until then it may be about every question: a parameter that the model does not know.
    """

    def __init__(
        self,
        service: Service,
        policy: RequestPolicy,
        say: Callable[[str], None],
        *,
        trusted: bool,
        prompt_characters: Callable[[Question], int],
        first_wait: float = _FIRST_WAIT,
        counts: RequestCounts | None = None,
    ) -> None:
        self.counts = counts or RequestCounts()
        self._service, self._policy, self._say = service, policy, say
        self._first_wait, self._prompt_characters = first_wait, prompt_characters
        self._requests = _limiter(policy.requests_a_minute)
        self._tokens = _limiter(policy.tokens_a_minute)
        # What an answer takes, learned from those that came.
        self._answer_tokens = 32.0
        self._trusted = asyncio.Event()
        if trusted:
            self._trusted.set()
        self._rejected_in_a_row = 0
        self._failed_in_a_row, self._failed = 0, set[Question]()
        self._told_of_waiting = False
        self._down = _CircuitBreaker(policy.patience, first_wait)

    async def ask(self, question: Question) -> Reply:
        """An answer, or `RetriesExhausted`; `BenchError` where asking anybody is pointless."""
        failed = 0
        while True:
            if self._down.is_down:
                said = await self._try_whether_up(question)
                if said is not None:
                    return await self._believed(said)
                continue
            try:
                return await self._believed(await self._once(question))
            except RetryableError as error:
                if self._breaks(question, error):
                    self._say(
                        f"{self._service.name} does not work ({error}); pausing, and trying again "
                        f"for up to {self._policy.patience:.0f} s"
                    )
                    self._down.begin(error)
                # Of a service that is down, a failure is not this question's.
                is_down = self._down.is_down
                if not is_down:
                    failed += 1
                    if failed > self._policy.retries:
                        raise RetriesExhausted(str(error)) from error
                self.counts.retries += 1
                if not is_down:
                    await asyncio.sleep(self._wait(failed, error.after))

    async def _once(self, question: Question) -> Reply:
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            characters = self._prompt_characters(question)
            tokens = characters / _CHARACTERS_A_TOKEN + self._answer_tokens
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))
        self.counts.sent += 1
        try:
            said = await self._service.ask(question)
        except RetryableError as error:
            self.counts.failures[kind_of(str(error))] += 1
            raise
        self._failed_in_a_row = 0
        self._failed.clear()
        if said.completion_tokens:
            self._answer_tokens += 0.05 * (said.completion_tokens - self._answer_tokens)
        return said

    async def _believed(self, said: Reply) -> Reply:
        """An answer that may be kept; a rejection only where it is not everybody's."""
        if said.rejected is None:
            self._trusted.set()
            self._rejected_in_a_row = 0
            return said
        self.counts.rejected += 1
        self._rejected_in_a_row += 1
        if not self._service.rejects_alone and self._rejected_in_a_row >= _ALL_REJECTED:
            raise FatalServiceError(
                f"{self._service.name} rejects one question after the other ({said.rejected}); "
                "fix what they have in common (model, sampling, prompt) and run again"
            )
        if not self._service.rejects_alone and not self._trusted.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._trusted.wait(), _UNTIL_TRUSTED)
            if not self._trusted.is_set():
                raise RetriesExhausted(said.rejected)
        return said

    def _wait(self, failed: int, after: float | None) -> float:
        """Seconds: drawn below a bound that doubles, on top of what the service asks for.

        Drawn from nothing up (full jitter, Brooker 2015), so that questions that failed together
        do not come back together. `BenchError` where the service asks for more than patience.
        """
        after = after or 0.0
        if after > self._policy.patience:
            raise BenchError(
                f"{self._service.name} asks to wait for {after:.0f} s, longer than --patience "
                f"({self._policy.patience:.0f} s); run the same command again then"
            )
        if after > _TOLD_WAIT and not self._told_of_waiting:
            self._told_of_waiting = True
            self._say(f"{self._service.name} asks to wait for {after:.0f} s before some questions")
        longest = min(_LONGEST_WAIT, self._first_wait * 2 ** min(failed - 1, 16))
        return random.uniform(0, longest) + after

    def _breaks(self, question: Question, error: RetryableError) -> bool:
        """Whether this failure is the one by which the service counts as down.

        Failures of a few questions again and again are theirs, however many in a row.
        """
        if self._down.is_down:
            return False
        self._failed_in_a_row += 1
        self._failed.add(question)
        enough = max(_DOWN_AFTER, self._policy.concurrency)
        # A service that is only busy says so to all who ask at once.
        enough = enough if error.down else 4 * enough
        return self._failed_in_a_row >= enough and len(self._failed) >= _DISTINCT

    async def _try_whether_up(self, question: Question) -> Reply | None:
        """One question at a time, another each time, more and more seldom; None while it is down.

        None too where it is up again and has no answer to this question.
        """
        async with self._down.turn:
            if not self._down.is_down:
                return None
            error = self._down.error
            if self._down.seconds > self._policy.patience:
                what = (
                    "every answer that came is kept: run the same command again later"
                    if self._trusted.is_set()
                    else "it has never answered: check --base-url"
                )
                raise BenchError(
                    f"{self._service.name} has not worked for {self._policy.patience:.0f} s "
                    f"({error}); {what}"
                )
            await asyncio.sleep(self._down.next_wait())
            said = None
            try:
                said = await self._once(question)
            except RetryableError as again:
                self._down.error = again
                self.counts.retries += 1
                return None
            self._say(f"{self._service.name} works again after {self._down.seconds:.0f} s")
            self._down.end()
            return said


class _CircuitBreaker:
    """A service that is down: since when, why, and whose turn it is to try."""

    def __init__(self, patience: float, first_wait: float) -> None:
        self._patience, self._first_wait, self._wait = patience, first_wait, first_wait
        self._since: float | None = None
        # First come, first served: a question that failed goes to the end.
        self.turn = asyncio.Lock()
        self.error = RetryableError("")

    @property
    def is_down(self) -> bool:
        """Whether it is."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """For how long."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def begin(self, error: RetryableError) -> None:
        """It is down from now on."""
        self._since, self._wait, self.error = time.monotonic(), self._first_wait, error

    def end(self) -> None:
        """It is up."""
        self._since = None

    def next_wait(self) -> float:
        """Seconds until the next try: what the service asks for, or twice the last."""
        wait = max(self._wait, min(self.error.after or 0.0, self._patience))
        self._wait = min(_LONGEST_WAIT, 2 * self._wait)
        return wait + random.uniform(0, self._first_wait)


def _limiter(a_minute: float | None) -> AsyncLimiter | None:
    if a_minute is None:
        return None
    # A small limit is counted over the whole minute, because one question may take much of it.
    span = _SPAN if a_minute >= _MANY else 60.0
    return AsyncLimiter(max(1.0, a_minute * span / 60.0), span)
