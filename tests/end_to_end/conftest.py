"""An open_clip ViT-B-32 folder of random weights, made once."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from paraclip_bench.models.open_clip.network import save_folder


@pytest.fixture(scope="session")
def vit_b_32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; its config is open_clip's own ViT-B-32."""
    folder = tmp_path_factory.mktemp("models") / "vit-b-32"
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None)
    config = open_clip.get_model_config("ViT-B-32")
    assert config is not None
    save_folder(folder, model, config)
    return folder
