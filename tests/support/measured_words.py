"""A workspace with real results of small models on a small gallery; some names mean harm."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paraclip_bench.api import evaluate
from paraclip_bench.results.store import list_results, read_outcomes, result_key, result_path, write

HOSTILE = "</script><script>alert('model')</script> | \\input{x} \N{PILE OF POO}\x1b[31m\u202e"
HOSTILE_TEXT = "<img src=x onerror=alert('text')> a red square"
HOSTILE_IMAGE = "0<script>alert('image')<&\"'.png"
COLOURS = {
    "red": ("crimson", (200, 20, 30)),
    "green": ("emerald", (20, 160, 60)),
    "blue": ("azure", (30, 60, 220)),
    "white": ("ivory", (245, 245, 240)),
    "black": ("ebony", (10, 10, 10)),
    "yellow": ("golden", (240, 210, 30)),
}
SIZES = ("small", "large", "wide")


def _vector(word: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=48)


class Words:
    """Knows words by their letters alone."""

    def __init__(self) -> None:
        self.fingerprint = type(self).__name__

    known: dict[str, str] = {}  # noqa: RUF012

    def encode_texts(self, texts: list[str]) -> np.ndarray[Any, Any]:
        return np.stack(
            [np.sum([_vector(self.known.get(w, w)) for w in t.split()], axis=0) for t in texts]
        )

    def encode_images(self, images: list[Image.Image]) -> np.ndarray[Any, Any]:
        found = []
        for image in images:
            pixel = np.array(image.getpixel((0, 0)))
            colour = min(COLOURS, key=lambda c: float(np.abs(pixel - COLOURS[c][1]).sum()))
            noise = _vector(str(image.size) + str(image.getpixel((1, 1))))
            found.append(_vector(colour) + _vector("square") + 0.7 * noise)
        return np.stack(found)


class Synonyms(Words):
    """Knows which words mean the same."""

    known = {"box": "square"} | {other: word for word, (other, _) in COLOURS.items()}


def make(root: Path) -> Path:
    """Data in `root`/data, results and a merge curve beside it; the workspace."""
    gallery = root / "data" / "paraphrased-retrieval" / "images"
    gallery.mkdir(parents=True)
    queries = []
    for index in range(36):
        colour = list(COLOURS)[index % len(COLOURS)]
        name = HOSTILE_IMAGE if index == 0 else f"{index:02}.png"
        pixels = np.full((24, 24 + index, 3), COLOURS[colour][1], dtype=np.uint8)
        pixels[1:, 1:] = np.clip(pixels[1:, 1:] + index, 0, 255)
        Image.fromarray(pixels).save(gallery / name)
        size = SIZES[index % 3]
        queries.append(
            {
                "id": f"q{index}",
                "query": HOSTILE_TEXT if index == 0 else f"a {size} {colour} square",
                "paraphrase": f"one {COLOURS[colour][0]} box quite {size}",
                "image_id": name,
            }
        )
    lines = "".join(json.dumps(query) + "\n" for query in queries)
    (gallery.parent / "queries.jsonl").write_text(lines)
    rows, rng = ["score\tsentence1\tsentence2\tsubset"], np.random.default_rng(1)
    for index in range(60):
        one, two = rng.choice(list(COLOURS), 2)
        words = f"a {one} square", f"one {COLOURS[one if index % 2 else two][0]} box {index}"
        gold = 5 if index % 2 else round(float(rng.uniform(0, 3)), 1)
        rows.append(f"{gold}\t{words[0]}\t{words[1]}\t{'news' if index < 30 else '<b>forum</b>'}")
    (root / "data" / "sts").mkdir()
    (root / "data" / "sts" / "STS12.tsv").write_text("\n".join(rows) + "\n")
    report = evaluate(
        [Words(), Synonyms()],
        ["paraphrased-retrieval", "STS12"],
        data_dir=root / "data",
        workspace=root,
        quiet=True,
    )
    assert not report.failures, report.failures
    _rename(root / "results")
    _curve(root)
    return root


def _rename(results: Path) -> None:
    """The same results of a third model, whose name and spec mean harm."""
    for path, result in list_results(results, model="Synonyms")[0]:
        model = result.model.model_copy(
            update={"name": HOSTILE, "spec": HOSTILE, "fingerprint": "third"}
        )
        own = result.model_copy(update={"model": model, "digests": None})
        key = result_key(
            "third", own.provenance.dtype, own.task_version, own.data.sha256, own.limit
        )
        place = result_path(results, own.suite, HOSTILE, own.task, own.protocol, key)
        write(place, own, read_outcomes(path))


def _curve(root: Path) -> None:
    found, _ = list_results(root / "results", task="paraphrased-retrieval")
    scores = {r.model.name: r.scores for _, r in found}
    names = ("ao@10", "js@10", "recall@1/query", "recall@1/paraphrase")
    points = [
        {"alpha": alpha, "model": model, **{n: scores[model][n].model_dump() for n in names}}
        for alpha, model in ((0.0, "Words"), (1.0, "Synonyms"))
    ]
    middle = {
        n: {k: (points[0][n][k] + points[1][n][k]) / 2 for k in ("value", "low", "high")}
        for n in names
    }
    curve = [points[0], {"alpha": 0.5, "model": "between", **middle}, points[1]]
    (root / "checkpoints").mkdir()
    (root / "checkpoints" / "made-sweep.json").write_text(json.dumps(curve))
    # Of other data: no point is a model's here.
    other = [{**point, "js@10": {"value": 0.123, "low": 0.1, "high": 0.2}} for point in curve]
    (root / "checkpoints" / "other-sweep.json").write_text(json.dumps(other))
    (root / "checkpoints" / "broken-sweep.json").write_text("{")
