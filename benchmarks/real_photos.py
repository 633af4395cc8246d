"""ParaCLIP on real photographs: a real base, two controls, three seeds.

    python benchmarks/real_photos.py --data FLICKR8K [--sts DIR] [--sugarcrepe DIR] [--quick]

FLICKR8K holds captions.tsv (image, caption) and images/, five captions a photo, which are human
paraphrases of one another. Photos are split by name into train, dev and test. The base is
`real_clip.py`'s, then fine-tuned on (image, caption); from it, with the same number of steps: `it`
(CLIP's loss goes on), `it3` (the same, of three captions: as many texts as ParaCLIP sees) and
`para` (ParaCLIP's loss). Each arm's learning rate is chosen on dev, seed 0. Everything goes through
finetune, run, merge and leaderboard. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import machine
import numpy as np
import real_clip

from paraclip_bench import evaluate, finetune, leaderboard, load_model
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.evaluation.run import Options
from paraclip_bench.progress import Progress
from paraclip_bench.results.store import read_outcomes
from paraclip_bench.training.merge import sweep
from paraclip_bench.workspace import Workspace

ARMS = {"it": "it", "it3": "it3", "para": "paraclip"}
RATES = (2e-5, 5e-5, 1e-4)
BATCH, STEPS = 100, 30
TRAIN, DEV = 300, 60
RETRIEVAL = "paraphrased-retrieval"
RECIPE = """
name = "{name}"
batch_size = {batch}
steps = {steps}
learning_rate = {rate}
warmup_steps = 3
unlocked_text_layers = 3
"""


class Photos:
    """The photographs and their captions, split by name."""

    def __init__(self, folder: Path, out: Path) -> None:
        captions: dict[str, list[str]] = defaultdict(list)
        with (folder / "captions.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                captions[row["image"]].append(row["caption"])
        names = sorted(captions)
        # Neighbours by name may be of one series: the split is at random, the same each time.
        order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
        self.images, self.captions = folder / "images", captions
        self.train, dev, test = order[:TRAIN], order[TRAIN : TRAIN + DEV], order[TRAIN + DEV :]
        self.pairs = out / "pairs.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        with self.pairs.open("w", encoding="utf-8") as file:
            for name in self.train:
                # T, T' and T'' are three of the five captions, one after the other.
                turns = [captions[name][turn:] + captions[name][:turn] for turn in range(3)]
                keys = ("caption", "paraphrase_1", "paraphrase_2")
                row = {"image": name, **dict(zip(keys, turns, strict=True))}
                file.write(json.dumps(row) + "\n")
        self.places = {part: out / part for part in ("dev", "test")}
        for part, chosen in (("dev", dev), ("test", test)):
            self._write_task(self.places[part] / RETRIEVAL, chosen)

    def _write_task(self, folder: Path, names: list[str]) -> None:
        (folder / "images").mkdir(parents=True)
        rows = []
        for name in names:
            (folder / "images" / name).symlink_to((self.images / name).resolve())
            query, paraphrase = self.captions[name][:2]
            rows.append({"query": query, "paraphrase": paraphrase, "image_id": name})
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def main() -> None:
    """Train all arms, measure them, print the tables, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "flickr8k")
    parser.add_argument("--sts", type=Path, default=shared, help="a folder with sts/ in it")
    parser.add_argument("--sugarcrepe", type=Path, default=shared / "sugarcrepe_pp")
    parser.add_argument("--out", type=Path, help="keep the workspace here")
    parser.add_argument("--quick", action="store_true", help="one seed, one learning rate, 6 steps")
    options = parser.parse_args()
    seeds, rates, steps = (range(1), RATES[1:2], 6) if options.quick else (range(3), RATES, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        root = (options.out or Path(folder)).resolve()
        os.environ.setdefault("PARACLIP_CACHE", str(root / "cache"))
        photos = Photos(options.data, root / "data")
        chosen: dict[str, float] = {}
        measured: dict[str, list[dict[str, Any]]] = defaultdict(list)
        seconds = []
        for seed in seeds:
            start = time.perf_counter()
            place = root / f"seed-{seed}"
            models = {"base": base(place, photos, seed, steps)}
            if not chosen:
                chosen = choose_rates(place, photos, models["base"], rates, steps)
                print("learning rates, chosen on dev:", chosen, flush=True)
                start = time.perf_counter()  # that is done once, not for each seed
            for arm, rate in chosen.items():
                models[arm] = tune(place, photos, models["base"], arm, rate, steps, seed)
            for arm, model in models.items():
                measured[arm].append(measure(place, photos, model, options))
            seconds.append(time.perf_counter() - start)
            board = leaderboard(workspace=place / "test", suite="paper", baseline="it3")
            print(f"seed {seed}, {seconds[-1]:.0f} s\n{board}", flush=True)
        figures = summary(measured)
        place = root / "seed-0"
        curve = sweep(
            f"local-dir:{place / 'checkpoints' / 'base'}",
            f"paraclip:{place / 'checkpoints' / 'para'}",
            (0.0, 0.25, 0.5, 0.75, 1.0),
            Options(suite="paper", data_dir=photos.places["test"]),
            Workspace(place / "test"),
            Progress(quiet=True),
            root / "merge",
        )
    figures["merge"] = [
        {"alpha": row["alpha"]}
        | {name: row[name]["value"] for name in ("js@10", "recall@1/query", "recall@1/paraphrase")}
        for row in curve
    ]
    print_tables(figures)
    line = {"benchmark": "real_photos", "learning_rates": chosen, "seconds_a_seed": seconds}
    print(json.dumps({**line, **figures, "machine": machine.describe()}))


def base(place: Path, photos: Photos, seed: int, steps: int) -> Path:
    """The real CLIP after some steps of (image, caption)."""
    train = photos.train
    made = real_clip.build(
        place / "joined",
        [photos.images / name for name in train],
        [photos.captions[name] for name in train],
        seed,
    )
    return tune(place, photos, made, "base", 5e-5, steps, seed, loss="it")


def tune(
    place: Path,
    photos: Photos,
    start: Path,
    name: str,
    rate: float,
    steps: int,
    seed: int,
    loss: str | None = None,
) -> Path:
    """A checkpoint by finetune, `checkpoints/NAME`."""
    from paraclip_bench.training.recipe import find_recipe, read_recipe

    recipe = place / "recipes" / f"{name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    terms = read_recipe(find_recipe(loss or ARMS[name.partition("-")[0]])).loss
    listed = "\n".join(
        f"[[loss]]\nviews = {json.dumps(term.views)}\nweight = {term.weight}" for term in terms
    )
    settings = RECIPE.format(name=name, batch=BATCH, steps=steps, rate=rate)
    recipe.write_text(settings + listed, encoding="utf-8")
    return finetune(
        base=f"local-dir:{start}",
        data=photos.pairs,
        images=photos.images,
        recipe=recipe,
        seed=seed,
        out=place / "checkpoints" / name,
        quiet=True,
    )


def choose_rates(
    place: Path, photos: Photos, start: Path, rates: tuple[float, ...], steps: int
) -> dict[str, float]:
    """For each arm the learning rate that is best on dev: the mean of JS@10 and both recalls@1."""
    chosen = {}
    for arm in ARMS:
        found = {}
        for rate in rates:
            model = tune(place, photos, start, f"{arm}-{rate:g}", rate, steps, 0)
            scores = run(place / "dev", model, RETRIEVAL, photos.places["dev"])[1]
            recall = (scores["recall@1/query"] + scores["recall@1/paraphrase"]) / 2
            found[rate] = (scores["js@10"] + recall) / 2
        print(f"dev, {arm}:", {f"{k:g}": round(100 * v, 1) for k, v in found.items()}, flush=True)
        chosen[arm] = max(found, key=lambda rate: found[rate])
    return chosen


def run(workspace: Path, model: Path, task: str, data: Path) -> tuple[Path, dict[str, float]]:
    """The result's file and its scores."""
    report = evaluate(
        f"local-dir:{model}", task, suite="paper", data_dir=data, workspace=workspace, quiet=True
    )
    assert not report.failures, report.failures
    ((file, result),) = report.results
    return file, {name: score.value for name, score in result.scores.items()}  # type: ignore[misc]


def measure(place: Path, photos: Photos, model: Path, options: Any) -> dict[str, Any]:
    """Scores on the test photos, STSBenchmark and SugarCrepe++, and the outcomes by photo."""
    file, scores = run(place / "test", model, RETRIEVAL, photos.places["test"])
    outcomes = read_outcomes(file)
    _, sts = run(place / "test", model, "STSBenchmark", options.sts)
    return {
        "ao@10": scores["ao@10"],
        "js@10": scores["js@10"],
        "recall@1/query": scores["recall@1/query"],
        "recall@1/paraphrase": scores["recall@1/paraphrase"],
        "STS-B": sts["spearman"],
        "SugarCrepe++ TOT": text_only_test(model, options.sugarcrepe),
        "outcomes": outcomes,
    }


def text_only_test(model: Path, folder: Path) -> float:
    """SugarCrepe++'s TOT, mean over the subsets that are there: both paraphrases nearer to one
    another than either is to the negative, strictly."""
    embed = Embedder(load_model(f"local-dir:{model}"), Spaces(print), Progress(quiet=True))
    subsets = []
    for file in sorted(folder.glob("*.json")):
        items = json.loads(file.read_text(encoding="utf-8"))
        one, two, negative = (
            embed.texts([item[key] for item in items])
            for key in ("caption", "caption2", "negative_caption")
        )
        right = (one * two).sum(axis=1)
        subsets.append(
            ((right > (one * negative).sum(axis=1)) & (right > (two * negative).sum(axis=1))).mean()
        )
    return float(np.mean(subsets))


def summary(measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and spread over the seeds, and para's paired differences to it and it3."""
    table: dict[str, Any] = {}
    for arm, runs in measured.items():
        table[arm] = {
            name: {
                "mean": float(np.mean([run[name] for run in runs])),
                "lowest": float(np.min([run[name] for run in runs])),
                "highest": float(np.max([run[name] for run in runs])),
            }
            for name in runs[0]
            if name != "outcomes"
        }
    differences = {
        f"para - {control}": difference(measured["para"], measured[control])
        for control in ("base", "it", "it3")
    }
    return {"arms": table, "differences": differences}


def difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """[difference, low, high] of each score, averaged over seeds, by a bootstrap over photos."""
    found = {}
    draws = np.random.default_rng(0).integers(0, count := len(photo_scores(ours[0])["js@10"]),
                                              (2000, count))  # fmt: skip
    for name in photo_scores(ours[0]):
        each = np.mean(
            [
                photo_scores(a)[name] - photo_scores(b)[name]
                for a, b in zip(ours, theirs, strict=True)
            ],
            axis=0,
        )
        low, high = np.quantile(each[draws].mean(axis=1), (0.025, 0.975))
        found[name] = [float(each.mean()), float(low), float(high)]
    return found


def print_tables(figures: dict[str, Any]) -> None:
    """Markdown, x 100."""
    names = list(figures["arms"]["base"])
    print("\n| arm | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for arm, scores in figures["arms"].items():
        cells = (
            f"{100 * s['mean']:.1f} ({100 * s['lowest']:.1f} to {100 * s['highest']:.1f})"
            for s in scores.values()
        )
        print(f"| {arm} | " + " | ".join(cells) + " |")
    names = list(figures["differences"]["para - it3"])
    print("\n| difference | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for title, scores in figures["differences"].items():
        cells = (
            f"{100 * d:+.1f} [{100 * lo:.1f}, {100 * hi:.1f}]" for d, lo, hi in scores.values()
        )
        print(f"| {title} | " + " | ".join(cells) + " |")
    print("\n| alpha | JS@10 | recall@1 caption | recall@1 paraphrase |\n|---|---|---|---|")
    for row in figures["merge"]:
        scores = " | ".join(f"{100 * row[name]:.1f}" for name in list(row)[1:])
        print(f"| {row['alpha']:g} | {scores} |")


def photo_scores(run: dict[str, Any]) -> dict[str, np.ndarray]:
    """JS@10, AO@10 and both recalls@1 of each photo, from the outcomes of a run."""
    from paraclip_bench.metrics.agreement import average_overlap, jaccard

    columns = run["outcomes"]
    overlap = np.asarray(columns["overlaps"])
    return {
        "js@10": jaccard(overlap, 10),
        "ao@10": average_overlap(overlap, 10),
        "recall@1/query": (np.asarray(columns["rank_query"]) == 1).astype(float),
        "recall@1/paraphrase": (np.asarray(columns["rank_paraphrase"]) == 1).astype(float),
    }


if __name__ == "__main__":
    main()
