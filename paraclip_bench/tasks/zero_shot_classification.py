"""Zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1).

A class's vector is the mean of the unit vectors of its prompts, normalised again (their prompt
ensembling); an image is of the class whose vector is nearest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.class_folders import (
    LabelledImage,
    class_names,
    fill,
    read_class_folders,
    read_templates,
)
from paraclip_bench.data.source import FolderSource, HubSource, Source
from paraclip_bench.errors import DataError, ModelError
from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of
from paraclip_bench.metrics.ranking import recall_of, retrieve
from paraclip_bench.metrics.statistic import Columns, Floats, Statistic, batched
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, Vectors
from paraclip_bench.tasks.limits import spread

DEFAULT_TEMPLATE = "a photo of a {}."
# Unit vectors rounded to half precision cancel out to about this, and no closer.
_NO_DIRECTION = 1e-3


@dataclasses.dataclass(frozen=True)
class PromptedClass:
    """A class folder and the prompts that stand for it: each name in each template."""

    label: str
    prompts: tuple[str, ...]


@batched
def _accuracy_at_5(columns: Columns, weights: Floats) -> Floats:
    """Share of images with their class among the first five; NaN where there are no more."""
    found = recall_of("rank", 5)(columns, weights)
    return np.asarray(np.where(columns["classes"][0] > 5, found, np.nan))


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
    scores: ClassVar[Mapping[str, Statistic]] = {
        "accuracy": mean_of("correct"),
        "accuracy@5": _accuracy_at_5,
        "accuracy_per_class": macro_mean_of("correct", "label"),
    }
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"label": ("accuracy",)}

    def load(self, source: Source, protocol: str) -> Examples:
        """One row an image, in the order of the classes; the classes and prompts are shared."""
        if isinstance(source, HubSource):
            raise DataError(
                f"{self.name}: it is of the images you have, and the hub has none for it; give "
                f"{self.name}/images/CLASS/ with --data-dir (docs/data.md)"
            )
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
        return Examples(
            [image for images in found.values() for image in images],
            shared=classes,
            id=f"{source.id}:{self.name}/{roots[0].name}",
            notes={
                "classes": len(classes),
                "class_names": named.origin,
                "templates": origin,
                "templates_count": len(templates),
            },
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
        nearest, ranks = retrieve(images, vectors, targets, 1)
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
