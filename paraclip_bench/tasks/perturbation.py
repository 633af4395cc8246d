"""Other wordings of a task's texts: what a perturbation is, and one made from a file of pairs.

`run --perturb` measures a task again with each version of its texts. A perturbation sees one text
at a time and knows nothing of tasks.
"""

from __future__ import annotations

import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from paraclip_bench import registry
from paraclip_bench.data.row_files import json_rows, parquet_rows, wrong_ending
from paraclip_bench.errors import BenchError, DataError, UsageError, reason_of
from paraclip_bench.files import ending, regular
from paraclip_bench.safe_text import counted, is_torn

# Fields that hold the text itself, the first that is there.
_TEXT = ("text", "caption", "query", "sentence")
# Fields that hold its other wordings, besides paraphrase_1, paraphrase_2 and so on.
_OTHERS = ("paraphrases", "paraphrase", "paraphrased")
_NUMBERED = re.compile(r"paraphrase_([0-9]{1,4})")
_ROWS = 4096
_FORMATS = (".jsonl", ".json", ".parquet")


class Perturbation(ABC):
    """Other wordings of texts, in one version or several.

    A subclass sets the name and writes `versions` and `reworded`; its class, without arguments, is
    an entry point of group `paraclip_bench.perturbations`. name: as results show it. about: what it
    does, in a sentence. version: raised when a wording changes.
    """

    name: str
    about: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def versions(self) -> Sequence[str]:
        """The names of its versions; a task is measured once with each."""

    @abstractmethod
    def reworded(self, version: str, text: str) -> str | None:
        """That version of a text; None where it has none, so that the text stays as it is."""

    @property
    def digest(self) -> str:
        """sha256 (hex) of what it does to which texts; results of another one are others."""
        said = "\n".join((self.name, str(self.version), *self.versions))
        return hashlib.sha256(said.encode()).hexdigest()


class ParaphraseFile(Perturbation):
    """Paraphrases from a file of pairs: of each text the first is version 1, the second 2.

    A text with fewer than others has them several times, so that each version rewords all texts
    that the file has.
    """

    about = "Paraphrases from a file."

    def __init__(self, path: Path) -> None:
        """Read the file; `UsageError` or `DataError` says what is wrong with it."""
        if path.is_dir():
            raise UsageError(f"--perturb {path} is a folder; name a file in it")
        if not regular(path).is_file():
            raise UsageError(f"--perturb {path}: the file does not exist; check its path")
        self.name = path.name.partition(".")[0] or path.name
        self._path = path
        found: dict[str, dict[str, None]] = {}
        rows = equal = 0
        for where, row in _rows(path):
            text, others = _texts(row, where)
            rows += 1
            known = found.setdefault(text, {})
            for other in others:
                equal += other == text
                if other != text:
                    known[other] = None
        self._found = {text: list(others) for text, others in found.items() if others}
        if not rows:
            raise DataError(f"{path} has no rows; give a text and its paraphrases in each")
        if not self._found:
            raise DataError(
                f"{path} has {counted(equal, 'paraphrase')}, and none differs from its text; make "
                "others"
            )

    @property
    def versions(self) -> Sequence[str]:
        """1, 2, …, as many as the text with the most paraphrases has."""
        return [str(i + 1) for i in range(max(map(len, self._found.values())))]

    def reworded(self, version: str, text: str) -> str | None:
        """The text's paraphrase of that number, counted round; None for a text not in the file."""
        others = self._found.get(text)
        return others[(int(version) - 1) % len(others)] if others else None

    @functools.cached_property
    def digest(self) -> str:
        """sha256 (hex) of the texts and their paraphrases, in no order."""
        digest = hashlib.sha256()
        for text, others in sorted(self._found.items()):
            digest.update(repr((text, others)).encode())
        return digest.hexdigest()


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    kind = ending(path)
    if kind == ".parquet":
        for number, row in enumerate(parquet_rows(path, _ROWS)):
            yield f"{path}, row {number}", row
    elif kind in (".json", ".jsonl") or kind.startswith(".jsonl."):
        for where, found in json_rows(path):
            if isinstance(found, DataError):
                raise found
            yield where, found
    else:
        raise wrong_ending(path, _FORMATS, "paraphrases")


