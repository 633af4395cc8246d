"""The gallery that queries rank: a folder of images, COCO's own folder, or WebDataset shards."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from paraclip_bench.data.images import ImageRef, is_image_name, left_out
from paraclip_bench.data.row_files import read_text
from paraclip_bench.data.tar_files import link_in_tar, tar_members
from paraclip_bench.errors import DataError
from paraclip_bench.files import ending
from paraclip_bench.safe_text import counted, is_torn

_FOLDERS = ("images", "val2014", "val2017")
_LIST = "gallery.txt"

# COCO_val2014_000000000042.jpg, and since 2017 000000000042.jpg, is image 42.
_COCO = re.compile(r"(?:COCO_[a-z]+[0-9]{4}_)?([0-9]{12})\.jpg")


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Images in the order of their names' bytes; `where` is what messages call the gallery.

    In shards (`keyed`) an image may also be called by its key, the name up to the first dot.
    left_out are files beside the images that count as none of them.
    """

    images: tuple[ImageRef, ...]
    where: str
    keyed: bool = False
    left_out: tuple[str, ...] = ()

    def find(self, name: Any, where: str) -> int | None:
        """Place of the image that `name` means: its name, key or COCO number; None for none.

        Raises `DataError` where it means two images, with `where` it was read.
        """
        if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
            return None
        if (exact := self._places.get(name)) is not None:
            return exact
        meant = self._others.get(name, [])
        if len(meant) > 1:
            first, second = (self.images[index].id for index in meant[:2])
            raise DataError(
                f"{where}: {name!r} may be {first!r} or {second!r} of {self.where}; "
                "write the whole name"
            )
        return meant[0] if meant else None

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {image.id: index for index, image in enumerate(self.images)}

    @cached_property
    def _others(self) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = {}
        for index, image in enumerate(self.images):
            for name in set(_other_names(image.id, self.keyed)):
                found.setdefault(name, []).append(index)
        return found


def read_gallery(folder: Path, least: int) -> Gallery:
    """The gallery of a task's folder: images/, val2014/, val2017/ or the .tar files there.

    Where there is a gallery.txt, it is of the images named there alone. No image is read. Raises
    `DataError` where there is not one source, for a name that comes twice or that gallery.txt has
    and the source has not, for a damaged tar, and for fewer than `least` images.
    """
    gallery = _source(folder)
    ordered = tuple(in_order(gallery.images, gallery.where))
    gallery = dataclasses.replace(gallery, images=ordered)
    if (names := folder / _LIST).is_file():
        gallery = _listed(gallery, names)
    if len(gallery.images) < least:
        raise DataError(
            f"{gallery.where} has {counted(len(gallery.images), 'image')}, and a top "
            f"{least} needs {least}; put the whole gallery there"
        )
    return gallery


def _source(folder: Path) -> Gallery:
    folders = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    shards = sorted(f for f in folder.glob("*") if ending(f) == ".tar" and f.is_file())
    sources = [f"{path.name}/" for path in folders] + [path.name for path in shards[:1]]
    if len(sources) > 1:
        raise DataError(f"{folder} has several galleries ({', '.join(sources)}); keep one of them")
    if not sources:
        raise DataError(
            f"{folder / _FOLDERS[0]} is missing; put the images there, or val2014/, val2017/ or "
            f".tar shards into {folder} (docs/data.md has the layout)"
        )
    return _of_shards(shards, str(folder / "*.tar")) if shards else _of_folder(folders[0])


def _of_folder(folder: Path) -> Gallery:
    files = (f for f in folder.iterdir() if is_image_name(f.name) and f.is_file())
    images = tuple(ImageRef(id=file.name, path=file) for file in files)
    return Gallery(images, str(folder), left_out=tuple(left_out(folder)))


def _of_shards(shards: list[Path], where: str) -> Gallery:
    images: dict[str, ImageRef] = {}
    came: dict[str, Path] = {}
    for shard in shards:
        for member, part in tar_members(shard):
            name = member.removeprefix("./")
            if not is_image_name(name):
                continue
            if part is None:
                raise link_in_tar(shard, name)
            if name in came:
                raise DataError(
                    f"{shard}: the image {name!r} came before, in {came[name]}; drop one of them"
                )
            came[name] = shard
            images[name] = ImageRef(id=name, read=part)
    return Gallery(tuple(images.values()), where, keyed=True)


def in_order(images: Iterable[ImageRef], where: str) -> list[ImageRef]:
    """Images by the bytes of their names; `DataError` for a name not in UTF-8."""
    found = list(images)
    for image in found:
        if is_torn(image.id):
            raise DataError(f"{where}: the file name {image.id!r} is not UTF-8; rename it")
    return sorted(found, key=lambda image: os.fsencode(image.id))


def _listed(gallery: Gallery, path: Path) -> Gallery:
    lines: dict[int, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        name = line.removesuffix("\r")
        if not name.strip():
            continue
        index = gallery.find(name, f"{path}, line {number}")
        if index is None:
            raise DataError(
                f"{path}, line {number}: the image {name!r} is not in {gallery.where}; "
                "put it there or drop the line"
            )
        if index in lines:
            raise DataError(
                f"{path}, line {number}: the image {name!r} is named in line {lines[index]} too; "
                "drop one of them"
            )
        lines[index] = number
    images = tuple(gallery.images[index] for index in sorted(lines))
    return dataclasses.replace(gallery, images=images, where=str(path))


def _other_names(name: str, keyed: bool) -> Iterator[str | int]:
    """What else an image may be called: without its folder, by its key, by its COCO number."""
    file = PurePosixPath(name).name
    yield file
    if keyed:
        key = name.removesuffix(file) + file.partition(".")[0]
        yield key
        yield PurePosixPath(key).name
    if coco := _COCO.fullmatch(file):
        yield int(coco[1])
