"""Batches by a budget of tokens or patches; halves where the device runs out of memory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.encoding.vectors import as_float32
from paraclip_bench.models.adapter import Encoder

# On CPU, larger batches leave the caches and are not faster.
_CPU_TOKENS = 4096
_CPU_PATCHES = 8192
# Texts of a batch on CPU, and images that are prepared before they become batches.
_CPU_ITEMS = {"text": 256, "image": 64}
# Activations of a token or a 16x16 patch in fp32, with a wide margin for the largest towers.
_BYTES_A_UNIT = 1 << 20
_MOST_UNITS = 1 << 17


@dataclass(frozen=True, order=True)
class Budget:
    """The most that one batch may hold: sizes (tokens or patches) in sum, and items."""

    size: int
    items: int


def budget(side: str, device: str) -> Budget:
    """The budget of a device, from all of its memory, so that each run plans the same batches."""
    size = _CPU_TOKENS if side == "text" else _CPU_PATCHES
    memory = memory_of(device)
    if memory is None:
        return Budget(size, _CPU_ITEMS[side])
    units = memory // _BYTES_A_UNIT
    if device.startswith("cpu"):
        return Budget(max(256, min(size, units)), _CPU_ITEMS[side])
    size = max(size, min(_MOST_UNITS, units))
    return Budget(size, size // (8 if side == "text" else 128))


def memory_of(device: str) -> int | None:
    """Bytes of memory of a device, where they can be known."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return min([memory, *_limits()])


def _limits() -> Iterator[int]:
    """Bytes that a container may use, where that is limited."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            yield int(Path("/sys/fs/cgroup", name).read_text())


def batches(order: Sequence[int], sizes: Any, limit: Budget) -> Iterator[list[int]]:
    """Runs of `order` within the limit, at least one item each; sizes[i] is the size of item i."""
    batch: list[int] = []
    total = 0
    for index in order:
        if batch and (total + sizes[index] > limit.size or len(batch) == limit.items):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += sizes[index]
    if batch:
        yield batch


def chunks(total: int, size: int) -> Iterator[range]:
    """0 … total - 1 in ranges of `size`, the last one perhaps shorter."""
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


class OutOfMemoryFallback:
    """Calls an encoder and learns how much it can take at once.

    pieces is into how many parts a batch is cut, more when the memory runs out.
    """

    def __init__(self, encoder: Encoder, pieces: int = 1) -> None:
        self._encoder = encoder
        self.pieces = pieces

    def encode(self, batch: list[Any]) -> npt.NDArray[np.float32]:
        """float32 [n, d] of prepared data; raises where even one item is too much.

        `ModelError` for an answer that is no array of real numbers.
        """
        while True:
            size = -(-len(batch) // self.pieces)
            try:
                parts = [batch[start : start + size] for start in range(0, len(batch), size)]
                vectors = [as_float32(self._encoder.encode(part)) for part in parts]
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
