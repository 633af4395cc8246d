"""Where each chain caption -> T' -> T'' of a row stands: what to ask next, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paraclip_bench.paraphrase.gate import Gate, tidy, words
from paraclip_bench.paraphrase.journal import Answer, Row
from paraclip_bench.paraphrase.prompts import STEPS
from paraclip_bench.paraphrase.services.base import Question, Said

# Chains of a row have seeds far apart from those of other rows.
_CHAIN_SEED = 1_000_003


@dataclass(frozen=True)
class Chains:
    """n chains a row. `marks`: unfit answers are kept and marked, and do not end their chain.

    min_cosine: what an answer with a known cosine to its caption must have.
    """

    gate: Gate
    n: int
    marks: bool
    min_cosine: float | None = None

    def next(self, row: Row, chain: int) -> Question | None:
        """The question that is open in a chain; None where it has come to its end."""
        given = row.caption
        for step in STEPS:
            answer = row.answers.get((step, chain))
            if answer is None:
                return Question(step, given, row.place + _CHAIN_SEED * chain)
            if not self._goes_on(row, answer):
                return None
            given = answer.text
        return None

    def open(self, row: Row) -> Iterator[int]:
        """The chains that have a question left."""
        return (chain for chain in range(self.n) if self.next(row, chain) is not None)

    def answer(self, row: Row, chain: int, question: Question, said: Said) -> Answer:
        """What was said, tidied."""
        text = "" if said.rejected else tidy(said.text)
        return Answer(
            row.key,
            question.step,
            chain,
            text,
            said.rejected or said.fault,
            said.model,
            said.prompt_tokens,
            said.completion_tokens,
        )

    def reason(self, row: Row, answer: Answer) -> str | None:
        """Why an answer is unfit: the service's reason, the gate's, or that it is far off."""
        if answer.reason is not None:
            return answer.reason
        before = row.answers.get((answer.step - 1, answer.chain))
        given = row.caption if before is None else before.text
        found = self.gate.reason(answer.step, given, answer.text, row.caption)
        if found is None and self.min_cosine is not None and answer.cosine is not None:
            far = answer.cosine < self.min_cosine
            return f"too far in meaning (cosine {answer.cosine:.2f})" if far else None
        return found

    def reasons(self, row: Row) -> dict[str, str]:
        """Of each unfit answer of a row's chains, as STEP.CHAIN, the reason."""
        found = {}
        for (step, chain), answer in sorted(row.answers.items()):
            if chain < self.n and (reason := self.reason(row, answer)) is not None:
                found[f"{step}.{chain}"] = reason
        return found

    def finished(self, row: Row) -> list[tuple[Answer, ...]]:
        """The chains that came to a good end, each with the answers of both steps."""
        found = []
        for chain in range(self.n):
            answers = tuple(row.answers[s, chain] for s in STEPS if (s, chain) in row.answers)
            if len(answers) == len(STEPS) and all(self._goes_on(row, a) for a in answers):
                found.append(answers)
        return found

    def _goes_on(self, row: Row, answer: Answer) -> bool:
        """Whether an answer is taken, as it is or with a mark."""
        if self.marks:
            return bool(words(answer.text))
        return self.reason(row, answer) is None
