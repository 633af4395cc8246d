"""Foreign text made safe for where it is shown: a terminal, Markdown, HTML, CSV, LaTeX.

Names, captions, file names and what a service says are foreign. JSON needs none of this: `json`
escapes what it writes.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape

# So much of a quoted value stands in an error, and so much of a whole sentence.
_QUOTED, _SENTENCE = 160, 2000
# They turn the order of what follows, so that text reads as what it is not.
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# A quotation, and not what lies between two apostrophes.
_QUOTES = re.compile(
    rf"(?<!\w)'(?:[^'\\]|\\.){{{_QUOTED},}}'(?!\w)|\"(?:[^\"\\]|\\.){{{_QUOTED},}}\""
)
_SPACES = "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def line(text: str) -> str:
    """Text for a terminal, as one line: line breaks are spaces, other control characters visible.

    An escape sequence loses its effect, and so do marks that turn the direction of text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _SPACES:
        return " "
    if character in _BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs"):
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return character


_TORN = re.compile("[\ud800-\udfff]")
# What Python makes of bytes in a file's name that are not UTF-8.
_BYTES = re.compile("[\udc80-\udcff]")


def is_torn(text: str) -> bool:
    """Whether a text has halves of characters (lone surrogates), which no UTF-8 file can hold."""
    return not text.isascii() and _TORN.search(text) is not None


def is_of_bytes(text: str) -> bool:
    """Whether all halves of characters in a text are bytes of a file's name."""
    return not is_torn(_BYTES.sub("", text))


def sentence(text: str) -> str:
    """Text for an error: one line, long quoted values and very long sentences cut in the middle."""
    shown = line(text)
    if len(shown) > _QUOTED:
        shown = _QUOTES.sub(lambda found: cut(found[0], _QUOTED), shown)
    return cut(shown, _SENTENCE)


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and what is counted: `1 pair`, `2,000 pairs`; `plural` where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def cut(text: str, length: int) -> str:
    """Text of at most `length` characters; of a longer one both ends, with "…" between them."""
    if len(text) <= length:
        return text
    tail = length // 4
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


_MARKUP = re.compile(r"[\\|*`\[\]&<>$]|_+|~+")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What begins a heading, an item, a line or a block of code, and what ends a heading.
_BLOCK = re.compile(r"(?:#{1,6}|[-+]|[0-9]{1,9}[.)])(?= |$)|-[- ]*$|=+$|~~~")
_END = re.compile(r"(?:^| )(?=#+$)")


def markdown(text: str) -> str:
    """Text that GitHub's Markdown shows as it is: no markup, formulas or HTML.

    It is all of a cell, heading, item or paragraph, or stands between words of ours. What does
    nothing where it is stays readable: `_` in a word, and one `~` or `$` without a second.
    """
    shown = " ".join(line(text).split())
    marks = [mark[0] for mark in re.findall(r"~+|\$", shown)]
    alone = {mark for mark in "~$" if marks.count(mark) < 2}

    def safe(found: re.Match[str]) -> str:
        run, mark = found[0], found[0][0]
        before, after = shown[found.start() - 1 : found.start()], shown[found.end() :][:1]
        if mark in _ENTITIES:
            return _ENTITIES[mark]
        if mark == "_" and before.isalnum() and after.isalnum():
            return run
        if mark in alone or (mark in "~$" and not (before + after).strip()):
            return run
        # GitHub's own way: it may look for formulas after `\$` has become `$`.
        return "<span>$</span>" if mark == "$" else "".join(f"\\{each}" for each in run)

    safely = _MARKUP.sub(safe, shown)
    if (start := _BLOCK.match(safely)) is not None:
        # Of a number its dot: `\1` is no escape.
        place = start.end() - 1 if start[0][0].isdigit() else 0
        safely = f"{safely[:place]}\\{safely[place:]}"
    if (end := _END.search(safely)) is not None:
        safely = f"{safely[: end.end()]}\\{safely[end.end() :]}"
    return safely


def code_span(text: str) -> str:
    """Text as a code span of Markdown, where no escape works: its backticks become apostrophes."""
    return "`" + line(text).replace("`", "'") + "`"


def html(text: str) -> str:
    """Text for HTML, in an element or a quoted attribute."""
    return escape(line(text), quote=True)


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    # Behind \\\\ of a table these begin an argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}


def latex(text: str) -> str:
    """Text that LaTeX shows as it is, whatever engine and encoding: no command.

    Letters of Western Europe stay; of what else there is beyond ASCII `?` stands where nothing in
    ASCII is the same. Ligatures of hyphens are taken apart.
    """
    shown = "".join(c if c.isascii() or c in _LETTERS else _plain(c) for c in line(text))
    return "".join(_LATEX.get(character, character) for character in shown)


# What LaTeX's oldest encoding, OT1, has or can compose.
_LETTERS = {c for c in map(chr, range(0xC0, 0x100)) if c not in "ÐÞ×ðþ÷"}


def _plain(character: str) -> str:
    found = unicodedata.normalize("NFKD", character)
    return "".join(c for c in found if c.isascii()) or "?"


def csv_cell(text: str) -> str:
    """Text for a CSV cell that no spreadsheet takes for a formula.

    A quotation mark in front makes it text, as OWASP recommends ("CSV Injection").
    """
    shown = line(text)
    return f"'{shown}" if shown.lstrip(" ").startswith(("=", "+", "-", "@")) else shown
