"""Interpolates a base and its checkpoint, weight by weight (WiSE-FT, Wortsman et al. 2022).

theta = (1 - alpha) theta_base + alpha theta_checkpoint, over all weights (arXiv 2109.01903).
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.files import slug, write_text
from paraclip_bench.finetune.checkpoint import copy_companions
from paraclip_bench.models.base import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import PROVENANCE, OpenCLIP
from paraclip_bench.results.provenance import versions
from paraclip_bench.workspace import Workspace

if TYPE_CHECKING:
    from paraclip_bench.models.base import Model


def merge(
    base: str,
    checkpoint: str,
    alpha: float,
    workspace: Workspace,
    *,
    suite: str = "paper",
    out: Path | None = None,
) -> Path:
    """Write the open_clip folder between a base (alpha 0) and a checkpoint (1); returns it.

    Its provenance names the base, for `run` and the leaderboard; `paraclip` stays the newest
    checkpoint that was trained. Raises `UsageError` for models that are no open_clip models or a
    folder in the way, `ModelError` where the two have other weights.
    """
    from paraclip_bench.models.open_clip.network import save_folder

    if not 0 <= alpha <= 1:
        raise UsageError(f"--alpha {alpha:g} is not between 0 (the base) and 1 (the checkpoint)")
    one, two = (_loaded(spec, workspace, suite) for spec in (base, checkpoint))
    folder = out or default_folder(two.name, alpha, workspace)
    origin = {
        "merged": {
            "alpha": alpha,
            "base": one.fingerprint,
            "checkpoint": two.fingerprint,
        }
    }
    if folder.exists() and any(folder.iterdir()):
        if _merged(folder) == origin["merged"]:
            return folder
        raise UsageError(f"{folder} is there and is another model; choose another folder with -o")
    left, right = one.adapter.network(), two.adapter.network()
    weights, others = left.model.state_dict(), right.model.state_dict()
    if weights.keys() != others.keys() or any(
        weights[name].shape != others[name].shape for name in weights
    ):
        raise ModelError(
            f"{base} and {checkpoint} have not the same weights; merge a checkpoint with its base"
        )
    if one.activation != two.activation:
        raise ModelError(f"{base} has {one.activation} and {checkpoint} {two.activation}")
    import torch

    with torch.no_grad():
        for name, value in others.items():
            if value.is_floating_point() and not torch.equal(value, weights[name]):
                # In double precision, so that both ends are met exactly.
                between = torch.lerp(weights[name].double(), value.double(), alpha)
                value.copy_(between)
    # Made aside and renamed, so that a kill leaves no half of it.
    made = folder.with_name(f".{folder.name}.merging")
    shutil.rmtree(made, ignore_errors=True)
    save_folder(made, right.model, right.config)
    copy_companions(two.adapter.folder, made)
    provenance = {
        "suite": two.adapter.suite or suite,
        **origin,
        "base": {
            "spec": base,
            "name": one.name,
            "fingerprint": one.fingerprint,
            "activation": one.activation,
        },
        "checkpoint": {"spec": checkpoint, "name": two.name, "fingerprint": two.fingerprint},
        "versions": versions(),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    write_text(made / "README.md", _card(folder.name, one, two, alpha))
    write_text(made / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
    if folder.exists():
        folder.rmdir()
    made.rename(folder)
    for model in (one, two):
        model.release()
    return folder


def default_folder(name: str, alpha: float, workspace: Workspace) -> Path:
    """Where a merge goes: `checkpoints/NAME-alpha-0.5`."""
    return workspace.checkpoints / f"{slug(name)}-alpha-{alpha:g}"


def _loaded(spec: str, workspace: Workspace, suite: str) -> Model:
    model = load_model(spec, Context(suite=suite, checkpoints=workspace.checkpoints))
    if not isinstance(model.adapter, OpenCLIP):
        raise UsageError(f"{spec!r} is no open_clip model, so it cannot be merged")
    model.adapter.check()
    return model


def _merged(folder: Path) -> Any:
    try:
        return json.loads((folder / PROVENANCE).read_text(encoding="utf-8")).get("merged")
    except (OSError, ValueError, AttributeError):
        return None


def _card(name: str, base: Model, checkpoint: Model, alpha: float) -> str:
    return (
        f"---\nlibrary_name: open_clip\ntags:\n- clip\n- paraclip-bench\n---\n# {name}\n\n"
        f"Between `{base.spec}` and its fine-tuned `{checkpoint.name}`: "
        f"(1 - {alpha:g}) of the first and {alpha:g} of the second, weight by weight (WiSE-FT, "
        "Wortsman et al. 2022), by paraclip-bench. The licences of both hold for these weights.\n"
    )
