"""Where a user's checkpoints and results lie, and where the user's cache is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from paraclip_bench.errors import check_name


@dataclass(frozen=True)
class Workspace:
    """A folder with `checkpoints/` and `results/` (the working directory where none is given)."""

    root: Path

    def __post_init__(self) -> None:
        """Raises `UsageError` for a name that no result could be written with."""
        check_name(self.root, "the workspace")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that finetune writes."""
        return self.root / "checkpoints"

    @property
    def results(self) -> Path:
        """Folder of the results that run writes, one sub-folder a suite."""
        return self.root / "results"


def cache_dir() -> Path:
    """The user's cache folder: `PARACLIP_CACHE`, or the platform's own place."""
    named = os.environ.get("PARACLIP_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("paraclip-bench")
