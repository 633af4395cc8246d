"""Results that a run made, in a second or two: small real data, models of one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import paraclip_bench
from paraclip_bench.results.schema import Result

KEPT = Path(__file__).parent / "formats_0_1"
TASKS = ["STS12", "vg-relation", "paraphrased-retrieval"]
# Image ids as files can be called; each must survive a format of columns.
NAMES = ["a b.png", "50%.png", "ü.png", "=1+1.png", "#x.png", "a\u00a0b.png", "a%20b.png"]


def measure(workspace: Path) -> Path:
    """The folder of results of three tasks by the model of `formats_0_1`, as of today."""
    workspace.mkdir(parents=True, exist_ok=True)
    report = paraclip_bench.evaluate(
        f"{KEPT / 'bags.py'}:Bags",
        TASKS,
        suite="paper",
        data_dir=KEPT / "data",
        workspace=workspace,
        quiet=True,
    )
    assert len(report.results) == len(TASKS), report
    return workspace / "results"


class Coarse:
    """Few different vectors, so that many images tie; what a text finds is by its letters."""

    name = "coarse"
    fingerprint = "coarse-1"

    def encode_texts(self, texts):
        return np.array([[1.0 + t.count(c) for c in "abcd"] for t in texts])

    def encode_images(self, images):
        colours = np.array([np.asarray(i, dtype=float).mean(axis=(0, 1)) for i in images])
        return np.hstack([1 + colours // 64, np.ones((len(images), 1))])


def retrieval_data(folder: Path, queries: int = 40, gallery: int = 36) -> Path:
    """A --data-dir of paraphrased retrieval: odd names, ties, and queries without a target."""
    rng = np.random.default_rng(0)
    images = folder / "paraphrased-retrieval/images"
    images.mkdir(parents=True)
    names = NAMES + [f"{i:02}.png" for i in range(gallery - len(NAMES))]
    for name in names:
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        # One pixel apart, because two files of one content are one image.
        pixels = np.broadcast_to(colour, (16, 16, 3)).copy()
        pixels[0, 0] = rng.integers(0, 256, 3)
        Image.fromarray(pixels).save(images / name)
    rows = []
    for i in range(queries):
        words = ["".join(rng.choice(list("abcd"), 4)) for _ in range(2)]
        row = {"query": words[0], "paraphrase": words[1], "id": f"q {i} %20 ü"}
        if i % 9:
            row["image_id"] = names[i % gallery]
        rows.append(row)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (images.parent / "queries.jsonl").write_text(text)
    return folder


def measure_retrieval(workspace: Path, data: Path, depth: int) -> Path:
    """The folder of results of paraphrased retrieval by `Coarse`."""
    workspace.mkdir(parents=True, exist_ok=True)
    report = paraclip_bench.evaluate(
        Coarse(),
        "paraphrased-retrieval",
        suite="paper",
        data_dir=data,
        depth=depth,
        workspace=workspace,
        quiet=True,
    )
    assert len(report.results) == 1, report
    return workspace / "results"


def result(**changes: Any) -> Result:
    """A result of nothing; `changes` are fields of it."""
    raw = {
        "suite": "paper",
        "task": "STS12",
        "task_version": 1,
        "protocol": "all",
        "main_score": "spearman",
        "n": 2,
        "limit": None,
        "model": {
            "spec": "m.py:M",
            "name": "M",
            "fingerprint": "f",
            "activation": None,
            "base": None,
        },
        "scores": {"spearman": {"value": 0.1 + 0.2, "low": None, "high": 1e-300}},
        "data": {
            "source": "folder",
            "id": "x",
            "revision": None,
            "sha256": "ab",
            "notes": {"k": [1, "ä"]},
        },
        "provenance": {
            "versions": {"python": "3"},
            "device": "cpu",
            "dtype": "float32",
            "seed": 0,
            "seconds": 1.5,
            "encode_seconds": 1.0,
            "from_store": 0.0,
            "command": "c",
            "time": "2026-01-01T00:00:00+00:00",
        },
    }
    return Result.model_validate({**raw, **changes})


def copy_of(results: Path, workspace: Path) -> Path:
    """A workspace with a copy of these results."""
    shutil.copytree(results, workspace / "results")
    return workspace
