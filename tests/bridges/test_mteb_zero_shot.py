"""mteb's own zero-shot classification and retrieval find what `run` finds, ties left aside.

Of equal scores mteb's retrieval puts the greater id first, ours the lower place. Its recall of
image-to-text is the share of an image's captions that were found; ours is mteb's hit rate.
"""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.api import evaluate

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def spec(tmp_path: Path, own_store: Path) -> str:
    return f"local-dir:{tiny_clip.save(tmp_path / 'clip')}"


def draw(file: Path, rng: np.random.Generator) -> None:
    """Rough noise: images that a random network tells apart."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 30)).save(file)


def ours(spec: str, task: str, root: Path) -> dict[str, float]:
    report = evaluate(spec, task, data_dir=root, workspace=root.parent, offline=True, quiet=True)
    ((_, result),) = report.results
    return {name: score.value for name, score in result.scores.items()}


def theirs(spec: str, name: str, dataset: Any) -> dict[str, float]:
    import mteb

    from paraclip_bench.bridges.mteb import MtebEncoder

    task = mteb.get_task(name)
    task.dataset, task.data_loaded = dataset, True
    task.load_data = lambda **_: None
    found = mteb.evaluate(
        MtebEncoder(spec), task, co2_tracker=False, cache=None, show_progress_bar=False
    )
    ((scores,),) = found.task_results[0].scores.values()
    return scores


def test_classification(spec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = ["bird", "cat", "deer", "dog", "truck"]
    files, targets = [], []
    for target, label in enumerate(labels):
        for number in range(8 + 4 * target):
            path = tmp_path / "data/zero-shot-classification/images" / label / f"{number:02}.png"
            draw(path, rng)
            files.append(str(path))
            targets.append(target)
    rows = datasets.Dataset.from_dict({"image": files, "label": targets})
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=labels)}
    rows = rows.cast(datasets.Features(features))
    # STL-10 has the prompt "a photo of a {}.", as ours is by default.
    found = theirs(spec, "STL10ZeroShot", {"test": rows})
    scores = ours(spec, "zero-shot-classification", tmp_path / "data")
    assert 0 < scores["accuracy"] < 1
    assert scores["accuracy"] == pytest.approx(found["accuracy"], abs=1e-6)
    assert scores["accuracy_per_class"] == pytest.approx(found["recall"], abs=1e-6)


def test_retrieval(spec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = ["dog", "cat", "ball", "box", "tree", "car", "red", "blue", "big", "old"]
    folder = tmp_path / "data/flickr30k-karpathy"
    captions, number = {}, 0
    for image in range(40):
        name = f"{image:02}.png"
        draw(folder / "images" / name, rng)
        texts = []
        for _ in range(5):
            texts.append(f"{number} " + " ".join(rng.choice(words, 4)))
            number += 1
        captions[name] = texts
    lines = (json.dumps({"image": name, "captions": own}) for name, own in captions.items())
    (folder / "captions.jsonl").write_text("\n".join(lines))
    scores = ours(spec, "flickr30k-karpathy", tmp_path / "data")

    images = datasets.Dataset.from_dict(
        {"id": list(captions), "image": [str(folder / "images" / name) for name in captions]}
    ).cast_column("image", datasets.Image())
    owner = {text.split()[0]: name for name, own in captions.items() for text in own}
    texts = datasets.Dataset.from_dict(
        {"id": list(owner), "text": [text for own in captions.values() for text in own]}
    )
    of_captions = {id: {name: 1} for id, name in owner.items()}
    of_images = {name: {text.split()[0]: 1 for text in own} for name, own in captions.items()}
    forward = {"queries": texts, "corpus": images, "relevant_docs": of_captions}
    backward = {"queries": images, "corpus": texts, "relevant_docs": of_images}
    to_image, to_text = (
        theirs(spec, name, {"default": {"test": {**parts, "top_ranked": None}}})
        for name, parts in (("Flickr30kT2IRetrieval", forward), ("Flickr30kI2TRetrieval", backward))
    )
    for k in (1, 5, 10):
        # mteb rounds to five digits, which is exact for multiples of 1/200.
        assert scores[f"text-to-image/recall@{k}"] == pytest.approx(
            to_image[f"recall_at_{k}"], abs=1e-6
        )
        assert scores[f"image-to-text/recall@{k}"] == pytest.approx(
            to_text[f"hit_rate_at_{k}"], abs=1e-6
        )
    assert 0 < scores["text-to-image/recall@10"] < 1
    assert scores["image-to-text/recall@10"] > to_text["recall_at_10"]
