"""VG-Relation at its real size: `evaluate` and mteb's way on the same cases, in one run.

    python benchmarks/vg_relation.py [--quick] [--scale 0.1] [--mteb-cases 256]

Draws 5,316 JPEG files of 500 x 400 and 23,937 cases on them. Boxes, how cases share images and
boxes, relations and the things they hold between are sampled from ARO's real val cases where
`--cases` is there, else made up. Ours is `evaluate` on an open_clip folder of random weights, on
all cases, in both protocols. mteb's way is its own task, evaluator and open_clip wrapper on that
folder: an image forward for every case. It would take hours, so it gets the first cases alone, and
its total is extrapolated. Each way runs in a process of its own. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import numpy as np
from finetune import peak_kb
from images import watched
from PIL import Image

CASES, IMAGES = 23_937, 5_316
SIZE = (500, 400)
BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
PROTOCOLS = ("aro", "mteb")
"""Of ours; what mteb computes is the second one."""

Row = dict[str, Any]


def main() -> None:
    """Draw the set, measure each way in a process of its own, end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1% of the set, 32 cases for mteb")
    parser.add_argument("--scale", type=float, help="share of the real size; 1 without --quick")
    parser.add_argument("--mteb-cases", type=int, help="cases that mteb's way gets; 256")
    parser.add_argument("--architecture", default="ViT-B-32")
    real = Path(__file__).parents[2] / "shared/data/aro/visual_genome_relation.val.json"
    parser.add_argument("--cases", type=Path, default=real, help="ARO's file to sample from")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, folder, first = options.child
        child = with_mteb if way == "peer" else with_ours
        print(json.dumps(child(Path(folder), way, int(first))))
        return
    scale = options.scale or (0.01 if options.quick else 1.0)
    first = options.mteb_cases or (32 if options.quick else 256)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = draw(folder, options.cases, scale)
        save_model(folder / "model", options.architecture)
        figures |= measure(folder, min(first, figures["cases"]), figures["cases"])
    for key, value in figures.items():
        print(f"{key:36} {value:.4g}" if isinstance(value, float) else f"{key:36} {value}")
    print(json.dumps({"benchmark": "vg_relation", **figures, "machine": machine.describe()}))


def measure(folder: Path, first: int, cases: int) -> dict[str, Any]:
    """Figures of both ways; the peer's on the `first` cases and, extrapolated, on all."""
    figures: dict[str, Any] = {}
    accuracies = {}
    for protocol in PROTOCOLS:
        found = run(folder, protocol, first)
        accuracies[protocol] = found.pop("accuracy_of_first")
        figures |= {f"ours_{protocol}_{key}": value for key, value in found.items()}
        figures[f"ours_{protocol}_cases_a_second"] = cases / found["seconds"]
        # What the engine promises: each distinct image and crop once.
        assert found["image_forwards"] == found["distinct_crops"], found
    peer = run(folder, "peer", first)
    assert peer["image_forwards"] == first
    figures["mteb_cases"] = first
    figures["mteb_cases_a_second"] = first / peer["seconds"]
    figures["mteb_peak_gb_of_these_cases"] = peer["peak_gb"]
    figures["mteb_seconds_extrapolated"] = peer["seconds"] * cases / first
    # It decodes the image of every case before the first forward, and keeps them all.
    figures["mteb_decoded_images_gb_extrapolated"] = SIZE[0] * SIZE[1] * 3 * cases / 1e9
    figures["accuracy_difference_on_these_cases"] = accuracies["mteb"] - peer["accuracy"]
    for protocol in PROTOCOLS:
        ours = f"ours_{protocol}_"
        figures[f"ratio_seconds_{protocol}"] = (
            figures["mteb_seconds_extrapolated"] / figures[ours + "seconds"]
        )
        figures[f"ratio_forwards_{protocol}"] = cases / figures[ours + "image_forwards"]
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in figures.items()}


def draw(folder: Path, file: Path, scale: float) -> dict[str, Any]:
    """Write the images and the cases in the layout of --data-dir; how many there are."""
    rng = np.random.default_rng(0)
    images, cases = max(2, round(IMAGES * scale)), max(4, round(CASES * scale))
    if file.is_file():
        groups, origin = real_groups(json.loads(file.read_text(encoding="utf-8"))), "real cases"
    else:
        groups, origin = made_up_groups(rng), "made up"
    place = folder / "data" / "vg-relation"
    (place / "images").mkdir(parents=True)
    for number in range(images):
        few = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(few).resize(SIZE).save(place / "images" / f"{number}.jpg")
    rows = sample(groups, images, cases, rng)
    (place / "visual_genome_relation.json").write_text(json.dumps(rows), encoding="utf-8")
    return {
        "cases": len(rows),
        "images": len({row["image_path"] for row in rows}),
        "distinct_captions": len(
            {row[k] for row in rows for k in ("true_caption", "false_caption")}
        ),
        "relations": len({row["relation_name"] for row in rows}),
        "sampled_from": origin,
    }


