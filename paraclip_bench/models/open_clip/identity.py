"""Fingerprints of an open_clip network: what its vectors depend on, each side its own.

They are over float32 weights, config, activation and tokenizer or preprocessing, and the same
whether the weights come from a loaded network or one after the other from a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import torch

from paraclip_bench.models.open_clip.build import plain, tokenizer_of
from paraclip_bench.models.open_clip.files import load_error, plan_of
from paraclip_bench.models.open_clip.pixels import Pixels
from paraclip_bench.models.open_clip.sides import is_image_tensor, is_text_tensor


def streamed(argument: str) -> dict[str, Any] | None:
    """The identity by reading the file tensor by tensor, so that no tower is ever held whole.

    None where the file is not plain (`build.plain`); then the network must be loaded.
    """
    plan = plan_of(argument)
    found = plain(plan)
    if found is None:
        return None
    built, weights = found
    state = built.model.state_dict()
    tokenizer = tokenizer_of(plan)
    try:
        return identity(
            names=state,
            tensor=lambda name: weights.read(name, state[name]),
            config=plan.config,
            tokenizer=tokenizer,
            pixels=built.pixels,
            activation=built.activation,
        )
    except Exception as error:
        raise load_error(plan, error) from error


def identity(
    *,
    names: Iterable[str],
    tensor: Callable[[str], torch.Tensor],
    config: dict[str, Any],
    tokenizer: Any,
    pixels: Pixels,
    activation: str | None,
) -> dict[str, Any]:
    """Both fingerprints and the activation; `tensor` gives each weight of `names` in float32."""
    names = list(names)
    # The activation is read off the modules; what a config says of it may be left out.
    apart = ("text_cfg", "vision_cfg", "quick_gelu")
    rest = {k: v for k, v in config.items() if k not in apart}
    # Where a Hugging Face tower's files lie, or whether a config names them, changes nothing.
    text = {
        key: value
        for key, value in config.get("text_cfg", {}).items()
        if key not in ("hf_model_name", "hf_tokenizer_name")
    }
    common = [json.dumps(rest, sort_keys=True), str(activation)]
    return {
        "text": _fingerprint(
            filter(is_text_tensor, names),
            tensor,
            [*common, json.dumps(text, sort_keys=True), _tokens_of(tokenizer)],
        ),
        "image": _fingerprint(
            filter(is_image_tensor, names),
            tensor,
            [
                *common,
                json.dumps(config.get("vision_cfg"), sort_keys=True),
                json.dumps(pixels.settings, sort_keys=True, default=list),
            ],
        ),
        "activation": activation,
    }


def _tokens_of(tokenizer: Any) -> str:
    """The tokenizer by what it does to a sentence that has a bit of everything."""
    probe = "A photo of Zoë's 2 naïve cats, running left-of the dog!"
    return f"{type(tokenizer).__name__}:{tokenizer([probe])[0].tolist()}"


def _fingerprint(
    names: Iterable[str], tensor: Callable[[str], torch.Tensor], parts: list[str]
) -> str:
    hasher = hashlib.sha256("\n".join(parts).encode())
    for name in sorted(names):
        found = tensor(name).detach().cpu()
        values = found.float() if found.is_floating_point() else found
        hasher.update(f"\n{name}{tuple(found.shape)}".encode())
        hasher.update(values.contiguous().numpy().data)
    return hasher.hexdigest()
