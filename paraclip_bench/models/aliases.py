"""Names for other models: `clip`, the suite's baseline, and `paraclip`, a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path

from paraclip_bench.errors import UsageError
from paraclip_bench.models.adapter import Alias, Context
from paraclip_bench.models.open_clip import PROVENANCE, SEED
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


def seeds_in(folder: Path) -> list[Path]:
    """The folders seed-N of a folder that `finetune --seeds` wrote, by N; none of another."""
    found = [f for f in folder.glob("seed-*") if SEED.fullmatch(f.name) and f.is_dir()]
    return sorted(found, key=lambda f: int(f.name.removeprefix("seed-")))


class Checkpoint(Alias):
    """`paraclip`, `paraclip:DIR`: the `local-dir:` of a checkpoint folder, or of all its seeds."""

    @classmethod
    def resolve(cls, argument: str | None, context: Context) -> str:
        """`paraclip:DIR` -> that folder; `paraclip` -> the newest of the workspace."""
        found = cls.resolve_all(argument, context)
        if len(found) > 1:
            folder = Path(found[0].removeprefix("local-dir:"))
            raise UsageError(
                f"{folder.parent} holds {len(found)} checkpoints of several seeds, and one is "
                f"needed here; name it, such as paraclip:{folder}"
            )
        return found[0]

    @classmethod
    def resolve_all(cls, argument: str | None, context: Context) -> list[str]:
        """That folder, or its folders seed-N; `UsageError` where one of them is not finished."""
        folder = Path(argument) if argument is not None else newest(context.checkpoints)
        if folder is None:
            raise UsageError(
                f"there is no finished checkpoint in {context.checkpoints}; make one with "
                "`paraclip-bench finetune`, or name a folder as paraclip:DIR"
            )
        if not folder.is_dir():
            raise UsageError(f"the checkpoint folder {folder} does not exist")
        seeds = [] if is_finished(folder) else seeds_in(folder)
        for each in seeds:
            if not is_finished(each):
                raise UsageError(
                    f"{each} is not a finished checkpoint; run finetune --seeds again with "
                    f"--resume, or name a finished one, such as paraclip:{seeds[0]}"
                )
        if not seeds and not is_finished(folder):
            raise UsageError(
                f"{folder} is not a finished checkpoint; run finetune again, "
                "or load another folder as local-dir:DIR"
            )
        return [f"local-dir:{each}" for each in seeds or [folder]]


def newest(checkpoints: Path) -> Path | None:
    """The finished checkpoint folder that was written last, or the folder of its seeds."""
    if not checkpoints.is_dir():
        return None
    written = {
        folder: max((_written(each) for each in (folder, *seeds_in(folder))), default=0)
        for folder in checkpoints.iterdir()
        if folder.is_dir()
    }
    found = max(written, key=lambda folder: written[folder], default=None)
    return found if found is not None and written[found] else None


def _written(folder: Path) -> int:
    """When a checkpoint was finished, in nanoseconds; 0 for one that is not."""
    return (folder / PROVENANCE).stat().st_mtime_ns if is_finished(folder) else 0
