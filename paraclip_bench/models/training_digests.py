"""Which texts and images a checkpoint was trained on, as digests of eight bytes each.

finetune writes them beside the weights, and a run says how many of a task's texts and images are
among them: scores on these say how well they were learned by heart. Texts are the same where they
differ in case, white space or the punctuation at the end alone; images, where their files' bytes
are equal. Two different ones have the same digest by a chance of 1 in 10^19.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic, regular

FILE = "training_digests.safetensors"
Digests = npt.NDArray[np.uint64]


def text_digest(text: str) -> int:
    """The digest of a text, whatever its case, white space and final punctuation."""
    plain = " ".join(text.casefold().split()).rstrip(" .!?")
    raw = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "big")


def image_digest(sha256: str) -> int:
    """The digest of an image by the sha256 (hex) of its bytes."""
    return int(sha256[:16], 16)


@dataclass(frozen=True)
class TrainingDigests:
    """Digests of texts and of images, each once and in order."""

    texts: Digests
    images: Digests

    @classmethod
    def of(cls, texts: Iterable[str], images: Iterable[str] = ()) -> TrainingDigests:
        """Of texts, and of images by the sha256 (hex) of their files' bytes."""
        asked = [map(text_digest, texts), map(image_digest, images)]
        return cls(*(np.unique(np.fromiter(digests, np.uint64)) for digests in asked))

    @classmethod
    def read(cls, folder: Path | None) -> TrainingDigests | None:
        """Those of a checkpoint's folder; None where it has none, `DataError` for a damaged file.

        Checkpoints of 0.1.0 and models of others have none.
        """
        if folder is None or not (folder / FILE).exists():
            return None
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(regular(folder / FILE))
            sides = [found[name] for name in ("texts", "images")]
            if any(side.dtype != np.uint64 or side.ndim != 1 for side in sides):
                raise ValueError("its arrays are of another kind")
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{folder / FILE} is damaged ({error}), so nobody knows what of a task the model "
                "was trained on; delete it, or copy the checkpoint again"
            ) from error
        return cls(*(np.unique(side) for side in sides))

    @classmethod
    def of_all(cls, several: Iterable[TrainingDigests | None]) -> TrainingDigests:
        """What any of these was trained on."""
        found = [each for each in several if each is not None]
        none = np.empty(0, dtype=np.uint64)
        return cls(
            np.unique(np.concatenate([none, *(each.texts for each in found)])),
            np.unique(np.concatenate([none, *(each.images for each in found)])),
        )

    def write(self, folder: Path) -> None:
        """Write them into a checkpoint's folder."""
        from safetensors.numpy import save

        with atomic(folder / FILE) as temporary:
            temporary.write_bytes(save({"texts": self.texts, "images": self.images}))

    def count(self, texts: Iterable[str], images: Iterable[str]) -> tuple[int, int]:
        """How many of these texts, and of images by sha256, are among them; each once."""
        asked = TrainingDigests.of(texts, images)
        return (
            int(np.isin(asked.texts, self.texts).sum()),
            int(np.isin(asked.images, self.images).sum()),
        )
