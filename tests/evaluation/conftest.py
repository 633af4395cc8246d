"""A small folder of data and a file of models in the simple form."""

import json
from pathlib import Path

import pytest
from PIL import Image

MODELS = '''
import numpy as np
from pathlib import Path

CALLS = Path(__file__).with_suffix(".calls")


def note(side, items):
    with CALLS.open("a") as file:
        file.write(f"{side} {len(items)}\\n")


class Both:
    """Bags of letters, and mean colours thrown onto them."""

    fingerprint = "both-1"

    def encode_texts(self, texts):
        note("text", texts)
        return np.array([[1 + t.count(c) for c in "abcdefgh"] for t in texts], dtype=float)

    def encode_images(self, images):
        note("image", images)
        colour = np.array([np.asarray(i, dtype=float).mean(axis=(0, 1)) for i in images])
        return 1 + colour @ np.arange(24).reshape(3, 8) / 100


class Nameless(Both):
    fingerprint = None


class TextOnly:
    fingerprint = "text-1"

    def encode_texts(self, texts):
        return np.array([[len(t), t.count("a"), 1] for t in texts], dtype=float)


class Breaks(Both):
    """Its image side raises something that is none of ours."""

    fingerprint = "breaks-1"

    def encode_images(self, images):
        raise RuntimeError("no images today")


class CannotBeMade:
    def __init__(self):
        raise ValueError("no such weights")

    def encode_texts(self, texts):
        return []


class Empty:
    pass
'''


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "mymodels.py"
    # The store is the session's: each test has models of its own.
    path.write_text(f"# {tmp_path}\n{MODELS}")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """STS12, vg-relation and paraphrased-retrieval in the layout of --data-dir."""
    root = tmp_path / "data"
    (root / "sts").mkdir(parents=True)
    rows = [
        f"{i % 6}\t{'abcdefgh'[i % 8] * 2} one {i}\tan {'hgfedcba'[i % 7]} two" for i in range(30)
    ]
    (root / "sts/STS12.tsv").write_text("score\tsentence1\tsentence2\n" + "\n".join(rows) + "\n")
    for name in ("vg-relation", "paraphrased-retrieval"):
        (root / name / "images").mkdir(parents=True)
        for i in range(12):
            colour = (20 * i, 255 - 20 * i, 7 * i)
            Image.new("RGB", (8, 8), colour).save(root / name / "images" / f"{i:02}.png")
    cases = [
        {
            "image_path": f"{i % 12:02}.png",
            **{"bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4},
            "true_caption": f"the {'abcd'[i % 4]} is on the {'efgh'[i % 3]}",
            "false_caption": f"the {'efgh'[i % 3]}{'efgh'[i % 3]} is on the b",
            "relation_name": ("on", "under")[i % 2],
        }
        for i in range(30)
    ]
    (root / "vg-relation/visual_genome_relation.json").write_text(json.dumps(cases))
    queries = [
        {"query": f"a {'abcdefgh'[i % 8]}", "paraphrase": f"one {i}", "image_id": f"{i:02}.png"}
        for i in range(12)
    ]
    text = "\n".join(json.dumps(query) for query in queries)
    (root / "paraphrased-retrieval/queries.jsonl").write_text(text)
    return root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
