"""Where each chain caption -> T' -> T'' of a row stands: what to ask next, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paraclip_bench.paraphrase.gate import EMPTY, Gate, tidy
from paraclip_bench.paraphrase.journal import Answer, Row
from paraclip_bench.paraphrase.prompts import STEPS
from paraclip_bench.paraphrase.services.base import Question, Said

# Chains of a row have seeds far apart from those of other rows.
_CHAIN_SEED = 1_000_003


@dataclass(frozen=True)
class Chains:
    """n chains a row. `marks`: unfit answers are kept and marked, and do not end their chain."""

    gate: Gate
    n: int
    marks: bool

    def next(self, row: Row, chain: int) -> Question | None:
        """The question that is open in a chain; None where it has come to its end."""
        given = row.caption
        for step in STEPS:
            answer = row.answers.get((step, chain))
            if answer is None:
                return Question(step, given, row.place + _CHAIN_SEED * chain)
            if not self.goes_on(answer):
                return None
            given = answer.text
        return None

    def open(self, row: Row) -> Iterator[int]:
        """The chains that have a question left."""
        return (chain for chain in range(self.n) if self.next(row, chain) is not None)

    def answer(self, row: Row, chain: int, question: Question, said: Said) -> Answer:
        """What was said, tidied and judged."""
        text = "" if said.rejected else tidy(said.text)
        reason = said.rejected or said.fault
        reason = reason or self.gate.reason(question.step, question.text, text, row.caption)
        return Answer(
            row.key,
            question.step,
            chain,
            text,
            reason,
            said.model,
            said.prompt_tokens,
            said.completion_tokens,
        )

    def goes_on(self, answer: Answer) -> bool:
        """Whether an answer is taken, as it is or with a mark."""
        return answer.reason is None or (
            self.marks and bool(answer.text) and answer.reason != EMPTY
        )

    def finished(self, row: Row) -> list[tuple[Answer, ...]]:
        """The chains that came to a good end, each with the answers of both steps."""
        found = []
        for chain in range(self.n):
            answers = tuple(row.answers[s, chain] for s in STEPS if (s, chain) in row.answers)
            if len(answers) == len(STEPS) and all(map(self.goes_on, answers)):
                found.append(answers)
        return found
