"""Captions, and paraphrases of captions, from one small grammar that can be read back.

Vocabulary: the first word of a row is the only one that web-like captions, and so the base model,
ever use; the others appear in paraphrases alone. Frames come in three groups: `CAPTION` for
web-like captions, `FIRST` for step 1, `SECOND` for step 2. No group shares a content word with
another, so a step 2 frame always avoids the frame of step 1.

`caption` words a scene the way the web would, in a narrow vocabulary. `step1` (T -> T') changes
the frame and a few words; `step2` (T' -> T'') avoids the content words of T' and mostly turns the
relation round ("a left of b" becomes "b right of a"). Both steps work on the text alone, through
`parse`, so that a paraphrase service needs nothing but the caption.

Wording choices are split as scenes are: which frame may go with which relation wording depends on
the pool. Paraphrases for fine-tuning use the "train" pool, those of test sets the "test" pool, and
the two share no (frame, relation wording) combination. The (colour word, shape word) combinations
differ already, because the scenes do. `combinations` lists a text's combinations for checking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from paraclip_bench.demo.scenes import OPPOSITE, Content, Scene, Thing, content
from paraclip_bench.paraphrasing.prompts import NEGATION, Prompt
from paraclip_bench.paraphrasing.service import Question, Reply

SIZE_WORDS = {
    "small": ("small", "little", "tiny", "compact"),
    "large": ("large", "big", "huge", "giant"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet", "ruby"),
    "blue": ("blue", "azure", "cobalt", "sapphire"),
    "green": ("green", "emerald", "jade", "olive"),
    "yellow": ("yellow", "golden", "lemon", "amber"),
    "purple": ("purple", "violet", "mauve", "lilac"),
    "orange": ("orange", "tangerine", "apricot", "peach"),
    "black": ("black", "ebony", "jet", "inky"),
    "white": ("white", "ivory", "snowy", "pearl"),
}
SHAPE_WORDS = {
    "ball": ("ball", "sphere", "orb", "globe"),
    "box": ("box", "cube", "block", "crate"),
    "cone": ("cone", "triangle", "pyramid", "wedge"),
    "star": ("star", "starburst", "pentagram", "asterisk"),
    "ring": ("ring", "hoop", "donut", "loop"),
    "diamond": ("diamond", "rhombus", "lozenge", "kite"),
}
DIRECTION_WORDS = {
    "left": ("to the left of", "on the left side of", "left of", "leftward of"),
    "right": ("to the right of", "on the right side of", "right of", "rightward of"),
    "above": ("above", "over", "higher than", "atop"),
    "below": ("below", "under", "lower than", "beneath"),
    "front": ("in front of", "before", "ahead of", "nearer than"),
    "behind": ("behind", "at the back of", "in back of", "farther than"),
}

#: {a} and {b} are the things in the order of the direction {r}: {a} is {r} {b}.
CAPTION = ("{a} {r} {b}", "a photo of {a} {r} {b}", "{a} is {r} {b}")
FIRST = (
    "a picture of {a} {r} {b}",
    "{a} that is seen {r} {b}",
    "there is {a} {r} {b}",
    "an image of {a} {r} {b}",
    "{a} lies {r} {b}",
    "a shot of {a} {r} {b}",
)
SECOND = (
    "{a} sits {r} {b}",
    "{r} {b} sits {a}",
    "{a} placed {r} {b}",
    "{r} {b} one finds {a}",
    "{a} appears {r} {b}",
    "{a} positioned {r} {b}",
)
#: The same groups for captions that tell no relation.
CAPTION_PAIR = ("{a} and {b}", "a photo of {a} and {b}")
FIRST_PAIR = (
    "a picture of {a} and {b}",
    "there is {a} and {b}",
    "an image of {a} and {b}",
    "{a} and also {b}",
)
SECOND_PAIR = (
    "{a} together with {b}",
    "{a} accompanied with {b}",
    "{a} along with {b}",
    "{a} sits with {b}",
)

#: Words that carry no meaning of their own: step 2 may repeat them.
FUNCTION_WORDS = frozenset(
    ("a", "an", "the", "of", "to", "in", "on", "at", "is", "that", "than", "with", "side")
)


Pool = Literal["train", "test"]
Combination = tuple[str, str, str]


@dataclass(frozen=True)
class Wording:
    """How a text says its meaning.

    `frame` is the frame's text, `direction` a key of DIRECTION_WORDS ("" without relation) and
    `phrase` its wording. `a` and `b` are the things in the frame's order, `a_words` and `b_words`
    their (size, colour, shape) words, "" where the text has none, and `article` is a's article.
    """

    frame: str
    direction: str
    phrase: str
    a: Thing
    b: Thing
    a_words: tuple[str, str, str]
    b_words: tuple[str, str, str]
    article: str

    @property
    def meaning(self) -> Content:
        """The meaning, turned to the stored relation."""
        return content(self.a, self.b, self.direction)


# --- reading ------------------------------------------------------------------------------------

_SIZE_OF = {word: size for size, row in SIZE_WORDS.items() for word in row}
_COLOUR_OF = {word: colour for colour, row in COLOUR_WORDS.items() for word in row}
_SHAPE_OF = {word: shape for shape, row in SHAPE_WORDS.items() for word in row}
_DIRECTION_OF = {words_: key for key, row in DIRECTION_WORDS.items() for words_ in row}
_WITH_RELATION = (*CAPTION, *FIRST, *SECOND)
_WITHOUT = (*CAPTION_PAIR, *FIRST_PAIR, *SECOND_PAIR)
_THING = re.compile(
    r"(?:(?P<article>an?|the) )?"
    + "".join(
        rf"(?:(?P<{name}>{'|'.join(table)}) )?"
        for name, table in (("size", _SIZE_OF), ("colour", _COLOUR_OF))
    )
    + rf"(?P<shape>{'|'.join(_SHAPE_OF)})"
)


def _pattern(frame: str) -> re.Pattern[str]:
    # Longer wordings first, or "left of" would be found inside "to the left of".
    phrases = "|".join(sorted(_DIRECTION_OF, key=len, reverse=True))
    text = frame.replace("{a}", "(?P<a>.+?)").replace("{b}", "(?P<b>.+?)")
    return re.compile(text.replace("{r}", f"(?P<r>{phrases})"))


_PATTERNS = [(frame, _pattern(frame)) for frame in (*_WITH_RELATION, *_WITHOUT)]
_KNOWN = {
    word
    for text in (*_WITH_RELATION, *_WITHOUT, *_DIRECTION_OF, *_SIZE_OF, *_COLOUR_OF, *_SHAPE_OF)
    for word in text.split()
    if "{" not in word
} | {"a", "an", "the"}


@lru_cache(maxsize=65536)
def wording(text: str) -> Wording:
    """Read a caption or paraphrase of the demo world, case and final full stop aside.

    Raises ValueError, with one sentence that names what was not understood, for any other text.
    """
    plain = " ".join(text.casefold().split()).rstrip(". ")
    if not plain:
        raise ValueError("the caption is empty, and the demo world's grammar needs two things")
    unknown = [word for word in plain.split() if word not in _KNOWN]
    if unknown:
        raise ValueError(f"'{unknown[0]}' in '{text}' is not a word of the demo world's grammar")
    for frame, pattern in _PATTERNS:
        match = pattern.fullmatch(plain)
        if match is None:
            continue
        a, b = _THING.fullmatch(match["a"]), _THING.fullmatch(match["b"])
        if a is None or b is None:
            continue
        phrase = match["r"] if "{r}" in frame else ""
        return Wording(
            frame,
            _DIRECTION_OF[phrase] if phrase else "",
            phrase,
            _thing(a),
            _thing(b),
            (a["size"] or "", a["colour"] or "", a["shape"]),
            (b["size"] or "", b["colour"] or "", b["shape"]),
            a["article"] or "",
        )
    raise ValueError(
        f"'{text}' is not built as the demo world's grammar builds a caption, "
        "such as 'a small red ball to the left of a large blue box'"
    )


def _thing(match: re.Match[str]) -> Thing:
    return Thing(
        _SIZE_OF[match["size"]] if match["size"] else "",
        _COLOUR_OF[match["colour"]] if match["colour"] else "",
        _SHAPE_OF[match["shape"]],
    )


def parse(text: str) -> Content:
    """Return the meaning of a caption or paraphrase; raises ValueError as `wording` does."""
    return wording(text).meaning


def content_words(text: str) -> frozenset[str]:
    """Return the words of a text that carry meaning, that is all but articles and the like."""
    return frozenset(text.split()) - FUNCTION_WORDS


def combinations(text: str) -> frozenset[Combination]:
    """Return the wording combinations of a text, each tagged with its kind.

    ("frame", frame, relation wording) and, for every thing with a colour,
    ("thing", colour word, shape word).
    """
    read = wording(text)
    found: set[Combination] = {("frame", read.frame, read.phrase)}
    for _, colour, shape in (read.a_words, read.b_words):
        if colour:
            found.add(("thing", colour, shape))
    return frozenset(found)


# --- writing ------------------------------------------------------------------------------------


def caption(scene: Scene, seed: int, *, full: bool = False) -> str:
    """Word a scene as a web caption, in the first word of every row only.

    Web captions leave things out: sizes, colours or the relation, unless `full`. Either thing may
    come first. The same scene content and seed give the same caption.
    """
    meaning = scene.content
    rng = Random(f"caption/{seed}/{meaning}")
    first, second, direction = meaning.first, meaning.second, meaning.relation
    if rng.random() < 0.5:
        first, second, direction = second, first, OPPOSITE[direction]
    # Drawn in either case, so that `full` changes nothing but what is left out.
    gap = rng.random()
    if full:
        gap = 1.0
    if gap < 0.25:
        first, second = (Thing("", thing.colour, thing.shape) for thing in (first, second))
    if gap < 0.07:
        first, second = (Thing("", "", thing.shape) for thing in (first, second))
    if 0.20 <= gap < 0.35:
        direction = ""
    frame = rng.choice(CAPTION if direction else CAPTION_PAIR)
    article = rng.choice(("a", "a", "the"))
    return plain(first, second, direction, frame=frame, article=article)


def plain(
    first: Thing, second: Thing, direction: str, *, frame: str = "", article: str = "the"
) -> str:
    """Word two things in the base vocabulary; without `frame`, "the x is above the y" or "and"."""
    frame = frame or (CAPTION[2] if direction else CAPTION_PAIR[0])
    phrase = DIRECTION_WORDS[direction][0] if direction else ""
    first_words, second_words = _words(first), _words(second)
    return _fill(frame, phrase, first_words, second_words, article)


def step1(text: str, seed: int, pool: Pool = "train") -> str:
    """T -> T': a paraphrase with another frame that keeps most words of `text`.

    Raises ValueError as `wording` does.
    """
    read = wording(text)
    rng = Random(f"step1/{seed}/{text}")
    group: tuple[str, ...] = FIRST if read.direction else FIRST_PAIR
    frames = tuple(frame for frame in group if frame != read.frame)
    frame, phrase = rng.choice(_choices(frames, read.direction, pool))
    a, b = list(read.a_words), list(read.b_words)
    # One word in each thing at most, and in a third of the things none.
    for told in (a, b):
        slot = rng.randrange(4)
        if slot < 3 and told[slot]:
            told[slot] = rng.choice([word for word in _row(told[slot]) if word != told[slot]])
    return _fill(frame, phrase, a, b, read.article)


def step2(text: str, seed: int, pool: Pool = "train") -> str:
    """T' -> T'': a paraphrase that avoids the content words of `text`, mostly turned round.

    Raises ValueError as `wording` does.
    """
    read = wording(text)
    rng = Random(f"step2/{seed}/{text}")
    used = content_words(" ".join(text.casefold().split()).rstrip(". "))
    a, b, direction = read.a_words, read.b_words, read.direction
    if rng.random() < 0.75:
        a, b, direction = b, a, OPPOSITE[direction] if direction else ""
    frames = SECOND if direction else SECOND_PAIR
    choices = _choices(frames, direction, pool)
    fresh = [pair for pair in choices if not content_words(" ".join(pair)) & used]
    if not fresh and direction:
        # Every wording of this direction would repeat a word of T': say it the other way round.
        a, b, direction = b, a, OPPOSITE[direction]
        choices = _choices(frames, direction, pool)
        fresh = [pair for pair in choices if not content_words(" ".join(pair)) & used]
    frame, phrase = rng.choice(fresh or choices)
    taken = set(used)
    # In the order of naming, so that two small things get two different words for it.
    one = [_other(word, taken, rng) for word in a]
    two = [_other(word, taken, rng) for word in b]
    article = "the" if read.article != "the" else "a"
    return _fill(frame, phrase, one, two, article)


def negation(text: str) -> str:
    """Deny the relation of a text ("not above"), or without one the second thing ("without a box").

    Raises ValueError as `wording` does. The result is no text of the grammar.
    """
    read = wording(text)
    plain = " ".join(text.casefold().split()).rstrip(". ")
    if read.phrase:
        return re.sub(rf"\b{read.phrase}\b", f"not {read.phrase}", plain, count=1)
    a, b = _noun(read.a_words, read.article), _noun(read.b_words, read.article)
    return f"{read.frame.partition('{a}')[0]}{a} without {b}"


@lru_cache(maxsize=1024)
def _choices(frames: tuple[str, ...], direction: str, pool: Pool) -> list[tuple[str, str]]:
    """Return the (frame, relation wording) combinations of a pool; ("frame", "") without one."""
    phrases = DIRECTION_WORDS[direction] if direction else ("",)
    return [
        (frame, phrase)
        for frame in frames
        for j, phrase in enumerate(phrases)
        if (_place(frame) + j) % 3 in ((0,) if pool == "test" else (1, 2))
    ]


def _place(frame: str) -> int:
    """Return a frame's place in its own group: the pool rule must not depend on the choice."""
    groups = (FIRST, SECOND, FIRST_PAIR, SECOND_PAIR)
    return next(group.index(frame) for group in groups if frame in group)


