"""Text vectors of an open_clip network without the padding, where that changes nothing.

A causal text tower that is pooled at its end-of-text token does not see what follows that token.
So a batch is cut behind its last end-of-text token, by handing open_clip's own `encode_text` a
shorter positional embedding and mask. Other towers get the full context, as they must.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
import torch.nn.functional as F

# Two float32 computations of one vector differ by about 1e-7; a wrong cut by far more.
_TOLERANCE = 1e-5


class TextTower(torch.nn.Module):
    """`encode_text` of a model, cut where that is exact.

    `model` is shared, not copied; gradients flow through the cut. `probe` is tokens [n, context]
    of a few short texts: the cut is used only if it gives their vectors.
    """

    def __init__(self, model: Any, probe: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.cuts = _is_causal_and_pooled_at_end(model) and self._agrees(probe)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context] as they are."""
        vectors: torch.Tensor = self.model.encode_text(tokens)
        return vectors

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context]; padding is left out if it can."""
        return self._cut(tokens) if self.cuts else self(tokens)

    def _cut(self, tokens: torch.Tensor) -> torch.Tensor:
        length = int(_end(self.model, tokens).max()) + 1
        shorter = {
            "model.positional_embedding": self.model.positional_embedding[:length],
            "model.attn_mask": self.model.attn_mask[:length, :length],
        }
        vectors: torch.Tensor = torch.func.functional_call(self, shorter, (tokens[:, :length],))
        return vectors

    def _agrees(self, probe: torch.Tensor) -> bool:
        with torch.no_grad():
            full, cut = (F.normalize(f(probe), dim=-1) for f in (self, self._cut))
        return bool((full - cut).abs().max() <= _TOLERANCE)


def _is_causal_and_pooled_at_end(model: Any) -> bool:
    return (
        type(model) is open_clip.CLIP
        and model.attn_mask is not None
        and model.text_pool_type in ("argmax", "eos")
    )


def _end(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Position [n] of the token that is pooled."""
    marks = (tokens == model.text_eos_id).int() if model.text_pool_type == "eos" else tokens
    return marks.argmax(dim=-1)
