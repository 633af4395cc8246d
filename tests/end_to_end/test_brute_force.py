"""All tasks on an open_clip ViT-B-32, against a computation with open_clip alone."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from paraclip_bench.api import evaluate
from paraclip_bench.tasks.catalog import all_tasks
from paraclip_bench.tasks.sugarcrepe_pp import SUBSETS

RELATIONS = ("on", "holding", "to the left of", "biting")  # biting is one ARO leaves out
ATTRIBUTES = (("red", "blue"), ("wet", "dry"))
THINGS = ["cat", "dog", "cup", "tree", "car", "house"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every task's files in the layout of --data-dir and in ARO's own formats."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)

    def images(task: str, names: list[str]) -> None:
        folder = root / task / "images"
        folder.mkdir(parents=True)
        for name in names:
            noise = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((70, 60)).save(folder / name, quality=95)

    def case(index: int, image: int) -> dict[str, Any]:
        x, y = (int(v) for v in rng.integers(0, 30, 2))
        return {
            "image_id": image,
            "image_path": f"{image}.jpg",
            "bbox_x": x,
            "bbox_y": y,
            "bbox_w": 30 + index % 9,
            "bbox_h": 25,
        }

    images("vg-relation", [f"{i}.jpg" for i in range(6)])
    rows = []
    for index in range(30):
        a, b = rng.choice(THINGS, 2, replace=False)
        relation = RELATIONS[index % 4]
        rows.append(
            case(index, index % 6)
            | {
                "relation_name": relation,
                "true_caption": f"the {a} is {relation} the {b}",
                "false_caption": f"the {b} is {relation} the {a}",
            }
        )
    rows[0]["false_caption"] = rows[0]["true_caption"]  # a tie
    (root / "vg-relation/visual_genome_relation.json").write_text(json.dumps(rows))

    images("vg-attribution", [f"{i}.jpg" for i in range(6)])
    rows = []
    for index in range(60):
        a, b = rng.choice(THINGS, 2, replace=False)
        # 26 cases of each kind count; 8 of a rare pair do not.
        x, y = ATTRIBUTES[index % 2] if index < 52 else ("old", "new")
        rows.append(
            case(index, index % 6)
            | {
                "attributes": [x, y],
                "obj1_name": a,
                "obj2_name": b,
                "true_caption": f"the {x} {a} and the {y} {b}",
                "false_caption": f"the {y} {a} and the {x} {b}",
            }
        )
    (root / "vg-attribution/visual_genome_attribution.json").write_text(json.dumps(rows))

    names = [f"photo{i:02d}.png" for i in range(14)]
    images("paraphrased-retrieval", names)
    gallery = root / "paraphrased-retrieval/images"
    (gallery / "copy.png").write_bytes((gallery / "photo03.png").read_bytes())
    queries = [
        {
            "query": f"a {rng.choice(THINGS)} near a {rng.choice(THINGS)}",
            "paraphrase": f"there is a {rng.choice(THINGS)}",
            "image_id": names[i],
        }
        for i in range(8)
    ]
    del queries[5]["image_id"]
    lines = "".join(json.dumps(query) + "\n" for query in queries)
    (root / "paraphrased-retrieval/queries.jsonl").write_text(lines)

    images("sugarcrepe-pp", names[:6])
    for subset in SUBSETS:
        items = [
            {
                "id": i,
                "filename": names[i],
                "caption": f"a {rng.choice(THINGS)} near a {rng.choice(THINGS)}",
                "caption2": f"there is a {rng.choice(THINGS)}",
                "negative_caption": f"a {rng.choice(THINGS)} on a {rng.choice(THINGS)}",
            }
            for i in range(6)
        ]
        (root / "sugarcrepe-pp" / f"{subset}.json").write_text(json.dumps(items))

    compositional.sugarcrepe(root, rng, 3)
    compositional.winoground(root, rng, 8)
    compositional.colorswap(root, rng, 8)
    compositional.valse(root, rng, 4)
    compositional.whatsup(root, rng, 3)
    compositional.negbench(root, rng, 6)
    for name in ("coco-order", "flickr30k-order"):
        compositional.order(root, name, rng, 11)
    images("flickr30k-karpathy", names[:5])
    rows = [
        {"image": name, "captions": [f"a {rng.choice(THINGS)} {i}" for i in range(1 + number % 3)]}
        for number, name in enumerate(names[:5])
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "flickr30k-karpathy/captions.jsonl").write_text(lines)

    images("coco-karpathy", names[:8])
    entries = [
        {
            "filename": name,
            "filepath": "val2014",
            "split": "test" if number % 4 else "train",
            "sentences": [{"raw": f"the {rng.choice(THINGS)} by a {x}"} for x in THINGS[:3]],
        }
        for number, name in enumerate(names[:8])
    ]
    (root / "coco-karpathy/dataset_coco.json").write_text(json.dumps({"images": entries}))

    for thing in THINGS:
        images(f"zero-shot-classification/images/{thing}", names[: len(thing) - 1])
        folder = root / "zero-shot-classification/images" / thing
        for file in (folder / "images").iterdir():
            file.rename(folder / file.name)
        (folder / "images").rmdir()
    templates = "a photo of a {}.\nthe {c} in a {}\nart of a {}\n"
    (root / "zero-shot-classification/templates.txt").write_text(templates)

    (root / "sts").mkdir()
    sets = ["STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R", "SICK-R.all"]
    for name in sets:
        lines = ["score\tsentence1\tsentence2"]
        for _ in range(12):
            texts = [" ".join(rng.choice(THINGS, 3)) for _ in range(2)]
            lines.append(f"{rng.integers(2, 11) / 2}\t{texts[0]}\t{texts[1]}")
        (root / "sts" / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return root


class Plain:
    """open_clip as its own README uses it: one text, one image at a time."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)
        self.cache: dict[Any, np.ndarray] = {}

    def text(self, text: str) -> np.ndarray:
        if text not in self.cache:
            with torch.no_grad():
                vector = self.model.encode_text(self.tokenizer([text]), normalize=True)
            self.cache[text] = vector[0].numpy()
        return self.cache[text]

    def image(self, path: Path, box: tuple[int, ...] | None = None) -> np.ndarray:
        if (path, box) not in self.cache:
            image = Image.open(path).convert("RGB")
            image = image if box is None else image.crop(box)
            with torch.no_grad():
                pixels = self.preprocess(image)[None]
                self.cache[path, box] = self.model.encode_image(pixels, normalize=True)[0].numpy()
        return self.cache[path, box]


