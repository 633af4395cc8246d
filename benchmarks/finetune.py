"""A training step: open_clip's way and ours on the same pairs, in one run.

    python benchmarks/finetune.py [--quick] [--batch 32] [--data FLICKR8K] [--architecture ViT-B-32]

open_clip's way: the image tower (frozen, no gradients) on every batch, the three texts of a pair at
77 tokens through `encode_text`, float32, one graph. Ours: `finetune`'s own step on cached features,
in float32 and in bfloat16. Weights are random: speed does not care. Beside them, the limits: our
step if it were nothing but its transformer's matrix products. Then the peak memory of large
batches with and without gradient caching, each in a process of its own. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image

from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.models.open_clip.linear import TrainedOneDNN
from paraclip_bench.models.open_clip.packed import PackedText
from paraclip_bench.training.losses import info_nce
from paraclip_bench.training.prepare import without_padding
from paraclip_bench.training.recipe import TEXT_VIEWS, Recipe
from paraclip_bench.training.step import Objective, gradients
from paraclip_bench.training.trainable import DistinctTexts

RECIPE = Recipe()


def main() -> None:
    """Measure steps and memory, print, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "flickr8k")
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=32, help="pairs a step")
    parser.add_argument("--quick", action="store_true", help="a step each, and no memory")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # that the weights are random is meant
    if options.child:
        print(json.dumps(memory(options.architecture, options.data, *options.child)))
        return
    rounds = 1 if options.quick else 4
    figures = speed(options.architecture, options.data, options.batch, rounds)
    if not options.quick:
        figures["memory"] = []
        for batch, chunk in ((256, 10**9), (512, 10**9), (256, 4096), (4096, 4096)):
            figures["memory"].append(child(options, batch, chunk))
            print(figures["memory"][-1], flush=True)
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:36} {value:.4g}")
    print(json.dumps({"benchmark": "finetune", **figures, "machine": machine.describe()}))


def speed(architecture: str, data: Path, size: int, rounds: int) -> dict[str, Any]:
    """Pairs a second of both ways, taking turns, and what the features cost."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture).train()
    model.visual.eval()
    for parameter in model.visual.parameters():
        parameter.requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(architecture)
    preprocess = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    captions = triples(data)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    peer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    seconds: dict[str, list[float]] = defaultdict(list)
    names = list(captions)
    # The first round sets kernels and optimizers up, and does not count.
    for number in range(rounds + 1):
        chosen = names[number * size : (number + 1) * size]
        start = time.perf_counter()
        pixels = torch.stack(
            [preprocess(Image.open(data / "images" / name).convert("RGB")) for name in chosen]
        )
        decoded = time.perf_counter() - start
        with torch.no_grad():
            features = F.normalize(model.encode_image(pixels), dim=-1)
        cached = time.perf_counter() - start
        seconds["features"].append(cached)
        batch = texts([captions[name] for name in chosen], tokenizer)
        peer_terms = peer_step(model, pixels, tokenizer, [captions[n] for n in chosen], peer)
        seconds["peer"].append(peer_terms[0] + decoded)
        for name, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
            taken, loss = our_step(model, features, batch, optimizer, dtype)
            seconds[name].append(taken)
            seconds[f"limit_{name}"].append(products(model, batch, dtype or torch.float32))
            if dtype is None:
                assert abs(loss - peer_terms[1]) < 1e-3, (loss, peer_terms[1])
        print({k: round(v[-1], 2) for k, v in seconds.items()}, flush=True)
    mean = {name: float(np.mean(values[1:])) for name, values in seconds.items()}
    figures: dict[str, Any] = {"batch": size, "tokens_a_text": tokens_a_text(captions, tokenizer)}
    for name in ("peer", "fp32", "bf16"):
        figures[f"pairs_per_second_{name}"] = size / mean[name]
    for name in ("fp32", "bf16"):
        figures[f"ratio_{name}"] = mean["peer"] / mean[name]
        figures[f"ratio_{name}_limit"] = mean["peer"] / mean[f"limit_{name}"]
        # With the features' cost, which is that of one epoch; then it has paid for itself.
        figures[f"ratio_{name}_first_epoch"] = mean["peer"] / (mean[name] + mean["features"])
        figures[f"paid_after_epochs_{name}"] = mean["features"] / (mean["peer"] - mean[name])
    figures["feature_seconds_a_pair"] = mean["features"] / size
    return figures


def peer_step(
    model: Any, pixels: torch.Tensor, tokenizer: Any, several: list[list[str]], optimizer: Any
) -> tuple[float, float]:
    """Seconds and loss of one step in the usual way; the weights are put back."""

    def loss_and_gradients() -> float:
        with torch.no_grad():
            image = F.normalize(model.encode_image(pixels), dim=-1)
        caption, one, two = (
            F.normalize(model.encode_text(tokenizer([each[view] for each in several])), dim=-1)
            for view in range(3)
        )
        scale = model.logit_scale.exp()
        loss = info_nce(image, two, scale)
        loss = loss + info_nce(caption, one, scale) + info_nce(one, two, scale)
        torch.autograd.backward(loss)
        return loss.item()

    return timed(model, optimizer, loss_and_gradients)


def our_step(
    model: Any,
    features: torch.Tensor,
    batch: DistinctTexts,
    optimizer: Any,
    dtype: torch.dtype | None,
) -> tuple[float, float]:
    """Seconds and loss of one step of `finetune`; the weights are put back."""
    return timed(model, optimizer, lambda: step(model, features, batch, 10**9, dtype)["loss"])


def products(model: Any, batch: DistinctTexts, dtype: torch.dtype) -> float:
    """Seconds of the matrix products that a step cannot do without, by the faster layer.

    Each distinct prefix once, forward, to the input and to the weights; of the last block, which
    asks for the pooled nodes alone, only the keys and values.
    """
    distinct = {
        tuple(row[: end + 1])
        for row, length in zip(batch.tokens.tolist(), batch.lengths, strict=True)
        for end in range(length)
    }
    seconds = 0.0
    blocks = model.transformer.resblocks
    for block in blocks:
        shapes = [tuple(block.attn.in_proj_weight.shape)]
        if block is blocks[-1]:
            shapes = [(2 * shapes[0][1], shapes[0][1])]
        else:
            shapes += [
                tuple(layer.weight.shape)
                for layer in (block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj)
            ]
        for out, width in shapes:
            x = torch.randn(len(distinct), width, dtype=dtype, requires_grad=True)
            weight = torch.randn(out, width, dtype=dtype, requires_grad=True)
            gradient = torch.ones(len(distinct), out, dtype=dtype)
            taken = []
            for product in (F.linear, TrainedOneDNN.product)[: 2 if dtype == torch.float32 else 1]:
                for _ in range(2):  # the first sets up
                    start = time.perf_counter()
                    torch.autograd.grad(product(x, weight, None), (x, weight), gradient)
                    once = time.perf_counter() - start
                taken.append(once)
            seconds += min(taken)
    return seconds


def timed(
    model: Any, optimizer: Any, loss_and_gradients: Callable[[], float]
) -> tuple[float, float]:
    """Seconds and loss of one update; afterwards the weights are put back."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in trained]
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = loss_and_gradients()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    taken = time.perf_counter() - start
    with torch.no_grad():
        for parameter, old in zip(trained, before, strict=True):
            parameter.copy_(old)
    return taken, loss


