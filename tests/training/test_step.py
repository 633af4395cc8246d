"""Gradients in chunks are those of one graph, and those of open_clip's own encode_text."""

import copy
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
import torch.nn.functional as F

from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.errors import DataError
from paraclip_bench.models.open_clip import packed as packed_text
from paraclip_bench.models.open_clip.linear import Trained, TrainedOneDNN
from paraclip_bench.models.open_clip.packed import PackedText
from paraclip_bench.training.losses import info_nce
from paraclip_bench.training.recipe import TEXT_VIEWS, Recipe
from paraclip_bench.training.step import Objective, gradients
from paraclip_bench.training.trainable import DistinctTexts, TrainableText

OBJECTIVE = Objective(Recipe().loss, TEXT_VIEWS)
PAIRS = 24


@pytest.fixture
def model() -> Any:
    # Real temperatures: at the random network's own, gradients are next to nothing.
    made = tiny_clip.build().train()
    with torch.no_grad():
        made.logit_scale.fill_(3.0)
    return made


def batch(seed: int = 0) -> tuple[DistinctTexts, torch.Tensor]:
    """Texts of different lengths, some of them equal, and unit image features."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((40, 16), dtype=np.int64)
    for row in tokens:
        length = rng.integers(2, 14)
        row[0], row[1:length], row[length] = 49406, rng.integers(1, 30, length - 1), 49407
    lengths = (tokens != 0).sum(axis=1) + 1
    places = torch.from_numpy(rng.integers(0, 40, (PAIRS, 3)))
    images = F.normalize(torch.from_numpy(rng.normal(size=(PAIRS, 32))).float(), dim=-1)
    return DistinctTexts(torch.from_numpy(tokens), lengths, places), images


def grads_of(model: Any, encode: Any, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    model.zero_grad(set_to_none=True)
    texts, images = batch()
    settings = {"chunk_tokens": 10**6, "seed": 0, "group": ProcessGroup(), **options}
    values = gradients(encode, model.logit_scale, OBJECTIVE, texts, images, **settings)
    named = model.named_parameters()
    return {n: p.grad.clone() for n, p in named if p.grad is not None}, values


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Largest difference relative to the largest gradient of the same weight."""
    assert one.keys() == two.keys()
    return max(float((one[n] - two[n]).abs().max() / two[n].abs().max()) for n in one)


def plain(model: Any) -> dict[str, torch.Tensor]:
    """The gradients by open_clip's own encode_text, every text of every view."""
    model.zero_grad(set_to_none=True)
    texts, images = batch()
    caption, one, two = (
        F.normalize(model.encode_text(texts.tokens[texts.places[:, view]]), dim=-1)
        for view in range(3)
    )
    scale = model.logit_scale.exp()
    loss = info_nce(images, two, scale) + info_nce(caption, one, scale) + info_nce(one, two, scale)
    torch.autograd.backward(loss)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [Trained, TrainedOneDNN])
def test_the_packed_tower_s_gradients_are_encode_text_s(
    model: Any, kind: type[Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_text, "fastest_to_train", lambda device, dtype: kind)
    packed, _ = grads_of(model, lambda tokens: PackedText(model, trains=True)(tokens))
    expected = plain(model)
    assert "logit_scale" in packed
    assert "token_embedding.weight" in packed
    assert not any(name.startswith("visual.") for name in packed)
    assert difference(packed, expected) < 1e-5


@pytest.mark.parametrize("chunk_tokens", [1, 37, 150])
def test_chunks_give_the_gradients_of_the_whole(model: Any, chunk_tokens: int) -> None:
    def encode(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(tokens))
        return PackedText(model, trains=True)(tokens)

    seen: list[int] = []
    whole, values = grads_of(model, encode)
    assert seen == [40]
    parts, same = grads_of(model, encode, chunk_tokens=chunk_tokens)
    assert len(seen) > 2
    assert max(seen[1:]) <= max(1, chunk_tokens // 3)
    assert difference(parts, whole) < 1e-5
    assert same == pytest.approx(values, abs=1e-5)


def test_dropout_is_the_same_in_both_passes(model: Any) -> None:
    """With another drop in the second pass, the gradients of chunks would be another loss's."""
    dropout = torch.nn.Dropout(0.5)

    def encode(tokens: torch.Tensor) -> torch.Tensor:
        return dropout(PackedText(model, trains=True)(tokens))

    seen: dict[int, list[torch.Tensor]] = {}

    def watched(tokens: torch.Tensor) -> torch.Tensor:
        vectors = encode(tokens)
        seen.setdefault(int(tokens.sum()), []).append(vectors.detach())
        return vectors

    first, _ = grads_of(model, watched, chunk_tokens=60, seed=5)
    assert len(seen) > 2
    for once, again in seen.values():
        assert torch.equal(once, again)
    second, _ = grads_of(model, encode, chunk_tokens=60, seed=5)
    other, _ = grads_of(model, encode, chunk_tokens=60, seed=6)
    assert difference(first, second) == 0
    assert difference(first, other) > 1e-3


def test_half_precision_is_near(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    attention = F.scaled_dot_product_attention

    def watched(*args: torch.Tensor, **how: Any) -> torch.Tensor:
        attended = attention(*args, **how)
        seen.update(each.dtype for each in (*args, attended))
        return attended

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    whole, _ = grads_of(model, lambda tokens: PackedText(model, trains=True)(tokens))
    half, _ = grads_of(
        model, lambda tokens: PackedText(model, trains=True)(tokens), autocast=torch.bfloat16
    )
    assert all(grad.dtype == torch.float32 for grad in half.values())
    # Its gradient in bfloat16 takes a CPU six times as long.
    assert seen == {torch.float32}
    assert 1e-5 < difference(half, whole) < 0.1


def test_a_loss_that_is_no_number_is_named(model: Any) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.logit_scale.fill_(float("nan"))
    with pytest.raises(DataError, match="the loss is not a number"):
        grads_of(broken, lambda tokens: PackedText(broken, trains=True)(tokens))


def test_texts_of_a_cut_tower_are_cut_in_runs_of_like_length() -> None:
    class Tower:
        cuts = True

        def encode(self, tokens: torch.Tensor) -> torch.Tensor:
            longest = int((tokens != 0).sum(dim=1).max())
            seen.append((len(tokens), longest))
            return tokens.float()

    seen: list[tuple[int, int]] = []
    text = TrainableText.__new__(TrainableText)
    text._packs, text._tower = False, Tower()
    tokens = torch.zeros(64, 30, dtype=torch.long)
    for index in range(64):
        tokens[index, : 3 + index // 3] = 7
    assert torch.equal(text(tokens), tokens.float())
    assert sum(count for count, _ in seen) == 64
    assert len(seen) > 2
    assert sum(count * longest for count, longest in seen) < 0.75 * 64 * (3 + 63 // 3)
    seen.clear()
    text._tower.cuts = False
    text(tokens)
    assert [count for count, _ in seen] == [64]