def _texts(row: Mapping[str, Any], where: str) -> tuple[str, list[str]]:
    """A row's text and its other wordings; `DataError` where either is not there."""
    name = next((name for name in _TEXT if row.get(name) is not None), None)
    if name is None:
        raise DataError(
            f"{where}: there is no 'text' or 'caption' (there is {', '.join(row) or 'nothing'})"
        )
    numbered = sorted((int(m[1]), key) for key in row if (m := _NUMBERED.fullmatch(key)))
    others = [*(key for key in _OTHERS if key in row), *(key for _, key in numbered)]
    text, found = (
        _several(row, name, where),
        [t for key in others for t in _several(row, key, where)],
    )
    if len(text) != 1:
        raise DataError(f"{where}: {name!r} must be one text")
    if not found:
        raise DataError(f"{where}: there is no 'paraphrase' or list of 'paraphrases'")
    return text[0], found


def _several(row: Mapping[str, Any], name: str, where: str) -> list[str]:
    value = row[name]
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise DataError(f"{where}: {name!r} must be a text that is not empty, or several")
    return list(values)


def _fault(found: Any) -> str | None:
    """Why an object is no perturbation that can be used; None where it is one.

    Raises whatever the object raises.
    """
    if not isinstance(found, Perturbation):
        hint = ", a class: make an object of it" if isinstance(found, type) else ""
        return f"it is {found!r}{hint}"
    name, versions = getattr(found, "name", None), found.versions
    if not _is_text(name):
        return f"its name is {name!r}, and must be a text that is not empty"
    is_list = isinstance(versions, Sequence) and not isinstance(versions, str)
    if not is_list or not all(map(_is_text, versions)):
        return f"its versions are {versions!r}, and must be a list of texts that are not empty"
    if not versions or len({*versions}) < len(versions):
        return f"its versions are {versions!r}, and must be one or more that differ"
    if not _is_text(found.digest):
        return f"its digest is {found.digest!r}, and must be a text that is not empty"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not is_torn(value)


def check_perturbation(found: Any) -> Perturbation:
    """`found` itself, an object that a caller gave; `UsageError` where it cannot be used."""
    try:
        wrong = _fault(found)
    # Foreign code may raise anything.
    except Exception as error:
        raise UsageError(
            f"perturbation {type(found).__name__} cannot be used ({reason_of(error)}); fix it"
        ) from error
    if wrong is not None:
        raise UsageError(
            f"perturb takes a name, a file or a Perturbation, and {wrong} (docs/perturbations.md)"
        )
    assert isinstance(found, Perturbation)
    return found


def rewordings(perturbation: Perturbation, version: str) -> Callable[[str], str | None]:
    """What a version makes of a text, asked once a text; None where the text stays as it is.

    It raises `BenchError` for what is no text, and whatever the perturbation raises.
    """

    @functools.cache
    def reworded(text: str) -> str | None:
        other = perturbation.reworded(version, text)
        if other is not None and not _is_text(other):
            raise BenchError(
                f"perturbation {perturbation.name}, version {version}, makes {other!r} of "
                f"{text!r}; it must be a whole text that is not empty, or None"
            )
        return other

    return reworded


def find_perturbation(asked: str) -> Perturbation:
    """The perturbation of that name, or the one made from the file of that path.

    Raises `UsageError` for neither, `BenchError` for a plugin that cannot be used, `DataError` for
    a file that cannot be read.
    """
    names = {plugin.name for plugin in registry.plugins("perturbation")}
    if asked not in names:
        if any(mark in asked for mark in ("/", "\\", ".")) or Path(asked).is_file():
            return ParaphraseFile(Path(asked))
        raise registry.unknown("perturbation", asked, names, "and no such file")
    plugin = registry.find("perturbation", asked)
    made = plugin.load()
    try:
        found = made() if isinstance(made, type) else made
        wrong = _fault(found)
        if wrong is None and found.name != asked:
            wrong = f"its name is {found.name!r}"
    # A plugin may raise anything.
    except Exception as error:
        raise BenchError(
            f"perturbation {asked!r} of {plugin.origin} cannot be made ({reason_of(error)}); "
            "fix or uninstall that package"
        ) from error
    if wrong is not None:
        raise BenchError(
            f"perturbation {asked!r} of {plugin.origin}: {plugin.value} must be a Perturbation of "
            f"that name with at least one version, and {wrong} (docs/plugins.md)"
        )
    assert isinstance(found, Perturbation)
    return found
