"""In which precision each side runs: half precision on a CPU is often slower than float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from paraclip_bench.models.open_clip.timing import best_seconds, decided

# Half precision costs some of the last digits; it must earn more than a measurement's noise.
_GAIN = 1.2


def side_dtype(side: str, device: str, dtype: str) -> str:
    """The dtype that a side ("text" or "image") runs in where `dtype` is asked for.

    An image tower on the CPU stays float32 unless half precision is measurably faster there.
    """
    on_cpu = torch.device(device).type == "cpu"
    if side == "text" or dtype == "float32" or not on_cpu:
        return dtype
    faster = decided(f"{dtype} is faster", lambda: _seconds("float32") >= _GAIN * _seconds(dtype))
    return dtype if faster else "float32"


def _seconds(dtype: str) -> float:
    """Of a linear layer of a ViT-B's size, [1024, 768] x [768, 3072]."""
    rows = torch.ones(1024, 768, dtype=getattr(torch, dtype))
    weight = torch.ones(3072, 768, dtype=getattr(torch, dtype))
    return best_seconds(lambda: F.linear(rows, weight))
