"""Measure again and again for hours: memory, open files and the store must stay as they were.

    tox -e soak        or        python tests/drives/soak.py [--minutes 120]

One process measures a model on new sentences and images each time, ranks a board and fine-tunes;
every ten rounds a line says what it holds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))
KEPT = SUPPORT / "formats_0_1"
# Rounds until caches have what they keep.
WARM = 10


def memory() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Open files, pipes and sockets of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> int:
    """Processes that this one started and that still run."""
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return len(task.read_text().split())


def main() -> None:
    """Go round until the time is over; exit 1 where something has grown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    os.environ["PARACLIP_CACHE"] = str(root / "cache")
    shutil.copytree(KEPT, root / "w")
    os.chdir(root / "w")
    import paraclip_bench

    held: list[tuple[float, int, int, float]] = []
    end, number = time.monotonic() + 60 * options.minutes, 0
    while time.monotonic() < end or number < 3 * WARM:
        go_round(paraclip_bench, number)
        gc.collect()
        store = sum(f.stat().st_size for f in (root / "cache").rglob("*") if f.is_file()) / 1e6
        held.append((memory(), open_files(), children(), store))
        if number % 10 == 0:
            now = held[-1]
            print(
                f"round {number}: {now[0]:.0f} MB, {now[1]} open files, {now[2]} children, "
                f"store {now[3]:.2f} MB",
                flush=True,
            )
        number += 1
    shutil.rmtree(root, ignore_errors=True)
    begun = [max(values) for values in zip(*held[WARM : 2 * WARM], strict=True)]
    ended = [min(values) for values in zip(*held[-WARM:], strict=True)]
    # Allocators keep some pages. SQLite's log grows to 1,000 pages of 16 KiB before it is written
    # into the file; a round adds some twenty vectors of four numbers.
    allowed = (begun[0] * 1.1 + 20, begun[1], begun[2], begun[3] + 20 + number * 0.01)
    grown = [f"{b} -> {e}" for b, e, most in zip(begun, ended, allowed, strict=True) if e > most]
    print(f"{number} rounds; {'grown: ' + ', '.join(grown) if grown else 'nothing has grown'}")
    sys.exit(bool(grown))


def go_round(package: object, number: int) -> None:
    """Measure on new sentences, from the store, show a board, and every fifth time fine-tune."""
    from paraclip_bench import evaluate, finetune, leaderboard

    rows = ["score\tsentence1\tsentence2"]
    rows += [f"{i % 5}\ta {number} dog {i}\tthe {number} cat {i % 3}" for i in range(12)]
    Path("data/sts/STS12.tsv").write_text("\n".join(rows) + "\n")
    tasks = ["STS12", "vg-relation", "paraphrased-retrieval"]
    shutil.rmtree("results", ignore_errors=True)
    report = evaluate("local-dir:base", tasks, suite="paper", data_dir="data", quiet=True)
    assert not report.failures, report.failures
    evaluate("local-dir:base", tasks, suite="paper", data_dir="data", force=True, quiet=True)
    json.dumps(str(leaderboard()))
    if number % 5 == 0:
        shutil.rmtree("tuned", ignore_errors=True)
        finetune(
            base="local-dir:base",
            data="pairs.jsonl",
            images="data/vg-relation/images",
            recipe="finished.toml",
            out="tuned",
            quiet=True,
        )


if __name__ == "__main__":
    main()
