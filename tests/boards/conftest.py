"""Results as a run writes them, from outcomes that a test makes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip_bench.metrics.inference import estimate
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import result_key, result_path, write
from paraclip_bench.tasks.catalog import load_task
from paraclip_bench.tasks.sugarcrepe import SUBSETS

Columns = dict[str, np.ndarray]


def outcomes(task: str, skill: float, n: int = 60) -> Columns:
    """Outcomes of a model of that skill (0 to 1); the same examples for every model."""
    rng = np.random.default_rng(len(task))
    gold, noise = rng.uniform(0, 5, size=n).round(1), rng.normal(size=n)
    ids = {
        "example_id": np.array([str(i) for i in range(n)], dtype=object),
        "cluster_id": np.array([f"c{i // 3}" for i in range(n)], dtype=object),
    }
    if task.startswith("vg-"):
        true = (noise + 3 * skill).astype(np.float32)
        group = np.array([("on", "in", "under")[i % 3] for i in range(n)], dtype=object)
        return {
            **ids,
            "correct": true > 0,
            "tie": np.arange(n) % 10 == 0 if skill < 0.5 else np.zeros(n, dtype=bool),
            "counted_group": group,
        }
    if task.startswith("sugarcrepe"):
        names = [sorted(SUBSETS)[i % 7] if task == "sugarcrepe" else "swap_obj" for i in range(n)]
        subset = np.array(names, dtype=object)
        correct = noise + 3 * skill > 0
        return {
            **ids,
            "correct": correct,
            "tie": ~correct,
            "subset": subset,
            "averaged": subset,
        }
    if task == "paraphrased-retrieval" or task.endswith(("-human", "-paraphrase")):
        overlap = np.minimum(np.arange(1, 11), np.full((n, 1), round(10 * skill)))
        ranks = {f"rank_{s}": np.arange(n) % 13 + 1 for s in ("query", "paraphrase")}
        return {**ids, "overlaps": overlap, **ranks}
    return {**ids, "cosine": (skill * gold + noise).astype(np.float32), "gold": gold}


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write one result of a model of some skill; every field can be set."""

    def write_result(
        name: str,
        task: str,
        skill: float,
        *,
        protocol: str | None = None,
        suite: str = "paper",
        spec: str | None = None,
        fingerprint: str | None = "",
        dtype: str = "float32",
        version: int | None = None,
        sha256: str = "ab" * 32,
        limit: int | None = None,
        source: str = "folder",
        day: int = 1,
        run: str = "one",
        data: str = "/data:set.tsv",
        activation: str | None = None,
        n: int | None = None,
        columns: Columns | None = None,
        scored_by: str = "",
        depth: int | None = None,
        base: str | None = None,
        method: str | None = None,
        seed: int | None = None,
    ) -> Path:
        found = load_task(task)
        columns = columns or outcomes(found.name, skill)
        fingerprint = f"weights of {name}" if fingerprint == "" else fingerprint
        version = version or found.version
        raw: dict[str, Any] = {
            "suite": suite,
            "task": found.name,
            "task_version": version,
            "protocol": protocol or found.headline,
            "main_score": found.main_score,
            "n": n or len(columns["example_id"]),
            "limit": limit,
            "model": {
                "spec": spec or f"spec:{name}",
                "name": name,
                "fingerprint": fingerprint,
                "activation": activation,
                "base": base,
                "method": method,
                "seed": seed,
            },
            "scores": {
                key: dataclasses.asdict(estimate(score, columns))
                for key, score in found.scores_of(columns).items()
            },
            "data": {"source": source, "id": data, "revision": None, "sha256": sha256},
            "provenance": {
                "versions": {},
                "device": "cpu",
                "dtype": dtype,
                "seed": 0,
                "seconds": 1.0,
                "encode_seconds": 1.0,
                "from_store": 0.0,
                "command": "",
                "time": f"2026-01-{day:02}T00:00:00+00:00",
                "run": run,
                "scored_by": scored_by,
                "depth": depth,
            },
        }
        if scored_by:  # as if another program had given the same values, by a name of its own
            raw["task"] = f"elsewhere:{found.name}"
            for score in raw["scores"].values():
                score.update(low=None, high=None)
        known = fingerprint or f"unknown:{raw['model']['spec']}"
        key = result_key(known, dtype, version, sha256, limit)
        path = result_path(tmp_path, suite, name, raw["task"], raw["protocol"], key)
        write(path, Result.model_validate(raw), None if scored_by else columns)
        return path

    return write_result


@pytest.fixture
def made() -> Callable[..., Columns]:
    """The outcomes that `put` writes for a task and a skill."""
    return outcomes