def real_groups(rows: list[Row]) -> list[list[Row]]:
    """The cases of each real image, their boxes as they would lie in an image of `SIZE`."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["image_path"], []).append(row)
    fitted = []
    for group in groups.values():
        # The images are not there: as large as their boxes need is the best guess of their size.
        width = max(SIZE[0], *(row["bbox_x"] + row["bbox_w"] for row in group))
        height = max(SIZE[1], *(row["bbox_y"] + row["bbox_h"] for row in group))
        fitted.append([fit(row, SIZE[0] / width, SIZE[1] / height) for row in group])
    return fitted


def fit(row: Row, x: float, y: float) -> Row:
    """A real case with its box scaled, in whole pixels inside of `SIZE`, and its two things."""
    left, top = int(row["bbox_x"] * x), int(row["bbox_y"] * y)
    width = min(SIZE[0] - left, max(1, round(row["bbox_w"] * x)))
    height = min(SIZE[1] - top, max(1, round(row["bbox_h"] * y)))
    relation = row["relation_name"]
    one, _, other = row["true_caption"].removeprefix("the ").partition(f" is {relation} the ")
    return {
        "relation_name": relation,
        "things": (one, other),
        **dict(zip(BOX, (left, top, width, height), strict=True)),
    }


def made_up_groups(rng: np.random.Generator) -> list[list[Row]]:
    """Cases of 800 images: four or five an image, half of them on a box of their own."""
    relations = ["to the left of", "to the right of", "on", "in", "wearing", "holding", "behind"]
    chances = np.array([0.32, 0.32, 0.12, 0.08, 0.08, 0.04, 0.04])
    things = [f"thing {number}" for number in range(400)]
    groups = []
    for _ in range(800):
        boxes = []
        for _ in range(1 + rng.poisson(1.5)):
            left, top = (int(v) for v in rng.integers(0, (SIZE[0] - 60, SIZE[1] - 60)))
            width = int(rng.integers(50, SIZE[0] - left + 1))
            boxes.append((left, top, width, int(rng.integers(50, SIZE[1] - top + 1))))
        groups.append(
            [
                {
                    "relation_name": str(rng.choice(relations, p=chances)),
                    "things": tuple(rng.choice(things, 2, replace=False).tolist()),
                    **dict(zip(BOX, box, strict=True)),
                }
                for box in boxes
                for _ in range(1 + rng.poisson(0.8))
            ]
        )
    return groups


def sample(groups: list[list[Row]], images: int, cases: int, rng: np.random.Generator) -> list[Row]:
    """As many cases: each image gets those of a random group, with newly drawn things.

    So nearly every caption is another, more than in the real set, which costs ours more.
    """
    things = [thing for group in groups for row in group for thing in row["things"]]
    numbers = list(range(images))
    drawn: list[tuple[int, Row]] = []
    while numbers:
        for number in numbers:
            drawn += [(number, row) for row in groups[rng.integers(len(groups))]]
        numbers = [int(rng.integers(images))] if len(drawn) < cases else []
    drawn = [drawn[index] for index in rng.permutation(len(drawn))]
    # What is too many goes, but first of all each image keeps a case.
    first = {number: index for index, (number, _) in reversed(list(enumerate(drawn)))}
    kept = sorted(range(len(drawn)), key=lambda index: first[drawn[index][0]] != index)[:cases]
    rows = []
    for number, row in (drawn[index] for index in sorted(kept)):
        one, other = (things[index] for index in rng.integers(0, len(things), 2))
        relation = row["relation_name"]
        rows.append(
            {
                "image_id": number,
                "image_path": f"{number}.jpg",
                "true_caption": f"the {one} is {relation} the {other}",
                "false_caption": f"the {other} is {relation} the {one}",
                "relation_name": relation,
                **{key: row[key] for key in BOX},
            }
        )
    return rows


def save_model(folder: Path, architecture: str) -> None:
    """An open_clip folder of random weights."""
    import open_clip
    import torch

    from paraclip_bench.models.open_clip.network import save_folder

    torch.manual_seed(0)
    logging.disable(logging.WARNING)  # that the weights are random is meant
    model = open_clip.create_model(architecture).eval()
    logging.disable(logging.NOTSET)
    save_folder(folder, model, open_clip.get_model_config(architecture))


def run(folder: Path, way: str, first: int) -> dict[str, Any]:
    """A way's figures, measured in a process of its own; `workers_peak_gb` are its children's."""
    found, workers = watched(
        [sys.executable, __file__, "--child", way, str(folder), str(first)],
        {**os.environ, "PARACLIP_CACHE": str(folder / f"cache-{way}")},
    )
    found["workers_peak_gb"] = workers * 1024**2 / 1e9
    print(f"{way}: {found}", flush=True)
    return found


class Forwards:
    """Counts the images that go through an image tower, whoever calls it."""

    def __init__(self) -> None:
        import torch

        self.images = 0
        torch.nn.modules.module.register_module_forward_pre_hook(self._look)

    def _look(self, module: Any, inputs: tuple[Any, ...]) -> None:
        from open_clip.transformer import VisionTransformer

        if isinstance(module, VisionTransformer):
            self.images += len(inputs[0])


def with_ours(folder: Path, protocol: str, first: int) -> dict[str, Any]:
    """`evaluate` on all cases, from loading the model to the written result."""
    from paraclip_bench.api import evaluate
    from paraclip_bench.results.store import read_outcomes

    data = folder / "data"
    forwards = Forwards()
    start = time.perf_counter()
    report = evaluate(
        f"local-dir:{folder / 'model'}",
        "vg-relation",
        protocols=protocol,
        data_dir=data,
        workspace=folder / f"work-{protocol}",
    )
    seconds = time.perf_counter() - start
    if report.failures:
        raise SystemExit(report.failures[0])
    ((path, result),) = report.results
    rows = json.loads((data / "vg-relation/visual_genome_relation.json").read_text())
    keys = ("image_path", *BOX) if protocol == "aro" else ("image_path",)
    return {
        "seconds": round(seconds, 2),
        "encode_seconds": result.provenance.encode_seconds,
        "image_forwards": forwards.images,
        "distinct_crops": len({tuple(row[key] for key in keys) for row in rows}),
        "peak_gb": round(peak_kb() * 1024 / 1e9, 3),
        "accuracy_of_first": float(read_outcomes(path)["correct"][:first].mean()),
    }


def with_mteb(folder: Path, way: str, first: int) -> dict[str, Any]:
    """mteb's task, evaluator and open_clip wrapper on the first cases, the model loaded before."""
    warnings.simplefilter("ignore")  # of mteb's autocast, which does nothing on a CPU
    import datasets
    import mteb
    import open_clip
    from mteb.models.model_implementations.openclip_models import openclip_loader
    from mteb.timing import TimingStack

    images = folder / "data/vg-relation/images"
    rows = json.loads((images.parent / "visual_genome_relation.json").read_text())[:first]
    cases = datasets.Dataset.from_dict(
        {key: [row[key] for row in rows] for key in ("true_caption", "false_caption")}
        | {"image": [str(images / row["image_path"]) for row in rows]}
    ).cast_column("image", datasets.Image())
    # Its wrapper knows hub models alone; nothing but the address is another.
    with at(open_clip, f"local-dir:{folder / 'model'}"):
        model = openclip_loader("random", revision="random", device="cpu")
    task = mteb.get_task("AROVisualRelation")

    def evaluate(cases: Any) -> Any:
        return task._evaluate_subset(
            model,
            cases,
            encode_kwargs={"batch_size": 32, "show_progress_bar": False},
            hf_split="test",
            hf_subset="default",
            timer=TimingStack(),
        )

    evaluate(cases.select([0]))  # what a first forward costs is not extrapolated
    forwards = Forwards()
    start = time.perf_counter()
    scores = evaluate(cases)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "image_forwards": forwards.images,
        "peak_gb": round(peak_kb() * 1024 / 1e9, 3),
        "accuracy": scores["text_acc"],
    }


@contextlib.contextmanager
def at(open_clip: Any, address: str) -> Iterator[None]:
    """Let open_clip load that address, whatever it is asked for."""
    names = ("create_model_and_transforms", "get_tokenizer")
    kept = {name: getattr(open_clip, name) for name in names}
    for name, function in kept.items():
        setattr(
            open_clip, name, lambda _, function=function, **options: function(address, **options)
        )
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(open_clip, name, function)


if __name__ == "__main__":
    main()
