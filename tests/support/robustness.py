"""A workspace with plain and reworded results: models that read, and some that win by not reading.

All are measured by a run: on the small gallery of `measured_words`, seven STS files, VG-Relation.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import measured_words as measured
import numpy as np
from PIL import Image

from paraclip_bench.api import evaluate
from paraclip_bench.tasks.perturbation import Perturbation


class Loud(Perturbation):
    """Capitals, and a full stop: fewer versions than edits, for the sake of time."""

    name = "loud"
    versions = ("upper", "stop")

    def reworded(self, version: str, text: str) -> str | None:
        return text.upper() if version == "upper" else f"{text}."


STS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R")
TASKS = ("paraphrased-retrieval", *STS, "vg-relation")
Array = np.ndarray[Any, Any]


class Careful(measured.Synonyms):
    """Knows synonyms, and does not mind capitals and full stops."""

    def encode_texts(self, texts: list[str]) -> Array:
        return super().encode_texts([text.lower().replace(".", "") for text in texts])


class Constant(measured.Words):
    """One vector for all texts: it agrees with itself under any wording."""

    def encode_texts(self, texts: list[str]) -> Array:
        return np.ones((len(texts), 48))


class Nearly(measured.Words):
    """One vector for all texts, but for what is too little to change a ranking."""

    def encode_texts(self, texts: list[str]) -> Array:
        return np.stack([1 + 1e-3 * _of(text) for text in texts])


class Shuffled(measured.Words):
    """A vector of chance for each text: none of its scores can fall."""

    def encode_texts(self, texts: list[str]) -> Array:
        return np.stack([_of(text) for text in texts])


HONEST, CHEATS = (measured.Words, measured.Synonyms, Careful), (Constant, Nearly, Shuffled)


def _of(text: str) -> Array:
    return np.random.default_rng(zlib.crc32(text.encode())).normal(size=48)


def make(root: Path) -> Path:
    """Data in `root`/data, and results of all models on them; the workspace."""
    measured.make(root)
    shutil.rmtree(root / "results")
    for number, name in enumerate(STS):
        (root / f"data/sts/{name}.tsv").write_text("\n".join(_pairs(number)) + "\n")
    _relations(root / "data/vg-relation")
    run(root, *(model() for model in (*HONEST, *CHEATS)))
    return root


def run(root: Path, *models: Any, tasks: tuple[str, ...] = TASKS, perturb: Any = None) -> None:
    """Measure models plainly, and with texts reworded where something rewords them."""
    report = evaluate(
        list(models),
        list(tasks),
        suite="paper",
        perturb=perturb or Loud(),
        data_dir=root / "data",
        workspace=root,
        quiet=True,
    )
    assert not report.failures, report.failures


def _pairs(seed: int) -> list[str]:
    """Rows of an STS file: pairs of one colour are alike; no two share a sentence."""
    rows, rng = ["score\tsentence1\tsentence2"], np.random.default_rng(seed)
    for i in range(40):
        one, two = rng.choice(list(measured.COLOURS), 2)
        other = measured.COLOURS[one if i % 2 else two][0]
        gold = round(float(rng.uniform(3.5, 5) if i % 2 else rng.uniform(1, 3)), 1)
        rows.append(f"{gold}\ta {one} square {i}\tone {other} box {i}")
    return rows


def _relations(folder: Path) -> None:
    colours = list(measured.COLOURS)
    (folder / "images").mkdir(parents=True)
    cases = []
    for i in range(40):
        one, two = colours[i % 6], colours[(i + 1 + i // 6) % 6]
        pixels = np.full((8, 8 + i, 3), measured.COLOURS[one][1], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:02}.png")
        cases.append(
            {
                "image_path": f"{i:02}.png",
                **{"bbox_x": 0, "bbox_y": 0, "bbox_w": 8, "bbox_h": 8},
                "true_caption": f"the {one} square is there",
                "false_caption": f"the {two if two != one else colours[(i + 3) % 6]} box is there",
                "relation_name": ("on", "under")[i % 2],
            }
        )
    (folder / "visual_genome_relation.json").write_text(json.dumps(cases))
