"""Encode a batch; where the device has no room for it, in halves."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.models.base import Encoder


class WithinMemory:
    """Calls an encoder and learns how much it can take at once.

    pieces is into how many parts a batch is cut, more when the memory runs out.
    """

    def __init__(self, encoder: Encoder, pieces: int = 1) -> None:
        self._encoder = encoder
        self.pieces = pieces

    def encode(self, batch: list[Any]) -> npt.NDArray[np.float32]:
        """float32 [n, d] of prepared data; raises where even one item is too much."""
        while True:
            size = -(-len(batch) // self.pieces)
            try:
                parts = [batch[start : start + size] for start in range(0, len(batch), size)]
                vectors = [_float32(self._encoder.encode(part)) for part in parts]
                return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
            except Exception as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            # Outside of the except clause, where the failed call's tensors are let go.
            self.pieces *= 2
            if torch := sys.modules.get("torch"):
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch's, or Python's own, says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def _float32(raw: Any) -> npt.NDArray[np.float32]:
    if hasattr(raw, "detach"):
        raw = raw.detach().float().cpu().numpy()
    return np.asarray(raw, dtype=np.float32)
