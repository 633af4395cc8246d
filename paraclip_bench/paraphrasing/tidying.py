"""An answer without what LLMs and their templates write around it: thoughts, tokens, markup."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from paraclip_bench.files import parse_json
from paraclip_bench.paraphrasing.template_marks import (
    BLANK,
    TOKEN,
    without_thoughts,
    without_tokens,
)

# Nothing that is longer is a paraphrase, and is left as it is.
LONGEST = 5000
# Each round takes something off; so many layers are no answer's, and it stays as it is.
_ROUNDS = 20


def tidy(answer: str | None, given: str = "") -> str:
    """The text of an answer to `given`, NFC, with single spaces and without empty lines.

    Off come thoughts (an unclosed one leaves nothing), tokens of templates, what is around the
    whole (a fence, JSON, a line of code, a tag, a formula, bold, italics, quotes, brackets), a
    label and a list mark in front, a note and hashtags behind. What `given` has at the same place
    itself stays. Tidying twice is tidying once.
    """
    text = answer or ""
    for _ in range(_ROUNDS):
        before = text
        text = _lines(without_tokens(without_thoughts(unicodedata.normalize("NFC", text))))
        if len(text) <= LONGEST:
            for peel in _PEELS:
                text = peel(text.strip(BLANK), given.lstrip())
        if text == before:
            return text
    return unicodedata.normalize("NFC", answer or "")


def called_paraphrase(answer: str, given: str) -> str:
    """An answer that a label, or a name in JSON or code, calls a negation, called a paraphrase.

    So `tidy` takes these off as it does a paraphrase's. Where `given` has such a word, it stays.
    """
    return answer if _NEGATED.search(given) else _NEGATED_LABEL.sub("paraphrase", answer)


_NEGATED = re.compile(r"negat|opposite", re.IGNORECASE)
_NEGATED_LABEL = re.compile(
    r"\b(?:negat(?:ed|ion|ive)|opposite)(?=(?:[ _](?:caption|sentence|version|answer|text))?"
    r"[*_\"']{0,3}\s*[:=])",
    re.IGNORECASE,
)


def _lines(text: str) -> str:
    lines = [" ".join(line.split()).strip(BLANK) for line in text.splitlines()]
    # Lines that only draw a line.
    return "\n".join(line for line in lines if line and not _RULE.fullmatch(line))


_RULE = re.compile(r"[-*_=]{3,}")

# --- around the whole ------------------------------------------------------------------------

_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})(?:[^\n`~]*\n)?(?P<text>.*?)\n?(?P=mark)", re.DOTALL)
_TAG = re.compile(r"<(?P<name>[a-z][\w-]*)(?:\s[^<>]*)?>(?P<text>.*)</(?P=name)\s*>", re.I | re.S)
_ANSWER = re.compile(
    r"<(?P<name>(?:final_)?answer|output|response|paraphrase\w*)>(?P<text>.*?)(?:</(?P=name)>|$)",
    re.IGNORECASE | re.DOTALL,
)
_BREAK = re.compile(r"\s*<br\s*/?>\s*$", re.IGNORECASE)
_EMPHASIS = ("***", "**", "___", "__", "~~", "*", "_")
_QUOTES = (
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("`", "`")),
    *(("\u201e", "\u201c"), ("\u201e", "\u201d"), ("\u00ab", "\u00bb"), ("\u2039", "\u203a")),
    *(("\u300c", "\u300d"), ("\u300e", "\u300f"), ("``", "''")),
)
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")


def _fence(text: str, given: str) -> str:
    found = _FENCE.fullmatch(text)
    return found["text"] if found is not None and "`" not in given else text


def _answer_tag(text: str, given: str) -> str:
    if "<" not in text or "<" in given:
        return text
    if (whole := _TAG.fullmatch(text)) is not None:
        return whole["text"]
    answers = list(_ANSWER.finditer(text))
    return answers[0]["text"] if len(answers) == 1 else _BREAK.sub("", text)


# Names of an answer in JSON and in code, and those of what is beside it there.
_KEY = re.compile(
    r"(?:\w+[_ ])?(?:caption|answer|output|response|result|text|sentence|content|version)s?\d?",
    re.I,
)
_BEST_KEY = re.compile(r"\w*(?:paraphras|rephras|reword|rewrit)\w*(?: \w+)?", re.IGNORECASE)
_OTHER_KEY = re.compile(r"original|input|source|given|reason|thought|explan|error", re.IGNORECASE)


def _json(text: str, given: str) -> str:
    """The one text that JSON has for an answer; text without it where it is not so."""
    # A plain string is left to the quotes.
    is_string = text[:1] == '"' and "\\" in text
    if not (is_string or text[:1] in ("{", "[")) or given[:1] == text[:1]:
        return text
    try:
        found = _only_text(parse_json(text))
    except ValueError:
        return text
    return text if found is None else found


def _only_text(found: Any) -> str | None:
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict):
        keys = [key for key in found if not _OTHER_KEY.search(key)]
        best = [key for key in keys if _BEST_KEY.fullmatch(key)]
        best = best or [key for key in keys if _KEY.fullmatch(key)]
        found = found[best[0]] if len(best) == 1 else None
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
    return found if isinstance(found, str) else None


_CODE = re.compile(
    r"(?:(?:print|puts|echo|return|console\.log)\s*\(?"
    r"|(?:\w+_)?(?:answer|paraphrase|caption|output|result|response|text|sentence)\w* ?=)\s*"
    r"(?P<mark>[\"'])(?P<text>[^\"\n]+)(?P=mark)\s*\)?;?",
    re.IGNORECASE,
)


def _code(text: str, given: str) -> str:
    """The text that a line of code prints or keeps."""
    found = _CODE.fullmatch(text)
    return text if found is None or _CODE.match(given) else found["text"]


_FORMULA = re.compile(
    r"(?P<mark>\${1,2})(?P<one>[^\d\s$][^$\n]*)(?P=mark)|\\\((?P<two>.+)\\\)|\\\[(?P<three>.+)\\\]"
    r"|\\(?:text(?:bf|it|rm)?|boxed|mathrm|mathbf)\{(?P<four>.+)\}"
)


def _formula(text: str, given: str) -> str:
    inner, stop = _before_stop(text)
    found = _FORMULA.fullmatch(inner)
    if found is None or given[:1] == text[0]:
        return text
    inner = next(part for part in found.group("one", "two", "three", "four") if part)
    return _with_stop(inner.strip(), stop)


_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def _brackets(text: str, given: str) -> str:
    """Without brackets around the whole; a full stop may stand behind them."""
    inner, stop = _before_stop(text)
    if given[:1] == text[:1] or inner[-1:] != _BRACKETS.get(inner[:1]):
        return text
    opening, inner = inner[0], inner[1:-1].strip()
    # JSON and what is no text is left for the checks.
    if (
        set(inner) & set("[](){}")
        or not inner
        or inner[0] in "\"'"
        or (opening == "{" and ":" in inner)
    ):
        return text
    return _with_stop(inner, stop)


def _before_stop(text: str) -> tuple[str, str]:
    return (text[:-1], text[-1]) if text[-1:] in (".", "!", "?") else (text, "")


def _with_stop(inner: str, stop: str) -> str:
    return inner if inner[-1:] in (".", "!", "?") else inner + stop


def _pair(text: str, given: str) -> str:
    """Without bold or italics around the whole; a full stop may stand behind them."""
    if text[:1] not in ("*", "_", "~") or given[:1] == text[0]:
        return text
    for mark in _EMPHASIS:
        stop = text[-1] if text[-1] in ".!?" else ""
        inner = text.removesuffix(stop)
        if len(inner) <= 2 * len(mark) or not (inner.startswith(mark) and inner.endswith(mark)):
            continue
        inner = inner[len(mark) : -len(mark)]
        if mark[0] not in inner and inner == inner.strip():
            return inner if inner[-1] in ".!?" else inner + stop
    return text


def _quotes(text: str, given: str) -> str:
    """Without quotes around the whole; a full stop may stand behind them."""
    for opening, closing in _QUOTES:
        if not text.startswith(opening) or len(text) <= len(opening + closing):
            continue
        if given.startswith(opening) and given.rstrip(" .!?").endswith(closing):
            continue
        stop = text[-1] if text[-1] in ".!?" else ""
        inner = text.removesuffix(stop)
        if not inner.endswith(closing) or len(inner) <= len(opening + closing):
            continue
        inner = inner[len(opening) : -len(closing)].strip()
        bare = _APOSTROPHE.sub("", inner) if opening in "'\u2018" else inner
        if inner and opening not in bare and closing not in bare:
            return inner if inner[-1] in ".!?" else inner + stop
    return text


# --- in front --------------------------------------------------------------------------------

_MADE = r"(?:paraphras|rephras|reword|rewritt|rewrit|revis|restat)(?:ed|en|ing|e)"
_LABEL = re.compile(
    rf"[*_#\s]{{0,6}}(?:"
    rf"(?:(?:the|my|your|a|one|new|final|brief|short|shorter|shortened|concise|alternative|"
    rf"alternate|updated|improved|simplified|possible|suggested|image|output|{_MADE})\s+){{0,3}}"
    rf"(?:caption|sentence|paraphrase|answer|version|restatement|rewrite|response|output|reply)"
    rf"|{_MADE}|assistant|改写|改寫|释义|答案|回答|言い換え|回答文)"
    r"(?:\s*#?\d{1,2})?(?:\s*\([^()\n:]{1,40}\))?[*_]{0,3}\s*[:\uff1a][*_]{0,3}\s*"
    r"|[*_#\s]{0,6}(?:option|choice|variant|variation|alternative|suggestion)\s*#?(?:\d{1,2}|[a-c])"
    r"(?:\s*\([^()\n:]{1,40}\))?[*_]{0,3}\s*[:\uff1a.)][*_]{0,3}\s+",
    re.IGNORECASE,
)
# What was thought or given, by its label, and behind it the answer by its own.
_REASONED = re.compile(
    r"[*_#\s]{0,6}(?:(?:the |my )?(?:thinking|thoughts?|reasoning|analysis|rationale|explanation"
    r"|step \d|question|(?:original|input|given|source)(?: \w+)?|caption|sentence|text)\b"
    r"[*_\s]{0,4}:|let's think|let me think|okay, let)"
    rf".*[\s.!?*_](?:(?:the |my )?(?:final |brief |new |best )?(?:answer|output|response|result"
    rf"|paraphrase|{_MADE})(?: (?:caption|sentence|text|version|answer|output))?)[*_]{{0,3}}\s*:"
    r"[*_]{0,3}\s*(?=\S)",
    re.IGNORECASE | re.DOTALL,
)
_MARK = re.compile(
    r"(?:[1-9][.)]|\(1\)|[-\u2013\u2014*\u2022\u2023\u00b7\u25e6\u25aa\u25b8\u25ba\u2192+>]"
    r"|#(?=\s+\D)|#{2,6}|[a-zA-Z]\))\s+(?=\S)"
)
# A German ordinal number: clubs, leagues, days.
_ORDINAL = re.compile(
    r"\d{1,2}\. (?:(?:FC|FFC|FSV|SC|SV|TSV|VfL|FK|HC|EC)\b|\w*(?:liga|klasse|mannschaft)\b|Advent\b"
    r"|(?:Januar|Februar|M\u00e4rz|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b)",
    re.IGNORECASE,
)


def _label(text: str, given: str) -> str:
    found = _LABEL.match(text)
    if found is None or found.end() == len(text) or label_in(given, found[0]):
        return text
    rest = text[found.end() :]
    # Of **Caption: text** the bold was opened in front of the label.
    opened = re.match(r"[*_]*", found[0])
    mark = opened[0] if opened is not None else ""
    if mark and found[0].count(mark[0]) == len(mark) and rest.endswith(mark):
        rest = rest.removesuffix(mark)
    return rest


def _reasoned(text: str, given: str) -> str:
    """What stands behind the last label of an answer, where thoughts or the input stand before."""
    found = _REASONED.match(text) if ":" in text else None
    if found is None or _REASONED.match(given) or _several(text, given):
        return text
    return text[found.end() :]


def label_in(given: str, label: str) -> bool:
    """Whether what was given has a word of a label, so that it may be no label."""
    asked = set(re.findall(r"\w+", given.casefold()))
    told = set(re.findall(r"[^\W\d_]+", label.casefold())) - {
        "the",
        "a",
        "my",
        "your",
        "one",
        "new",
    }
    # Their beginnings, so that "thinking" is a word of "a think tank".
    return bool({word[:5] for word in asked} & {word[:5] for word in told})


def _list_mark(text: str, given: str) -> str:
    found = _MARK.match(text)
    if found is None or _MARK.match(given) or found[0].strip() in given.split():
        return text
    if _ORDINAL.match(text) or _several(text, given):
        return text
    return text[found.end() :]


# --- behind ----------------------------------------------------------------------------------

_NOTE = re.compile(
    r"[*_]{0,2}[(\[][*_]{0,2}(?:(?:please )?note\b|n\.b\.|explanation\b|word count\b|rephrased\b"
    r"|paraphrased?\b|\d+ (?:characters|words|tokens)\b|this (?:version|paraphrase|caption)\b"
    r"|i(?:'ve| have)? (?:kept|changed|used|tried|made|added|removed|avoided|replaced)\b)"
    r"[^()\[\]]*[)\]][*_]{0,2}\.?$",
    re.IGNORECASE,
)
# Behind a whole sentence alone: in "a street in #Paris #France" they may be a part of it.
_HASHTAGS = re.compile(r"(?<=[.!?\u2026])(?:\s*#[^\W\d]\w*)+$")


def _note(text: str, given: str) -> str:
    """Without what is said of the answer behind it, in brackets."""
    found = _NOTE.search(text)
    if found is None or not found.start() or label_in(given, found[0].partition(" ")[0]):
        return text
    return text[: found.start()]


def _hashtags(text: str, given: str) -> str:
    found = _HASHTAGS.search(text)
    return text if found is None or not found.start() or "#" in given else text[: found.start()]


_PEELS = (
    *(_fence, _json, _code, _answer_tag, _reasoned, _formula, _pair, _quotes, _brackets),
    *(_label, _list_mark, _note, _hashtags),
)


# --- what is left ----------------------------------------------------------------------------

_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>]*>|```|(?<!\*)\*{2,3}(?!\*)|(?<!\w)__(?=\w)|!?\[[^\]]*\]\([^)]*\)|^#{1,6}\s(?!\d)"
    r"|\\[a-z]+\{|&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6});",
    re.IGNORECASE | re.MULTILINE,
)
_JSON = re.compile(
    r"^\s*\{\s*[\"'\w]|^\s*\[\s*[\"'{]|[\"']\w{1,40}[\"']\s*:\s*[\"'\[{\d]", re.MULTILINE
)
_ADDRESS = re.compile(r"https?://|\bwww\.\w", re.IGNORECASE)
_LABEL_LEFT = re.compile(
    rf"^\W*(?:[\w'\u2019]+[ ,]+){{0,3}}(?:caption|paraphrase|sentence|answer|response|output|"
    rf"version|{_MADE})s?\b[^:\uff1a\n]{{0,24}}[:\uff1a]"
    rf"|^\W*(?:thinking|thoughts?|reasoning|thought process)\s*:"
    rf"|^\W*(?:paraphrase|{_MADE})\s[-\u2013\u2014]\s",
    re.IGNORECASE,
)
_LABEL_INSIDE = re.compile(
    rf"[\s.!?](?:paraphrased?|{_MADE}|final answer)(?: (?:caption|sentence|text|version))?\s*:",
    re.IGNORECASE,
)
_HASHTAG = re.compile(r"(?:^|\s)#[^\W\d]\w*")


def left_over(text: str, given: str) -> str | None:
    """What a tidied answer still has that is not its text, and that was not given; None if nothing.

    One of "several answers", "special tokens", "JSON", "markup", "an address", "hashtags",
    "a label".
    """
    if _several(text, given):
        return "several answers"
    for pattern, name in (
        (TOKEN, "special tokens"),
        (_JSON, "JSON"),
        (_MARKUP, "markup"),
        (_ADDRESS, "an address"),
        (_HASHTAG, "hashtags"),
    ):
        if pattern.search(text) and not pattern.search(given):
            return name
    found = _LABEL_LEFT.match(text) or _LABEL_INSIDE.search(text)
    return "a label" if found is not None and not label_in(given, found[0]) else None


_SEVERAL = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # Numbered, lettered, or with the same mark in front of each.
        r"\(?1[.):]\)?\s+\S.*?(?P<mark>(?<![\w.:])\(?2[.):]\)?)\s+\S",
        r"(?-i:\(?[aA][.)]\s+[A-Z].*?(?P<mark>(?<!\w)\(?[bB][.)])\s+[A-Z])",
        r"1\ufe0f?\u20e3.*?(?P<mark>2\ufe0f?\u20e3)",
        r"\u2460.*?(?P<mark>\u2461)",
        r"(?P<mark>[\u2022\u2023\u25e6\u25aa*]) .*\S\s(?P=mark) \S",
        r"(?P<mark>[-\u2013\u2014]) .*[.!?]\s(?P=mark) \S",
        # With labels.
        r".*[\s.!?*_](?P<mark>(?:option|version|paraphrase|caption|answer|variant|alternative|sentence)"
        r"\s*#?(?:[2-9]|b\b)(?:\s*\([^()]*\))?\s*[:.)])[*_]*\s",
        # One after the other.
        r".*[.!?][\"'\u201d\u2019]*\s+(?P<mark>or:?|alternatively)[,:]?\s\S+\s+\S+\s+\S",
        r".*[^.]\.[\"'\u201d\u2019]*\s+(?P<mark>/)\s+[\"'\u201c\u2018]?(?-i:[A-Z])",
    )
)
_QUOTED = r"(?:\"[^\"\n]+\"|\u201c[^\u201d\n]+\u201d|'[^'\n]+')[.,;]?"
_TWO_QUOTED = re.compile(rf"{_QUOTED}\s+(?:(?:or|and|/|\|)\s+)?{_QUOTED}", re.IGNORECASE)


def _several(text: str, given: str) -> bool:
    """Whether an answer is more than one: numbered, with labels, or with OR between."""
    for pattern in _SEVERAL:
        found = pattern.match(text)
        if found is not None and not _stands_in(found["mark"], given):
            return True
    if _TWO_QUOTED.fullmatch(text) and not set(given) & set("\"'\u201c\u201d"):
        return True
    one, between, two = text.partition(" OR ")
    is_between = bool(between) and text != text.upper() and "OR" not in given.split()
    return is_between and min(len(one.split()), len(two.split())) >= 3


def _stands_in(mark: str, given: str) -> bool:
    return set(re.findall(r"\w+|\W", mark.casefold().strip())) <= set(
        re.findall(r"\w+|\W", given.casefold())
    )
