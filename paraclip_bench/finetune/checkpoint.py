"""A checkpoint folder: what is in it, and when it counts as finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import forget_temporaries, write_text
from paraclip_bench.finetune.recipe import Recipe, read_recipe
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.models.paraclip import RECIPE, is_finished

BEGUN = "begun.json"
LOSSES = "losses.jsonl"
STATE = "training_state.safetensors"
BEST = "best_weights.safetensors"
PREPARED = "prepared"
REPORT = "data_report.json"
PLOT = "training.svg"
# Files that describe one model and do not belong to another that is made of it.
_OWN = {
    *(RECIPE, PROVENANCE, BEGUN, REPORT, LOSSES, STATE, BEST, PLOT),
    *("open_clip_config.json", "README.md"),
}


def is_unfinished(folder: Path) -> bool:
    """Whether a run began here and did not end."""
    begun = any((folder / name).is_file() for name in (RECIPE, BEGUN))
    return begun and not is_finished(folder)


def begin(folder: Path, recipe: Recipe, identity: dict[str, Any], *, resume: bool) -> bool:
    """Claim a folder for a run; returns False where the very same run is already finished.

    `identity` has the base's fingerprint, the data's sha256 and the world_size. Raises
    `UsageError` for a folder that holds something else, or an unfinished run and no `resume`.
    """
    if is_finished(folder):
        if other := _differences(folder, _finished_identity(folder), recipe, identity):
            raise UsageError(
                f"{folder} holds a finished checkpoint of another {other}; "
                "choose another folder with -o, or delete that one"
            )
        _tidy(folder)
        return False
    if is_unfinished(folder):
        if not resume:
            raise UsageError(
                f"{folder} holds an unfinished run; go on with --resume, or delete the folder"
            )
        # A kill between the first two files left nothing to go on with, so it starts anew.
        there = _begun(folder) if (folder / STATE).is_file() else None
        if there is not None and (other := _differences(folder, there, recipe, identity)):
            raise UsageError(
                f"{folder} was begun with another {other}; give the same to --resume, "
                "or choose another folder with -o"
            )
    elif folder.exists() and (not folder.is_dir() or _holds_something(folder)):
        raise UsageError(
            f"{folder} is there and is no checkpoint of finetune; choose another folder with -o"
        )
    write_text(folder / RECIPE, recipe.dump())
    write_text(folder / BEGUN, json.dumps(identity) + "\n")
    return True


def finish(folder: Path, provenance: dict[str, Any]) -> None:
    """Write the provenance, which makes the folder a finished checkpoint, and tidy up."""
    write_text(folder / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
    _tidy(folder)


def copy_companions(source: Path | None, folder: Path) -> None:
    """Copy a model folder's tokenizer and tower configs, which another needs to load."""
    for file in sorted(source.iterdir()) if source is not None else ():
        if file.suffix in (".json", ".txt", ".model") and file.name not in _OWN:
            shutil.copyfile(file, folder / file.name)


def _tidy(folder: Path) -> None:
    for name in (*_OWN, "open_clip_model.safetensors"):
        forget_temporaries(folder / name)
    for name in (STATE, BEST, BEGUN):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PREPARED, ignore_errors=True)


def _holds_something(folder: Path) -> bool:
    # Files that start with a dot may be what an interrupted write left.
    return any(not file.name.startswith(".") for file in folder.iterdir())


def _finished_identity(folder: Path) -> dict[str, Any]:
    written = _read_object(folder / PROVENANCE)
    try:
        return {
            "base": written["base"]["fingerprint"],
            "data": written["data"]["sha256"],
            "world_size": written["world_size"],
        }
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{folder / PROVENANCE} is not what finetune writes; choose another folder with -o"
        ) from error


def _begun(folder: Path) -> dict[str, Any]:
    written = _read_object(folder / BEGUN)
    return {key: written.get(key) for key in ("base", "data", "world_size")}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is missing or damaged ({error}); delete that folder, or choose another with -o"
        ) from error
    return written if isinstance(written, dict) else {}


def _differences(
    folder: Path, there: dict[str, Any], recipe: Recipe, identity: dict[str, Any]
) -> str:
    """What a run in this folder had another of: base, data, keys of the recipe; or nothing."""
    other = [name for name in ("base", "data") if there[name] != identity[name]]
    if there["world_size"] != identity["world_size"]:
        other.append(f"number of processes ({there['world_size']})")
    try:
        written = read_recipe(folder / RECIPE).model_dump()
    except DataError:
        return "recipe (of another version of paraclip-bench)"
    wanted = recipe.model_dump()
    other += [f"{key} ({written[key]})" for key in wanted if written[key] != wanted[key]]
    return " and ".join(other)
