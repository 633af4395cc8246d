"""Captions from the files that people have, in one pass, and which are worth asking about."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from paraclip_bench.data.images import is_hidden
from paraclip_bench.data.row_files import refuse_torn, wrong_ending
from paraclip_bench.errors import DataError, UsageError, check_name
from paraclip_bench.files import ending, parse_json
from paraclip_bench.paraphrasing.caption_formats import (
    CAPTION_FIELDS,
    ENDINGS,
    ID_FIELDS,
    IMAGE_FIELDS,
    NEGATION_FIELDS,
    PARAPHRASE_FIELDS,
    Row,
    rows_of,
)
from paraclip_bench.paraphrasing.wording import word_count
from paraclip_bench.safe_text import is_torn

Reason = Literal[
    "unreadable row", "empty", "not a text", "too few words", "too many words", "duplicate"
]
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|https?://\S+")


@dataclass(frozen=True)
class CaptionFilter:
    """Captions of min_words to max_words words, as `word_count` counts them.

    2 to 15 is what the ParaCLIP authors' script keeps (call_openai.py of dmis-lab/ParaCLIP).
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
        # Letters of any script; markup and addresses are not a caption.
        if _MARKUP.search(text) or not any(character.isalpha() for character in text):
            return "not a text"
        words = word_count(text)
        if words < self.min_words:
            return "too few words"
        return "too many words" if words > self.max_words else None


