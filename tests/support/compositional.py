"""Generated data of SugarCrepe, Winoground and the order tasks: folders, and the hub's columns."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rows = list[dict[str, Any]]
SUGARCREPE = tuple(
    f"{how}_{what}"
    for how, what in [
        *(("add", w) for w in ("obj", "att")),
        *(("replace", w) for w in ("obj", "att", "rel")),
        *(("swap", w) for w in ("obj", "att")),
    ]
)
THINGS = ("cat", "dog", "cup", "tree", "car", "house")
VALSE = {
    "existence": ("visual7w", "v7w_{}.jpg"),
    "plurals": ("coco2017", "{:012}.jpg"),
    "counting-hard": ("visual7w", "v7w_{}.jpg"),
    "counting-small-quant": ("visual7w", "v7w_{}.jpg"),
    "counting-adversarial": ("visual7w", "v7w_{}.jpg"),
    "relations": ("coco_2017", "{:012}.jpg"),
    "action-replacement": ("SWiG", "exercising_{}.jpg"),
    "actant-swap": ("SWiG", "exercising_{}.jpg"),
    "coreference-standard": ("VisDial_v1.0", "VisualDialog_val2018_{:012}.jpg"),
    "coreference-hard": ("VisDial_v1.0", "VisualDialog_val2018_{:012}.jpg"),
    "foil-it": ("FOIL dataset", "COCO_val2014_{:012}.jpg"),
}
"""The instruments, each with the `dataset` of its items and the names of their images."""
ORDER_COLUMNS = ("correct_caption", "hard_text_1", "hard_text_2", "hard_text_3", "hard_text_4")


def draw(folder: Path, names: list[str], rng: np.random.Generator) -> None:
    """Coloured noise of 70x60 pixels under each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((70, 60)).save(folder / name)


def sugarcrepe(
    root: Path, rng: np.random.Generator, count: int = 8, *, ties: bool = True
) -> dict[str, Rows]:
    """The authors' files (swap_att as a list), each with one tie; subsets grow by a case."""
    folder = root / "sugarcrepe"
    names = [f"{i:012}.jpg" for i in range(5)]
    draw(folder / "images", names, rng)
    subsets = {}
    for more, subset in enumerate(SUGARCREPE):
        rows = [
            {
                "filename": str(rng.choice(names)),
                "caption": f"a {rng.choice(THINGS)} near a {rng.choice(THINGS)}",
                "negative_caption": f"a {rng.choice(THINGS)} on a {rng.choice(THINGS)}",
            }
            for _ in range(count + more)
        ]
        if ties:
            rows[1]["negative_caption"] = rows[1]["caption"]
        subsets[subset] = rows
        whole = rows if subset == "swap_att" else {str(i): row for i, row in enumerate(rows)}
        (folder / f"{subset}.json").write_text(json.dumps(whole))
    return subsets


def valse(
    root: Path, rng: np.random.Generator, count: int = 6, *, ties: bool = True
) -> dict[str, dict[str, dict[str, Any]]]:
    """The authors' files with the fields that all of them have; instruments grow by an item.

    Every fourth item is not valid, and of each instrument one is a tie. Images of SWiG and of
    visual7w lie in a folder for each, the others in images/ itself.
    """
    folder = root / "valse"
    apart = {"SWiG", "visual7w"}
    for dataset, name in {*VALSE.values()}:
        place = folder / "images" / (dataset if dataset in apart else "")
        draw(place, [name.format(i) for i in range(4)], rng)
    instruments = {}
    for more, (instrument, (dataset, name)) in enumerate(VALSE.items()):
        items = {
            f"{instrument}_test_{i}": {
                "dataset": dataset,
                "original_split": "test",
                "image_file": name.format(rng.integers(4)),
                "caption": f"There are {i} {rng.choice(THINGS)}s near a {rng.choice(THINGS)}.",
                "classes": i,
                "mturk": {"foil": 0, "caption": 1 if i % 4 == 3 else 2 + i % 2, "other": 0},
                "foil": f"There are no {rng.choice(THINGS)}s near a {rng.choice(THINGS)}.",
            }
            for i in range(count + more)
        }
        if ties:
            first = items[f"{instrument}_test_0"]
            first["foil"] = first["caption"]
        (folder / f"{instrument}.json").write_text(json.dumps(items))
        instruments[instrument] = items
    return instruments


