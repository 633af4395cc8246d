"""The whole demo world as files, in the layout that real data use.

`build` writes everything below one folder: deterministic to the byte with one Pillow, in a few
seconds. It writes plain files; a caller that must not leave half a world builds into a temporary
folder and renames it. Raise WORLD_VERSION whenever a file's content changes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from random import Random

from paraclip_bench.demo import grammar, similarity_sets
from paraclip_bench.demo.grammar import LLM, DemoGrammar
from paraclip_bench.demo.render import Picture, render
from paraclip_bench.demo.scenes import DIRECTIONS, Scene, Thing, contents, sample
from paraclip_bench.paraphrasing.export import work_folder
from paraclip_bench.paraphrasing.job import make_job
from paraclip_bench.paraphrasing.paraphrase import paraphrase
from paraclip_bench.paraphrasing.service import Endpoint
from paraclip_bench.progress import Progress

WORLD_VERSION = "2"

_STS_PAIRS = 200
_STS_ALL_PAIRS = 300
_RELATION_IMAGES = 150
_RELATION_CASES = 400
_GALLERY = 300
_TRAIN = 2400
#: Pairs of colours whose attribute cases are numerous enough to be scored, 25 in each order.
_COLOUR_PAIRS = (("red", "blue"), ("green", "yellow"), ("black", "white"))
_PER_COLOUR_PAIR = 50


def build(root: Path) -> None:
    """Write the demo world below `root`, which is made where it is missing.

    Raises OSError where a file cannot be written. The folders are `sts`, `vg-relation`,
    `vg-attribution`, `paraphrased-retrieval` and `train`.
    """
    root = Path(root)
    _sts(root / "sts")
    _relation(root / "vg-relation")
    _attribution(root / "vg-attribution")
    _retrieval(root / "paraphrased-retrieval")
    _train(root / "train")


def _sts(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in similarity_sets.NAMES:
        _tsv(folder / f"{name}.tsv", similarity_sets.pairs(name, _STS_PAIRS))
    _tsv(folder / "SICK-R.all.tsv", similarity_sets.pairs("SICK-R", _STS_ALL_PAIRS))


def _tsv(path: Path, pairs: Iterable[similarity_sets.DemoPair]) -> None:
    lines = ["score\tsentence1\tsentence2\tsubset"]
    lines += [f"{p.score:g}\t{p.sentence1}\t{p.sentence2}\t{p.subset}" for p in pairs]
    _write(path, "\n".join(lines) + "\n")


def _relation(folder: Path) -> None:
    images = _images(folder)
    rng = Random("vg-relation")
    cases = []
    for number, scene in enumerate(sample("test", _RELATION_IMAGES, seed=1)):
        picture, name = render(scene), f"{number:05d}.png"
        picture.image.save(images / name)
        # A scene can be told in both directions and in three degrees of detail.
        tellings = [(turned, detail) for turned in (False, True) for detail in range(3)]
        for turned, detail in rng.sample(tellings, 3 if number % 3 else 2):
            cases.append(_relation_case(scene, picture, number, name, turned, detail))
    _json(folder / "visual_genome_relation.json", cases[:_RELATION_CASES])


def _relation_case(
    scene: Scene, picture: Picture, number: int, name: str, turned: bool, detail: int
) -> dict[str, object]:
    told = scene.content
    first, second = (_less(thing, detail) for thing in (told.first, told.second))
    if turned:
        first, second = second, first
    direction = next(key for key, value in DIRECTIONS.items() if value == (told.relation, turned))
    return {
        "image_id": number,
        "image_path": name,
        **_bbox(picture),
        "true_caption": grammar.plain(first, second, direction),
        "false_caption": grammar.plain(second, first, direction),
        "relation_name": grammar.DIRECTION_WORDS[direction][0],
    }


def _less(thing: Thing, detail: int) -> Thing:
    """Return a thing told in less detail: 0 the shape alone, 1 with the colour, 2 all of it."""
    return Thing(thing.size if detail > 1 else "", thing.colour if detail else "", thing.shape)


def _attribution(folder: Path) -> None:
    images = _images(folder)
    rng = Random("vg-attribution")
    cases: list[dict[str, object]] = []
    number = 0
    for colours in _COLOUR_PAIRS:
        pool = [c for c in contents("test") if {c.first.colour, c.second.colour} == set(colours)]
        for index, meaning in enumerate(rng.sample(pool, _PER_COLOUR_PAIR)):
            picture, name = render(Scene(meaning, rng.randrange(2**31))), f"{number:05d}.png"
            picture.image.save(images / name)
            # Half of the images name the pair in one order, half in the other.
            x, y = meaning.first, meaning.second
            if (x.colour == colours[0]) != (index % 2 == 0):
                x, y = y, x
            tellings = [(x.colour, x, y.colour, y)]
            if x.size != y.size:
                tellings.append((x.size, x, y.size, y))
                tellings.append((y.size, y, x.colour, x))
            tellings.append((x.size, x, y.colour, y))
            for one, left, two, right in tellings:
                cases.append(_attribution_case(picture, number, name, (one, left), (two, right)))
            number += 1
    _json(folder / "visual_genome_attribution.json", cases)


def _attribution_case(
    picture: Picture, number: int, name: str, one: tuple[str, Thing], two: tuple[str, Thing]
) -> dict[str, object]:
    (x, left), (y, right) = one, two
    return {
        "image_id": number,
        "obj1_name": left.shape,
        "obj2_name": right.shape,
        **_bbox(picture),
        "true_caption": f"the {x} {left.shape} and the {y} {right.shape}",
        "false_caption": f"the {y} {left.shape} and the {x} {right.shape}",
        "attributes": [x, y],
        "image_path": name,
    }


def _retrieval(folder: Path) -> None:
    images = _images(folder)
    lines = []
    for number, scene in enumerate(sample("test", _GALLERY, seed=2)):
        name = f"{number:05d}.png"
        render(scene).image.save(images / name)
        query = grammar.caption(scene, number, full=True)
        paraphrase = grammar.step1(query, number, "test")
        # Half of the paraphrases stay close to the query's words, half avoid them.
        if number % 2:
            paraphrase = grammar.step2(paraphrase, number, "test")
        lines.append({"query": query, "paraphrase": paraphrase, "image_id": name})
    _jsonl(folder / "queries.jsonl", lines)


def _train(folder: Path) -> None:
    images = _images(folder)
    lines = []
    for number, scene in enumerate(sample("train", _TRAIN, seed=3)):
        name = f"{number:05d}.png"
        render(scene).image.save(images / name)
        lines.append(
            {"id": f"{number:05d}", "image": name, "caption": grammar.caption(scene, number)}
        )
    _jsonl(folder / "captions.jsonl", lines)
    _pairs(folder)


def _pairs(folder: Path) -> None:
    """Paraphrase the training captions as a user would, with the grammar in an LLM's place."""
    pairs = folder / "pairs.jsonl"
    job = make_job(folder / "captions.jsonl", pairs, llm=LLM, sampling={}, service=DemoGrammar())
    paraphrase(job, Endpoint(), Progress(quiet=True))
    shutil.rmtree(work_folder(pairs))


def _bbox(picture: Picture) -> dict[str, int]:
    left, top, right, bottom = picture.box()
    return {"bbox_x": left, "bbox_y": top, "bbox_w": right - left, "bbox_h": bottom - top}


def _images(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    return images


def _json(path: Path, rows: list[dict[str, object]]) -> None:
    _write(path, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def _jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    # Bytes, so that no platform turns the line ends.
    path.write_bytes(text.encode("utf-8"))
