"""Training states: what a run needs to go on to the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from paraclip_bench.errors import DataError
from paraclip_bench.files import write_tensors

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
            f"the training state {path} is damaged ({error}); delete it to start that run anew"
        ) from error
    return notes
