"""A board of many models: the peer's way, which resamples at every call, and ours.

    python benchmarks/leaderboard.py [--quick] [--models N] [--tasks N] [--folder DIR]

It writes results as a run does (sentence pairs, ARO, paraphrased retrieval; 1,000 to 28,000
examples each), and calls `leaderboard` and `compare` in new processes. What is kept of a task's
first four models stands for the others. A folder that is given is filled once. The peer's way is
timed on a few differences, and multiplied. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import numpy as np

from paraclip_bench.metrics.inference import Contributions, Estimate, estimates
from paraclip_bench.metrics.metric import evaluate
from paraclip_bench.results.schema import Result, Score
from paraclip_bench.results.store import result_key, result_path, write
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import load_task

TASKS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R", "vg-relation")
TASKS += ("vg-attribution", "paraphrased-retrieval")
SIZES = (1186, 1500, 3108, 4927, 9927, 23937, 28748)
PEER_DRAWS = 2000
DISTINCT = 4


def main() -> None:
    """Write, time, print, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 models")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="keep the results here")
    options = parser.parse_args()
    models = 20 if options.quick else options.models
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        begin = time.perf_counter()
        made = list(put_all(root / "results", models, options.tasks))
        print(f"{len(made)} results written in {time.perf_counter() - begin:.1f} s", flush=True)
        place = ["--workspace", str(root)]
        page = root / "board.html"
        commands = {
            "board": ["leaderboard", *place, "--format", "json"],
            "table": ["leaderboard", *place],
            "html": ["leaderboard", *place, "-o", str(page)],
            "compare": ["compare", "clip", "model-003", *place],
        }
        seconds, peaks = {}, {}
        for name, arguments in commands.items():
            seconds[name], peaks[name] = call(arguments)
            print(f"{name}: {seconds[name]:.2f} s, peak {peaks[name]:.2f} GB", flush=True)
        size = page.stat().st_size
        peer = peer_seconds(made) * models * options.tasks
    figures = {
        "models": models,
        "tasks": options.tasks,
        "seconds_board": round(seconds["board"], 2),
        **{f"seconds_{name}": round(seconds[name], 2) for name in ("table", "html", "compare")},
        "megabytes_html": round(size / 1e6, 2),
        "seconds_board_peer": round(peer, 1),
        "ratio_board": round(peer / seconds["board"], 1),
        "peak_gb": round(max(peaks.values()), 2),
        "machine": machine.describe(),
    }
    print(json.dumps(figures))


def put_all(results: Path, models: int, tasks: int) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Write every result; yields the outcomes of the first two models of each task."""
    for number in range(tasks):
        task = load_task(TASKS[number % len(TASKS)])
        # Another data set of the same task is a column of its own.
        sha256 = f"{number:064x}"
        n = SIZES[(number * 3) % len(SIZES)]
        known = []
        for model in range(models):
            if model < DISTINCT:
                columns = outcomes(task.name, n, 40 * model, number)
                known.append((columns, estimates(task.scores_of(columns), columns)))
            columns, (scores, contributions, _) = known[model % DISTINCT]
            put(results, task, f"model-{model:03}", sha256, n, columns, scores, contributions)
            if model < 2:
                yield task, columns


def outcomes(task: str, n: int, model: int, number: int) -> dict[str, Any]:
    """Outcomes of a model that is the better the higher its number."""
    rng, own = np.random.default_rng(number), np.random.default_rng([number, model])
    skill = 0.5 + 0.3 * model / 200
    cluster = np.arange(n) // (1 if task == "paraphrased-retrieval" else 4)
    ids = {
        "example_id": np.arange(n).astype(str).astype(object),
        "cluster_id": cluster.astype(str).astype(object),
    }
    if task.startswith("vg-"):
        group = np.array([f"g{i % 50}" for i in range(n)], dtype=object)
        correct = rng.normal(size=n) + own.normal(size=n) < 2 * skill - 0.5
        return {**ids, "correct": correct, "tie": np.zeros(n, bool), "counted_group": group}
    if task == "paraphrased-retrieval":
        shared = np.cumsum(own.random((n, 10)) < skill, axis=1).astype(np.int16)
        ranks = {f"rank_{s}": own.geometric(skill / 2, n) for s in ("query", "paraphrase")}
        return {**ids, "overlaps": shared, **ranks}
    gold = rng.uniform(0, 5, n).round(1)
    cosine = (skill * gold + rng.normal(size=n) + own.normal(size=n)).astype(np.float32)
    return {**ids, "cosine": cosine, "gold": gold}


def put(
    results: Path,
    task: Task,
    model: str,
    sha256: str,
    n: int,
    columns: dict[str, Any],
    scores: dict[str, Estimate],
    contributions: dict[str, Contributions],
) -> None:
    """One result with its outcomes and contributions."""
    shown = {name: Score(**vars(each)) for name, each in scores.items()}
    result = Result.model_validate(
        {
            "suite": "paper",
            "task": task.name,
            "task_version": task.version,
            "protocol": task.headline,
            "main_score": task.main_score,
            "n": n,
            "limit": None,
            "model": {
                "spec": model,
                "name": "clip" if model == "model-000" else model,
                "fingerprint": model,
                "activation": None,
                "base": None,
            },
            "scores": {name: score.model_dump() for name, score in shown.items()},
            "data": {"source": "folder", "id": "/data:x", "revision": None, "sha256": sha256},
            "provenance": {
                "versions": {},
                "device": "cpu",
                "dtype": "float32",
                "seed": 0,
                "seconds": 1.0,
                "encode_seconds": 1.0,
                "from_store": 0.0,
                "command": "",
                "time": "2026-01-01T00:00:00+00:00",
            },
        }
    )
    key = result_key(model, "float32", task.version, sha256, None)
    path = result_path(results, "paper", result.model.name, task.name, task.headline, key)
    if path.exists():
        return
    write(path, result, columns, contributions)


def call(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak memory (GB) of the command in a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "paraclip_bench", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, code, usage = os.wait4(process.pid, 0)
    assert code == 0, arguments
    return time.perf_counter() - begin, usage.ru_maxrss / 1e6


def peer_seconds(made: list[tuple[Task, dict[str, Any]]]) -> float:
    """Mean seconds of one difference by 2,000 resamples, over the kinds of tasks."""
    seconds = []
    for (task, one), (_, two) in list(zip(made[::2], made[1::2], strict=True))[: len(TASKS)]:
        statistic, n = task.scores[task.main_score], len(one["cluster_id"])
        rng, begin = np.random.default_rng(0), time.perf_counter()
        step = max(1, 1_000_000 // n)
        for _ in range(3):
            weights = rng.multinomial(n, [1 / n] * n, size=step).astype(float)
            evaluate(statistic, one, weights)
            evaluate(statistic, two, weights)
        seconds.append((time.perf_counter() - begin) / (3 * step) * PEER_DRAWS)
    return float(np.mean(seconds))


if __name__ == "__main__":
    main()
