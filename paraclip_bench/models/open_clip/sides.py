"""Which weights of an open_clip network belong to which side."""

from __future__ import annotations

from typing import Any

SIDES = frozenset(("text", "image"))


def is_image_tensor(name: str) -> bool:
    """Whether a weight belongs to the image tower."""
    return name.startswith("visual.")


def is_text_tensor(name: str) -> bool:
    """Whether a weight belongs to the text tower (the logit scale and bias belong to neither)."""
    return not is_image_tensor(name) and name not in ("logit_scale", "logit_bias")


def keep_only(model: Any, side: str) -> None:
    """Delete the other side's modules, parameters and buffers from a network, in place.

    What is left runs `encode_text` or `encode_image` as before.
    """
    if side == "text":
        del model.visual
        return
    parts = [name for name, _ in model.named_children() if name != "visual"]
    for tensors in (model.named_parameters(recurse=False), model.named_buffers(recurse=False)):
        parts += [name for name, _ in tensors if is_text_tensor(name)]
    for name in parts:
        delattr(model, name)
