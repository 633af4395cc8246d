"""Text encoding: the peer's loop and ours on the same sentences, in one run.

    python benchmarks/encode.py [--quick] [--data-dir DIR] [--architecture ViT-B-32]

The peer's loop is what evaluation scripts do: tokenise to the full context, batches of 32 in the
order of the data, `encode_text`. Ours is the engine that `paraclip-bench run` uses, through a model
folder, with an empty store and then with a full one. Weights are random: speed does not care. The
two take turns, set by set, since a machine's clock drifts. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.encoding.vector_store import VectorStore
from paraclip_bench.metrics.correlation import spearman
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import linear, packed
from paraclip_bench.models.open_clip.network import save_folder
from paraclip_bench.progress import Progress

PEER_BATCH = 32
DTYPES = ("float32", "bfloat16")


@dataclass
class Clock:
    """Seconds and vectors of one way, by set."""

    seconds: dict[str, float] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds over all sets."""
        return sum(self.seconds.values())


def main() -> None:
    """Measure, print tables, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300 pairs a set")
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--set", action="append", help="STS13, say; all that are there without")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data"
    )
    options = parser.parse_args()
    sets = read_sets(options.data_dir / "sts", options.set, 300 if options.quick else None)
    sentences = [text for pairs in sets.values() for pair in pairs for text in pair[1:]]
    print(f"{len(sentences)} sentences of {', '.join(sets)}, {len(set(sentences))} distinct")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARACLIP_CACHE"] = folder
        figures = measure(Path(folder), options.architecture, sets)
    print(json.dumps({"benchmark": "encode", **figures, "machine": machine.describe()}))


def read_sets(
    folder: Path, names: list[str] | None, limit: int | None
) -> dict[str, list[tuple[float, str, str]]]:
    """Gold score and two sentences of each pair, by set."""
    sets = {}
    for file in sorted(folder.glob("*.tsv")):
        if names and file.stem not in names:
            continue
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
        sets[file.stem] = [(float(row[0]), row[1], row[2]) for row in rows[:limit]]
    if not sets:
        raise SystemExit(f"{folder} has no .tsv files; name a folder with sts/ in it by --data-dir")
    return sets


def measure(folder: Path, architecture: str, sets: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run, by name."""
    torch.manual_seed(0)
    config = open_clip.get_model_config(architecture)
    logging.disable(logging.WARNING)  # that the weights are random is meant
    model = open_clip.create_model(architecture).eval()
    logging.disable(logging.NOTSET)
    save_folder(folder / "model", model, config)
    tokenizer = open_clip.get_tokenizer(architecture)

    peer, ours = Clock(), {dtype: Clock() for dtype in DTYPES}
    models = {
        dtype: load_model(f"local-dir:{folder / 'model'}", Context("paper", folder))
        for dtype in DTYPES
    }
    spaces = Spaces(print, VectorStore(folder))
    count = Count()
    count.of(model)
    for dtype, each in models.items():
        each.to("cpu", dtype)
        each.adapter.need({"text"})
        assert each.fingerprint
        each.text.encode([each.text.prepare("a warm-up")[0]])
    peer_encode(model, tokenizer, ["a warm-up"] * PEER_BATCH)
    rates = []
    for name, pairs in sets.items():
        rates.append(product_rate())
        texts = [text for pair in pairs for text in pair[1:]]
        start = time.perf_counter()
        peer.vectors[name] = peer_encode(model, tokenizer, texts)
        peer.seconds[name] = time.perf_counter() - start
        for dtype, each in models.items():
            with count.watching(dtype == "float32"):
                embed = Embedder(each, spaces, Progress(quiet=True))
                ours[dtype].vectors[name] = embed.texts(texts)
            ours[dtype].seconds[name] = embed.seconds
        print(
            f"{name}: peer {peer.seconds[name]:.1f} s, "
            + ", ".join(
                f"ours {dtype} {clock.seconds[name]:.2f} s" for dtype, clock in ours.items()
            ),
            flush=True,
        )

    again = Embedder(models["float32"], spaces, Progress(quiet=True))
    for name, pairs in sets.items():
        vectors = again.texts([text for pair in pairs for text in pair[1:]])
        assert np.array_equal(vectors, ours["float32"].vectors[name])
    assert again.found == again.requested
    rate = float(np.mean(rates))
    figures: dict[str, Any] = {"sentences": sum(2 * len(pairs) for pairs in sets.values())}
    figures["peer_ms_a_sentence"] = 1000 * peer.total / figures["sentences"]
    for dtype, clock in ours.items():
        short = {"float32": "fp32", "bfloat16": "bf16"}[dtype]
        figures[f"ratio_{short}"] = peer.total / clock.total
        figures[f"ours_{short}_ms_a_sentence"] = 1000 * clock.total / figures["sentences"]
        figures[f"vector_difference_{short}"] = max(
            float(np.abs(clock.vectors[name] - peer.vectors[name]).max()) for name in sets
        )
        figures[f"score_difference_{short}"] = max(
            abs(score(pairs, clock.vectors[name]) - score(pairs, peer.vectors[name]))
            for name, pairs in sets.items()
        )
    figures["ratio_second_run"] = ours["float32"].total / again.seconds
    figures["fp32_gflops_of_the_machine"] = rate
    figures["tokens_left"] = count.nodes
    figures["share_of_fp32_limit"] = count.gflop / rate / ours["float32"].total
    figures["linear_layer"] = linear.fastest(torch.device("cpu"), torch.float32).__name__
    for name, value in figures.items():
        print(f"{name:32} {value:.4g}" if isinstance(value, float) else f"{name:32} {value}")
    return {name: round(v, 8) if isinstance(v, float) else v for name, v in figures.items()}


