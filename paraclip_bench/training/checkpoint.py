"""A checkpoint folder: when it counts as finished, and the states from which a run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import (
    ending,
    forget_temporaries,
    parse_json,
    write_tensors,
    write_text,
)
from paraclip_bench.models.aliases import RECIPE, is_finished
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.models.training_digests import FILE as TRAINED_ON
from paraclip_bench.training.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    import torch

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
    *("open_clip_config.json", "README.md", TRAINED_ON),
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
        # A kill between the first two files left nothing to go on with, so it starts again.
        is_begun = all((folder / name).is_file() for name in (RECIPE, BEGUN))
        is_begun = is_begun or (folder / STATE).is_file()
        there = _begun(folder) if is_begun else None
        if there is not None and (other := _differences(folder, there, recipe, identity)):
            raise UsageError(
                f"{folder} was begun with another {other}; give the same to --resume, "
                "or choose another folder with -o"
            )
    elif folder.exists() and (not folder.is_dir() or _holds_something(folder)):
        raise UsageError(
            f"{folder} is there and is not a checkpoint of finetune; choose another folder with -o"
        )
    write_text(folder / RECIPE, recipe.dump())
    write_text(folder / BEGUN, json.dumps(identity) + "\n")
    return True


def finish(folder: Path, provenance: dict[str, Any]) -> None:
    """Write the provenance, which makes the folder a finished checkpoint, and tidy up."""
    write_text(folder / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
    _tidy(folder)


def give_back(folder: Path) -> None:
    """Delete a folder that a run made and was refused in, where no step was done yet.

    Left behind, it would ask for `--resume` of a run that cannot go on.
    """
    losses = folder / LOSSES
    is_trained = (folder / STATE).exists() or (losses.is_file() and losses.stat().st_size > 0)
    if is_unfinished(folder) and not is_trained:
        shutil.rmtree(folder, ignore_errors=True)


def copy_companions(source: Path | None, folder: Path) -> None:
    """Copy a model folder's tokenizer and tower configs, which another needs to load."""
    for file in sorted(source.iterdir()) if source is not None else ():
        if ending(file) in (".json", ".txt", ".model") and file.name not in _OWN:
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
            "exif": written["data"].get("exif", False),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder / PROVENANCE} is not what finetune writes; choose another folder with -o"
        ) from error


def _begun(folder: Path) -> dict[str, Any]:
    written = _read_object(folder / BEGUN)
    return {key: written.get(key) for key in ("base", "data", "world_size", "exif")}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        written = parse_json(path.read_text(encoding="utf-8"))
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
    if "data" in other and bool(there["exif"]) != bool(identity.get("exif")):
        other[-1] = f"data (it was made with{'' if there['exif'] else 'out'} --exif)"
    if there["world_size"] != identity["world_size"]:
        other.append(f"number of processes ({there['world_size']})")
    try:
        written = read_recipe(folder / RECIPE).model_dump()
    except DataError:
        return "recipe (of another version of paraclip-bench)"
    wanted = recipe.model_dump()
    other += [f"{key} ({written[key]})" for key in wanted if written[key] != wanted[key]]
    return " and ".join(other)


_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(
    path: Path,
    notes: Mapping[str, str],
    trained: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
) -> None:
    """Write weights and moments, whole or not at all; the last state stays until then.

    notes are texts that belong to the state, among them the number of steps done, "step".
    """
    tensors = {}
    for name, parameter in trained.items():
        state = optimizer.state.get(parameter)
        if state is None:
            continue  # never had a gradient (a decoder that encode_text does not use)
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key in _MOMENTS:
            tensors[f"{key}/{name}"] = state[key].contiguous()
    write_tensors(path, tensors, notes)


def restore_state(
    path: Path, trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, str]:
    """Load a state into weights and optimizer; returns its notes, none where there is no state."""
    if not path.is_file():
        return {}
    import torch

    try:
        with safe_open(path, framework="pt") as state:
            notes: dict[str, str] = state.metadata()
            kept = set(state.keys())
            for name, parameter in trained.items():
                if f"weight/{name}" not in kept:
                    continue
                with torch.no_grad():
                    parameter.copy_(state.get_tensor(f"weight/{name}"))
                optimizer.state[parameter] = {
                    # The fused optimizer keeps its step where the parameter is.
                    "step": torch.tensor(float(notes["step"]), device=parameter.device),
                    **{
                        key: state.get_tensor(f"{key}/{name}").to(parameter.device)
                        for key in _MOMENTS
                    },
                }
    except (SafetensorError, OSError, KeyError) as error:
        raise DataError(
            f"the training state {path} is damaged ({error}); delete it to start that run again"
        ) from error
    return notes
