"""Kill a run at random moments until it is through; its vectors must be an undisturbed run's.

    tox -e kill        or        python tests/drives/kill_encoding.py [--kills 30] [--seed 0]

Each restart must go on: what was stored before is not encoded again. It takes some minutes, and so
it is not part of the default tests.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tiny_clip

# So slow that a run takes longer than some kills; set by the sentences and the sleep.
MODEL = '''
import time
from paraclip_bench.models.open_clip import LocalFolder


class Slow(LocalFolder):
    """The tiny CLIP, resting before each batch."""

    def __init__(self, argument):
        super().__init__(argument)
        encode = self.text.encode
        self.text.encode = lambda batch: (time.sleep(0.25), encode(batch))[1]
'''


def main() -> None:
    """Kill, compare, say so; exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data(root)
        (root / "slow.py").write_text(MODEL)
        tiny_clip.save(root / "tiny")
        assert start(root, "whole").wait() == 0
        expected = stored(root, "whole")
        rng, kills, before = random.Random(options.seed), 0, 0
        while kills < options.kills:
            process = start(root, "killed")
            begun = has_begun(root, process, before)
            time.sleep(rng.uniform(0, 1.2) if begun else 0)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            now = stored(root, "killed")
            wrong = [key for key in now if expected.get(key) != now[key]]
            assert not wrong, f"{len(wrong)} vectors are wrong after kill {kills}"
            assert len(now) >= before, "stored vectors were lost"
            print(f"kill {kills}: {len(now)} of {len(expected)} vectors stored", flush=True)
            before = len(now)
        assert start(root, "killed").wait() == 0
        assert stored(root, "killed") == expected
        results = [sorted((root / name).rglob("*.parquet")) for name in ("whole", "killed")]
        for one, two in zip(*results, strict=True):
            assert one.read_bytes() == two.read_bytes(), f"{two.name} differs"
    print(f"{kills} kills; {len(expected)} vectors equal an undisturbed run's, to the bit")


def write_data(root: Path) -> None:
    """Sentences for some two hundred batches."""
    (root / "data" / "sts").mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ab", "em", "is", "ol", "un")]
    rows = ["score\tsentence1\tsentence2"]
    for _ in range(16_000):
        one, two = (" ".join(rng.choice(words, 9)) for _ in range(2))
        rows.append(f"{rng.integers(0, 6)}\t{one}\t{two}")
    (root / "data" / "sts" / "STS12.tsv").write_text("\n".join(rows))


def start(root: Path, name: str) -> subprocess.Popen[bytes]:
    """A run whose workspace and cache are `name`."""
    (root / name).mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "paraclip_bench", "run", "-m", f"../slow.py:Slow:{root / 'tiny'}",
         "-t", "STS12", "--data-dir", "../data"],
        cwd=root / name,
        env={**os.environ, "PARACLIP_CACHE": str(root / name / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def has_begun(root: Path, process: subprocess.Popen[bytes], before: int) -> bool:
    """Wait until a run stores something new; False where it ends first."""
    while process.poll() is None:
        if count(root) > before:
            return True
        time.sleep(0.02)
    return False


def count(root: Path) -> int:
    """How many vectors the killed run has stored."""
    path = root / "killed" / "cache" / "embeddings.sqlite"
    if not path.is_file():
        return 0
    try:
        with connect(path) as connection:
            return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
    except sqlite3.Error:  # being made
        return 0


def stored(root: Path, name: str) -> dict[bytes, bytes]:
    """Every vector of a store, with its checksum, by its key."""
    with connect(root / name / "cache" / "embeddings.sqlite") as connection:
        return dict(
            connection.execute("SELECT key, value FROM entries JOIN vectors ON vectors.id = vector")
        )


def connect(path: Path) -> sqlite3.Connection:
    """Open without writing."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


if __name__ == "__main__":
    main()
