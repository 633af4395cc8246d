"""Names for other models: `clip`, the suite's baseline, and `paraclip`, a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

from paraclip_bench.errors import UsageError
from paraclip_bench.models.adapter import Alias, Context
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.tasks.catalog import find_suite


class Baseline(Alias):
    """`clip`: OpenAI's ViT-B-32 in the paper suite, the embedded base CLIP in the demo suite."""

    label = "clip"

    @classmethod
    def resolve(cls, argument: str | None, context: Context) -> str:
        """The spec of the suite's baseline; `clip` takes no argument."""
        if argument is not None:
            raise UsageError("clip takes no argument; name another model as open_clip:ARCH/TAG")
        return find_suite(context.suite).baseline()


RECIPE = "recipe.toml"


def is_finished(folder: Path) -> bool:
    """Whether finetune wrote this folder to its end; the provenance is written last."""
    return (folder / PROVENANCE).is_file() and (folder / RECIPE).is_file()


class Checkpoint(Alias):
    """`paraclip`, `paraclip:DIR`: the `local-dir:` of a checkpoint folder."""

    @classmethod
    def resolve(cls, argument: str | None, context: Context) -> str:
        """`paraclip:DIR` -> that folder; `paraclip` -> the newest of the workspace."""
        folder = Path(argument) if argument is not None else newest(context.checkpoints)
        if folder is None:
            raise UsageError(
                f"there is no finished checkpoint in {context.checkpoints}; make one with "
                "`paraclip-bench finetune`, or name a folder as paraclip:DIR"
            )
        if not folder.is_dir():
            raise UsageError(f"the checkpoint folder {folder} does not exist")
        if not is_finished(folder):
            raise UsageError(
                f"{folder} is not a finished checkpoint; run finetune again, "
                "or load another folder as local-dir:DIR"
            )
        return f"local-dir:{folder}"


def newest(checkpoints: Path) -> Path | None:
    """The finished checkpoint folder that was written last."""
    if not checkpoints.is_dir():
        return None
    finished = [f for f in checkpoints.iterdir() if f.is_dir() and is_finished(f)]
    return max(finished, key=lambda f: (f / PROVENANCE).stat().st_mtime_ns, default=None)
