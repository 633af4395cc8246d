"""`torchrun … -m paraclip_bench run`: shared work, one output, the vectors of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from PIL import Image

pytestmark = pytest.mark.slow

TASKS = ("-t", "STS12", "-t", "paraphrased-retrieval")

MODEL = """
import os
import numpy as np


class Mine:
    fingerprint = "mine"

    def encode_texts(self, texts):
        if os.environ.get("RANK") in os.environ["FAILS"].split(","):
            raise ValueError("no texts today")
        return np.array([[len(t), t.count("a"), 1.0] for t in texts])
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Enough texts and images for several batches of each."""
    root = tmp_path_factory.mktemp("data")
    (root / "sts").mkdir()
    rng = np.random.default_rng(0)
    words = ["a", "red", "dog", "cat", "runs", "sits", "near", "under", "the", "old", "men"]

    def sentence() -> str:
        return " ".join(rng.choice(words, rng.integers(3, 12)))

    rows = [f"{rng.integers(0, 6)}\t{sentence()}\t{sentence()}" for _ in range(900)]
    (root / "sts" / "STS12.tsv").write_text("\n".join(["score\tsentence1\tsentence2", *rows]))
    images = root / "paraphrased-retrieval" / "images"
    images.mkdir(parents=True)
    for index in range(150):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index:03}.png")
    queries = [
        {"query": sentence(), "paraphrase": sentence(), "image_id": f"{i:03}.png"}
        for i in range(60)
    ]
    (images.parent / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    return root


def start(program: list[str], place: Path, model: str, data: Path, *flags: str, **environment: str):
    place.mkdir()
    settings = {**os.environ, "PARACLIP_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*program, "-m", "paraclip_bench", "run", "-m", model, *TASKS, "--data-dir", data, *flags],
        cwd=place,
        env={**settings, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def torchrun(processes: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]


def stored(place: Path) -> dict[str, bytes]:
    """Every vector of a store, by its key."""
    import sqlite3

    with sqlite3.connect(place / "cache" / "embeddings.sqlite") as connection:
        rows = connection.execute(
            "SELECT hex(spaces.identity) || hex(key), value FROM entries"
            " JOIN vectors ON vectors.id = vector JOIN spaces ON spaces.id = space"
        ).fetchall()
    connection.close()
    return dict(rows)


def outcomes(place: Path) -> dict[str, bytes]:
    files = (place / "results").rglob("*.parquet")
    return {file.name: file.read_bytes() for file in files}


def test_two_processes_give_the_bits_of_one(tmp_path, data):
    folder = tiny_clip.save(tmp_path / "tiny")
    model = f"local-dir:{folder}"
    one = start([sys.executable], tmp_path / "one", model, data)
    two = start(torchrun(2), tmp_path / "two", model, data)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert len(stored(tmp_path / "one")) > 1500
    assert stored(tmp_path / "two") == stored(tmp_path / "one")
    assert outcomes(tmp_path / "two") == outcomes(tmp_path / "one")
    # One of them speaks.
    lines = [line for line in two.stdout.splitlines() if line.startswith("suite:")]
    assert len(lines) == 1
    assert two.stderr.count("tiny on STS12: spearman") == 1
    assert len(list((tmp_path / "two" / "results").rglob("*.json"))) == 2


def test_a_rank_that_fails_ends_all(tmp_path, data):
    (tmp_path / "mine.py").write_text(MODEL)
    model = f"{tmp_path / 'mine.py'}:Mine"
    done = start(torchrun(2), tmp_path / "one", model, data, FAILS="1")
    assert done.returncode == 1
    assert "error: rank 1 of 2 failed: ValueError: no texts today" in done.stderr
    assert not list((tmp_path / "one" / "results").rglob("*.json"))


def test_what_fails_on_all_ranks_fails_that_task_alone(tmp_path, data):
    (tmp_path / "mine.py").write_text(MODEL)
    model = f"{tmp_path / 'mine.py'}:Mine"
    done = start(torchrun(2), tmp_path / "all", model, data, FAILS="0,1")
    assert done.returncode == 1
    assert done.stderr.count("error: Mine on STS12 failed: ValueError: no texts today") == 1
    assert "of 2 failed" not in done.stderr


def test_processes_without_a_common_store_encode_everything_each(tmp_path, data):
    """As on several machines, each with a cache of its own."""
    model = f"local-dir:{tiny_clip.save(tmp_path / 'tiny')}"
    own = f'PARACLIP_CACHE=$PARACLIP_CACHE/$RANK exec {sys.executable} "$@"'
    apart = start(
        [*torchrun(2), "--no-python", "sh", "-c", own, "sh"], tmp_path / "two", model, data
    )
    one = start([sys.executable], tmp_path / "one", model, data)
    assert (one.returncode, apart.returncode) == (0, 0), apart.stderr
    assert "do not share one embedding store" in apart.stderr
    scores = [scores_of(tmp_path / name) for name in ("one", "two")]
    assert scores[0].keys() == scores[1].keys()
    assert len(scores[0]) == 2
    for task, value in scores[0].items():
        assert scores[1][task] == pytest.approx(value, abs=1e-6)


def scores_of(place: Path) -> dict[str, float]:
    """The main score of each result."""
    results = [json.loads(file.read_text()) for file in (place / "results").rglob("*.json")]
    return {r["task"]: r["scores"][r["main_score"]]["value"] for r in results}


def test_the_plan_is_shown_once(tmp_path, data):
    model = f"local-dir:{tiny_clip.save(tmp_path / 'tiny')}"
    dry = start(torchrun(2), tmp_path / "two", model, data, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.count("to run") == 2  # one line a task
