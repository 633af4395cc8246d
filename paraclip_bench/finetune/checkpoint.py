"""A checkpoint folder: what is in it, and when it counts as finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.files import write_text
from paraclip_bench.finetune.recipe import Recipe, read_recipe
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.models.paraclip import RECIPE, is_finished

LOSSES = "losses.jsonl"
STATE = "training_state.safetensors"
BEGUN = "begun.json"


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

    `identity` is {"base": fingerprint, "data": sha256}. Raises `UsageError` for a folder that
    holds something else, or an unfinished run and no `resume`.
    """
    if is_finished(folder):
        written = read_provenance(folder)
        there = {"base": written["base"]["fingerprint"], "data": written["data"]["sha256"]}
        if other := _differences(folder, there, recipe, identity):
            raise UsageError(
                f"{folder} holds a finished checkpoint of another {other}; "
                "choose another folder with -o, or delete that one"
            )
        return False
    if is_unfinished(folder):
        if not resume:
            raise UsageError(
                f"{folder} holds an unfinished run; go on with --resume, or delete the folder"
            )
        if other := _differences(folder, _begun(folder), recipe, identity):
            raise UsageError(
                f"{folder} was begun with another {other}; give the same to --resume, "
                "or choose another folder with -o"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there and is no checkpoint of finetune; choose another folder with -o"
        )
    write_text(folder / BEGUN, json.dumps(identity) + "\n")
    write_text(folder / RECIPE, recipe.dump())
    return True


def finish(folder: Path, provenance: dict[str, Any]) -> None:
    """Write the provenance, which makes the folder a finished checkpoint, and tidy up."""
    write_text(folder / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
    for name in (STATE, BEGUN):
        (folder / name).unlink(missing_ok=True)


def _begun(folder: Path) -> dict[str, Any]:
    try:
        written: dict[str, Any] = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder / BEGUN} is missing or damaged ({error}), so the run cannot go on; "
            "delete the folder"
        ) from error
    return written


def _differences(
    folder: Path, there: dict[str, Any], recipe: Recipe, identity: dict[str, Any]
) -> str:
    """What a run in this folder had another of: base, data, keys of the recipe; or nothing."""
    other = [name for name in ("base", "data") if there[name] != identity[name]]
    written, wanted = read_recipe(folder / RECIPE).model_dump(), recipe.model_dump()
    other += [f"{key} ({written[key]})" for key in wanted if written[key] != wanted[key]]
    return " and ".join(other)
