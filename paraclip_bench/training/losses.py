"""The loss: a weighted sum of InfoNCE terms, each of two views of a pair.

ParaCLIP's is L1(X_I, X_T'') + L2(X_T, X_T') + L3(X_T', X_T'') (Kim et al., Findings of EACL 2024,
arXiv 2402.15120); a recipe lists the terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from paraclip_bench.training.recipe import Term


def info_nce(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of unit rows a, b [n, d]: row i of one belongs to row i of the other.

    `scale` multiplies the cosines (the inverse temperature). Returns a scalar, in nats.
    """
    logits = scale * a @ b.T
    target = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def loss_terms(
    views: Mapping[str, torch.Tensor], terms: Sequence[Term], scale: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Each term's InfoNCE by its name, not yet weighted; views are unit rows [n, d] by name."""
    return {
        term.name: info_nce(views[term.views[0]], views[term.views[1]], scale) for term in terms
    }


def weighted_sum(values: Mapping[str, torch.Tensor], terms: Sequence[Term]) -> torch.Tensor:
    """The loss of terms' values by name."""
    return torch.stack([term.weight * values[term.name] for term in terms]).sum()
