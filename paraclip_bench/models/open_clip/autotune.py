"""Short measurements that decide how this machine computes, remembered for all processes.

Remembered, because two processes that decided differently would not give the same bits. One of
them: half precision, which on a CPU is often slower than float32.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from paraclip_bench.data import digest_cache


def decided(what: str, measure: Callable[[], bool]) -> bool:
    """What `measure` found on this machine with this torch, when it was first asked."""
    capability = torch.backends.cpu.get_cpu_capability()
    key = f"decided:{what}:{torch.__version__}:{processor()}:{capability}"
    known = digest_cache.get(key)
    if not isinstance(known, bool):
        # The first write counts, should several processes measure at once.
        known = bool(digest_cache.put_first(key, measure()))
    return known


def best_seconds(run: Callable[[], object], times: int = 5) -> float:
    """The fastest of some calls, after one that sets the kernels up; infinite where it fails."""
    best = float("inf")
    with torch.inference_mode():
        for call in range(times + 1):
            start = time.perf_counter()
            try:
                run()
            # What this processor or this torch has no kernel for.
            except (AttributeError, RuntimeError, NotImplementedError):
                return float("inf")
            if call:
                best = min(best, time.perf_counter() - start)
    return best


def processor() -> str:
    """The processor's name as Linux has it, or as Python does elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine()


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
