"""The loss against a computation without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraclip_bench.errors import BenchError
from paraclip_bench.training.losses import (
    Distance,
    HardNegatives,
    Hinge,
    LossTerm,
    info_nce,
    loss_parameters,
    loss_terms,
    weighted_sum,
)
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
        "semclip": [
            "image:caption",
            "distance caption:paraphrase_1",
            "hinge caption:negation",
        ],
        "clic": [
            *three,
            *(f"hard_negatives {pair}:negation" for pair in three),
            "distance caption:paraphrase_1",
        ],
    }
    assert all(recipe.name == name for name, recipe in views.items())
    assert sum(term.weight for term in views["it3"].loss) == pytest.approx(1)
    assert read_recipe(find_recipe("paraclip")) == Recipe()
    assert not views["paraclip-without-l1"].needs_images
    assert views["it"].texts == ("caption",)
    assert views["semclip"].needed == {"image", "caption", "paraphrase_1", "negation"}


def five_views(n: int = 6, d: int = 8) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    arrays = {view: unit(seed, n, d) for seed, view in enumerate((*VIEWS, "negation"))}
    return arrays, {view: torch.from_numpy(rows).float() for view, rows in arrays.items()}


def brute_cosine(a: np.ndarray, b: np.ndarray, directions: np.ndarray | None) -> float:
    if directions is not None:
        a = np.array([sum(a * column) for column in directions.T])
        b = np.array([sum(b * column) for column in directions.T])
    return float(sum(a * b) / np.sqrt(sum(a * a) * sum(b * b)))


def test_semclip_s_loss_is_the_published_one_by_brute_force() -> None:
    """(contrastive + 1 - cos(P t, P t+) + max(0, cos(P t, P t-))) / 3, P on two directions."""
    arrays, views = five_views()
    terms = read_recipe(find_recipe("semclip")).loss
    parameters = loss_parameters(terms, 8, seed=4)
    (directions,) = (tensor.numpy() for tensor in parameters.values())
    assert directions.shape == (8, 2)
    assert directions.T @ directions == pytest.approx(np.eye(2), abs=1e-6)
    values = loss_terms(views, terms, torch.tensor(10.0), parameters)
    pairs = list(zip(arrays["caption"], arrays["paraphrase_1"], arrays["negation"], strict=True))
    apart = np.mean([1 - brute_cosine(c, p, directions) for c, p, _ in pairs])
    near = [brute_cosine(c, n, directions) for c, _, n in pairs]
    assert min(near) < 0 < max(near)
    hinge = np.mean([max(0, cosine) for cosine in near])
    contrastive = brute_info_nce(arrays["image"], arrays["caption"], 10.0)
    assert [float(v) for v in values.values()] == pytest.approx(
        [contrastive, apart, hinge], abs=1e-5
    )
    whole = float(weighted_sum(values, terms))
    assert whole == pytest.approx((contrastive + apart + hinge) / 3, abs=1e-5)


def test_clic_s_loss_is_the_published_one_by_brute_force() -> None:
    """Half the mean contrastive, half the mean against one negative, and the squared distance."""
    arrays, views = five_views()
    terms = read_recipe(find_recipe("clic")).loss
    values = loss_terms(views, terms, torch.tensor(10.0))
    image, negation = arrays["image"], arrays["negation"]
    positives = [arrays[view] for view in VIEWS[1:]]
    contrastive = np.mean([brute_info_nce(image, texts, 10.0) for texts in positives])
    own = np.mean(
        [
            -np.log(np.exp(10 * i @ p) / (np.exp(10 * i @ p) + np.exp(10 * i @ n)))
            for texts in positives
            for i, p, n in zip(image, texts, negation, strict=True)
        ]
    )
    squared = np.mean(np.sum((positives[0] - positives[1]) ** 2, axis=1))
    whole = 0.5 * contrastive + 0.5 * own + squared
    assert float(weighted_sum(values, terms)) == pytest.approx(whole, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 7), d=st.integers(2, 6), scale=st.floats(0.5, 50), seed=st.integers(0, 99))
def test_negatives_beside_the_batch_are_the_brute_force(
    n: int, d: int, scale: float, seed: int
) -> None:
    anchor, positive, negative = (unit(seed + i, n, d) for i in range(3))
    total = 0.0
    for i in range(n):
        among = [scale * float(anchor[i] @ text) for text in (*positive, *negative)]
        back = [scale * float(positive[i] @ other) for other in anchor]
        total -= among[i] - np.log(sum(np.exp(among)))
        total -= back[i] - np.log(sum(np.exp(back)))
    term = HardNegatives(views=("image", "caption", "negation"))
    views = [torch.from_numpy(rows) for rows in (anchor, positive, negative)]
    ours = term.value(views, torch.tensor(scale, dtype=torch.float64), {})
    assert float(ours) == pytest.approx(total / (2 * n), abs=1e-9)


def test_a_margin_and_all_directions() -> None:
    arrays, views = five_views()
    rows = [views["caption"], views["negation"]]
    cosines = np.sum(arrays["caption"] * arrays["negation"], axis=1)
    hinge = Hinge(views=("caption", "negation"), margin=-0.4)
    wanted = np.mean(np.maximum(0, cosines + 0.4))
    assert wanted > 0
    assert float(hinge.value(rows, torch.tensor(1.0), {})) == pytest.approx(wanted, abs=1e-6)
    # A projection on as many directions as there are dimensions changes no cosine.
    whole = Distance(views=("caption", "negation"), projection=8, learned=True)
    parameters = loss_parameters([whole], 8, seed=0)
    assert all(tensor.requires_grad for tensor in parameters.values())
    found = whole.value(rows, torch.tensor(1.0), parameters)
    assert found.item() == pytest.approx(1 - cosines.mean(), abs=1e-5)


def test_terms_with_the_same_settings_share_their_directions() -> None:
    two = [
        Distance(views=("caption", "paraphrase_1"), projection=2),
        Hinge(views=("caption", "negation"), projection=2),
    ]
    assert len(loss_parameters(two, 8, seed=0)) == 1
    other = Hinge(views=("caption", "negation"), projection=2, learned=True)
    assert len(loss_parameters([two[0], other], 8, seed=0)) == 2
    first, again, third = (next(iter(loss_parameters(two, 8, seed).values())) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, third)
    with pytest.raises(BenchError, match="projection is 2 and the model's vectors have 1"):
        loss_parameters(two, 1, seed=0)


def test_a_value_that_is_not_a_scalar_is_named() -> None:
    class Rows(LossTerm):
        kind: str = "rows"

        def value(self, views, scale, parameters):  # type: ignore[no-untyped-def]
            return views[0].sum(dim=1)

    _, views = five_views()
    with pytest.raises(BenchError, match=r"the loss 'rows' gives a tensor of shape \(6,\)"):
        loss_terms(views, [Rows(views=("image", "caption"))], torch.tensor(1.0))
