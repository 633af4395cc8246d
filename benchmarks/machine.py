"""The machine that figures were measured on, for the tables."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from paraclip_bench.models.open_clip.autotune import processor


def describe() -> dict[str, Any]:
    """Processor, cores, threads, GPU and versions."""
    cuda = torch.cuda.is_available()
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
