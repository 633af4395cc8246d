"""Which answers are taken: tidied, filtered, and put together to chains caption -> T' -> T''."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from paraclip_bench.paraphrasing.journal import Answer, CaptionRow
from paraclip_bench.paraphrasing.prompts import NEGATION, PLACEHOLDER, STEPS, Prompt, step_key
from paraclip_bench.paraphrasing.service import REJECTED, Question, Reply
from paraclip_bench.paraphrasing.tidying import LONGEST, called_paraphrase, left_over, tidy
from paraclip_bench.paraphrasing.wording import (
    is_in_another_script,
    look_alike,
    negates,
    word_count,
    words,
)

EMPTY = "empty"
_CANNOT = (
    r"(?:cannot|can't|cant|can not|could not|couldn't|won't|will not|am unable to|'m unable to)"
)
_ABLE = r"(?:am|'m) not (?:able|comfortable|permitted|programmed|designed|equipped|trained|capable)"
# What those do who refuse; what people do in captions (believe, wait, stop) is not among it.
_DOES = (
    r"(?:help|assist|paraphrase|rephrase|rewrite|reword|restate|provide|fulfill?|comply"
    r"|do (?:that|this)|process|create|generate|continue|answer"
    r"|complete|understand|describe|identify|determine|verify|recogni[sz]e|discuss|produce|translate|interpret|analy[sz]e|respond|reply"
    r"|proceed|perform|access|reproduce|speculate|infer|confirm|engage|support|assess"
    r"|transcribe|summari[sz]e|caption|write (?:a|the|that|this|such)|give (?:you|a|that)"
    r"|offer (?:a|any)|tell you|tell (?:what|who)|say (?:what|who)|make out"
    r"|find (?:a|any|an|the))\b"
)
_PICTURE = r"(?:image|picture|photo|photograph|caption|attachment|text|sentence|input|message|file)"
# What is said of one that was not given. What is not on a sign or in a frame is none of these.
_LACKS = (
    r"(?:provided|given|attached|found|available|visible|included|supplied|shared|uploaded|present"
    r"|loaded|accessible|supported|detected|specified)\b"
    rf"(?! (?:on|at|above|below|across|over|behind|near|beside|in (?!(?:the|your|this) (?:\w+ )?"
    rf"(?:{_PICTURE}|request|prompt|conversation|chat))))"
)
# Those who refuse cannot see a picture; of a face it is a caption.
_SEES = (
    rf"(?:see|view)(?=\W*$| (?:(?:the|this|that|any|an|a|your) )?(?:\w+ )?{_PICTURE}s?\b"
    r"| (?:what|it|anything|you)\b)"
)
_DOES = rf"(?:{_DOES}|{_SEES})"
# Each with the words that, where they were given, make a text of it that is no refusal.
_REFUSALS = [
    (re.compile(pattern, re.IGNORECASE), re.compile(given, re.IGNORECASE))
    for pattern, given in (
        (
            rf"^(?:(?:i am|i'm|we are|we're) (?:very |so |really )?"
            rf"(?:sorry|afraid(?: that| i\b|,)|unable|not able)"
            rf"|sorry\b|(?:i|we) {_CANNOT} (?:\w+ly )?{_DOES}|(?:i|we) {_ABLE} (?:to|with|of)\b"
            rf"|(?:unable|not able|not possible|cannot|can't|can not|could not) (?:to )?{_DOES}"
            r"|(?:my )?apologies\b|i (?:must |do )?apologi[sz]e"
            r"|i (?:must|have to) (?:decline|refuse)"
            r"|i regret (?:that|to)|i(?:'d| would) (?:rather|prefer) not"
            rf"|unfortunately,? (?:(?:i|we|there|it|this)\b|the (?:\w+ )?{_PICTURE}))",
            r"\b(?:can't|can ?not|couldn't|won't|unable|not able|sorry|apolog\w+|unfortunately"
            r"|regret|refus\w+|declin\w+)\b",
        ),
        (
            r"\bas an? (?:ai|artificial|language|text-based|virtual|large language)\b"
            r"|\bi(?:'m| am) (?:just |only |merely )?(?:an? )?(?:ai|artificial intelligence"
            r"|language model|text-based|virtual assistant)\b"
            r"|\bi (?:can )?only (?:process|work with|accept|understand|see) text",
            r"\b(?:ai|artificial|language model|virtual)\b",
        ),
        (
            rf"^(?:i|we) (?:do not|don't|did not|didn't|cannot|can't|could not) (?:actually )?"
            rf"(?:see|have|receive|find|get) (?:access|the ability|enough|(?:an|any|a|the|your)?\s*"
            rf"(?:\w+ )?{_PICTURE})\b"
            r"|^there(?: is|'s| are| was| were| seems to be| appears to be) no "
            rf"(?:\w+ )?{_PICTURE}s?(?:\W*$|[.,;]| {_LACKS}| (?:here|to (?!be\b|the\b))"
            rf"| (?:in|with) (?:your|this|the) (?:{_PICTURE}|request|prompt))"
            rf"|^no (?:\w+ )?{_PICTURE}s? (?:(?:was|were|is|are|has been|have been) )?"
            rf"(?:{_LACKS}|to (?:paraphrase|rephrase|describe|work|process)\b)"
            rf"|^(?:the|this|that|your) (?:\w+ )?{_PICTURE} (?:(?:is|was|does|did|has|could|can"
            rf"|seems to|appears to)(?:n't| not)(?: been| be| seem to be)? (?:{_LACKS}|clear\b"
            r"|complete\b|contain\b|make\b|load|describe\b|a (?:valid|complete)\b)"
            r"|(?:is|was|seems|appears)(?: to be)? (?:already (?:very |quite )?(?:brief|short"
            r"|concise|in|as)\b|too (?:short|brief|vague|long|ambiguous|unclear)\b"
            rf"|(?:missing|empty|blank|incomplete|unclear|unavailable|cut off)\b"
            r"(?! (?:on|from|at|above|below|in)\b)))"
            rf"|^it (?:seems|appears|looks)\b.*\b(?:no|not|missing|without|forgot)\b"
            rf".*\b{_PICTURE}\b"
            rf"|^it (?:seems|appears|looks)\b.*\b{_PICTURE}\b.*\b(?:not|missing|empty|cut|blank)\b"
            rf"|^(?:can|could|would|will) you (?:please )?(?:provide|share|upload|attach|give"
            r"|clarify|specify|send|describe)\b"
            r"|^please (?:provide|share|upload|attach|resend|send|clarify|specify|let me know"
            r"|note that (?:i|this|the (?:image|caption|answer))\b|give me|try again|describe)\b"
            r"|^i (?:need|require|would need|'d need) (?:more|the|an?|you to|to see) "
            rf"(?:information|context|details?|actual|{_PICTURE})",
            rf"\b{_PICTURE}s?\b|\bplease\b|\byou\b",
        ),
        (
            r"\b(?:content|usage|safety|use|community|openai\S*) (?:polic(?:y|ies)|guidelines?)\b"
            r"|\bmy (?:guidelines|programming|training|capabilities|instructions|polic(?:y|ies))\b"
            r"|\bagainst (?:my|our|the) (?:\w+ )?(?:polic|guideline|rules|terms)"
            r"|\bviolat(?:es?|ing|ion of) (?:my|our|the|\w+) (?:polic|guideline|terms|rule)"
            r"|\b(?:inappropriate|harmful|explicit|offensive|unsafe|sensitive) "
            r"(?:content|request|language|material)\b"
            r"|^(?:it|this|that) (?:would be inappropriate|is inappropriate"
            r"|(?:would not be|wouldn't be|is not|isn't) appropriate)\b",
            r"\b(?:polic(?:y|ies)|guidelines?|rules?|inappropriate|appropriate|harmful|explicit"
            r"|offensive|unsafe|sensitive)\b",
        ),
        (
            r"^\W*(?:n/?a|none|null|nil|nan|undefined|error|not applicable|no (?:caption|text"
            r"|output|answer|response|paraphrase|change|changes|content|result)s?(?: \w+)?)\W*$",
            r"\b(?:n/?a|none|null|nil|nan|undefined|error|no)\b",
        ),
        (
            r"^(?:lo siento|no puedo (?:ayudar|describir|ver|identificar|parafrasear)"
            r"|(?:je suis )?désolée?\b|je ne (?:peux|vois) pas|es tut mir leid|tut mir leid"
            r"|ich kann (?:nicht|kein|leider|dies|das (?:bild|nicht))|mi dispiace"
            r"|non posso (?:aiut|desc)|desculpe|sinto muito|não posso"
            r"|很?抱歉|对不起|對不起|我无法|我無法|我不能|作为一?[个個]?"
            r"|申し訳|すみません|ごめんなさい|죄송|미안|извините|к сожалению|простите|я не могу"
            r"|przepraszam|üzgünüm|maaf,|xin lỗi)",
            r"siento|puedo|désolé|peux|leid|kann|dispiace|posso|desculpe|sinto|抱歉|对不起|對不起"
            r"|无法|無法|不能|作为|申し訳|すみません|ごめん|죄송|미안|извини|жалению|прости|могу"
            r"|przepraszam|üzgünüm|maaf|lỗi",
        ),
    )
]
_PREAMBLE = re.compile(
    # Not "OK, says a man".
    r"^(?:sure|certainly|of course|absolutely|okay|ok|alright|got it|understood)\s*[!,.:]"
    r"(?!\W*(?:says?|said|reads?|shouts?|writes?|thinks?|nods?)\b)"
    r"|^great\s*!"
    r"|^(?:sure|certainly|okay|ok),? here\b"
    r"|^here(?: is|'s| are) (?:a|the|my|your|one|another|how|what)\b[^.:]*(?<!\d):(?!\d)"
    r"|^(?:i would|i'd|i will|i'll|let me|one could|you could|we could) (?:say|put|rephrase"
    r"|paraphrase|rewrite|reword)\b"
    # Not "Note on a refrigerator: milk".
    r"|^\(?(?:please )?note(?: that\b[^.]*)?\s*:|^explanation\b[^.]{0,20}:",
    re.IGNORECASE,
)
# Talk behind or beside the answer.
_ASIDE = re.compile(
    r"\blet me know if\b|\bi hope (?:this|that) helps\b|\bis there anything else\b"
    r"|\bfeel free to (?:ask|let)\b|\(note\b|\bword count\b|\(\d+ (?:characters|words)\)"
    r"|^(?:here you go|here you are|here it is)\s*[^\w\s'.]"
    r"|^(?:sure thing|happy to help|no problem|how about)\s*[:!,]"
    r"|[.!?\"\u201d][*_]{0,2}\s+[*_]{0,2}(?:note|explanation)[*_]{0,2}\s*:"
    r"|^sure\s+[-\u2013\u2014]\s"
    r"|^a (?:possible |brief |short )?paraphrase (?:of|could|would|might|is)\b"
    r"|^(?:we need to|i need to|the user) (?:\w+ ){0,2}"
    r"(?:paraphrase|rephrase|produce|wants?|asks?)\b"
    r"|\s(?:->|=>|\u2192)\s|/no_think\b",
    re.IGNORECASE,
)
# Whole answers that are none, as words.
_NO_ANSWERS = {
    *("no", "ok", "okay", "yes", "none", "null", "string", "caption", "paraphrase", "redacted"),
    *("blocked", "same as above", "see above", "your paraphrase here", "paraphrase here"),
    *("i don t know", "i do not know", "request timed out", "internal server error"),
    *("what do you mean", "rate limit exceeded", "error rate limit exceeded"),
    *("hello how can i help you today", "failed to generate response"),
    "model is overloaded try again later",
}
# Runs of so many words of a prompt are not chance.
_RUN = 4


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

    def reason(
        self, step: int, given: str, answer: str, caption: str, others: Iterable[str] = ()
    ) -> str | None:
        """Why a tidied answer to `given` is not to be trained on; None where it is good.

        others: the paraphrases of the caption, none of which its negation may be.
        """
        if not words(answer):
            return EMPTY
        # First, because the patterns below are slow on texts of no end.
        if len(answer) > LONGEST:
            return "much longer than its input"
        if _refuses(answer, given):
            return "a refusal"
        if _talks(answer, given):
            return "talk about the answer"
        if _ASIDE.search(_plain(answer)) and not _ASIDE.search(_plain(given)):
            return "talk about the answer"
        if (found := left_over(answer, given)) is not None:
            return found
        if "\n" in answer:
            return "more than one line"
        said, asked = words(answer), words(given)
        if " ".join(said) in _NO_ANSWERS:
            return "no answer"
        if said == asked:
            return "equal to its input"
        if said == words(caption):
            return "equal to the caption"
        if any(said == words(other) for other in others):
            return "equal to a paraphrase"
        if set(_runs_of(answer)) & self._runs[step] - set(_runs_of(given)):
            return "words of the prompt"
        if is_in_another_script(given, answer):
            return "another script than its input"
        if look_alike(given, answer) is not None:
            return "look-alike letters of another script"
        count, least = word_count(answer), word_count(given)
        if count > max(self.growth * least, least + self.room):
            return "much longer than its input"
        if step == NEGATION and not negates(given, answer):
            return "does not negate"
        return None


def _talks(answer: str, given: str) -> bool:
    """Whether an answer begins as talk does, with a word that was not given."""
    found = _PREAMBLE.search(_plain(answer))
    return found is not None and words(found[0])[0] not in words(given)


def _refuses(answer: str, given: str) -> bool:
    """Whether an answer says that there is none, in words that were not given."""
    answer, given = _plain(answer), _plain(given)
    return any(
        pattern.search(answer) and not (known.search(given) or pattern.search(given))
        for pattern, known in _REFUSALS
    )


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")


def _runs_of(text: str) -> list[tuple[str, ...]]:
    found = []
    for line in text.splitlines():
        said = words(line)
        found += [tuple(said[i : i + _RUN]) for i in range(len(said) - _RUN + 1)]
    return found


# Chains of a row have seeds far apart from those of other rows.
_CHAIN_SEED = 1_000_003
# And what is asked once more, one far from all of these.
_AGAIN_SEED = 1 << 30
NEGATED = -1
"""The number of the chain, of one step, that is a caption's negation."""