def brute_aro(plain: Plain, file: Path, protocol: str, attribution: bool) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    ties = []
    for row in json.loads(file.read_text()):
        x, y, w, h = (row[f"bbox_{k}"] for k in "xywh")
        box = (x, y, x + w, y + h) if protocol == "aro" else None
        image = plain.image(file.parent / "images" / row["image_path"], box)
        true = image @ plain.text(row["true_caption"])
        false = image @ plain.text(row["false_caption"])
        group = "_".join(row["attributes"]) if attribution else row["relation_name"]
        right[group].append(bool(true > false if protocol == "aro" else true >= false))
        ties.append(bool(true == false))
    every = [r for rs in right.values() for r in rs]
    micro = float(np.mean(every))
    if protocol == "aro":
        kept = [rs for g, rs in right.items() if (len(rs) >= 25 if attribution else g != "biting")]
        accuracy = float(np.mean([np.mean(rs) for rs in kept]))
    else:
        accuracy = micro
    return {"accuracy": accuracy, "accuracy_micro": micro, "tie_rate": float(np.mean(ties))}


def brute_retrieval(plain: Plain, folder: Path) -> dict[str, float]:
    gallery = sorted((folder / "images").iterdir(), key=lambda f: f.name.encode())
    vectors = [plain.image(path) for path in gallery]
    agreement, recalls = defaultdict(list), defaultdict(list)
    for line in (folder / "queries.jsonl").read_text().splitlines():
        row = json.loads(line)
        tops = {}
        for side in ("query", "paraphrase"):
            scores = [float(v @ plain.text(row[side])) for v in vectors]
            order = sorted(range(len(gallery)), key=lambda i: (-scores[i], i))
            tops[side] = order[:10]
            if "image_id" in row:
                names = [gallery[i].name for i in order]
                for k in (1, 5, 10):
                    recalls[f"recall@{k}/{side}"].append(row["image_id"] in names[:k])
        a, b = tops["query"], tops["paraphrase"]
        shares = [len({*a[:d]} & {*b[:d]}) / d for d in range(1, 11)]
        for k in (1, 5, 10):
            agreement[f"ao@{k}"].append(np.mean(shares[:k]))
            agreement[f"js@{k}"].append(len({*a[:k]} & {*b[:k]}) / len({*a[:k]} | {*b[:k]}))
        # Rank-biased overlap: the agreement of depth 10 goes on below it.
        endless = [*shares, *[shares[-1]] * 500]
        agreement["rbo@10"].append(sum(0.1 * 0.9**i * share for i, share in enumerate(endless)))
    return {name: float(np.mean(each)) for name, each in (agreement | recalls).items()}


