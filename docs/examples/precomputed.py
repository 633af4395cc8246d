"""Precomputed vectors as a model: the full form, an encoder for each side.

    paraclip-bench run --model docs/examples/precomputed.py:Precomputed:vectors.npz --task …

vectors.npz holds `texts` [n] and `text_vectors` [n, d], and `image_ids` [m] and
`image_vectors` [m, d]; an image's id is its file name in the data set. Crops of one image share
its id, so a task that crops (the aro protocol) is refused by name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from paraclip_bench.plugin import ModelError


class Vectors:
    """An encoder that looks its vectors up."""

    def __init__(self, keys: np.ndarray, vectors: np.ndarray, file: Path) -> None:
        self.file = file
        self.rows = dict(zip(keys.tolist(), vectors, strict=True))
        self.fingerprint = hashlib.sha256("\n".join(keys).encode() + vectors.tobytes()).hexdigest()

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Find the vector of a text, or of an image by its id; its size counts one."""
        key = item if isinstance(item, str) else item.id
        if getattr(item, "box", None) is not None:
            raise ModelError(f"{self.file} has no vectors of crops, and {key} is cropped to a box")
        if key not in self.rows:
            raise ModelError(f"{self.file} has no vector of {key!r}; add it to the file")
        return self.rows[key], 1

    def encode(self, batch: list[Any]) -> np.ndarray:
        """Vectors [n, d] as they were found."""
        return np.stack(batch)


class Precomputed:
    """A model of one or both sides, as the file has them."""

    def __init__(self, path: str) -> None:
        file = Path(path)
        self.name = file.stem
        arrays = np.load(file)  # plain arrays only: numpy refuses pickled objects by default
        self.text = self.image = None
        if "texts" in arrays:
            self.text = Vectors(arrays["texts"], arrays["text_vectors"], file)
        if "image_ids" in arrays:
            self.image = Vectors(arrays["image_ids"], arrays["image_vectors"], file)
