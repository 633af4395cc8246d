"""Zero-shot classification against loops and against open_clip's own classifier."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, ModelError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import Estimate, estimate, point
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.zero_shot_classification import (
    ZeroShotClassification,
    class_vectors,
    fill,
)

TASK = ZeroShotClassification()
CLASSES = ["red_fox", "Arctic fox", "cat", "dog", "wolf", "hyena", "jackal", "Zebra"]
NAMED = {label: label for label in CLASSES}


def place(root: Path, counts: dict[str, int], folder: str = "images") -> FolderSource:
    for label, count in counts.items():
        own = root / TASK.name / folder / label
        own.mkdir(parents=True)
        for number in range(count):
            (own / f"{number}.JPEG").write_bytes(f"{label}{number % 5}".encode())
    return FolderSource(root)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return place(tmp_path, {label: 3 + 2 * index for index, label in enumerate(CLASSES)})


def write(source: FolderSource, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (source.root / TASK.name / name).write_text(text)


def prompts(source: FolderSource, protocol: str = "templates") -> dict[str, tuple[str, ...]]:
    return {c.label: c.prompts for c in TASK.load(source, protocol).shared}


@pytest.mark.parametrize("templates", [1, 3])
def test_against_loops(source: FolderSource, given: Callable[..., Any], templates: int) -> None:
    if templates > 1:
        write(source, "templates.txt", "a photo of a {}.\n\n  art of the {c}\n{} and {}\n")
    # Two names, one that is another class's too, and two classes of one name.
    names = {label: label.lower() for label in CLASSES}
    names |= {"wolf": ["wolf", "grey wolf"], "jackal": "cat", "dog": ["dog", "cat"]}
    write(source, "classes.json", names)
    examples = TASK.load(source, "templates")
    embed = given()
    columns = {key: np.asarray(values) for key, values in TASK.outcomes(examples, embed).items()}

    labels = sorted(CLASSES)  # capitals first, as bytes are
    vectors = {}
    for label in labels:
        own = names[label] if isinstance(names[label], list) else [names[label]]
        every = []
        for name in own:
            every.append(f"a photo of a {name}.")
            if templates > 1:
                every += [f"art of the {name}", f"{name} and {name}"]
        mean = np.mean([embed.of_text(text) for text in every], axis=0)
        vectors[label] = (mean / np.linalg.norm(mean)).astype(np.float32)
    top1, top5, tied = {label: [] for label in labels}, [], 0
    for number, row in enumerate(examples):
        image = np.array(embed.of_image(row.image), dtype=np.float32)
        scores = {label: float(image @ vectors[label]) for label in labels}
        order = sorted(labels, key=lambda label, s=scores: -s[label])
        tied += sum(score == scores[row.label] for score in scores.values()) > 1
        top1[row.label].append(order[0] == row.label)
        top5.append(row.label in order[:5])
        assert columns["predicted"][number] == order[0]
        assert columns["rank"][number] == order.index(row.label) + 1
    assert tied > 5
    every = [right for own in top1.values() for right in own]
    assert len(every) == sum(3 + 2 * index for index in range(8))
    assert {name: point(score, columns) for name, score in TASK.scores.items()} == pytest.approx(
        {
            "accuracy": np.mean(every),
            "accuracy@5": np.mean(top5),
            "accuracy_per_class": np.mean([np.mean(own) for own in top1.values()]),
        }
    )
    assert 0 < np.mean(every) < np.mean(top5) < 1
    parts = details(TASK, columns)["label"]
    assert {part.name: (part.n, part.scores["accuracy"].value) for part in parts} == {
        label: (len(own), pytest.approx(np.mean(own))) for label, own in top1.items()
    }
    # Images of one content are one cluster.
    assert len(set(columns["cluster_id"])) == 3 + 5 * 7
    assert examples.notes == {
        "classes": 8,
        "class_names": "classes.json",
        "templates": "templates.txt" if templates > 1 else "default",
        "templates_count": templates,
    }


def test_folders_name_their_classes_and_val_will_do(tmp_path: Path) -> None:
    source = place(tmp_path, {"red_fox": 1, "Wolf": 2}, "val")
    (tmp_path / TASK.name / "val/.cache").mkdir()
    (tmp_path / TASK.name / "val/README.txt").write_text("no class")
    (tmp_path / TASK.name / "val/Wolf/.hidden.jpg").write_text("no image")
    (tmp_path / TASK.name / "val/Wolf/notes.txt").write_text("no image")
    assert prompts(source) == {
        "Wolf": ("a photo of a Wolf.",),
        "red_fox": ("a photo of a red fox.",),
    }
    rows = TASK.load(source, "templates")
    assert [(row.image.id, row.label) for row in rows] == [
        ("Wolf/0.JPEG", "Wolf"),
        ("Wolf/1.JPEG", "Wolf"),
        ("red_fox/0.JPEG", "red_fox"),
    ]


def test_another_prompt_is_another_data_set(source: FolderSource) -> None:
    digests = {examples_sha256(TASK.load(source, protocol)) for protocol in TASK.protocols}
    write(source, "templates.txt", "a photo of the {}.")
    digests.add(examples_sha256(TASK.load(source, "templates")))
    write(source, "classes.json", {label: label[::-1] for label in CLASSES})
    digests.add(examples_sha256(TASK.load(source, "templates")))
    assert len(digests) == 4


def test_imagenets_folders_have_open_clips_names(tmp_path: Path) -> None:
    import open_clip

    # Wnids between the first and the last are made up; their order is what counts.
    labels = ["n01440764", *(f"n02{number:06}" for number in range(998)), "n15075141"]
    found = prompts(place(tmp_path, dict.fromkeys(labels, 1)), "openai-80")
    assert list(found) == labels
    assert found["n01440764"][0] == "a bad photo of a tench."
    assert found["n15075141"][-1] == open_clip.OPENAI_IMAGENET_TEMPLATES[-1]("toilet paper")
    assert [
        own[-1] == open_clip.OPENAI_IMAGENET_TEMPLATES[-1](name)
        for own, name in zip(found.values(), open_clip.IMAGENET_CLASSNAMES, strict=True)
    ] == [True] * 1000
    assert {len(own) for own in found.values()} == {80}


def test_class_vectors_are_open_clips(tmp_path: Path) -> None:
    import open_clip
    import tiny_clip

    model = tiny_clip.build()
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=16)
    names = ["tench", "goldfish", "great white shark"]
    theirs = open_clip.build_zero_shot_classifier(
        model, tokenizer, names, open_clip.OPENAI_IMAGENET_TEMPLATES
    ).T.numpy()
    found = prompts(place(tmp_path, dict.fromkeys(names, 1)), "openai-80")

    class Plain:
        def texts(self, texts: list[str]) -> np.ndarray:
            import torch

            with torch.no_grad():
                return model.encode_text(tokenizer(texts), normalize=True).numpy()

    ours = class_vectors([found[name] for name in names], Plain())
    assert np.abs(ours - theirs).max() < 1e-6
    assert np.abs(ours[0] - ours[1]).max() > 1e-3


def test_prompts_that_cancel_out(given: Callable[..., Any]) -> None:
    for rest in (0.0, 1e-7, 1e-4):
        embed = given(lambda text, rest=rest: [1.0, rest] if text == "a" else [-1.0, rest])
        with pytest.raises(ModelError, match=r"a class \('a' and so on\) cancel out"):
            class_vectors([["a", "b"]], embed)


@pytest.mark.parametrize("count", [5, 6])
def test_five_guesses_at_five_classes_say_nothing(
    tmp_path: Path, given: Callable[..., Any], count: int
) -> None:
    source = place(tmp_path, dict.fromkeys(CLASSES[:count], 4))
    raw = TASK.outcomes(TASK.load(source, "templates"), given())
    columns = {key: np.asarray(values) for key, values in raw.items()}
    found = estimate(TASK.scores["accuracy@5"], columns)
    if count == 5:
        assert found == Estimate(None, None, None)
    else:
        assert found.value == pytest.approx(np.mean(columns["rank"] <= 5)) != 1
        assert found.low < found.value


def test_a_limit_takes_from_every_class(source: FolderSource) -> None:
    whole = list(read_examples(TASK, source, "templates", None))
    for n in (1, 8, 11, 30, 1000):
        taken = list(read_examples(TASK, source, "templates", n))
        assert taken == [row for row in whole if row in taken]
        assert len(taken) == min(n, len(whole))
        counts = Counter(row.label for row in taken)
        most = max(counts.values())
        # Of a class that has fewer than another, nothing more is left, or its turn is to come.
        for label in CLASSES:
            assert counts[label] >= min(most - 1, sum(row.label == label for row in whole))


@each(st.text(alphabet="ab{}c ", max_size=12), st.text(alphabet="x{}c", max_size=4))
def test_a_template_is_filled_as_two_replacements_fill_it(template: str, name: str) -> None:
    mark = "\0"
    expected = template.replace("{}", mark).replace("{c}", mark).replace(mark, name)
    assert fill(template, name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("templates.txt", "a {}\na photo\n", r"templates\.txt, line 2: the template 'a photo' has"),
        ("templates.txt", "\n\n", r"templates\.txt holds no templates"),
        ("classes.json", {"cat": "cat"}, r"classes\.json has no name for the class folder Arctic"),
        (
            "classes.json",
            {**NAMED, "yak": "yak"},
            r"classes\.json names yak, which has no folder",
        ),
        ("classes.json", {**NAMED, "wolf": " "}, r"the name of wolf must be a text, or a list"),
        ("classes.json", {**NAMED, "wolf": []}, r"the name of wolf must be a text, or a list"),
        ("classes.json", {**NAMED, "wolf": 3}, r"the name of wolf must be a text, or a list"),
        ("classes.json", ["cat"], r"classes\.json must be an object"),
        ("classes.json", "{", r"classes\.json, line 1: not valid JSON"),
    ],
)
def test_what_is_wrong_in_a_file(
    source: FolderSource, name: str, content: Any, message: str
) -> None:
    write(source, name, content)
    with pytest.raises(DataError, match=message):
        TASK.load(source, "templates")


def test_what_is_wrong_with_the_folders(source: FolderSource, tmp_path: Path) -> None:
    root = tmp_path / TASK.name
    with pytest.raises(DataError, match=r"it is of the images you have"):
        TASK.load(HubSource(), "templates")
    (root / "images/empty").mkdir()
    with pytest.raises(DataError, match=r"the class folder .*images/empty has no images"):
        TASK.load(source, "templates")
    (root / "images/empty").rename(root / "images/n01440764")
    (root / "images/n01440764/a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"n01440764 is named by a WordNet id.*classes\.json"):
        TASK.load(source, "templates")
    (root / "val").mkdir()
    with pytest.raises(DataError, match=r"has both images/ and val/"):
        TASK.load(source, "templates")
    (root / "val").rmdir()
    for label in [*CLASSES[1:], "n01440764"]:
        shutil.rmtree(root / "images" / label)
    with pytest.raises(DataError, match=r"images has one class folder, and"):
        TASK.load(source, "templates")
    shutil.rmtree(root / "images" / CLASSES[0])
    with pytest.raises(DataError, match=r"images has no class folders, and"):
        TASK.load(source, "templates")
    (root / "images").rmdir()
    with pytest.raises(DataError, match=r"has neither images/ nor val/"):
        TASK.load(source, "templates")
