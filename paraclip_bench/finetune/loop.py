"""The one training loop: a frozen image tower, three losses, AdamW with warm-up and cosine.

Everything random is a function of the seed and the step, so a run that was killed goes on to the
same weights, to the bit on a CPU.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic, write_text
from paraclip_bench.finetune.checkpoint import LOSSES, STATE
from paraclip_bench.finetune.losses import TERMS, paraclip_terms
from paraclip_bench.finetune.recipe import Recipe
from paraclip_bench.models.open_clip.network import is_image_tensor
from paraclip_bench.models.open_clip.text import TextTower

# CLIP clips its logit scale here (Radford et al. 2021).
_MAX_LOGIT_SCALE = math.log(100)


def train(
    tower: TextTower,
    images: npt.NDArray[np.float32],
    tokens: torch.Tensor,
    texts: npt.NDArray[np.intp],
    recipe: Recipe,
    folder: Path,
    on_step: Callable[[int, int, dict[str, float], float], None],
    on_resume: Callable[[int], None],
) -> None:
    """Train the text tower and logit_scale of `tower.model` in place.

    images: unit features [n, d], one a pair. tokens: [distinct texts, context]. texts: the rows
    [n, 3] of tokens that a pair's T, T' and T'' have.
    Writes losses.jsonl, a line a step, and every `save_every` steps a training state, into
    `folder`; goes on from a state that is there. on_step(step, steps, losses, pairs per second),
    and once on_resume(steps already done).
    Raises `DataError` where the loss stops being a number.
    """
    model = tower.model
    steps = recipe.total_steps(len(images))
    trained = prepare_model(model)
    optimizer = torch.optim.AdamW(
        _groups(trained, recipe.weight_decay),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        fused=True,
    )
    done = _restore(folder / STATE, trained, optimizer)
    on_resume(done)
    write_text(folder / LOSSES, _kept_losses(folder / LOSSES, done))
    device = next(model.parameters()).device
    with (folder / LOSSES).open("a", encoding="utf-8") as file:
        for step in range(done, steps):
            start = time.perf_counter()
            rows = batch_rows(len(images), recipe.batch_size, step, recipe.seed)
            torch.manual_seed(_mix(recipe.seed, step))  # dropout of Hugging Face text towers
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, recipe)
            batch = tokens[torch.from_numpy(texts[rows].T.reshape(-1))].long().to(device)
            text = F.normalize(tower.encode(batch), dim=-1)
            caption, paraphrase_1, paraphrase_2 = text.chunk(3)
            terms = paraclip_terms(
                torch.from_numpy(images[rows]).to(device),
                caption,
                paraphrase_1,
                paraphrase_2,
                model.logit_scale.exp(),
            )
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise DataError(
                    f"the loss is not a number at step {step + 1}; lower learning_rate "
                    f"({recipe.learning_rate:g}) in the recipe"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(trained.values()), recipe.max_grad_norm)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
            losses = {"loss": loss.item(), **{name: terms[name].item() for name in TERMS}}
            rate = optimizer.param_groups[0]["lr"]
            line = {"step": step + 1, **losses, "learning_rate": rate}
            file.write(json.dumps(line) + "\n")
            file.flush()
            on_step(step + 1, steps, losses, recipe.batch_size / (time.perf_counter() - start))
            if (step + 1) % recipe.save_every == 0 and step + 1 < steps:
                _save(folder / STATE, step + 1, trained, optimizer)


def prepare_model(model: Any) -> dict[str, torch.nn.Parameter]:
    """Freeze the image tower and set it to eval mode; return what trains, by name."""
    model.train()
    # Freezing gradients alone would let batch-norm statistics of the image tower drift.
    model.visual.eval()
    trained = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_image_tensor(name) and name != "logit_bias")
        if parameter.requires_grad:
            trained[name] = parameter
    return trained


def batch_rows(pairs: int, batch: int, step: int, seed: int) -> npt.NDArray[np.intp]:
    """Rows of a step's batch: every epoch is a fresh permutation, its ragged end left out."""
    epoch, place = divmod(step, pairs // batch)
    return _order(pairs, epoch, seed)[place * batch : (place + 1) * batch]


@functools.lru_cache(maxsize=1)
def _order(pairs: int, epoch: int, seed: int) -> npt.NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(pairs)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up to the peak, then a half cosine down to 0 (Loshchilov and Hutter 2017)."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _groups(trained: dict[str, torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    # Norms, biases and the temperature are scales, not directions: decay does not suit them.
    flat = [p for p in trained.values() if p.ndim < 2]
    deep = [p for p in trained.values() if p.ndim >= 2]
    return [{"params": deep, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]


def _mix(seed: int, step: int) -> int:
    return int(np.random.default_rng([seed, step]).integers(2**31))


def _save(
    path: Path, step: int, trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> None:
    tensors = {}
    for name, parameter in trained.items():
        state = optimizer.state.get(parameter)
        if state is None:
            continue  # never had a gradient (a decoder that encode_text does not use)
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}/{name}"] = state[key].contiguous()
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(step)})


def _restore(
    path: Path, trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> int:
    """Load a training state; returns the number of steps already done (0 where there is none)."""
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as state:
        step = int(state.metadata()["step"])
        kept = set(state.keys())
        for name, parameter in trained.items():
            if f"weight/{name}" not in kept:
                continue
            with torch.no_grad():
                parameter.copy_(state.get_tensor(f"weight/{name}"))
            optimizer.state[parameter] = {
                # The fused optimizer keeps its step where the parameter is.
                "step": torch.tensor(float(step), device=parameter.device),
                **{
                    key: state.get_tensor(f"{key}/{name}").to(parameter.device)
                    for key in ("exp_avg", "exp_avg_sq")
                },
            }
    return step


def _kept_losses(path: Path, done: int) -> str:
    """The lines of the steps that a training state holds."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return "".join(lines[:done])
