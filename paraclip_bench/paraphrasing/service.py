"""What a service is, and the ways in which asking it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from paraclip_bench.errors import BenchError


@dataclass(frozen=True)
class Question:
    """A text to paraphrase at a step. seed differs from row to row and from chain to chain."""

    step: int
    text: str
    seed: int


@dataclass(frozen=True)
class Said:
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


class Again(Exception):
    """Asking failed in a way that may pass; `after` is how long the service asks to wait, in s.

    down: the service seems not to work at all, as opposed to being busy.
    """

    def __init__(self, what: str, *, after: float | None = None, down: bool = False) -> None:
        super().__init__(what)
        self.after = after
        self.down = down


class Hopeless(BenchError):
    """Asking fails for every row alike: a wrong key, address or model."""


class Service(Protocol):
    """Answers questions, several at once; one attempt a call."""

    name: str
    rejects_alone: bool
    """Whether a rejection is always about its question, and never about all."""

    async def ask(self, question: Question) -> Said:
        """Answer, or raise `Again` or `Hopeless`."""

    async def close(self) -> None:
        """Let go of connections."""
