"""Zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1).

A class's vector is the mean of the unit vectors of its prompts, normalised again (their prompt
ensembling); an image is of the class whose vector is nearest.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_files, left_out, left_out_remark
from paraclip_bench.data.row_files import read_json, read_text
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError, ModelError
from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of
from paraclip_bench.metrics.metric import Columns, Floats, Metric, Statistic, batched, named
from paraclip_bench.metrics.ranking import recall_of, retrieve
from paraclip_bench.safe_text import is_torn
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, Vectors, spread

DEFAULT_TEMPLATE = "a photo of a {}."
# Unit vectors rounded to half precision cancel out to about this, and no closer.
_NO_DIRECTION = 1e-3
# ImageNet-1k's folders: how many, and the first and the last in order.
_IMAGENET = (1000, "n01440764", "n15075141")


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """An image and the folder that it lies in."""

    image: ImageRef
    label: str


@dataclasses.dataclass(frozen=True)
class ClassNames:
    """The names of each class folder, and where they are from, for the result's notes."""

    names: dict[str, tuple[str, ...]]
    origin: str


@dataclasses.dataclass(frozen=True)
class PromptedClass:
    """A class folder and the prompts that stand for it: each name in each template."""

    label: str
    prompts: tuple[str, ...]


def accuracy_at(k: int) -> Statistic:
    """Share of images with their class among the first k; NaN where there are no more than k."""

    @batched
    def accuracy(columns: Columns, weights: Floats) -> Floats:
        found = recall_of("rank", k)(columns, weights)
        return np.asarray(np.where(columns["classes"][0] > k, found, np.nan))

    return accuracy


class ZeroShotClassification(Task):
    """Which class an image is of, among all that the folder has."""

    name = "zero-shot-classification"
    groups = ("zero-shot",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "templates": Protocol(
            ("text", "image"), f'prompts of templates.txt, else "{DEFAULT_TEMPLATE}"'
        ),
        "openai-80": Protocol(("text", "image"), "OpenAI's 80 ImageNet prompts, as in open_clip"),
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "share of the images whose class is the nearest",
            functools.partial(mean_of, "correct"),
            source="Radford et al. 2021 (arXiv 2103.00020)",
        ),
        Metric(
            "accuracy",
            "share of the images whose class is among the k nearest; undefined with k classes",
            accuracy_at,
            source="common use",
            k=5,
        ),
        Metric(
            "accuracy_per_class",
            "mean of the classes' accuracies",
            functools.partial(macro_mean_of, "correct", "label"),
            source="common use",
        ),
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"label": ("accuracy",)}
    data_set = DataSet(
        "that of your images",
        "folders of your own, or ImageNet's",
        layout={
            "zero-shot-classification/images/CLASS/": "a folder of images a class; val/CLASS/ too",
            "zero-shot-classification/classes.json": "class names, where you have them",
            "zero-shot-classification/templates.txt": "prompts, where you have them",
        },
        not_on_hub="it is of the images you have, and the hub has none for it",
    )

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """One row an image, in the order of the classes; the classes and prompts are shared."""
        folder = source.folder(self.name)
        roots = [folder / name for name in ("images", "val") if (folder / name).is_dir()]
        if len(roots) > 1:
            raise DataError(f"{folder} has both images/ and val/; keep one of them")
        if not roots:
            raise DataError(f"{folder} has neither images/ nor val/; put the class folders there")
        found = read_class_folders(roots[0])
        named = class_names(list(found), folder / "classes.json")
        templates, origin = _templates(source, f"{self.name}/templates.txt", protocol)
        classes = [
            PromptedClass(label, tuple(fill(t, name) for name in names for t in templates))
            for label, names in named.names.items()
        ]
        others = [f"{label}/{name}" for label in found for name in left_out(roots[0] / label)]
        return Examples(
            [image for images in found.values() for image in images],
            shared=classes,
            id=f"{source.id}:{self.name}/{roots[0].name}",
            notes={
                "classes": len(classes),
                "class_names": named.origin,
                "templates": origin,
                "templates_count": len(templates),
                **({"files_left_out": len(others)} if others else {}),
            },
            remarks=left_out_remark(self.name, others, roots[0]),
        )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first image of each class, then the second of each, and so on."""
        return spread(rows, [row.label for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank the classes for each image; ties keep the order of the classes."""
        rows: list[LabelledImage] = list(examples)
        classes: list[PromptedClass] = list(examples.shared)
        vectors = class_vectors([own.prompts for own in classes], embed)
        place = {own.label: index for index, own in enumerate(classes)}
        targets = np.array([place[row.label] for row in rows])
        images = embed.images([row.image for row in rows])
        nearest, _, ranks = retrieve(images, vectors, targets, 1)
        labels = np.array([own.label for own in classes], dtype=object)
        return {
            "example_id": np.array([row.image.id for row in rows], dtype=object),
            "cluster_id": np.array([row.image.sha256 for row in rows], dtype=object),
            "label": labels[targets],
            "predicted": labels[nearest[:, 0]],
            "rank": ranks,
            "classes": np.full(len(rows), len(classes)),
            "correct": ranks == 1,
        }


