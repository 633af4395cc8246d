"""Short measurements that decide how this machine computes, remembered for all processes.

Remembered, because two processes that decided differently would not give the same bits.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from paraclip_bench.data import memo


def decided(what: str, measure: Callable[[], bool]) -> bool:
    """What `measure` found on this machine with this torch, when it was first asked."""
    capability = torch.backends.cpu.get_cpu_capability()
    key = f"decided:{what}:{torch.__version__}:{processor()}:{capability}"
    known = memo.get(key)
    if not isinstance(known, bool):
        # The first write counts, should several processes measure at once.
        known = bool(memo.put_first(key, measure()))
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
