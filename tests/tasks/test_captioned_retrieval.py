"""Zero-shot retrieval against loops: ties, copies of images and captions, intervals by image."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.inference import point
from paraclip_bench.metrics.metric import evaluate
from paraclip_bench.tasks.captioned_retrieval import CocoKarpathy, Flickr30kKarpathy

TASK = Flickr30kKarpathy()
Captions = dict[str, list[str]]


def place(root: Path, captions: Captions, task: str = TASK.name) -> FolderSource:
    """captions.jsonl and images whose content is the last digit of their name."""
    images = root / task / "images"
    images.mkdir(parents=True)
    for name in captions:
        (images / name).write_bytes(name.partition(".")[0][-1].encode())
    rows = [{"image": name, "captions": texts} for name, texts in captions.items()]
    (root / task / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return FolderSource(root)


@pytest.fixture
def captions() -> Captions:
    """37 images of ten contents, one to seven captions each, some of them equal."""
    rng = np.random.default_rng(1)
    return {
        f"{i:02}.png": [f"caption {rng.integers(60)}" for _ in range(rng.integers(1, 8))]
        for i in rng.permutation(37)
    }


def ranks(
    captions: Captions, text: Callable[[str], Any], image: Callable[[str], Any]
) -> tuple[list[list[int]], list[int]]:
    """The places of each caption's image, and of each image's best caption, by sorting."""
    names = list(captions)
    every = [(name, caption) for name in names for caption in captions[name]]
    dot = lambda name, caption: float(np.dot(image(name), text(caption)))  # noqa: E731
    of_captions, of_images = [], []
    for name in names:
        own = []
        for caption in captions[name]:
            order = sorted(names, key=lambda other, c=caption: -dot(other, c))
            own.append(order.index(name) + 1)
        of_captions.append(own)
        order = sorted(every, key=lambda pair, n=name: -dot(n, pair[1]))
        of_images.append(next(i for i, pair in enumerate(order, 1) if pair[0] == name))
    return of_captions, of_images


def scores_of(of_captions: list[list[int]], of_images: list[int]) -> dict[str, float]:
    flat = [rank for own in of_captions for rank in own]
    found = {
        f"{direction}/recall@{k}": float(np.mean([rank <= k for rank in places]))
        for direction, places in (("text-to-image", flat), ("image-to-text", of_images))
        for k in (1, 5, 10)
    }
    return {"mean_recall": float(np.mean(list(found.values()))), **found}


def test_against_loops(tmp_path: Path, captions: Captions, given: Callable[..., Any]) -> None:
    embed = given(of_image=lambda image: coarse_image(image.id))
    examples = TASK.load(place(tmp_path, captions), "karpathy")
    columns = {key: np.asarray(values) for key, values in TASK.outcomes(examples, embed).items()}
    of_captions, of_images = ranks(captions, embed.of_text, coarse_image)

    assert columns["example_id"].tolist() == list(captions)
    assert [row[row > 0].tolist() for row in columns["rank_text_to_image"]] == of_captions
    assert columns["rank_image_to_text"].tolist() == of_images
    expected = scores_of(of_captions, of_images)
    ours = {name: point(score, columns) for name, score in TASK.scores.items()}
    assert ours == pytest.approx(expected)
    assert list(ours) == list(expected)
    assert len(set(columns["cluster_id"])) == 10
    assert examples.notes == {"captions": sum(map(len, captions.values()))}


def coarse_image(name: str) -> list[float]:
    """One vector a content; whole numbers, so that every sum is exact."""
    return [float(v) for v in np.random.default_rng(int(name[1])).integers(-1, 2, size=4)]


def test_a_resample_draws_images_with_all_their_captions(
    tmp_path: Path, captions: Captions, given: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(3)
    vectors = {text: rng.normal(size=8) for own in captions.values() for text in own}
    examples = TASK.load(place(tmp_path, captions), "karpathy")
    pictures = {name: np.random.default_rng(int(name[1])).normal(size=8) for name in captions}
    embed = given(vectors.__getitem__, lambda image: pictures[image.id])
    columns = {key: np.asarray(values) for key, values in TASK.outcomes(examples, embed).items()}
    of_captions, of_images = ranks(captions, vectors.__getitem__, pictures.__getitem__)
    weights = rng.multinomial(len(captions), [1 / len(captions)] * len(captions), size=50)
    weights = weights[:, np.unique(columns["cluster_id"], return_inverse=True)[1]].astype(float)
    assert len({tuple(row) for row in weights}) > 10
    draws = {name: evaluate(score, columns, weights) for name, score in TASK.scores.items()}
    for index, row in enumerate(weights.astype(int)):
        drawn = [i for i, times in enumerate(row) for _ in range(times)]
        expected = scores_of([of_captions[i] for i in drawn], [of_images[i] for i in drawn])
        assert {name: values[index] for name, values in draws.items()} == pytest.approx(expected)


def karpathy(root: Path, entries: list[Any], task: Any = CocoKarpathy) -> FolderSource:
    folder = root / task.name
    (folder / "images/val2014").mkdir(parents=True, exist_ok=True)
    for name in ("images/val2014/a.jpg", "images/b.jpg", "images/c.jpg"):
        (folder / name).write_bytes(name.encode())
    (folder / task.annotation).write_text(json.dumps({"dataset": "x", "images": entries}))
    return FolderSource(root)


def entry(name: str, *captions: Any, split: str = "test", **more: Any) -> dict[str, Any]:
    sentences = [{"raw": caption, "tokens": str(caption).split()} for caption in captions]
    return {"filename": name, "split": split, "sentences": sentences, "imgid": 0, **more}


THREE = [
    entry("a.jpg", "one", "two", filepath="val2014"),
    entry("train.jpg", "not here", split="train"),
    entry("b.jpg", "three", "four", "five", filepath="val2014"),
    entry("rest.jpg", "not here", split="restval"),
    entry("c.jpg", " six\n"),
]


def test_karpathys_file_gives_its_test_part(tmp_path: Path) -> None:
    examples = CocoKarpathy().load(karpathy(tmp_path, THREE), "karpathy")
    assert [(row.image.id, row.captions) for row in examples] == [
        ("a.jpg", ("one", "two")),
        ("b.jpg", ("three", "four", "five")),
        ("c.jpg", (" six\n",)),
    ]
    images = tmp_path / "coco-karpathy/images"
    assert [row.image.path for row in examples] == [
        images / "val2014/a.jpg",
        images / "b.jpg",
        images / "c.jpg",
    ]
    assert examples.id == "folder:coco-karpathy/dataset_coco.json"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([*THREE[:4], entry("no.jpg", "x")], r"image 4: the image .*images/no\.jpg is missing"),
        (
            [*THREE, entry("d.jpg", "x", filepath="val2014")],
            r"image 5: the image .*val2014/d\.jpg and .*images/d\.jpg are both missing; put it",
        ),
        ([*THREE, THREE[2]], r"image 5: the image b\.jpg came before"),
        ([*THREE, entry("b.jpg")], r"image 5: the image b\.jpg has no captions"),
        ([*THREE, {**THREE[2], "sentences": None}], r"image 5: the image b\.jpg has no captions"),
        ([*THREE, entry("b.jpg", "x", " ")], r"image 5: a caption of the image b\.jpg is not a"),
        ([*THREE, entry("b.jpg", None)], r"a caption of the image b\.jpg is not a text"),
        ([*THREE, {"split": "test"}], r"image 5: there is no 'filename'"),
        ([THREE[1]], r"dataset_coco\.json has no image of the split 'test'"),
        (THREE[:2], r"dataset_coco\.json has one image, which nothing"),
        ({"a": 1}, r"dataset_coco\.json has no list 'images'"),
    ],
)
def test_what_is_wrong_in_karpathys_file(tmp_path: Path, entries: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CocoKarpathy().load(karpathy(tmp_path, entries), "karpathy")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "no.png", "captions": ["x"]}', r"line 4: the image .*no\.png is missing"),
        ('{"image": "00.png", "captions": ["x"]}', r"line 4: the image 00\.png came before"),
        ('{"image": "00.png", "captions": []}', r"line 4: the image 00\.png has no captions"),
        ('{"image": "00.png"}', r"line 4: the image 00\.png has no captions"),
        ('{"image": "00.png", "captions": "x"}', r"line 4: the image 00\.png has no captions"),
        ('{"image": "00.png", "captions": ["x", 3]}', r"line 4: a caption of the image 00\.png"),
        ('{"captions": ["x"]}', r"line 4: there is no 'image'"),
        ('{"image": "00.png", "capt', r"line 4: not valid JSON"),
    ],
)
def test_what_is_wrong_in_ones_own_file(tmp_path: Path, line: str, message: str) -> None:
    source = place(tmp_path, {f"0{i}.png": ["x"] for i in range(3)})
    with (tmp_path / TASK.name / "captions.jsonl").open("a") as file:
        file.write("\n" + line)
    with pytest.raises(DataError, match=message):
        TASK.load(source, "karpathy")


def test_files_that_are_missing_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no copy of Karpathy's split on the hub is pinned"):
        TASK.load(HubSource(), "karpathy")
    source = karpathy(tmp_path, THREE)
    (tmp_path / "coco-karpathy/captions.jsonl").write_text("")
    with pytest.raises(DataError, match=r"has both captions\.jsonl and dataset_coco\.json"):
        CocoKarpathy().load(source, "karpathy")
    (tmp_path / "coco-karpathy/dataset_coco.json").unlink()
    with pytest.raises(DataError, match=r"captions\.jsonl holds no images"):
        CocoKarpathy().load(source, "karpathy")
    (tmp_path / "coco-karpathy/captions.jsonl").unlink()
    with pytest.raises(DataError, match=r"neither dataset_coco\.json nor captions\.jsonl"):
        CocoKarpathy().load(source, "karpathy")