def _row(word: str) -> tuple[str, ...]:
    for tables in (SIZE_WORDS, COLOUR_WORDS, SHAPE_WORDS):
        for row in tables.values():
            if word in row:
                return row
    raise KeyError(word)


def _other(word: str, taken: set[str], rng: Random) -> str:
    """Choose another word of the same row that is not taken; "" stays "". Marks it as taken."""
    if not word:
        return ""
    choice = rng.choice([other for other in _row(word) if other not in taken])
    taken.add(choice)
    return choice


def _words(thing: Thing) -> tuple[str, str, str]:
    return (
        SIZE_WORDS[thing.size][0] if thing.size else "",
        COLOUR_WORDS[thing.colour][0] if thing.colour else "",
        SHAPE_WORDS[thing.shape][0],
    )


def _fill(frame: str, phrase: str, a: Sequence[str], b: Sequence[str], article: str) -> str:
    return frame.format(a=_noun(a, article), b=_noun(b, article), r=phrase)


def _noun(told: Sequence[str], article: str) -> str:
    text = " ".join(word for word in told if word)
    if article in ("a", "an"):
        article = "an" if text[0] in "aeiou" else "a"
    return f"{article} {text}".strip()


LLM = "demo"
"""What a user calls it: `--llm demo`."""


class DemoGrammar:
    """The grammar as a service: not an LLM, and never passed off as one.

    Paraphrases captions of the demo world; refuses any other by name.
    """

    name = LLM
    rejects_alone = True
    # What rows are marked with.
    MODEL = "demo-grammar (not an LLM)"
    # In the place of prompts, so that rows say what made them.
    prompts: Mapping[int, Prompt] = {
        1: Prompt("the demo world's grammar, step1: {text}"),
        2: Prompt("the demo world's grammar, step2: {text}"),
        NEGATION: Prompt("the demo world's grammar, negation: {text}"),
    }
    notice = (
        "paraphrased by the demo world's grammar, not by an LLM. "
        "This is the demo world: small drawn scenes, not photographs."
    )

    async def ask(self, question: Question) -> Reply:
        """The grammar's answer to a text; what it cannot read is rejected."""
        try:
            if question.step == NEGATION:
                return Reply(negation(question.text), self.MODEL)
            paraphrase = step1 if question.step == 1 else step2
            return Reply(paraphrase(question.text, question.seed), self.MODEL)
        except ValueError as error:
            return Reply("", self.MODEL, rejected=f"outside the demo world's grammar: {error}")

    async def close(self) -> None:
        """Nothing to let go of."""
