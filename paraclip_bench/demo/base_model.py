"""Make the demo's base CLIP from nothing: `python -m paraclip_bench.demo.base_model [--out DIR]`.

A small open_clip CLIP learns (image, caption) pairs of the base-training scenes with the plain
symmetric InfoNCE loss. It sees web-like captions only, never a paraphrase, so that words and
turns of phrase outside of the narrow vocabulary mean nothing to it: the gap that ParaCLIP's
fine-tuning is to close. The folder it writes (`open_clip_config.json` and float16 safetensors) is
an ordinary open_clip `local-dir:` model. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from paraclip_bench.demo import grammar
from paraclip_bench.demo.render import SIDE, render
from paraclip_bench.demo.scenes import Scene, sample

DEFAULT_OUT = Path(__file__).parent / "base_clip"

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 128,
    # Said outright: a checkpoint whose activation must be guessed invites the wrong one.
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": SIDE,
        "patch_size": 8,
        "width": 128,
        "head_width": 32,
        "layers": 2,
    },
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 49408,
        "width": 128,
        "heads": 4,
        "layers": 2,
    },
}
PREPROCESS_CFG: dict[str, Any] = {
    "size": SIDE,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    # Crops of the VG tasks are seldom square: cutting them to a square would lose a thing.
    "resize_mode": "squash",
}

_SCENES = 10_000
_BATCH = 128
_STEPS = 900
_WARMUP = 60
_RATE = 1e-3
_DECAY = 0.05


def train(steps: int = _STEPS, seed: int = 0) -> open_clip.CLIP:
    """Train the base CLIP from random weights for `steps` batches; progress goes to stderr."""
    torch.manual_seed(seed)
    rng = Random(seed)
    scenes = sample("base", _SCENES, seed)
    images = _pictures(scenes)
    tokenize = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    # open_clip takes its settings out of the dictionaries it is given.
    model = open_clip.CLIP(**copy.deepcopy(MODEL_CFG))
    model.train()
    optimizer = torch.optim.AdamW(_groups(model), lr=_RATE, betas=(0.9, 0.98), eps=1e-6)
    started = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * _schedule(step, steps)
        batch = rng.sample(range(len(scenes)), _BATCH)
        texts = tokenize([grammar.caption(scenes[i], step) for i in batch])
        # A third of the views are cut to the things, as the VG tasks cut them.
        views = torch.tensor([int(rng.random() < 1 / 3) for _ in batch])
        pixels = images[torch.tensor(batch), views].float() / 127.5 - 1
        image = functional.normalize(model.encode_image(pixels), dim=-1)
        text = functional.normalize(model.encode_text(texts), dim=-1)
        logits = model.logit_scale.exp() * image @ text.T
        target = torch.arange(len(batch))
        loss = (
            functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        ) / 2
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if step % 100 == 99:
            seconds = time.perf_counter() - started
            print(
                f"step {step + 1}/{steps} loss {loss.item():.3f} {seconds:.0f} s", file=sys.stderr
            )
    return model.eval()


def save(model: open_clip.CLIP, out: Path) -> None:
    """Write the model to the folder `out`, weights in float16, for open_clip's `local-dir:`."""
    out.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    text = json.dumps(config, indent=2) + "\n"
    (out / "open_clip_config.json").write_bytes(text.encode("utf-8"))
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, out / "open_clip_model.safetensors", metadata={"format": "pt"})


def _pictures(scenes: list[Scene]) -> torch.Tensor:
    """Return bytes [scenes, 2, 3, side, side]: each scene whole, and cut to its things."""
    stacked = np.empty((len(scenes), 2, SIDE, SIDE, 3), dtype=np.uint8)
    for row, scene in zip(stacked, scenes, strict=True):
        picture = render(scene)
        row[0] = np.asarray(picture.image)
        cut = picture.image.crop(picture.box())
        row[1] = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return torch.from_numpy(stacked).permute(0, 1, 4, 2, 3).contiguous()


def _groups(model: open_clip.CLIP) -> list[dict[str, Any]]:
    # Without decay on the token table, words that are never seen keep their random vectors.
    bare = [p for n, p in model.named_parameters() if p.ndim < 2 or n == "token_embedding.weight"]
    names = {id(p) for p in bare}
    rest = [p for p in model.parameters() if id(p) not in names]
    return [{"params": rest, "weight_decay": _DECAY}, {"params": bare, "weight_decay": 0.0}]


def _schedule(step: int, steps: int) -> float:
    """Return the share of the top learning rate: a linear warm-up, then a cosine down to 0."""
    if step < _WARMUP:
        return (step + 1) / _WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - _WARMUP) / max(1, steps - _WARMUP)))


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(description="Train the demo world's base CLIP from scratch.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write")
    parser.add_argument("--steps", type=int, default=_STEPS, help="batches of training")
    options = parser.parse_args(arguments)
    save(train(options.steps), options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