def brute_sugarcrepe(plain: Plain, folder: Path, protocol: str) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    ties = []
    for subset in compositional.SUGARCREPE:
        data = json.loads((folder / f"{subset}.json").read_text())
        for row in data.values() if isinstance(data, dict) else data:
            image = plain.image(folder / "images" / row["filename"])
            positive, negative = (
                float(image @ plain.text(row[k])) for k in ("caption", "negative_caption")
            )
            ties.append(positive == negative)
            right = positive > negative or (protocol == "mteb" and positive == negative)
            found.setdefault(subset, []).append(right)
    assert sum(ties) == len(found)
    micro = float(np.mean([right for part in found.values() for right in part]))
    means = {f"accuracy/{subset}": float(np.mean(part)) for subset, part in found.items()}
    accuracy = micro if protocol == "mteb" else float(np.mean(list(means.values())))
    ties_of_all = float(np.mean(ties))
    return {"accuracy": accuracy, "accuracy_micro": micro, **means, "tie_rate": ties_of_all}


def brute_winoground(plain: Plain, folder: Path, protocol: str) -> dict[str, float]:
    found = defaultdict(list)
    for line in (folder / "examples.jsonl").read_text().splitlines():
        row = json.loads(line)
        images = [plain.image(folder / "images" / f"{row[f'image_{i}']}.png") for i in (0, 1)]
        # The first of two equal files stands for both: one vector.
        if row["id"] == 2:
            images[1] = images[0]
        s = np.array([[float(plain.text(row[f"caption_{c}"]) @ i) for i in images] for c in (0, 1)])
        if protocol == "mteb":
            text = bool((s.argmax(axis=0) == [0, 1]).all())
            image = bool((s.argmax(axis=1) == [0, 1]).all())
        else:
            text = bool(s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1])
            image = bool(s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0])
        found["text"].append(text)
        found["image"].append(image)
        found["group"].append(text and image)
        found["tie_rate"].append(bool((s[0] == s[1]).any() or (s[:, 0] == s[:, 1]).any()))
    assert sum(found["tie_rate"]) == len(found["text"]) // 4 + 1
    return {name: float(np.mean(values)) for name, values in found.items()}


def brute_colorswap(plain: Plain, folder: Path) -> dict[str, float]:
    found = defaultdict(list)
    for row in json.loads((folder / "test.json").read_text()):
        one, two = (plain.image(folder / row[f"image_{i}"]) for i in (1, 2))
        two = one if row["id"] == 7 else two  # equal files are one vector
        first, second = (plain.text(row[f"caption_{i}"]) for i in (1, 2))
        s = [[float(image @ caption) for caption in (first, second)] for image in (one, two)]
        text = s[0][0] > s[0][1] and s[1][1] > s[1][0]
        image = s[0][0] > s[1][0] and s[1][1] > s[0][1]
        found["text"].append(text)
        found["image"].append(image)
        found["group"].append(text and image)
        found["tie_rate"].append(row["id"] == 7 or row["caption_1"] == row["caption_2"])
    return {name: float(np.mean(values)) for name, values in found.items()}


def brute_valse(plain: Plain, folder: Path) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    ties = []
    for instrument in compositional.VALSE:
        for item in json.loads((folder / f"{instrument}.json").read_text()).values():
            if item["mturk"]["caption"] >= 2:
                (path,) = (folder / "images").rglob(item["image_file"])
                image = plain.image(path)
                caption, foil = (float(image @ plain.text(item[k])) for k in ("caption", "foil"))
                found.setdefault(instrument, []).append(caption > foil)
                ties.append(caption == foil)
    assert sum(ties) == len(found) == 11
    means = {f"accuracy/{name}": float(np.mean(each)) for name, each in found.items()}
    micro = float(np.mean([right for each in found.values() for right in each]))
    accuracy = float(np.mean(list(means.values())))
    return {
        **{"accuracy": accuracy, "accuracy_micro": micro},
        **means,
        "tie_rate": float(np.mean(ties)),
    }


