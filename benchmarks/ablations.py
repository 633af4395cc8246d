"""ParaCLIP's loss against its ablations and the controls, on the demo world.

    python benchmarks/ablations.py [--quick]

Every arm has the demo recipe's settings and its own terms; three seeds. Through finetune and run.
The demo recipe itself is not an arm: its terms are `paraclip`'s.
Ends with one line of JSON. The demo world is small drawn scenes: it shows what the terms do to one
another, and nothing about photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import machine
import numpy as np

from paraclip_bench import evaluate, finetune
from paraclip_bench.training.recipe import find_recipe, read_recipe, shipped

DEMO = "paraclip-demo"
SCORES = {
    "paraphrased-retrieval": ("js@10", "ao@10", "recall@1/query", "recall@1/paraphrase"),
    "STSBenchmark": ("spearman",),
    "vg-relation": ("accuracy",),
    "vg-attribution": ("accuracy",),
}


def main() -> None:
    """Train and measure every arm, print the table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, 40 steps")
    options = parser.parse_args()
    seeds, steps = (range(1), 40) if options.quick else (range(3), None)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ.setdefault("PARACLIP_CACHE", str(root / "cache"))
        found["clip (base)"].append(measure("clip", root))
        for seed in seeds:
            for name in sorted(set(shipped()) - {DEMO}):
                checkpoint = train(root, name, seed, steps)
                found[name].append(measure(f"paraclip:{checkpoint}", root))
                print(seed, name, {k: round(100 * v, 1) for k, v in found[name][-1].items()})
    names = list(found["clip (base)"][0])
    print("\n| loss | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for arm, runs in found.items():
        cells = []
        for name in names:
            values = [100 * run[name] for run in runs]
            spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        print(f"| {arm} | " + " | ".join(cells) + " |")
    print(json.dumps({"benchmark": "ablations", "arms": found, "machine": machine.describe()}))


def train(root: Path, name: str, seed: int, steps: int | None) -> Path:
    """A checkpoint of the demo's settings with a shipped recipe's terms."""
    settings: dict[str, Any] = {"name": name, "loss": read_recipe(find_recipe(name)).loss}
    if steps is not None:
        settings["steps"] = steps
    recipe = read_recipe(find_recipe(DEMO)).model_copy(update=settings)
    file = root / f"{name}.toml"
    file.write_text(recipe.dump(), encoding="utf-8")
    return finetune(recipe=file, seed=seed, out=root / f"{name}-{seed}", quiet=True)


def measure(model: str, root: Path) -> dict[str, float]:
    """The scores of a model on the demo world."""
    report = evaluate(model, list(SCORES), suite="demo", workspace=root, quiet=True)
    assert not report.failures, report.failures
    scores = {}
    for _, result in report.results:
        for name in SCORES[result.task]:
            value = result.scores[name].value
            short = name if result.task == "paraphrased-retrieval" else result.task
            scores[short] = float("nan") if value is None else value
    return scores


if __name__ == "__main__":
    main()
