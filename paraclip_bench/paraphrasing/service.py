"""What a service is, and the ways in which asking it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from paraclip_bench.errors import BenchError
from paraclip_bench.paraphrasing.prompts import Prompt

REJECTED = "rejected by the service"
"""How a reason begins that says so."""


@dataclass(frozen=True)
class Question:
    """A text to paraphrase at a step. seed differs from row to row and from chain to chain.

    again: it is asked once more, with another seed, because the first answer was unfit.
    """

    step: int
    text: str
    seed: int
    again: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer as it came.

    fault says what is wrong with it by the service's own account; rejected, why there is none and
    never will be.
    """

    text: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    rejected: str | None = None
    fault: str | None = None


class RetryableError(Exception):
    """Asking failed in a way that may pass; `after` is how long the service asks to wait, in s.

    down: the service seems not to work at all, as opposed to being busy.
    """

    def __init__(self, what: str, *, after: float | None = None, down: bool = False) -> None:
        super().__init__(what)
        self.after = after
        self.down = down


def kind_of(reason: str) -> str:
    """A reason without what is one answer's or one failure's alone."""
    return reason.partition(" (")[0].partition(": ")[0]


@dataclass
class RequestCounts:
    """What one run asked: requests sent, failures by kind, and what came of them."""

    sent: int = 0
    retries: int = 0
    rejected: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    # Questions that were given up, and why the first was.
    given_up: int = 0
    first_given_up: str = ""
    # Unfit answers that were asked once more, and how many of the new ones are fit.
    asked_again: int = 0
    fit_now: int = 0

    def give_up(self, why: str) -> None:
        """Count a question that is given up."""
        self.first_given_up = self.first_given_up or why
        self.given_up += 1

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "sent": self.sent,
            "retries": self.retries,
            "failures": dict(self.failures.most_common()),
            "rejected": self.rejected,
            "given_up": self.given_up,
            "unfit_asked_again": self.asked_again,
            "fit_now": self.fit_now,
        }


class FatalServiceError(BenchError):
    """Asking fails for every row alike: a wrong key, address or model."""


class Service(Protocol):
    """Answers questions, several at once; one attempt a call."""

    name: str
    rejects_alone: bool
    """Whether a rejection is always about its question, and never about all."""

    async def ask(self, question: Question) -> Reply:
        """Answer, or raise `RetryableError` or `FatalServiceError`."""

    async def close(self) -> None:
        """Let go of connections."""


class EmbeddedService(Service, Protocol):
    """A service of this program's own, which needs no endpoint.

    prompts stand in each row in the place of an LLM's, and say what made it. notice is told the
    user.
    """

    prompts: Mapping[int, Prompt]
    notice: str


@dataclass(frozen=True)
class RequestPolicy:
    """Concurrency, rate limits and retries: questions at once and a minute, how often and how long.

    patience is for how many seconds a service that is down is waited for.
    """

    concurrency: int = 16
    requests_a_minute: float | None = None
    tokens_a_minute: float | None = None
    retries: int = 8
    patience: float = 900.0


@dataclass(frozen=True)
class Endpoint:
    """Where a service is, how it is reached, and how it is asked."""

    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    policy: RequestPolicy = field(default_factory=RequestPolicy)
