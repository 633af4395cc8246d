"""A tiny random CLIP and a few pairs with drawn images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from PIL import Image

WORDS = ["red", "green", "blue", "small", "large", "ball", "box", "cone", "left", "above", "below"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An open_clip folder of random weights, with QuickGELU."""
    return tiny_clip.save(tmp_path / "base", tiny_clip.build(quick_gelu=True))


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
