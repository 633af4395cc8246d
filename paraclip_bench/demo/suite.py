"""The demo suite: its data (built once into the user's cache), base CLIP and fine-tuning run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from paraclip_bench.data.source import FolderSource
from paraclip_bench.demo.world import WORLD_VERSION, build
from paraclip_bench.errors import BenchError
from paraclip_bench.tasks.catalog import Suite
from paraclip_bench.training.recipe import FinetuneJob, make_job
from paraclip_bench.workspace import cache_dir

NOTICE = "This is the demo world: small drawn scenes, not photographs."


def world_folder() -> Path:
    """The folder of the demo world's data, built if it is not there yet (a few seconds).

    It appears whole or not at all; several processes may ask at once.
    """
    folder = cache_dir() / f"demo-world-{WORLD_VERSION}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            build(temporary)
            temporary.chmod(0o755)
            if not folder.is_dir():
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # another process may have been first
            raise BenchError(
                f"the demo world cannot be written to {folder} ({error.strerror}); "
                "set PARACLIP_CACHE to a folder that can be written"
            ) from error
    return folder


def base_folder() -> Path:
    """The open_clip folder of the embedded base CLIP (made by `paraclip_bench.demo.base_model`)."""
    return Path(__file__).parent / "base_clip"


def source() -> FolderSource:
    """The demo world as a folder in the layout of --data-dir."""
    return FolderSource(world_folder(), kind="demo", id=f"demo-world-{WORLD_VERSION}")


def finetune_job(
    *, base: str | None = None, recipe: str | Path | None = None, seed: int | None = None
) -> FinetuneJob:
    """The embedded fine-tuning run: the demo world's pairs, and its recipe where none is given."""
    folder = world_folder() / "train"
    return make_job(
        base=base,
        data=folder / "pairs.jsonl",
        images=folder / "images",
        recipe=recipe or "paraclip-demo",
        seed=seed,
        suite="demo",
        data_name=f"demo-world-{WORLD_VERSION}, paraphrased by its grammar (not by an LLM)",
        notice=f"no data given, so the training pairs are the embedded ones. {NOTICE}",
    )


DEMO = Suite("demo", baseline=lambda: f"local-dir:{base_folder()}", source=source)
