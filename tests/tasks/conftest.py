"""The task contract's `embed`, giving vectors that a test made."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.source import HubSource


class Given:
    """Unit vectors from a function of the text or of the image; remembers what it was asked."""

    def __init__(
        self,
        of_text: Callable[[str], Sequence[float]],
        of_image: Callable[[ImageRef], Sequence[float]],
    ) -> None:
        self.of_text, self.of_image = of_text, of_image
        self.asked_texts: list[str] = []
        self.asked_images: list[ImageRef] = []

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked_texts += texts
        return np.array([self.of_text(text) for text in texts], dtype=np.float32)

    def images(self, images: Sequence[ImageRef]) -> np.ndarray:
        self.asked_images += images
        return np.array([self.of_image(image) for image in images], dtype=np.float32)


def coarse(key: str) -> list[float]:
    """One of eight unit vectors whose products are few and exact in float32: ties abound."""
    side = hashlib.sha256(key.encode()).digest()[0] % 8
    vector = [0.0] * 4
    if side < 4:
        vector[side] = 1.0
    else:
        vector = [0.5] * 4
        vector[side - 4] = -0.5
    return vector


@pytest.fixture(name="coarse")
def coarse_fixture() -> Callable[[str], list[float]]:
    return coarse


@pytest.fixture
def given() -> Callable[..., Given]:
    def make(
        of_text: Callable[[str], Sequence[float]] = coarse,
        of_image: Callable[[ImageRef], Sequence[float]] = lambda image: coarse(image.id),
    ) -> Given:
        return Given(of_text, of_image)

    return make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the hub hold these columns; images stay undecoded, as `data.hub.load` leaves them."""

    def hold(**columns: list[Any]) -> None:
        import datasets

        rows = datasets.Dataset.from_dict(columns)
        for name in columns.keys() & {"image", "images", "image_0", "image_1"}:
            rows = rows.cast_column(name, datasets.Image(decode=False))
        monkeypatch.setattr(HubSource, "rows", lambda self, pin: rows)

    return hold