def peer_encode(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Unit vectors by the usual loop."""
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), PEER_BATCH):
            tokens = tokenizer(texts[start : start + PEER_BATCH])
            vectors.append(F.normalize(model.encode_text(tokens), dim=-1))
    return torch.cat(vectors).numpy()


def score(pairs: list[tuple[float, str, str]], vectors: np.ndarray) -> float:
    """Spearman's rho of cosine and gold score, the cosine of equal vectors being exactly 1.

    In float32 it is 1 give or take 1e-7, at random, which shuffles the ranks of such pairs: by
    3e-5 of rho on STS12, where 79 of 3,108 pairs are the same sentence to the tokenizer.
    """
    one, two = vectors[0::2].astype(np.float64), vectors[1::2].astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    cosine = ((one * two).sum(axis=1) / norms).astype(np.float32)
    gold = np.array([pair[0] for pair in pairs])
    return float(spearman(cosine, gold, np.ones(len(gold))))


class Count:
    """Tokens that are computed, and the floating-point operations of their linear layers."""

    def __init__(self) -> None:
        self.nodes = 0
        self.gflop = 0.0

    @contextlib.contextmanager
    def watching(self, on: bool) -> Iterator[None]:
        """Count inside of a `with`, where `on`."""
        grow = packed._grow

        def counted(*args: Any, **kwargs: Any) -> Any:
            tree = grow(*args, **kwargs)
            self.nodes += len(tree.tokens)
            every = 12 * len(tree.tokens) * (self.layers - 1)
            last = 2 * len(tree.tokens) + 10 * len(tree.pooled)
            self.gflop += 2 * self.width**2 * (every + last) / 1e9
            return tree

        packed._grow = counted if on else grow
        try:
            yield
        finally:
            packed._grow = grow

    def of(self, model: Any) -> None:
        """Whose layers are counted."""
        self.width, self.layers = model.ln_final.weight.shape[0], len(model.transformer.resblocks)


def product_rate() -> float:
    """GFLOP/s of the machine's best fp32 product, [2048, 512] x [512, 2048] as in the network.

    The median of some seconds: a shared machine's best moment is not what a run gets.
    """
    best = 0.0
    with torch.inference_mode():
        x, weight = torch.randn(2048, 512), torch.randn(2048, 512)
        for kind in (linear.Plain, linear.OneDNN):
            try:
                layer = kind(weight, None)
                layer(x)
            except (AttributeError, RuntimeError):
                continue  # this torch has no such operator
            seconds = []
            for _ in range(100):
                start = time.perf_counter()
                layer(x)
                seconds.append(time.perf_counter() - start)
            best = max(best, 2 * 2048 * 2048 * 512 / float(np.median(seconds)) / 1e9)
    return best


if __name__ == "__main__":
    main()
