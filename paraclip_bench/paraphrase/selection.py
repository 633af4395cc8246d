"""Which captions are worth asking an LLM about, and why the others are not."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from paraclip_bench.data.text_files import is_torn

Reason = Literal[
    "unreadable row", "empty", "not a text", "too few words", "too many words", "duplicate"
]
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|https?://\S+")


@dataclass(frozen=True)
class Selection:
    """Captions of min_words to max_words words, as separated by white space.

    2 to 15 is what the ParaCLIP paper kept (Kim et al. 2024).
    """

    min_words: int = 2
    max_words: int = 15

    def reason(self, text: Any) -> Reason | None:
        """Why a caption is left out; None where it is kept. Duplicates are the journal's."""
        if text is None or (isinstance(text, str) and not text.strip()):
            return "empty"
        if not isinstance(text, str):
            return "not a text"
        if is_torn(text):
            return "not a text"
        # Letters of any script; markup and addresses are no caption.
        if _MARKUP.search(text) or not any(character.isalpha() for character in text):
            return "not a text"
        words = len(text.split())
        if words < self.min_words:
            return "too few words"
        return "too many words" if words > self.max_words else None


def normal(text: str) -> str:
    """The text as it is asked about: NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())
