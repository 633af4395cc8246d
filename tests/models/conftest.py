"""A tiny CLIP folder and a picture."""

from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.models.adapter import Context


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random CLIP; not to be changed."""
    return tiny_clip.save(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three PNG files of noise, of different shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index, shape in enumerate([(32, 32), (50, 40), (33, 90)]):
        pixels = np.random.default_rng(index).integers(0, 256, (*shape, 3), dtype=np.uint8)
        paths.append(folder / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """The paper suite, in a workspace without checkpoints."""
    return Context(suite="paper", checkpoints=tmp_path / "checkpoints")
