"""What kind of text tower an open_clip model has, and which of its tokens it pools."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer


def native_tower(model: Any) -> Any:
    """open_clip's own text transformer: the model itself, or its `text`; None for other kinds.

    A tower whose mask depends on the text (CoCa's) is another kind.
    """
    tower = model if type(model) is open_clip.CLIP else getattr(model, "text", None)
    if tower is not model and type(tower) is not TextTransformer:
        return None
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False):
        return None
    return tower


def hugging_face_tower(model: Any) -> Any:
    """A text tower of transformers, which masks its padding; None for other kinds."""
    tower = getattr(model, "text", None)
    return tower if isinstance(tower, HFTextEncoder) else None


def is_causal(tower: Any) -> bool:
    """Whether no position of a native tower sees a later one."""
    mask = tower.attn_mask
    if mask is None:
        return False
    plain = torch.full(mask.shape, float("-inf"), device=mask.device).triu(1)
    return bool(torch.equal(mask.float(), plain))


def pool_type(tower: Any) -> str:
    """A native tower's pooling, in open_clip's words."""
    # CLIP took its attributes over from its text tower, some of them under other names.
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None))


def ends(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Position [n] of tokens [n, context] that a native tower pools, by open_clip's own rules."""
    kind = pool_type(tower)
    if kind == "argmax":
        return tokens.argmax(dim=-1)
    if kind == "eos":
        eos = getattr(tower, "text_eos_id", None)
        eos = tower.eos_id if eos is None else eos
        return (tokens == int(eos)).int().argmax(dim=-1)
    last = 0 if kind == "first" else tokens.shape[1] - 1
    return torch.full((len(tokens),), last, device=tokens.device)
