"""A tiny random CLIP and a few pairs with drawn images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from paraclip_bench.models.open_clip_network import save_folder

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
WORDS = [
    "red",
    "green",
    "blue",
    "small",
    "large",
    "ball",
    "box",
    "cone",
    "left",
    "right",
    "above",
    "below",
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An open_clip folder of random weights."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG)
    open_clip.model.set_model_preprocess_cfg(
        model, {**open_clip.transform.PreprocessCfg().__dict__, "size": (32, 32)}
    )
    save_folder(tmp_path / "base", model, CONFIG)
    return tmp_path / "base"


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """(pairs.jsonl, images): 24 rows on 12 images."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    rows = []
    for index in range(24):
        name = f"{index % 12}.png"
        if index < 12:
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / name)
        texts = [" ".join(rng.choice(WORDS, 5)) for _ in range(3)]
        keys = ("caption", "paraphrase_1", "paraphrase_2")
        rows.append({"image": name, **dict(zip(keys, texts, strict=True))})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path, images
