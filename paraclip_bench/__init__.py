"""paraclip-bench: make ParaCLIP checkpoints and measure how CLIP models cope with rephrasing.

The public functions are load_model, load_task, evaluate, finetune, paraphrase and leaderboard; they
are imported when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paraclip_bench.api import (
        evaluate,
        finetune,
        leaderboard,
        load_model,
        load_task,
        paraphrase,
    )

__all__ = [
    "compare",
    "evaluate",
    "finetune",
    "leaderboard",
    "load_model",
    "load_task",
    "paraphrase",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("paraclip_bench.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
