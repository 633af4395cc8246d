"""Texts cut behind their padding: towers of transformers, and native ones while they train."""

import json

import open_clip
import pytest
import tiny_clip
import torch
import torch.nn.functional as F
from tiny_clip import text_config as tiny
from tiny_clip import text_model

from paraclip_bench.models.open_clip.text_tower import TextTower

BERT = {
    "model_type": "roberta",
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "pad_token_id": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@pytest.fixture
def hugging_face(tmp_path, request):
    """A CLIP with a small random RoBERTa of a folder as its text tower."""
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    torch.manual_seed(0)
    text = {
        "hf_model_name": str(tmp_path),
        "hf_model_pretrained": False,
        "hf_proj_type": "mlp",
        "hf_pooler_type": request.param,
    }
    return open_clip.CustomTextCLIP(24, tiny_clip.CONFIG["vision_cfg"], text).eval()


@pytest.mark.parametrize(
    "hugging_face", ["mean_pooler", "cls_last_hidden_state_pooler"], indirect=True
)
def test_a_tower_of_transformers_is_cut_behind_its_padding(hugging_face):
    tokens = torch.ones(3, 20, dtype=torch.long)
    for row, length in zip(tokens, (3, 7, 5), strict=True):
        row[:length] = torch.arange(10, 10 + length)
    tower = TextTower(hugging_face, tokens)
    assert tower.cuts
    seen = []
    hugging_face.text.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    with torch.no_grad():
        cut = F.normalize(tower.encode(tokens), dim=-1)
        full = F.normalize(hugging_face.encode_text(tokens), dim=-1)
    assert seen == [(3, 7), (3, 20)]
    assert (cut - full).abs().max() <= 1e-6


@pytest.mark.parametrize("custom", [False, True])
def test_a_causal_tower_is_cut_and_trains_the_same(custom):
    model = text_model(tiny(), custom=custom)
    tokens = torch.tensor([[5, 6, 98] + [0] * 9, [5, 7, 8, 98] + [0] * 8])
    tower = TextTower(model, tokens)
    assert tower.cuts
    gradients = []
    for encode in (tower.encode, model.encode_text):
        model.zero_grad()
        F.normalize(encode(tokens), dim=-1)[:, 0].sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_tower_that_sees_its_padding_keeps_it():
    model = text_model(tiny(no_causal_mask=True, pool_type="last"), custom=True)
    assert not TextTower(model, torch.tensor([[5, 98] + [0] * 10])).cuts