def step(
    model: Any,
    features: torch.Tensor,
    batch: DistinctTexts,
    chunk: int,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """The gradients of one batch, as the loop computes them."""
    return gradients(
        lambda tokens: PackedText(model, trains=True)(tokens),
        model.logit_scale,
        Objective(RECIPE.loss, TEXT_VIEWS),
        batch,
        features,
        chunk_tokens=chunk,
        seed=0,
        group=ProcessGroup(),
        autocast=dtype,
    )


def memory(architecture: str, data: Path, batch: int, chunk: int) -> dict[str, float]:
    """Peak of a step with an optimizer, text tower alone, on pairs made of real captions."""
    torch.manual_seed(0)
    model = open_clip.create_model(architecture).train()
    del model.visual
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    captions = list(triples(data).values())
    words = [caption.split() for several in captions for caption in several]
    rng = np.random.default_rng(0)
    # Captions of the same lengths and words as the real ones, each pair another.
    pairs = [
        [" ".join(rng.permutation(words[rng.integers(len(words))])) for _ in range(3)]
        for _ in range(batch)
    ]
    rows = texts(pairs, open_clip.get_tokenizer(architecture))
    features = F.normalize(torch.randn(batch, model.text_projection.shape[1]), dim=-1)
    start = time.perf_counter()
    step(model, features, rows, chunk)
    optimizer.step()
    return {
        "batch": batch,
        "tokens": int(rows.lengths.sum()),
        "chunk_tokens": chunk if chunk < 10**9 else 0,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gb": round(peak_kb() / 1e6, 2),
    }


def peak_kb() -> int:
    """This process's own peak of resident memory; getrusage's counts that of its parent too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def child(options: Any, batch: int, chunk: int) -> dict[str, float]:
    """`memory` in a process of its own, which the system may kill for lack of memory."""
    command = [sys.executable, __file__, "--child", str(batch), str(chunk)]
    command += ["--data", str(options.data), "--architecture", options.architecture]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode == -signal.SIGKILL:
        return {"batch": batch, "chunk_tokens": chunk if chunk < 10**9 else 0, "killed": 1}
    done.check_returncode()
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def triples(folder: Path) -> dict[str, list[str]]:
    """Three captions of each photo."""
    captions: dict[str, list[str]] = defaultdict(list)
    with (folder / "captions.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            captions[row["image"]].append(row["caption"])
    return {name: several[:3] for name, several in captions.items()}


def texts(several: list[list[str]], tokenizer: Any) -> DistinctTexts:
    """The batch as the loop makes it: each distinct text once, sorted."""
    distinct = sorted({text for each in several for text in each})
    tokens = tokenizer(distinct)
    order = sorted(range(len(distinct)), key=lambda i: tokens[i].tolist())
    place = {distinct[index]: rank for rank, index in enumerate(order)}
    tokens = tokens[order]
    lengths = np.array([len(without_padding(row.numpy(), 0)) for row in tokens])
    return DistinctTexts(
        tokens, lengths, torch.tensor([[place[t] for t in each] for each in several])
    )


def tokens_a_text(captions: dict[str, list[str]], tokenizer: Any) -> float:
    """Mean number of tokens before the padding."""
    return float(
        (tokenizer([t for each in captions.values() for t in each]) != 0).sum(1).float().mean()
    )


if __name__ == "__main__":
    main()