def winoground(root: Path, rng: np.random.Generator, count: int = 24, *, ties: bool = True) -> Rows:
    """The authors' examples.jsonl; every fourth has equal captions, and one equal images."""
    folder = root / "winoground"
    rows = []
    for i in range(count):
        one, two = rng.choice(THINGS, 2, replace=False)
        rows.append(
            {
                "id": i,
                "image_0": f"ex_{i}_img_0",
                "image_1": f"ex_{i}_img_1",
                "caption_0": f"{one} over {two}",
                "caption_1": f"{one} over {two}" if ties and i % 4 == 3 else f"{two} over {one}",
                "tag": ("Noun", "Verb-Transitive", "Adjective-Color")[i % 3],
                "secondary_tag": "Symbolic" if i % 5 == 0 else "",
                "num_main_preds": 1 + i % 2,
                "collapsed_tag": ("Object", "Relation", "Both")[i % 3],
            }
        )
    draw(folder / "images", [f"{r[k]}.png" for r in rows for k in ("image_0", "image_1")], rng)
    first, second = (folder / "images" / f"ex_2_img_{k}.png" for k in (0, 1))
    if ties:
        second.write_bytes(first.read_bytes())
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "examples.jsonl").write_text(text)
    return rows


def colorswap(root: Path, rng: np.random.Generator, count: int = 24, *, ties: bool = True) -> Rows:
    """The authors' test.json; every fourth has equal captions, and one equal images."""
    folder = root / "colorswap"
    rows = []
    for i in range(count):
        one, two = rng.choice(THINGS, 2, replace=False)
        captions = [f"a {c} {one} and a {d} {two}" for c, d in (("red", "blue"), ("blue", "red"))]
        rows.append(
            {
                "id": 3 * i + 1,
                "caption_1": captions[0],
                "caption_2": captions[0] if ties and i % 4 == 3 else captions[1],
                "image_1": f"images/img_{3 * i + 1}_1.png",
                "image_2": f"images/img_{3 * i + 1}_2.png",
                "image_source": ("midjourney", "stable_diffusion", "dalle")[i % 3],
                "caption_source": ("human", "template")[i % 2],
            }
        )
    draw(folder / "images", [Path(r[k]).name for r in rows for k in ("image_1", "image_2")], rng)
    first, second = (folder / f"images/img_7_{k}.png" for k in (1, 2))
    if ties:
        second.write_bytes(first.read_bytes())
    (folder / "test.json").write_text(json.dumps(rows))
    return rows


def order(
    root: Path, name: str, rng: np.random.Generator, count: int = 25, *, ties: bool = True
) -> Rows:
    """cases.jsonl of captions with marks, capitals and up to 40 words; every fifth is a tie."""
    folder = root / name
    names = [f"{i}.jpg" for i in range(6)]
    draw(folder / "images", names, rng)
    rows = []
    for i in range(count):
        words = [str(word) for word in rng.choice(THINGS, 40 if i % 7 == 0 else 6)]
        options = [" ".join(words).capitalize() + "."]
        options += [" ".join(rng.permutation(words)) + " ." for _ in range(4)]
        if ties and i % 5 == 0:
            # The same once it is cleaned.
            options[3] = options[0].lower().replace(".", " !")
        rows.append({"image": str(rng.choice(names)), "captions": options})
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


NEGBENCH = {
    "coco": ("COCO_val_mcq_llama3.1_rephrased.csv", "val2017", "{:012}.jpg"),
    "voc2007": ("VOC2007_mcq_llama3.1_rephrased.csv", "JPEGImages", "{:06}.jpg"),
}
"""The authors' files, the folders of their images, and the images' names."""


def negbench(
    root: Path, rng: np.random.Generator, count: int = 9, *, ties: bool = True
) -> dict[str, list[dict[str, str]]]:
    """The authors' two files, columns in the order of one and of the other; one more in VOC2007.

    The true caption is the first, but for every fifth question. Every fourth has a tie.
    """
    folder = root / "negbench"
    subsets = {}
    for more, (subset, (file, place, name)) in enumerate(NEGBENCH.items()):
        draw(folder / place, [name.format(i) for i in range(5)], rng)
        rows = []
        for i in range(count + more):
            a, b, absent = rng.choice(THINGS, 3, replace=False)
            true = {
                "positive": f"This image shows a {a} and a {b}, {i}",
                "negative": f"A {absent}, of all things, is not here {i}",
                "hybrid": f"This image features a {b}, but no {absent} {i}",
            }
            kind = (*true,)[i % 3]
            false = [f"A {absent}, but no {b} {i}", f'A "{absent}" {i}', f"There is no {a} {i}"]
            answer = 2 if i % 5 == 4 else 0
            captions = [*false[:answer], true[kind], *false[answer:]]
            if ties and i % 4 == 1:
                captions[3] = captions[answer]
            row = {
                "image_path": f"data/{subset}/images/{name.format(rng.integers(5))}",
                "correct_answer": str(answer),
                **{f"caption_{j}": caption for j, caption in enumerate(captions)},
                "correct_answer_template": kind,
            }
            rows.append(row)
        keys = [*rows[0]][more:] + [*rows[0]][:more]
        with (folder / file).open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, keys)
            writer.writeheader()
            writer.writerows(rows)
        subsets[subset] = rows
    return subsets


