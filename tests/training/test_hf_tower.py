"""A text tower of transformers: trains, is saved, moves to another folder and loads there."""

import json
from pathlib import Path

import open_clip
import tiny_clip
import torch
from fine_tuning import WEIGHTS, losses, run
from open_clip.model import set_model_preprocess_cfg
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.models.open_clip.network import save_folder

SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
WORDS = ["red", "green", "blue", "small", "large", "ball", "box", "cone", "left", "above", "below"]
TOWER = {
    "model_type": "bert",
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def tower(folder: Path) -> Path:
    """A folder as `save_pretrained` leaves it: BERT's config and a tokenizer, no weights."""
    vocabulary = {word: place for place, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(TOWER))
    return folder


def test_a_tower_of_transformers_trains_moves_and_loads(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    base = tower(tmp_path / "base")
    text = {
        "hf_model_name": str(base),
        "hf_tokenizer_name": str(base),
        "hf_model_pretrained": False,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "context_length": 16,
    }
    config = {"embed_dim": 32, "vision_cfg": tiny_clip.CONFIG["vision_cfg"], "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**config).eval()
    set_model_preprocess_cfg(model, tiny_clip.PREPROCESS)
    save_folder(base, model, {**config, "custom_text": True})

    recipe = "batch_size = 8\nsteps = 12\nlearning_rate = 1e-2\nwarmup_steps = 2\n"
    made = run(base, pairs, recipe, tmp_path / "made")
    assert losses(made)[-1]["loss"] < 0.9 * losses(made)[0]["loss"]
    before, after = load_file(base / WEIGHTS), load_file(made / WEIGHTS)
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("visual.")} <= same
    assert not any(".encoder.layer" in name for name in same)

    texts = ["red ball above box", "small cone"]
    there = vectors(made, texts)
    assert not torch.allclose(there, vectors(base, texts), atol=1e-3)
    first = losses(made)[0]["loss"]
    moved = made.rename(tmp_path / "elsewhere")
    base.rename(tmp_path / "base_elsewhere")
    assert torch.equal(vectors(moved, texts), there)
    # Once more, from the checkpoint: it is a base like any other.
    again = run(moved, pairs, recipe, tmp_path / "again")
    assert losses(again)[-1]["loss"] < first


def vectors(folder: Path, texts: list[str]) -> torch.Tensor:
    encoder = OpenCLIP(f"local-dir:{folder}").text
    return torch.as_tensor(encoder.encode([encoder.prepare(text)[0] for text in texts])).float()
