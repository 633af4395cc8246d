"""The packed text path gives what open_clip's own encode_text gives, for every tower it takes."""

import gc
import itertools
import json
import math

import open_clip
import pytest
import tiny_clip
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transformer import LayerScale
from tiny_clip import text_config as tiny
from tiny_clip import text_model

from paraclip_bench.models.open_clip import linear, packed
from paraclip_bench.models.open_clip.packed import PackedText, UnsupportedTower, packed_text
from paraclip_bench.models.open_clip.text_tower import TextTower, ends, native_tower, pool_type

KINDS = (linear.Plain, linear.OneDNN)
# Larger text towers would not fit beside the others' tests.
MOST_WEIGHTS = 750e6


def largest_difference(model, tokens: torch.Tensor) -> float:
    with torch.inference_mode():
        ours = F.normalize(PackedText(model)(tokens), dim=-1)
        theirs = F.normalize(model.encode_text(tokens), dim=-1)
    return float((ours - theirs).abs().max())


TOWERS = {
    "causal, argmax": ({}, {}),
    "QuickGELU": ({}, {"quick": True}),
    "causal, eos": ({"pool_type": "eos", "eos_id": 98}, {}),
    "causal, last": ({"pool_type": "last"}, {}),
    "causal, first": ({"pool_type": "first"}, {}),
    "layer scale": ({"ls_init_value": 0.3}, {}),
    "a tower of its own": ({}, {"custom": True}),
    "sees its padding": (
        {"no_causal_mask": True, "pool_type": "last", "proj_bias": True,
         "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-6}},
        {"custom": True},
    ),
    "sees its padding, argmax": ({"no_causal_mask": True}, {"custom": True}),
    "no projection": ({"proj_type": "none", "no_causal_mask": True}, {"custom": True}),
    "one layer": ({"layers": 1}, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def models():
    return {name: text_model(tiny(**cfg), **options) for name, (cfg, options) in TOWERS.items()}


rows = st.lists(st.lists(st.integers(1, 97), max_size=11), min_size=1, max_size=12)


def keeps_its_full_context(config) -> None:
    """A CoCa's mask depends on the text: neither way to leave padding out may be taken."""
    vision = {**tiny_clip.CONFIG["vision_cfg"], "attentional_pool": True, "output_tokens": True}
    model = open_clip.coca_model.CoCa(
        embed_dim=config["embed_dim"],
        text_cfg={**config["text_cfg"], "vocab_size": 1000},
        vision_cfg=vision,
        multimodal_cfg={**config["multimodal_cfg"], "layers": 1},
    ).eval()
    tokens = torch.zeros(3, model.text.context_length, dtype=torch.long)
    tokens[:, :5] = torch.randint(3, 998, (3, 5))
    tower = TextTower(model, tokens)
    assert not tower.cuts
    assert packed_text(model, tower, tokens) is None
    with torch.inference_mode():
        assert torch.equal(tower.encode(tokens), model.encode_text(tokens))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TOWERS)
@given(texts=rows, cut=st.integers(0, 11))
def test_equals_encode_text(models, name, kind, texts, cut):
    # The second half begins as the first does, so that there are prefixes to share.
    texts = texts + [text[:cut] + other[: 11 - cut] for text, other in itertools.pairwise(texts)]
    tokens = torch.zeros(len(texts), 12, dtype=torch.long)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.long)
        row[len(text)] = 98
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "fastest", lambda device, dtype: kind)
        assert largest_difference(models[name], tokens) <= 1e-5


@given(tokens=st.lists(st.lists(st.integers(0, 98), min_size=12, max_size=12), min_size=1))
def test_any_tokens(models, tokens):
    """Rows without, or with several, ends of text are pooled where open_clip pools them."""
    for name in ("causal, argmax", "causal, eos", "sees its padding, argmax"):
        assert largest_difference(models[name], torch.tensor(tokens)) <= 1e-5


def test_shared_prefixes_are_computed_once(models):
    tower = native_tower(models["causal, argmax"])
    tokens = torch.zeros(4, 12, dtype=torch.long)
    texts = ([5, 6, 7, 98], [5, 6, 98], [5, 6, 7, 98], [9, 6, 98])
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    tree = packed._grow(tokens, ends(tower, tokens), causal=True)
    # 5, 56, 567, 567., 56. and 9, 96, 96.
    assert len(tree.tokens) == 8
    assert tree.pooled[0] == tree.pooled[2]
    assert len(set(tree.pooled.tolist())) == 3
    whole = packed._grow(tokens, ends(tower, tokens), causal=False)
    assert len(whole.tokens) == 48


@given(st.lists(st.integers(1, 77), min_size=1, max_size=60))
def test_groups_hold_each_text_once_with_little_padding(lengths):
    import numpy as np

    lengths = np.array(lengths)
    groups = packed._like_lengths(lengths)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    for group in groups:
        assert lengths[group].max() * len(group) <= packed._PADDING * lengths[group].sum()
        assert lengths[group[0]] == lengths[group].max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(models, kind, dtype, monkeypatch):
    if kind is linear.OneDNN and dtype is torch.float16:
        pytest.skip("oneDNN is not used for float16 on a CPU")
    monkeypatch.setattr(packed, "fastest", lambda device, dtype: kind)
    model = text_model(tiny())
    tokens = torch.randint(1, 98, (9, 12), generator=torch.Generator().manual_seed(1))
    tokens[:, 7] = 98
    with torch.inference_mode():
        exact = F.normalize(model.encode_text(tokens), dim=-1)
        half = F.normalize(PackedText(model.to(dtype))(tokens).float(), dim=-1)
    assert 0 < (half - exact).abs().max() < 0.03


