"""Words of a text in any language: which there are, how many, and in which script."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter

_WORD = re.compile(r"\w+")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
# Scripts without spaces between words, and how many of their characters count as a word: Chinese
# and Japanese; Thai, Lao, Burmese and Khmer.
_UNSPACED = {
    2: re.compile(
        "[\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
        "\u2e80-\u2fd5\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
    ),
    4: re.compile(
        "[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u109f"
        "\u1780-\u17d3\ua9e0-\ua9ef\uaa60-\uaa7f]+"
    ),
}
# English words that say little by themselves.
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those some any no not nor and or but if of in on at by to into onto
    from for with without as than then so too very over under up down out off about near next
    through between among above below behind beside front while during after before until it its
    he him his she her hers they them their theirs we us our you your i me my who whom whose
    which what where when how why there here be is am are was were been being do does did done
    have has had having can could will would shall should may might must one s t re ve ll d m
    all each both few many more most other another such only own same just also
    """.split()  # noqa: SIM905  # a list of that many short words is harder to read
)


def words(text: str) -> list[str]:
    """Words without case and punctuation, which is how two texts are compared."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_count(text: str) -> int:
    """How many words a text has: parts between white space with a letter or a digit in them.

    In scripts without spaces two characters of Chinese or Japanese count as a word, and four of
    Thai, Lao, Burmese or Khmer.
    """
    count = 0
    if not text.isascii():
        for size, script in _UNSPACED.items():
            characters = sum(len(run) for run in script.findall(text))
            if characters:
                count += max(1, (characters + size // 2) // size)
                text = script.sub(" ", text)
    return count + sum(1 for part in text.split() if _LETTER_OR_DIGIT.search(part))


def units(text: str) -> list[str]:
    """What two texts may have in common: words, and of scripts without spaces every run of as many
    characters as `word_count` counts as one."""
    found = words(text)
    if text.isascii():
        return found
    several: list[str] = []
    for word in found:
        for size, script in _UNSPACED.items():
            for run in script.findall(word):
                several += [run[i : i + size] for i in range(max(1, len(run) - size + 1))]
            word = script.sub(" ", word)
        several += word.split()
    return several


def content_words(text: str) -> frozenset[str]:
    """The `units` of a text without English function words."""
    return frozenset(units(text)) - _FUNCTION_WORDS


# Words that deny, in the languages that captions mostly have; n't is of the word in front of it.
_NEGATIONS = re.compile(
    r"\b(?:not|cannot|no|none|never|nobody|nothing|nowhere|without|neither|nor|lack(?:s|ing|ed)?"
    r"|absent|absence|missing|devoid|\w+n't|(?:is|are|was|were|do|does|did|has|have|had"
    r"|would|could|should)nt"
    # German and Dutch, French, Spanish, Portuguese and Italian, Russian.
    r"|nicht|kein(?:e[mnrs]?)?|ohne|niemand|nichts|nie|niet|geen|zonder|nooit"
    r"|pas|aucune?|sans|jamais|ning\u00fan|ninguna?|nunca|jam\u00e1s|sin|nadie|n\u00e3o|sem"
    r"|nenhuma?|ningu\u00e9m|non|senza|nessun[oa]?"
    r"|\u043d\u0435|\u043d\u0435\u0442|\u0431\u0435\u0437|\u043d\u0438|\u043d\u0438\u043a\u043e\u0433\u0434\u0430)\b"
    # Chinese, Japanese, Korean.
    r"|[\u4e0d\u6ca1\u6c92\u65e0\u7121]|\u306a\u3044|\u306a\u304b|\u306a\u304f|\u307e\u305b\u3093|\u305a\u306b"
    r"|\uc5c6|\uc54a"
)


def negation_count(text: str) -> int:
    """How many words of a text deny: not, n't, no, without, lacks, … and those of other languages.

    Of other languages those of German, Dutch, French, Spanish, Portuguese, Italian, Russian,
    Chinese, Japanese and Korean are known.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return len(_NEGATIONS.findall(plain))


def negates(given: str, answer: str) -> bool:
    """Whether an answer denies something of what was given.

    That is, it has more words that deny, and a content word in common with it; where either has
    no content word, any word.
    """
    if negation_count(answer) <= negation_count(given):
        return False
    asked, said = content_words(given), content_words(answer)
    return bool(asked & said if asked and said else {*units(given)} & {*units(answer)})


# A language may mix them.
_ONE_FAMILY = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"})
# A script with less than this share of a text's letters is not the text's own: a name, a symbol.
_OWN = 0.15
# So large a share of an answer's letters may be foreign; Latin names stand in texts of all scripts.
_FOREIGN, _FOREIGN_LATIN = 0.2, 0.5


def is_in_another_script(given: str, answer: str) -> bool:
    """Whether an answer is written in letters of scripts that what was given is not written in.

    Digits, signs and emoji do not count, nor do letters that were given themselves, nor a name of
    up to two words in brackets: "Sushi (寿司)". The scripts of Chinese and Japanese are one family.
    """
    if answer.isascii() and given.isascii():
        return False
    answer = _GLOSS.sub(_without_gloss, answer)
    given, answer = (unicodedata.normalize("NFKC", text) for text in (given, answer))
    asked, said = _scripts(given), _scripts(answer)
    if not asked or not said:
        return False
    least = _OWN * asked.total()
    own = {script for script, count in asked.items() if count >= least}
    foreign = _scripts("".join(letter for letter in answer if letter not in given))
    for script in own:
        del foreign[script]
    latin = foreign.pop("LATIN", 0)
    total = said.total()
    return foreign.total() > _FOREIGN * total or foreign.total() + latin > _FOREIGN_LATIN * total


_GLOSS = re.compile(r"(?<=\w)(\s*)[(\uff08]([^()\uff08\uff09]{1,24})[)\uff09]")


def _without_gloss(found: re.Match[str]) -> str:
    return "" if word_count(found[2]) <= 2 else found[0]


# Letters of Cyrillic and Greek that are drawn like those of Latin.
_LOOK_ALIKE = frozenset(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u04cf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u03bf"
)


def look_alike(given: str, answer: str) -> str | None:
    """A word with letters that only look like Latin ones, which was not given; None if none.

    That is a word of Latin and look-alike letters ("dog" with a Cyrillic o), or such a letter
    alone, in an answer that is mostly Latin. A tokenizer reads neither as what it looks like.
    """
    if answer.isascii():
        return None
    known = set(_WORD.findall(given))
    counts = _scripts(answer)
    is_latin = 2 * counts["LATIN"] > counts.total()
    found: list[str] = _WORD.findall(unicodedata.normalize("NFC", answer))
    for word in found:
        if word.isascii() or word in known or not _LOOK_ALIKE & set(word):
            continue
        others = {letter for letter in word if letter.isalpha() and _script(letter) != "LATIN"}
        is_mixed = any(_script(letter) == "LATIN" for letter in word)
        if is_latin and others <= _LOOK_ALIKE and (is_mixed or len(word) == 1):
            return word
    return None


def _scripts(text: str) -> Counter[str]:
    return Counter(script for letter in text if (script := _script(letter)))


@functools.lru_cache(maxsize=1 << 14)
def _script(letter: str) -> str:
    """The family of scripts that a letter belongs to, "" for what is not a letter."""
    if not letter.isalpha():
        return ""
    script = unicodedata.name(letter, "").partition(" ")[0]
    # Signs that count as letters: ª, º, modifiers.
    if script in ("MODIFIER", "FEMININE", "MASCULINE", "MICRO"):
        return ""
    return "CJK" if script in _ONE_FAMILY else script
