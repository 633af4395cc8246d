"""Which answers are taken: tidied, filtered, and put together to chains caption -> T' -> T''."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from paraclip_bench.paraphrasing.journal import Answer, CaptionRow
from paraclip_bench.paraphrasing.prompts import PLACEHOLDER, STEPS, Prompt
from paraclip_bench.paraphrasing.service import Question, Reply

EMPTY = "empty"
_LABEL = re.compile(
    r"^(?:caption|sentence|paraphrase[d]?(?: caption| sentence)?|rewritten caption|answer|version|"
    r"my version)\s*:\s*",
    re.IGNORECASE,
)
# What reasoning models put before their answer.
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_QUOTES = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("`", "`"))
_REFUSAL = re.compile(
    r"^(?:(?:i am|i'm|i’m|we are|we're) (?:very )?(?:sorry|afraid|unable|not able)|sorry\b"
    r"|i (?:cannot|can't|can’t|can not|could not|couldn't|won't|am not able to) (?:help|assist|"
    r"paraphrase|rephrase|rewrite|provide|fulfil|comply|do that|do this|process|see|view|create|"
    r"generate|continue|answer|complete|understand)|as an? (?:ai|language)\b"
    r"|unfortunately,? (?:i|we) |please (?:provide|share) (?:me |the |a |more |your )"
    r"|my apologies|apologies,)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|absolutely|okay|ok)\s*[!,.:]"
    r"|^here(?: is|'s|’s| are) (?:a|the|my|your|one)\b[^.]*:",
    re.IGNORECASE,
)
# Runs of so many words of a prompt are not chance.
_RUN = 4
_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True)
class AnswerFilter:
    """Checks of an answer to a prompt.

    An answer may have `growth` times the words of what was asked about, or `room` words more if
    that is more.
    """

    prompts: dict[int, Prompt]
    growth: float = 2.5
    room: int = 6
    _runs: dict[int, frozenset[tuple[str, ...]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        runs = {
            step: frozenset(_runs_of(prompt.template.replace(PLACEHOLDER, " \n ")))
            for step, prompt in self.prompts.items()
        }
        object.__setattr__(self, "_runs", runs)

    def reason(self, step: int, given: str, answer: str, caption: str) -> str | None:
        """Why a tidied answer to `given` is not to be trained on; None where it is good."""
        if not words(answer):
            return EMPTY
        for pattern, name in ((_REFUSAL, "a refusal"), (_PREAMBLE, "talk about the answer")):
            if pattern.search(answer) and not pattern.search(given):
                return name
        if "\n" in answer:
            return "more than one line"
        said, asked = words(answer), words(given)
        if said == asked:
            return "equal to its input"
        if said == words(caption):
            return "equal to the caption"
        if set(_runs_of(answer)) & self._runs[step] - set(_runs_of(given)):
            return "words of the prompt"
        if len(said) > max(self.growth * len(asked), len(asked) + self.room):
            return "much longer than its input"
        return None


def tidy(answer: str | None) -> str:
    """An answer without the label, the quotes and the spaces around it."""
    text = unicodedata.normalize("NFC", _THOUGHT.sub("", answer or "")).strip()
    text = _LABEL.sub("", text)
    for opening, closing in _QUOTES:
        inner = text[1:-1]
        if (
            len(text) > 2
            and text.startswith(opening)
            and text.endswith(closing)
            and opening not in inner
        ):
            text = inner.strip()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def words(text: str) -> list[str]:
    """Words without case and punctuation, which is how two texts are compared."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs_of(text: str) -> list[tuple[str, ...]]:
    found = []
    for line in text.splitlines():
        said = words(line)
        found += [tuple(said[i : i + _RUN]) for i in range(len(said) - _RUN + 1)]
    return found


# Chains of a row have seeds far apart from those of other rows.
_CHAIN_SEED = 1_000_003


@dataclass(frozen=True)
class Chains:
    """n chains a row. `marks`: unfit answers are kept and marked, and do not end their chain.

    min_cosine: what an answer with a known cosine to its caption must have.
    """

    answer_filter: AnswerFilter
    n: int
    marks: bool
    min_cosine: float | None = None

    def next(self, row: CaptionRow, chain: int) -> Question | None:
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

    def open(self, row: CaptionRow) -> Iterator[int]:
        """The chains that have a question left."""
        return (chain for chain in range(self.n) if self.next(row, chain) is not None)

    def answer(self, row: CaptionRow, chain: int, question: Question, said: Reply) -> Answer:
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

    def reason(self, row: CaptionRow, answer: Answer) -> str | None:
        """Why an answer is unfit: by the service, by the filter, or too far in meaning."""
        if answer.reason is not None:
            return answer.reason
        before = row.answers.get((answer.step - 1, answer.chain))
        given = row.caption if before is None else before.text
        found = self.answer_filter.reason(answer.step, given, answer.text, row.caption)
        if found is None and self.min_cosine is not None and answer.cosine is not None:
            far = answer.cosine < self.min_cosine
            return f"too far in meaning (cosine {answer.cosine:.2f})" if far else None
        return found

    def reasons(self, row: CaptionRow) -> dict[str, str]:
        """Of each unfit answer of a row's chains, as STEP.CHAIN, the reason."""
        found = {}
        for (step, chain), answer in sorted(row.answers.items()):
            if chain < self.n and (reason := self.reason(row, answer)) is not None:
                found[f"{step}.{chain}"] = reason
        return found

    def finished(self, row: CaptionRow) -> list[tuple[Answer, ...]]:
        """The chains that came to a good end, each with the answers of both steps."""
        found = []
        for chain in range(self.n):
            answers = tuple(row.answers[s, chain] for s in STEPS if (s, chain) in row.answers)
            if len(answers) == len(STEPS) and all(self._goes_on(row, a) for a in answers):
                found.append(answers)
        return found

    def _goes_on(self, row: CaptionRow, answer: Answer) -> bool:
        """Whether an answer is taken, as it is or with a mark."""
        if self.marks:
            return bool(words(answer.text))
        return self.reason(row, answer) is None