def test_other_towers_are_refused():
    vision = {"image_size": 32, "patch_size": 32, "width": 64, "layers": 1}
    pooler = {"output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 2}
    words = tiny(embed_cls=True, output_tokens=True)
    masks_padding = text_model(tiny(no_causal_mask=True), custom=True)
    masks_padding.text.use_pad_mask = True
    for model in (
        open_clip.CoCa(24, tiny(), words, {**vision, **pooler}),
        masks_padding,
        text_model(tiny(qk_norm=True), custom=True),
    ):
        with pytest.raises(UnsupportedTower):
            PackedText(model)


def test_a_mask_that_is_not_causal_is_refused(models):
    model = text_model(tiny())
    model.attn_mask[0, 5] = 0
    with pytest.raises(UnsupportedTower, match="not causal"):
        PackedText(model)


def test_what_does_not_agree_is_not_used(monkeypatch):
    model = text_model(tiny())
    probe = torch.tensor([[5, 6, 98] + [0] * 9, [5, 98] + [0] * 10])
    tower = TextTower(model, probe)
    assert packed_text(model, tower, probe) is not None
    with monkeypatch.context() as patch:
        patch.setattr(packed, "ends", lambda tower, tokens: ends(tower, tokens) - 1)
        assert packed_text(model, tower, probe) is None

    def gone(*arguments):
        raise AttributeError("no such operator")

    monkeypatch.setattr(packed, "fastest", lambda device, dtype: gone)
    assert packed_text(model, tower, probe) is None


def test_layer_scale_is_folded_in():
    model = text_model(tiny(ls_init_value=0.3))
    assert isinstance(model.transformer.resblocks[0].ls_1, LayerScale)
    with torch.no_grad():
        model.transformer.resblocks[0].ls_1.gamma.mul_(torch.linspace(0.1, 9, 32))
    tokens = torch.tensor([[5, 6, 98] + [0] * 9])
    assert largest_difference(model, tokens) <= 1e-5


def shipped_towers() -> list:
    """Each different text tower that open_clip ships, by one architecture that has it."""
    found = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        keys = ("quick_gelu", "custom_text", "multimodal_cfg")
        # Which words there are, and the size of a vector, make no other computation.
        words = ("vocab_size", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode")
        text = {key: value for key, value in config["text_cfg"].items() if key not in words}
        tower = json.dumps([text, *(config.get(key) for key in keys)], sort_keys=True)
        found.setdefault(tower, name)
    return sorted(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_towers())
def test_every_tower_that_open_clip_ships(name):
    config = open_clip.get_model_config(name)
    text = config["text_cfg"]
    if text.get("hf_model_name"):
        pytest.skip(f"{name}: its text tower {text['hf_model_name']} is on the hub")
    weights = 12 * text.get("width", 512) ** 2 * text.get("layers", 12)
    if weights > MOST_WEIGHTS:
        pytest.skip(f"{name}: a text tower of {weights / 1e6:.0f} million weights")
    if "multimodal_cfg" in config:
        keeps_its_full_context(config)
        return
    # Positions do not change what is tested, and a small table of tokens is as good as a large one.
    model = text_model(
        {**text, "vocab_size": 1000},
        custom=bool(config.get("custom_text")),
        quick=bool(config.get("quick_gelu")),
        dim=config["embed_dim"],
    )
    tower = native_tower(model)
    context = tower.context_length
    generator = torch.Generator().manual_seed(1)
    start = torch.randint(3, 998, (context,), generator=generator)
    end = 999 if pool_type(tower) == "argmax" else int(getattr(tower, "text_eos_id", 2) or 2)
    tokens = torch.zeros(7, context, dtype=torch.long)
    lengths = (1, 3, 3, 9, context - 1, 5, math.ceil(context / 2))
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = start[:length]
        row[length] = end
    tokens[2, 1] = 7  # parts from its neighbours after the first token
    assert largest_difference(model, tokens) <= 1e-5
    del model, tower
    gc.collect()


def test_the_way_to_train_is_measured(monkeypatch):
    """Both ways run where the decision is made, and the faster one is taken."""
    seconds = []
    real = linear.best_seconds

    def noted(run, times=5):
        seconds.append(real(run, 1))
        return seconds[-1]

    monkeypatch.setattr(linear, "best_seconds", noted)
    linear._onednn_trains_faster()
    assert len(seconds) == 6
    assert all(math.isfinite(each) for each in seconds[1::2])
    for onednn, plain, kind in ((1.0, 2.0, True), (1.9, 2.0, False), (math.inf, 2.0, False)):
        answers = [onednn, plain] * 3
        monkeypatch.setattr(linear, "best_seconds", lambda run, a=answers: a.pop(0))
        assert linear._onednn_trains_faster() is kind
