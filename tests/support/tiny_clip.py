"""A random open_clip network of 1.6 million weights, and the folder that holds it."""

from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS: dict[str, Any] = {
    "size": 32,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def build(*, seed: int = 0, quick_gelu: bool = False) -> Any:
    """The network itself, in eval mode."""
    import open_clip
    import torch
    from open_clip.model import set_model_preprocess_cfg

    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG, quick_gelu=quick_gelu)
    set_model_preprocess_cfg(model, PREPROCESS)
    return model.eval()


def save(folder: Path, model: Any | None = None) -> Path:
    """Write the network (a fresh one of seed 0 where none is given) as an open_clip folder."""
    from paraclip_bench.models.open_clip.network import save_folder

    folder.mkdir(parents=True, exist_ok=True)
    save_folder(folder, build() if model is None else model, CONFIG)
    return folder


def text_config(**settings: Any) -> dict[str, Any]:
    """A text tower of 99 tokens and 12 positions, with open_clip's settings on top."""
    return {**CONFIG["text_cfg"], "vocab_size": 99, "context_length": 12, **settings}


def text_model(
    config: dict[str, Any], *, custom: bool = False, quick: bool = False, dim: int = 24
) -> Any:
    """A CLIP with that text tower and next to no image tower, random in all its weights."""
    import open_clip
    import torch

    vision = {"image_size": 32, "patch_size": 32, "width": 64, "layers": 1}
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(dim, vision, config, quick_gelu=quick).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and not name.startswith("visual."):
                weight.add_(0.1 * torch.randn_like(weight))  # biases and norms that matter
    return model
