"""A checkpoint folder: what is in it, and when it counts as finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.files import write_text
from paraclip_bench.finetune.recipe import Recipe
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.models.paraclip import RECIPE, is_finished

LOSSES = "losses.jsonl"
STATE = "training_state.safetensors"


def is_unfinished(folder: Path) -> bool:
    """Whether a run began here and did not end."""
    return (folder / RECIPE).is_file() and not is_finished(folder)


def read_provenance(folder: Path) -> dict[str, Any]:
    """What a finished checkpoint says of itself; `ModelError` where that is damaged."""
    try:
        written: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / PROVENANCE} is damaged ({error}); run finetune again"
        ) from error
    return written


def begin(folder: Path, recipe: Recipe, identity: dict[str, Any], *, resume: bool) -> bool:
    """Claim a folder for a run; returns False where the very same run is already finished.

    Raises `UsageError` for a folder that holds something else, or an unfinished run and no
    `resume`.
    """
    if is_finished(folder):
        if _same(read_provenance(folder), identity) and _recipe_text(folder) == recipe.dump():
            return False
        raise UsageError(
            f"{folder} holds a finished checkpoint of another base, data or recipe; "
            "choose another folder with -o, or delete that one"
        )
    if is_unfinished(folder):
        if not resume:
            raise UsageError(
                f"{folder} holds an unfinished run; go on with --resume, or delete the folder"
            )
        if _recipe_text(folder) != recipe.dump():
            raise UsageError(
                f"{folder} was begun with another recipe; give the same one to --resume, "
                "or choose another folder with -o"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there and is no checkpoint of finetune; choose another folder with -o"
        )
    write_text(folder / RECIPE, recipe.dump())
    return True


def _recipe_text(folder: Path) -> str:
    return (folder / RECIPE).read_text(encoding="utf-8")


def _same(written: dict[str, Any], identity: dict[str, Any]) -> bool:
    return bool(
        written["base"]["fingerprint"] == identity["base"]
        and written["data"]["sha256"] == identity["data"]
    )
