"""Text vectors of an open_clip network without the padding, where that changes nothing.

A causal text tower that is pooled at its end-of-text token does not see what follows that token,
and one of transformers masks its padding. So a batch is cut behind its last token: open_clip's own
`encode_text` is handed shorter tokens and, where it needs them, a shorter positional embedding and
mask. Other towers get the full context, as they must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
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


Cut = Callable[[torch.Tensor], torch.Tensor]


def tolerance(dtype: torch.dtype) -> float:
    """How far two computations of one unit vector may differ; a wrong cut is off by far more."""
    return 1e-5 if dtype == torch.float32 else 3e-2


class TextTower(torch.nn.Module):
    """`encode_text` of a model, cut where that is exact.

    `model` is shared, not copied; gradients flow through the cut. `probe` is tokens [n, context]
    of a few short texts: the cut is used only if it gives their vectors.
    """

    def __init__(self, model: Any, probe: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self._cut = self._cutter()
        self.cuts = self._cut is not None and agrees(self, self._cut, probe)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context] as they are."""
        vectors: torch.Tensor = self.model.encode_text(tokens)
        return vectors

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context]; padding is left out if it can."""
        return self._cut(tokens) if self.cuts and self._cut else self(tokens)

    def _cutter(self) -> Cut | None:
        if (tower := hugging_face_tower(self.model)) is not None:
            return lambda tokens: self(tokens[:, : _used(tokens, tower.config.pad_token_id)])
        tower = native_tower(self.model)
        if tower is None or not is_causal(tower) or pool_type(tower) not in ("argmax", "eos"):
            return None
        where = "model" if tower is self.model else "model.text"

        def cut(tokens: torch.Tensor) -> torch.Tensor:
            length = int(ends(tower, tokens).max()) + 1
            shorter = {
                f"{where}.positional_embedding": tower.positional_embedding[:length],
                f"{where}.attn_mask": tower.attn_mask[:length, :length],
            }
            vectors: torch.Tensor = torch.func.functional_call(self, shorter, (tokens[:, :length],))
            return vectors

        return cut


def agrees(full: Cut, other: Cut, probe: torch.Tensor) -> bool:
    """Whether two ways to the vectors of probe tokens [n, context] give the same directions."""
    with torch.no_grad():
        expected, found = full(probe), other(probe)
    one, two = (F.normalize(vectors.float(), dim=-1) for vectors in (expected, found))
    return bool((one - two).abs().max() <= tolerance(expected.dtype))


def _used(tokens: torch.Tensor, padding: int) -> int:
    """Columns of tokens [n, context] up to the last that is not padding, at least one."""
    filled = (tokens != padding).any(dim=0).nonzero()
    return int(filled[-1]) + 1 if len(filled) else 1