@dataclass(frozen=True)
class Chains:
    """n chains a row. `marks`: unfit answers are kept and marked, and do not end their chain.

    min_cosine: what an answer with a known cosine to its caption must have. again: unfit answers
    are asked once more, but for those that the service rejected. negates: each row has a negation
    too, as a chain `NEGATED` of one step.
    """

    answer_filter: AnswerFilter
    n: int
    marks: bool
    min_cosine: float | None = None
    again: bool = False
    negates: bool = False

    @property
    def all(self) -> tuple[int, ...]:
        """The numbers of a row's chains, that of its negation the last."""
        return (*range(self.n), *((NEGATED,) if self.negates else ()))

    def steps(self, chain: int) -> tuple[int, ...]:
        """The steps of a chain."""
        if chain == NEGATED:
            return (NEGATION,) if self.negates else ()
        return STEPS

    def answers(self, row: CaptionRow) -> list[Answer]:
        """All answers of a row; without negations those of an earlier run are not among them."""
        return [a for (_, chain), a in row.answers.items() if self.negates or chain != NEGATED]

    def next(self, row: CaptionRow, chain: int) -> Question | None:
        """The question that is open in a chain; None where it has come to its end."""
        given = row.caption
        for step in self.steps(chain):
            answer = row.answers.get((step, chain))
            if answer is None:
                return Question(step, given, row.place + _CHAIN_SEED * chain)
            if self.again and self._is_asked_again(row, answer):
                seed = row.place + _CHAIN_SEED * chain + _AGAIN_SEED
                return Question(step, given, seed, again=True)
            if not self._goes_on(row, answer):
                return None
            given = answer.text
        return None

    def open(self, row: CaptionRow) -> Iterator[int]:
        """The chains that have a question left."""
        return (chain for chain in self.all if self.next(row, chain) is not None)

    def answer(self, row: CaptionRow, chain: int, question: Question, said: Reply) -> Answer:
        """What was said, tidied. A second answer counts the tokens of the first, too."""
        came = said.text
        if question.step == NEGATION:
            came = called_paraphrase(came, question.text)
        text = "" if said.rejected else tidy(came, question.text)
        answer = Answer(
            row.key,
            question.step,
            chain,
            text,
            said.rejected or said.fault,
            said.model,
            said.prompt_tokens,
            said.completion_tokens,
        )
        if not question.again:
            return answer
        first = row.answers[question.step, chain]
        return replace(
            # What is rejected is no better than what there was.
            first if said.rejected else answer,
            prompt_tokens=_sum(first.prompt_tokens, said.prompt_tokens),
            completion_tokens=_sum(first.completion_tokens, said.completion_tokens),
            again=True,
            is_first=bool(said.rejected),
        )

    def _is_asked_again(self, row: CaptionRow, answer: Answer) -> bool:
        rejected = (answer.reason or "").startswith(REJECTED)
        return not (answer.again or rejected) and self.reason(row, answer) is not None

    def reason(self, row: CaptionRow, answer: Answer) -> str | None:
        """Why an answer is unfit: by the service, by the filter, or too far in meaning."""
        if answer.reason is not None:
            return answer.reason
        before = row.answers.get((answer.step - 1, answer.chain))
        given = row.caption if before is None else before.text
        if answer.chain == NEGATED:
            others = [row.answers[key].text for key in row.answers if 0 <= key[1] < self.n]
            # Nothing of its cosine: another meaning is what it was asked for.
            return self.answer_filter.reason(NEGATION, given, answer.text, row.caption, others)
        found = self.answer_filter.reason(answer.step, given, answer.text, row.caption)
        if found is None and self.min_cosine is not None and answer.cosine is not None:
            far = answer.cosine < self.min_cosine
            return f"too far in meaning (cosine {answer.cosine:.2f})" if far else None
        return found

    def reasons(self, row: CaptionRow) -> dict[str, str]:
        """Of each unfit answer of a row's chains, as STEP.CHAIN or negation, the reason."""
        found = {}
        for (_, chain), answer in sorted(row.answers.items()):
            if chain in self.all and (reason := self.reason(row, answer)) is not None:
                found[place(answer)] = reason
        return found

    def negation(self, row: CaptionRow) -> Answer | None:
        """A row's negation; None where it has none that is taken."""
        answer = row.answers.get((NEGATION, NEGATED)) if self.negates else None
        return answer if answer is not None and self._goes_on(row, answer) else None

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


def place(answer: Answer) -> str:
    """Which of a row's answers it is: STEP.CHAIN, or negation."""
    key = step_key(answer.step)
    return key if answer.chain == NEGATED else f"{key}.{answer.chain}"


def _sum(one: int | None, two: int | None) -> int | None:
    return one if two is None else (one or 0) + two
