"""What a model was given that a reader of the result should know of.

Texts that it cut, and images whose orientation or transparency was or was not taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import DataError, reason_of
from paraclip_bench.models.adapter import Model
from paraclip_bench.safe_text import counted


class InputNotes:
    """Counts the distinct inputs of a task, whether their vectors were stored or not."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._texts: set[str] = set()
        self._cut: tuple[int, str] | None = None
        self._known: tuple[tuple[int, int], str] | None = None
        self._images: set[str] = set()
        self._turned = self._with_exif = self._transparent = 0

    def texts(self, texts: Iterable[str]) -> None:
        """Take note of these texts."""
        self._texts.update(texts)
        self._cut = self._known = None

    def images(self, images: Iterable[ImageRef]) -> None:
        """Take note of these images, each content once; their headers are read and remembered."""
        for image in images:
            if (content := image.sha256) in self._images:
                continue
            self._images.add(content)
            self._known = None
            self._transparent += image.has_alpha
            if image.orientation > 1:
                self._with_exif += 1
                self._turned += image.exif

    def notes(self) -> dict[str, Any]:
        """For a result's `data.notes`: how many distinct inputs of each kind, where there are."""
        cut, _ = self._texts_cut()
        texts, images = self._trained_on()[0]
        counts = {
            "texts_cut": cut,
            "texts_in_training": texts,
            "images_in_training": images,
            "exif_rotated": self._with_exif,
            "exif_applied": self._turned,
            "transparent": self._transparent,
        }
        return {name: count for name, count in counts.items() if count}

    def lines(self) -> list[str]:
        """The same, and what could not be counted, as sentences for a user."""
        cut, problem = self._texts_cut()
        said = [problem] if problem else []
        if cut:
            context = self._model.adapter.context_length
            tokens = f" of {context} tokens" if context else ""
            texts = counted(len(self._texts), "text")
            said.append(
                f"{cut} of {texts} {'are' if cut > 1 else 'is'} longer than the model's "
                f"context{tokens} and {'were' if cut > 1 else 'was'} cut"
            )
        (known_texts, known_images), problem = self._trained_on()
        said += [problem] if problem else []
        if known_texts or known_images:
            said.append(
                f"{self._model.name} was trained on {known_texts:,} of these "
                f"{counted(len(self._texts), 'text')} and {known_images:,} of these "
                f"{counted(len(self._images), 'image')}: what it scores on them it may have "
                "learned by heart"
            )
        images = counted(len(self._images), "image")
        if left := self._with_exif - self._turned:
            said.append(
                f"{left} of {images} {_have(left)} an EXIF orientation, which is "
                "not applied, as for CLIP's published numbers; --exif applies it"
            )
        if self._turned:
            said.append(
                f"{self._turned} of {images} {'are' if self._turned > 1 else 'is'} rotated as EXIF "
                "says, which CLIP's published numbers do not have"
            )
        if self._transparent:
            said.append(
                f"{self._transparent} of {images} {_have(self._transparent)} transparency, which "
                "is dropped, as for CLIP's published numbers"
            )
        return said

    def _trained_on(self) -> tuple[tuple[int, int], str]:
        """How many texts and images are of the training data; and why, where nobody can say."""
        if self._known is None:
            try:
                found = self._model.adapter.trained_on
                both = (0, 0) if found is None else found.count(self._texts, self._images)
                self._known = both, ""
            except DataError as error:
                self._known = (0, 0), str(error)
            # A model of one's own, and a task that is measured does not fail for a note.
            except Exception as error:
                said = f"{self._model.spec} cannot say what it was trained on"
                self._known = (0, 0), f"{said} ({reason_of(error)})"
        return self._known

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


def _have(count: int) -> str:
    return "have" if count > 1 else "has"


def _checked(found: Sequence[bool] | None, count: int) -> Sequence[bool]:
    if found is None:
        return []
    if len(found) != count:
        raise ValueError(
            f"cut_texts gave {counted(len(found), 'answer')} for {counted(count, 'text')}"
        )
    return found
