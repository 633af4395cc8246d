"""The ParaCLIP loss (Kim et al., Findings of EACL 2024, arXiv 2402.15120)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

TERMS = ("image_paraphrase", "caption_paraphrase", "paraphrase_paraphrase")


def info_nce(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of unit rows a, b [n, d]: row i of one belongs to row i of the other.

    `scale` multiplies the cosines (the inverse temperature). Returns a scalar, in nats.
    """
    logits = scale * a @ b.T
    target = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def paraclip_terms(
    image: torch.Tensor,
    caption: torch.Tensor,
    paraphrase_1: torch.Tensor,
    paraphrase_2: torch.Tensor,
    scale: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """The three terms L1(X_I, X_T''), L2(X_T, X_T'), L3(X_T', X_T''), of unit rows [n, d]."""
    pairs = ((image, paraphrase_2), (caption, paraphrase_1), (paraphrase_1, paraphrase_2))
    return {name: info_nce(a, b, scale) for name, (a, b) in zip(TERMS, pairs, strict=True)}