def brute_whatsup(plain: Plain, folder: Path) -> dict[str, float]:
    found, every, ties = {}, [], []
    for subset, file in compositional.SPATIAL.items():
        right: list[bool] = []
        sets: dict[tuple[str, ...], dict[str, bool]] = {}
        for row in json.loads((folder / file).read_text()):
            if isinstance(row, dict):
                path = folder / row["image_path"].removeprefix("data/")
                options = row["caption_options"]
            else:
                name = f"val2017/{row[0]:012}" if "coco" in file else f"vg_images/{row[0]}"
                path, options = folder / f"{name}.jpg", row[1:]
            scores = [float(plain.image(path) @ plain.text(option)) for option in options]
            right.append(int(np.argmax(scores)) == 0)
            ties.append(scores[0] == max(scores[1:]))
            if isinstance(row, dict):
                one, relation, *_, two = path.stem.split("_")
                sets.setdefault((one, two), {})[relation] = right[-1]
        every += right
        found[f"accuracy/{subset}"] = float(np.mean(right))
        if sets:
            pairs = [("left", "right")]
            pairs += [("on", "under") if subset.endswith("a") else ("in-front", "behind")]
            both = [each[x] and each[y] for each in sets.values() for x, y in pairs]
            found[f"pair_accuracy/{subset}"] = float(np.mean(both))
            found[f"set_accuracy/{subset}"] = float(
                np.mean([all(e.values()) for e in sets.values()])
            )
    assert sum(ties) == 4
    accuracy = float(np.mean([value for name, value in found.items() if name[0] == "a"]))
    means = {"accuracy": accuracy, "accuracy_micro": float(np.mean(every))}
    return {**means, **found, "tie_rate": float(np.mean(ties))}


def brute_negbench(plain: Plain, folder: Path) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    ties = []
    for subset, (file, images, _) in compositional.NEGBENCH.items():
        with (folder / file).open(newline="") as lines:
            for row in csv.DictReader(lines):
                image = plain.image(folder / images / row["image_path"].split("/")[-1])
                scores = [float(image @ plain.text(row[f"caption_{i}"])) for i in range(4)]
                true = scores.pop(int(row["correct_answer"]))
                ties.append(true == max(scores))
                for name in (subset, row["correct_answer_template"], "all"):
                    right[name].append(true > max(scores))
    assert any(ties)
    means = {name: float(np.mean(each)) for name, each in right.items()}
    return {
        "accuracy": (means["coco"] + means["voc2007"]) / 2,
        "accuracy_micro": means["all"],
        **{f"accuracy/{name}": means[name] for name in ("coco", "voc2007")},
        **{f"type_accuracy/{name}": means[name] for name in ("positive", "negative", "hybrid")},
        "tie_rate": float(np.mean(ties)),
    }


def brute_order(plain: Plain, folder: Path, protocol: str) -> dict[str, float]:
    right, ties = [], []
    for line in (folder / "cases.jsonl").read_text().splitlines():
        row = json.loads(line)
        image = plain.image(folder / "images" / row["image"])
        options = row["captions"]
        if protocol == "aro":
            options = [" ".join(re.sub(r"[.!]", " ", o).lower().split()[:30]) for o in options]
        scores = [float(image @ plain.text(option)) for option in options]
        right.append(int(np.argmax(scores)) == 0)
        ties.append(scores[0] == max(scores[1:]))
    return {"accuracy": float(np.mean(right)), "tie_rate": float(np.mean(ties))}


def brute_sugarcrepe_pp(plain: Plain, folder: Path, protocol: str) -> dict[str, float]:
    means, every = {}, []
    for subset in SUBSETS:
        right = []
        for row in json.loads((folder / f"{subset}.json").read_text()):
            one, two, negative = (
                plain.text(row[key]) for key in ("caption", "caption2", "negative_caption")
            )
            image = plain.image(folder / "images" / row["filename"])
            if protocol == "itt":
                right.append(min(image @ one, image @ two) > image @ negative)
            else:
                right.append(one @ two > max(one @ negative, two @ negative))
        means[f"accuracy/{subset}"] = float(np.mean(right))
        every += right
    accuracy = float(np.mean(list(means.values())))
    return {"accuracy": accuracy, "accuracy_micro": float(np.mean(every)), **means}


def brute_captions(plain: Plain, images: dict[Path, list[str]]) -> dict[str, float]:
    every = [(path, caption) for path, captions in images.items() for caption in captions]
    score = {
        (path, caption): float(plain.image(path) @ plain.text(caption))
        for path in images
        for _, caption in every
    }
    hits = defaultdict(list)
    for path, caption in every:
        order = sorted(images, key=lambda other, c=caption: -score[other, c])
        for k in (1, 5, 10):
            hits[f"text-to-image/recall@{k}"].append(path in order[:k])
    for path in images:
        order = sorted(every, key=lambda pair, p=path: -score[p, pair[1]])
        for k in (1, 5, 10):
            owners = [owner for owner, _ in order[:k]]
            hits[f"image-to-text/recall@{k}"].append(path in owners)
    recalls = {name: float(np.mean(found)) for name, found in hits.items()}
    return {"mean_recall": float(np.mean(list(recalls.values()))), **recalls}