def stored(path: Path) -> dict[str, Any]:
    """An image as an undecoded cell of the hub's data sets."""
    return {"bytes": path.read_bytes(), "path": None}


def sugarcrepe_columns(root: Path, subsets: dict[str, Rows]) -> dict[str, list[Any]]:
    """Columns of mteb's copy, with one that names the subset."""
    rows = [(subset, row) for subset, part in subsets.items() for row in part]
    return {
        "images": [stored(root / "sugarcrepe" / "images" / r["filename"]) for _, r in rows],
        "kind": [subset for subset, _ in rows],
        "caption": [row["caption"] for _, row in rows],
        "negative_caption": [row["negative_caption"] for _, row in rows],
    }


def winoground_columns(root: Path, rows: Rows) -> dict[str, list[Any]]:
    """Columns of the authors' copy."""
    images = root / "winoground" / "images"
    columns: dict[str, list[Any]] = {key: [row[key] for row in rows] for key in rows[0]}
    for key in ("image_0", "image_1"):
        columns[key] = [stored(images / f"{row[key]}.png") for row in rows]
    return columns


def order_columns(root: Path, name: str, rows: Rows) -> dict[str, list[Any]]:
    """Columns of mteb's copies."""
    images = root / name / "images"
    options = {key: [row["captions"][k] for row in rows] for k, key in enumerate(ORDER_COLUMNS)}
    return {"images": [stored(images / row["image"]) for row in rows], **options}


RELATIONS = {
    "controlled_a": ("left_of", "right_of", "on", "under"),
    "controlled_b": ("left_of", "right_of", "in-front_of", "behind"),
}
SPATIAL = {
    "controlled_a": "controlled_images_dataset.json",
    "controlled_b": "controlled_clevr_dataset.json",
    **{f"coco_{n}": f"coco_qa_{n}_obj.json" for n in ("one", "two")},
    **{f"gqa_{n}": f"vg_qa_{n}_obj.json" for n in ("one", "two")},
}


def whatsup(
    root: Path, rng: np.random.Generator, count: int = 5, *, ties: bool = True
) -> dict[str, list[Any]]:
    """The authors' six files and folders: `count` sets in A, one more in B, mixed up in the file.

    `ties`: the first case of the other four subsets has equal captions.
    """
    folder = root / "whatsup"
    subsets: dict[str, list[Any]] = {}
    for more, subset in enumerate(RELATIONS):
        place = SPATIAL[subset].removesuffix("_dataset.json")
        rows = []
        for number in range(count + more):
            one, two = f"{rng.choice(THINGS)}-{number}", f"{rng.choice(THINGS)}-x{number}"
            said = {
                relation: f"A {one} {_SAID[relation]} a {two}" for relation in RELATIONS[subset]
            }
            for relation, caption in said.items():
                false = [other for other in said.values() if other != caption]
                name = f"{place}/{one}_{relation}_{two}.jpeg"
                options = [caption, *(false[i] for i in rng.permutation(3))]
                rows.append({"image_path": f"data/{name}", "caption_options": options})
        draw(folder / place, [row["image_path"].split("/")[-1] for row in rows], rng)
        subsets[subset] = [rows[i] for i in rng.permutation(len(rows))]
    draw(folder / "val2017", [f"{i:012}.jpg" for i in range(4)], rng)
    draw(folder / "vg_images", [f"{i}.jpg" for i in range(4)], rng)
    for more, subset in enumerate(("coco_one", "coco_two", "gqa_one", "gqa_two")):
        rows = []
        for i in range(count + 2 + more):
            thing, other = rng.choice(THINGS, 2, replace=False)
            sides = ["left", "right"] if i % 2 else ["right", "left"]
            said = [f"A photo of a {thing} on the {side}" for side in sides]
            if subset.endswith("two"):
                said = [f"A photo of a {thing} to the {side} of a {other}" for side in sides]
            rows.append([int(rng.integers(4)), *said])
        if ties:
            rows[0][2] = rows[0][1]
        subsets[subset] = rows
    for subset, rows in subsets.items():
        (folder / SPATIAL[subset]).write_text(json.dumps(rows))
    return subsets


_SAID = {
    "left_of": "to the left of",
    "right_of": "to the right of",
    "on": "on",
    "under": "under",
    "in-front_of": "in front of",
    "behind": "behind",
}
