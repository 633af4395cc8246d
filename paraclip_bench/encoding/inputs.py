"""What a model was given that a reader of the result should know of: texts that were cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from paraclip_bench.errors import reason_of
from paraclip_bench.models.adapter import Model


class InputNotes:
    """Counts the distinct inputs of a task, whether their vectors were stored or not."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._texts: set[str] = set()
        self._cut: tuple[int, str] | None = None

    def texts(self, texts: Iterable[str]) -> None:
        """Take note of these texts."""
        self._texts.update(texts)
        self._cut = None

    def notes(self) -> dict[str, Any]:
        """For a result's `data.notes`: how many distinct inputs of each kind, where there are."""
        cut, _ = self._texts_cut()
        return {"texts_cut": cut} if cut else {}

    def lines(self) -> list[str]:
        """The same, and what could not be counted, as sentences for a user."""
        cut, problem = self._texts_cut()
        said = [problem] if problem else []
        if cut:
            context = self._model.adapter.context_length
            tokens = f" of {context} tokens" if context else ""
            said.append(
                f"{cut} of {len(self._texts)} texts {'are' if cut > 1 else 'is'} longer than the "
                f"model's context{tokens} and {'were' if cut > 1 else 'was'} cut"
            )
        return said

    def _texts_cut(self) -> tuple[int, str]:
        """How many texts were cut, none where nobody can say; and why, where that failed."""
        if self._cut is None:
            texts = sorted(self._texts)
            try:
                found = self._model.adapter.cut_texts(texts) if texts else None
                self._cut = sum(map(bool, _checked(found, len(texts)))), ""
            # An adapter is foreign code, and a task that is measured does not fail for a note.
            except Exception as error:
                why = reason_of(error)
                self._cut = 0, f"{self._model.spec} cannot say which texts it cuts ({why})"
        return self._cut


def _checked(found: Sequence[bool] | None, count: int) -> Sequence[bool]:
    if found is None:
        return []
    if len(found) != count:
        raise ValueError(f"cut_texts gave {len(found)} answers for {count} texts")
    return found
