"""The loss against a computation without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip_bench.training.losses import info_nce, loss_terms, weighted_sum
from paraclip_bench.training.recipe import VIEWS, Recipe, find_recipe, read_recipe, shipped


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
    views = dict(zip(VIEWS, map(torch.from_numpy, (image, caption, first, second)), strict=True))
    wanted = {
        "image:paraphrase_2": (image, second),
        "caption:paraphrase_1": (caption, first),
        "paraphrase_1:paraphrase_2": (first, second),
    }
    terms = loss_terms(views, Recipe().loss, torch.tensor(10.0))
    assert list(terms) == list(wanted)
    for name, (a, b) in wanted.items():
        assert float(terms[name]) == pytest.approx(brute_info_nce(a, b, 10.0), abs=1e-9)
    whole = sum(brute_info_nce(a, b, 10.0) for a, b in wanted.values())
    assert float(weighted_sum(terms, Recipe().loss)) == pytest.approx(whole, abs=1e-9)


def test_the_shipped_recipes_are_the_paper_s_loss_its_ablations_and_the_controls() -> None:
    views = {name: read_recipe(path) for name, path in shipped().items()}
    l1, l2, l3 = "image:paraphrase_2", "caption:paraphrase_1", "paraphrase_1:paraphrase_2"
    three = ["image:caption", "image:paraphrase_1", "image:paraphrase_2"]
    assert {name: [term.name for term in recipe.loss] for name, recipe in views.items()} == {
        "paraclip": [l1, l2, l3],
        "paraclip-demo": [l1, l2, l3],
        "paraclip-without-l1": [l2, l3],
        "paraclip-without-l2": [l1, l3],
        "paraclip-without-l3": [l1, l2],
        "paraclip-l1-alone": [l1],
        "it": ["image:caption"],
        "it3": three,
    }
    assert all(recipe.name == name for name, recipe in views.items())
    assert sum(term.weight for term in views["it3"].loss) == pytest.approx(1)
    assert read_recipe(find_recipe("paraclip")) == Recipe()
    assert not views["paraclip-without-l1"].needs_images
    assert views["it"].texts == ("caption",)