def normal(text: str) -> str:
    """The text as it is asked about: NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


_TOLD = ".txt, .jsonl, .json, .csv, .tsv, .parquet, .tar"
# So many rows are looked at to learn which fields a file has.
_FIRST_ROWS = 100


@dataclass(frozen=True)
class Caption:
    """One row of the input. text is whatever the field holds; `problem` says that there is none.

    place counts all rows of all files from 0; `where` names the row in messages. paraphrase and
    negation are what a row of this one caption has in fields of these names.
    """

    place: int
    where: str
    text: Any = None
    image: str | None = None
    id: str | None = None
    problem: str | None = None
    paraphrase: str | None = None
    negation: str | None = None


@dataclass(frozen=True)
class CaptionFields:
    """Which fields hold caption and image; None: the first usual name that a row has."""

    caption: str | None = None
    image: str | None = None


def caption_files(path: Path) -> list[Path]:
    """The file that `path` names, or the shards of a folder or a pattern, in order.

    Of a folder that has WebDataset shards only those: img2dataset writes its notes beside them.
    """
    if path.is_dir():
        there = sorted(f for f in path.iterdir() if f.is_file() and not is_hidden(f.name))
        files = [f for f in there if ending(f) in ENDINGS]
        files = [f for f in files if ending(f) == ".tar"] or files
        if not files:
            raise UsageError(f"{path} has no files of captions ({_TOLD})")
    elif path.exists():
        files = [path]
    else:
        files = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
        if not files:
            raise UsageError(f"{path} does not exist; check the path of the captions")
    for file in files:
        check_name(file, "the file")
        if ending(file) not in ENDINGS:
            raise wrong_ending(file, _TOLD.split(", "), "captions")
    formats = sorted({ending(file) for file in files})
    if len(formats) > 1:
        raise UsageError(
            f"{path} has files of several formats ({', '.join(formats)}), which may hold the same "
            "captions; name those of one by a pattern"
        )
    return files


def read_captions(files: Sequence[Path], fields: CaptionFields) -> Iterator[Caption]:
    """The rows of all files in order; memory does not grow with their number.

    A row that cannot be read has a `problem`. Raises `DataError` for a file that is not what its
    ending says, `UsageError` for a field that it does not have.
    """
    places = itertools.count()
    for file in files:
        for row in _captions_of(file, ENDINGS[ending(file)], fields):
            yield Caption(next(places), *row)


# where, text, image, id, problem, paraphrase, negation
_Found = tuple[str, Any, str | None, str | None, str | None, str | None, str | None]


def _captions_of(file: Path, kind: str, fields: CaptionFields) -> Iterator[_Found]:
    """The captions of a file, several of a row too: the first rows say which fields there are,
    each row which of them it has."""
    rows = rows_of(file, kind)
    first = list(islice(rows, _FIRST_ROWS))
    if kind == "txt" and all(fields_of.keys() <= {"caption"} for _, fields_of, _, _ in first):
        fields = CaptionFields()  # lines have no names
    _check(first, fields, file)
    for where, row, image, problem in itertools.chain(first, rows):
        if problem is not None:
            yield where, None, None, None, problem, None, None
            continue
        value = _value(row, fields.caption, CAPTION_FIELDS)
        if value is None and fields.caption is None:
            value = _numbered(row)
        texts = _several(value)
        name = image if image is not None else _value(row, fields.image, IMAGE_FIELDS)
        if isinstance(name, Mapping):  # as `datasets` writes an image column
            name = name.get("path")
        id = _text(_value(row, None, ID_FIELDS))
        try:
            refuse_torn([_text(name), id], where)
        except DataError as error:
            yield where, None, None, None, str(error), None, None
            continue
        more = [_of_one(_value(row, None, n)) for n in (PARAPHRASE_FIELDS, NEGATION_FIELDS)]
        paraphrase, negation = more if len(texts) == 1 else (None, None)
        for number, text in enumerate(texts):
            place = where if len(texts) == 1 else f"{where}, caption {number}"
            yield place, text, _text(name), id, None, paraphrase, negation


def _several(value: Any) -> list[Any]:
    """The captions of a field: one, or those of a list, which a table has as JSON."""
    if isinstance(value, str) and value.startswith('["') and value.endswith('"]'):
        with contextlib.suppress(ValueError):
            value = parse_json(value)
    if not isinstance(value, list):
        return [value]
    return [_sentence(item) for item in value] or [None]


def _of_one(value: Any) -> str | None:
    """The text that a field has for a caption, of several the first; None where it has none."""
    text = _several(value)[0]
    return text if isinstance(text, str) and text.strip() and not is_torn(text) else None


def _sentence(item: Any) -> Any:
    """A caption of a list, which may be an object as Karpathy has it."""
    return _value(item, None, ("raw", *CAPTION_FIELDS)) if isinstance(item, Mapping) else item


def _value(row: Mapping[str, Any], chosen: str | None, names: Sequence[str]) -> Any:
    if chosen is not None:
        return row.get(chosen)
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if found is None and any(isinstance(key, str) and key != key.lower() for key in row):
        lower = {str(key).lower(): value for key, value in row.items()}
        found = next((lower[name] for name in names if lower.get(name) is not None), None)
    return found


_NUMBERED = re.compile(r"(?:caption|sentence|text|comment)s?[ _-]?\d{1,2}", re.IGNORECASE)


def _numbered(row: Mapping[str, Any]) -> list[Any] | None:
    """The captions of columns such as caption_1 and caption_2; None where there are none."""
    found = [value for name, value in row.items() if _NUMBERED.fullmatch(str(name))]
    return [value for value in found if value not in (None, "")] or None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _check(first: Sequence[Row], fields: CaptionFields, file: Path) -> None:
    """`UsageError` for a field that the first rows do not have, or captions under no usual name."""
    names = list(dict.fromkeys(name for _, row, _, _ in first for name in row))
    if not names:
        return
    for wanted, option in ((fields.caption, "--caption-field"), (fields.image, "--image-field")):
        if wanted is not None and wanted not in names:
            close = difflib.get_close_matches(wanted, names, 1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"{option}: {file} has no field {wanted!r} (it has {', '.join(names)}){meant}"
            )
    lower = {*names, *(name.lower() for name in names)}
    if (
        fields.caption is None
        and not any(name in lower for name in CAPTION_FIELDS)
        and not any(_NUMBERED.fullmatch(str(name)) for name in names)
    ):
        raise UsageError(
            f"{file} has no field of a usual name for captions (it has {', '.join(names)}); "
            "name it with --caption-field"
        )
