"""The loss against a computation without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip_bench.finetune.losses import TERMS, info_nce, paraclip_terms


def unit(seed: int, n: int, d: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_info_nce(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    """Mean of -log softmax of the right pair, over rows and over columns, one pair at a time."""
    total = 0.0
    n = len(a)
    for i in range(n):
        forward = [scale * float(a[i] @ b[j]) for j in range(n)]
        backward = [scale * float(a[j] @ b[i]) for j in range(n)]
        for logits in (forward, backward):
            total -= logits[i] - np.log(sum(np.exp(value) for value in logits))
    return total / (2 * n)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 7), d=st.integers(2, 6), scale=st.floats(0.5, 50), seed=st.integers(0, 99))
def test_info_nce_is_the_brute_force(n: int, d: int, scale: float, seed: int) -> None:
    a, b = unit(seed, n, d), unit(seed + 1, n, d)
    ours = info_nce(
        torch.from_numpy(a), torch.from_numpy(b), torch.tensor(scale, dtype=torch.float64)
    )
    assert float(ours) == pytest.approx(brute_info_nce(a, b, scale), abs=1e-9)


def test_the_three_terms_take_the_pairs_that_the_paper_names() -> None:
    image, caption, first, second = (unit(seed, 5, 8) for seed in range(4))
    views = [torch.from_numpy(view) for view in (image, caption, first, second)]
    terms = paraclip_terms(*views, torch.tensor(10.0))
    wanted = ((image, second), (caption, first), (first, second))
    assert tuple(terms) == TERMS
    for name, (a, b) in zip(TERMS, wanted, strict=True):
        assert float(terms[name]) == pytest.approx(brute_info_nce(a, b, 10.0), abs=1e-9)
