"""What one run of finetune is made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from paraclip_bench.data.training import training_files
from paraclip_bench.errors import UsageError
from paraclip_bench.finetune.recipe import Recipe, find_recipe, read_recipe

BAD_ROWS = ("fail", "skip")


@dataclasses.dataclass(frozen=True)
class Job:
    """A base, a recipe, and data: files of rows and the folder that holds their images."""

    base: str
    recipe: Recipe
    files: tuple[Path, ...]
    images: Path | None
    suite: str
    data_name: str


def make_job(
    *,
    base: str | None = None,
    data: Path | None = None,
    images: Path | None = None,
    recipe: str | Path | None = None,
    seed: int | None = None,
) -> Job:
    """Settle base, data and recipe; without `data` they are the embedded demo world's.

    `recipe` is a file or the name of a shipped one. Raises `UsageError` for what does not exist.
    """
    if images is not None and data is None:
        raise UsageError("--images names the folder of the images of --data; give that too")
    if images is not None and not images.exists():
        raise UsageError(f"--images {images} does not exist; check the path")
    settings = read_recipe(find_recipe(str(recipe))) if recipe else None
    if data is None:
        from paraclip_bench.demo.store import recipe_file, world_folder
        from paraclip_bench.demo.world import WORLD_VERSION

        settings = settings or read_recipe(recipe_file())
        folder = world_folder() / "train"
        files, images, suite = [folder / "pairs.jsonl"], folder / "images", "demo"
        name = f"demo-world-{WORLD_VERSION}, paraphrased by its grammar (not by an LLM)"
    else:
        settings = settings or Recipe()
        files, suite, name = training_files(data), "paper", data.name
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    spec = base or settings.base or "clip"
    settings = settings.model_copy(update={"base": spec})
    return Job(spec, settings, tuple(files), images, suite, name)
