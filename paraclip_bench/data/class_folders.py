"""A folder of class folders with images, as ImageNet's, and the names that its classes have."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from paraclip_bench.data.images import ImageRef, image_files
from paraclip_bench.data.text_files import is_torn, read_json, read_text
from paraclip_bench.errors import DataError

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
        files = [file for file in image_files(folder) if not file.name.startswith(".")]
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
                f"the class folder {label} is named by a WordNet id, which is no class name; "
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
