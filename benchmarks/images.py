"""The image path: memory that does not grow with the number of images, and its speed.

    python benchmarks/images.py [--quick] [--workers N]

Generates JPEG files, encodes them with the demo's small CLIP through the engine that
`paraclip-bench run` uses, each number of images in a process of its own, and prints the peak of the
memory of that process and of its workers. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from PIL import Image

SIZE = 96


def main() -> None:
    """Measure each number of images, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 and 2,500 images")
    parser.add_argument("--workers", type=int, help="worker processes; 0 is threads")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        encode(options.child)
        return
    counts = (500, 2_500) if options.quick else (5_000, 50_000)
    environment = dict(os.environ)
    if options.workers is not None:
        environment["PARACLIP_WORKERS"] = str(options.workers)
    figures: dict[str, float] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), count)
            peak, workers, seconds = run(Path(folder), environment)
        print(
            f"{count:7,} images: peak {peak:.0f} MB, and {workers:.0f} MB in its workers; "
            f"{seconds:.1f} s, {count / seconds:.0f} images/s",
            flush=True,
        )
        figures[f"peak_mb_{count}"] = round(peak, 1)
        figures[f"worker_peak_mb_{count}"] = round(workers, 1)
        figures[f"images_a_second_{count}"] = round(count / seconds, 1)
    few, many = counts
    figures["peak_ratio"] = round(figures[f"peak_mb_{many}"] / figures[f"peak_mb_{few}"], 3)
    print(json.dumps({"benchmark": "images", **figures, "machine": machine.describe()}))


def draw(folder: Path, count: int) -> None:
    """Write `count` different JPEG files."""
    rng = np.random.default_rng(0)
    for index in range(count):
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((SIZE, SIZE)).save(folder / f"{index:06}.jpg")


def run(folder: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Peak MB of a process that encodes a folder, peak MB of its workers, seconds it took."""
    own, workers = watched(
        [sys.executable, __file__, "--child", str(folder)],
        {**environment, "PARACLIP_CACHE": str(folder / "cache")},
    )
    return own["peak_mb"], workers, own["seconds"]


def watched(command: list[str], environment: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The JSON that a command ends with, and the peak of its children's resident memory, MB."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    peaks = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peaks.append(sum(map(resident, children(process.pid))))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found, max(peaks)


def encode(folder: Path) -> None:
    """Encode a folder's images and print this process's peak and the seconds."""
    import resource

    from paraclip_bench.data.images import ImageRef
    from paraclip_bench.demo.suite import base_folder
    from paraclip_bench.encoding.engine import Embedder
    from paraclip_bench.encoding.spaces import Spaces
    from paraclip_bench.models.adapter import Context
    from paraclip_bench.models.load import load_model
    from paraclip_bench.progress import Progress

    model = load_model(f"local-dir:{base_folder()}", Context("demo", folder))
    model.adapter.need({"image"})
    refs = [ImageRef(path.name, path=path) for path in sorted(folder.glob("*.jpg"))]
    progress = Progress()
    embed = Embedder(model, Spaces(progress.say), progress)
    start = time.perf_counter()
    vectors = embed.images(refs)
    seconds = time.perf_counter() - start
    assert vectors.shape[0] == len(refs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mb": peak, "seconds": seconds}))


def children(parent: int) -> list[int]:
    """Processes that a process started (Linux)."""
    try:
        tasks = Path(f"/proc/{parent}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:
        return []


def resident(process: int) -> float:
    """MB of a process in memory (Linux)."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


if __name__ == "__main__":
    main()