def brute_classes(plain: Plain, folder: Path) -> dict[str, float]:
    lines = (folder / "templates.txt").read_text().replace("{c}", "{}").splitlines()
    vectors = {}
    for thing in sorted(THINGS):
        mean = np.mean([plain.text(line.replace("{}", thing)) for line in lines], axis=0)
        vectors[thing] = mean / np.linalg.norm(mean)
    top1, top5 = defaultdict(list), []
    for thing in vectors:
        for file in (folder / "images" / thing).iterdir():
            scores = {other: float(plain.image(file) @ vectors[other]) for other in vectors}
            order = sorted(vectors, key=lambda other, s=scores: -s[other])
            top1[thing].append(order[0] == thing)
            top5.append(thing in order[:5])
    return {
        "accuracy": float(np.mean([right for own in top1.values() for right in own])),
        "accuracy@5": float(np.mean(top5)),
        "accuracy_per_class": float(np.mean([np.mean(own) for own in top1.values()])),
    }


def brute_sts(plain: Plain, file: Path) -> dict[str, float]:
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    cosines = [float(plain.text(a) @ plain.text(b)) for _, a, b in rows]
    gold = [float(score) for score, *_ in rows]
    return {
        "spearman": float(spearmanr(np.round(cosines, 6), gold).statistic),
        "pearson": float(np.corrcoef(cosines, gold)[0, 1]),
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One text at a time is little work for two threads: on a busy machine they wait for each
    other, and a text takes five times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_task_equals_open_clip_alone(vit_b_32: Path, data: Path, tmp_path: Path) -> None:
    # These two groups have brute-force tests of their own, on other data.
    apart = {"paraphrase-sets", "cxc"}
    paper = [task for task in all_tasks()[0] if "paper" in task.suites]
    report = evaluate(
        [f"local-dir:{vit_b_32}"],
        [task.name for task in paper if not apart & {*task.group_names}],
        protocols=(
            *("aro", "mteb", "senteval", "tot", "itt", "sugarcrepe", "winoground", "templates"),
        ),
        data_dir=data,
        workspace=tmp_path,
        offline=True,
        quiet=True,
    )
    assert report.failures == []
    assert len(report.results) == 4 + 1 + 2 + 8 + 4 * 2 + 2 + 1 + 4
    plain = Plain(vit_b_32)
    for _, result in report.results:
        folder = data / result.task
        if result.task == "vg-relation":
            file = folder / "visual_genome_relation.json"
            expected = brute_aro(plain, file, result.protocol, attribution=False)
        elif result.task == "vg-attribution":
            file = folder / "visual_genome_attribution.json"
            expected = brute_aro(plain, file, result.protocol, attribution=True)
        elif result.task == "paraphrased-retrieval":
            expected = brute_retrieval(plain, folder)
        elif result.task == "sugarcrepe-pp":
            expected = brute_sugarcrepe_pp(plain, folder, result.protocol)
        elif result.task == "sugarcrepe":
            expected = brute_sugarcrepe(plain, folder, result.protocol)
        elif result.task == "winoground":
            expected = brute_winoground(plain, folder, result.protocol)
        elif result.task == "colorswap":
            expected = brute_colorswap(plain, folder)
        elif result.task == "whatsup":
            expected = brute_whatsup(plain, folder)
        elif result.task == "negbench":
            expected = brute_negbench(plain, folder)
        elif result.task == "valse":
            expected = brute_valse(plain, folder)
        elif result.task.endswith("-order"):
            expected = brute_order(plain, folder, result.protocol)
        elif result.task == "flickr30k-karpathy":
            rows = map(json.loads, (folder / "captions.jsonl").read_text().splitlines())
            own = {folder / "images" / row["image"]: row["captions"] for row in rows}
            expected = brute_captions(plain, own)
        elif result.task == "coco-karpathy":
            rows = json.loads((folder / "dataset_coco.json").read_text())["images"]
            own = {
                folder / "images" / row["filename"]: [s["raw"] for s in row["sentences"]]
                for row in rows
                if row["split"] == "test"
            }
            expected = brute_captions(plain, own)
        elif result.task == "zero-shot-classification":
            expected = brute_classes(plain, folder)
        else:
            name = "SICK-R.all" if result.protocol == "mteb" else result.task
            expected = brute_sts(plain, data / "sts" / f"{name}.tsv")
        ours = {name: score.value for name, score in result.scores.items()}
        assert ours == pytest.approx(expected, abs=1e-5), (result.task, result.protocol)