def class_vectors(classes: Sequence[Sequence[str]], embed: Embed) -> Vectors:
    """Unit vectors [c, d], each the mean of those of a class's prompts, normalised again.

    Raises `ModelError` where that mean has no direction.
    """
    flat = [prompt for prompts in classes for prompt in prompts]
    texts = embed.texts(flat)
    result = np.empty((len(classes), texts.shape[1]), dtype=np.float32)
    start = 0
    for index, prompts in enumerate(classes):
        mean = texts[start : start + len(prompts)].mean(axis=0, dtype=np.float64)
        norm = np.linalg.norm(mean)
        if norm < _NO_DIRECTION:
            raise ModelError(
                f"the vectors of the prompts of a class ({prompts[0]!r} and so on) cancel out, so "
                "it has no direction; use other templates"
            )
        result[index] = mean / norm
        start += len(prompts)
    return result


def _templates(source: FolderSource, file: str, protocol: str) -> tuple[list[str], str]:
    """The templates of a protocol, and where they are from."""
    if protocol == "openai-80":
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES], "open_clip"
    path = source.root / file
    if path.is_file():
        return read_templates(path), path.name
    return [DEFAULT_TEMPLATE], "default"


def read_class_folders(root: Path) -> dict[str, list[LabelledImage]]:
    """The images of each class folder of `root`; folders and images by the bytes of their names.

    Hidden folders and other files are passed over. Raises `DataError` for fewer than two classes
    or one without images.
    """
    folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")]
    folders.sort(key=lambda folder: os.fsencode(folder.name))
    if len(folders) < 2:
        raise DataError(
            f"{root} has {'one class folder' if folders else 'no class folders'}, and "
            "classification needs two classes; put a folder for each class there"
        )
    found = {}
    for folder in folders:
        if is_torn(folder.name):
            raise DataError(f"{root}: the folder {folder.name!r} is not UTF-8; rename it")
        files = image_files(folder)
        if not files:
            raise DataError(f"the class folder {folder} has no images; put them there or remove it")
        found[folder.name] = [
            LabelledImage(ImageRef(id=f"{folder.name}/{file.name}", path=file), folder.name)
            for file in files
        ]
    return found


def class_names(labels: list[str], file: Path) -> ClassNames:
    """Names of class folders in order: of `file` (classes.json), else of the folders themselves.

    ImageNet-1k's thousand wnids have open_clip's names (Radford et al. 2021, arXiv 2103.00020, as
    its authors cleaned them). Raises `DataError` for a folder without a name.
    """
    if file.is_file():
        return ClassNames(_read_names(labels, file), file.name)
    if (len(labels), labels[0], labels[-1]) == _IMAGENET:
        from open_clip import IMAGENET_CLASSNAMES

        found = zip(labels, IMAGENET_CLASSNAMES, strict=True)
        return ClassNames({label: (name,) for label, name in found}, "open_clip")
    for label in labels:
        if re.fullmatch(r"n\d{8}", label):
            raise DataError(
                f"the class folder {label} is named by a WordNet id, which is not a class name; "
                f"give {file} with the names"
            )
    return ClassNames({label: (label.replace("_", " "),) for label in labels}, "folders")


def read_templates(path: Path) -> list[str]:
    """Prompt templates, one a line, each with {} or {c} where the class's name goes."""
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not (template := line.strip()):
            continue
        if "{}" not in template and "{c}" not in template:
            raise DataError(
                f"{path}, line {number}: the template {template!r} has no {{}} (or {{c}}) for the "
                "class's name; put it in"
            )
        found.append(template)
    if not found:
        raise DataError(f"{path} holds no templates")
    return found


def fill(template: str, name: str) -> str:
    """The template with a class's name in it; other braces stay as they are."""
    return name.join(re.split(r"\{c?\}", template))


def _read_names(labels: list[str], file: Path) -> dict[str, tuple[str, ...]]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} must be an object of class folders and their names")
    names = {}
    for label in labels:
        if label not in content:
            raise DataError(f"{file} has no name for the class folder {label}; add it")
        given = content[label]
        own = given if isinstance(given, list) else [given]
        if not own or not all(isinstance(name, str) and name.strip() for name in own):
            raise DataError(
                f"{file}: the name of {label} must be a text, or a list of texts, and not empty"
            )
        names[label] = tuple(own)
    if extra := sorted(set(content) - set(labels)):
        raise DataError(
            f"{file} names {extra[0]}, which has no folder, so that the task would be easier than "
            "it looks; add its images or drop the name"
        )
    return names
