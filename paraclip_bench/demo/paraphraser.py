"""The demo world's grammar as a service: not an LLM, and never passed off as one."""

from __future__ import annotations

from collections.abc import Mapping

from paraclip_bench.demo import grammar
from paraclip_bench.paraphrasing.prompts import Prompt
from paraclip_bench.paraphrasing.service import Question, Reply

LLM = "demo"
"""What a user calls it: `--llm demo`."""


class DemoGrammar:
    """Paraphrases captions of the demo world; refuses any other by name."""

    name = LLM
    rejects_alone = True
    # What rows are marked with.
    MODEL = "demo-grammar (not an LLM)"
    # In the place of prompts, so that rows say what made them.
    prompts: Mapping[int, Prompt] = {
        1: Prompt("the demo world's grammar, step1: {text}"),
        2: Prompt("the demo world's grammar, step2: {text}"),
    }
    notice = (
        "paraphrased by the demo world's grammar, not by an LLM. "
        "This is the demo world: small drawn scenes, not photographs."
    )

    async def ask(self, question: Question) -> Reply:
        """The grammar's paraphrase of a text; what it cannot read is rejected."""
        paraphrase = grammar.step1 if question.step == 1 else grammar.step2
        try:
            return Reply(paraphrase(question.text, question.seed), self.MODEL)
        except ValueError as error:
            return Reply("", self.MODEL, rejected=f"outside the demo world's grammar: {error}")

    async def close(self) -> None:
        """Nothing to let go of."""
