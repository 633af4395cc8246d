"""Top-k retrieval: the whole score matrix, as scripts do it, and ours, block by block.

    python benchmarks/topk.py [--quick] [--gallery N] [--queries N] [--dimensions D]

The gallery is a memory-mapped file of random unit vectors. Each way runs in a process of its own,
and the peak of that process is printed; the whole matrix is made for `--peer-queries` of the
queries, since all of them would not fit. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np

from paraclip_bench.metrics.ranking import retrieve

K = 10


def main() -> None:
    """Measure both ways, print, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a gallery of 50,000, 500 queries")
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--peer-queries", type=int, default=1_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--child", choices=("peer", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.gallery, options.queries, options.peer_queries = 50_000, 500, 500
    shape = (options.gallery, options.dimensions)
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((options.queries, options.dimensions), dtype=np.float32)
    if options.child:
        gallery = np.memmap(options.file, np.float32, "r", shape=shape)
        print(json.dumps(measure(options.child, queries, gallery)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gallery"
        fill(np.memmap(file, np.float32, "w+", shape=shape))
        ways = {}
        for way, count in (("peer", options.peer_queries), ("ours", options.queries)):
            sizes = ["--gallery", options.gallery, "--queries", count]
            sizes += ["--dimensions", options.dimensions, "--file", file]
            command = [sys.executable, __file__, "--child", way, *map(str, sizes)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            ways[way] = json.loads(output.splitlines()[-1])
            print(way, ways[way], flush=True)
    ratio = ways["peer"]["ms_a_query"] / ways["ours"]["ms_a_query"]
    figures = {"benchmark": "topk", **ways, "ratio": round(ratio, 2), "gallery": options.gallery}
    print(json.dumps({**figures, "machine": machine.describe()}))


def fill(gallery: np.ndarray) -> None:
    """Random unit rows."""
    rng = np.random.default_rng(0)
    for start in range(0, len(gallery), 50_000):
        rows = gallery[start : start + 50_000]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)


def measure(way: str, queries: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
    """Milliseconds a query, and the peak of this process in GB, mapped pages of the gallery too."""
    start = time.perf_counter()
    if way == "peer":
        scores = queries @ gallery.T
        first = np.argpartition(-scores, K, axis=1)[:, :K]
        ordered = np.take_along_axis(scores, first, axis=1).argsort(axis=1)[:, ::-1]
        np.take_along_axis(first, ordered, axis=1)
    else:
        targets = np.arange(len(queries)) % len(gallery)
        retrieve(queries, gallery, targets, K)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "queries": len(queries),
        "seconds": round(seconds, 1),
        "ms_a_query": round(1000 * seconds / len(queries), 2),
        "peak_gb": round(peak, 2),
    }


if __name__ == "__main__":
    main()
