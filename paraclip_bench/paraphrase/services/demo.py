"""The demo world's grammar as a service: no LLM, and never passed off as one."""

from __future__ import annotations

from paraclip_bench.demo import grammar
from paraclip_bench.paraphrase.prompts import Prompt
from paraclip_bench.paraphrase.services.base import Question, Said

# In the place of prompts, so that rows say what made them.
PROMPTS = {
    1: Prompt("the demo world's grammar, step1: {text}"),
    2: Prompt("the demo world's grammar, step2: {text}"),
}


class DemoGrammar:
    """Paraphrases captions of the demo world; refuses any other by name."""

    name = "demo"
    rejects_alone = True
    # What rows are marked with.
    MODEL = "demo-grammar (not an LLM)"

    async def ask(self, question: Question) -> Said:
        """The grammar's paraphrase of a text; what it cannot read is rejected."""
        paraphrase = grammar.step1 if question.step == 1 else grammar.step2
        try:
            return Said(paraphrase(question.text, question.seed), self.MODEL)
        except ValueError as error:
            return Said("", self.MODEL, rejected=f"outside the demo world's grammar: {error}")

    async def close(self) -> None:
        """Nothing to let go of."""
