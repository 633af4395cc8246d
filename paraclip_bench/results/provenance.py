"""Versions and digests, so that somebody else can check a number."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import importlib_metadata

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.row_files import refuse_torn
from paraclip_bench.tasks.base import Examples

_PACKAGES = ("paraclip-bench", "torch", "open_clip_torch", "numpy", "pillow", "transformers")


def command_line() -> str:
    """The command that made something, as it can be typed again; of a script its name alone."""
    program, *arguments = sys.argv
    # `python -m paraclip_bench` says the path of its __main__.py.
    own = Path(program).name in ("paraclip-bench", "__main__.py")
    words = ["paraclip-bench"] if own else ["python", Path(program).name]
    return shlex.join([*words, *arguments])


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib_metadata.version(package)
        except importlib_metadata.PackageNotFoundError:
            continue
    return found


def examples_sha256(examples: Examples) -> str:
    """sha256 (hex) over the rows in order, then what they share, images by content; or as given.

    Raises `DataError` for a row with a half of a character, which no result could be written of.
    """
    if examples.sha256:
        return examples.sha256
    hasher = hashlib.sha256()
    for number, row in enumerate(examples.rows):
        line = _line(row)
        if "\\ud" in line:
            refuse_torn(json.loads(line), f"example {number} of {examples.id or 'the task'}")
        hasher.update(line.encode() + b"\n")
    for item in examples.shared:
        line = item.content if isinstance(item, ImageRef) else _line(item)
        hasher.update(line.encode() + b"\n")
    return hasher.hexdigest()


def _line(row: Any) -> str:
    """A row as JSON, without what follows from the others and what the row does not set."""
    fields = (
        dict(row)
        if isinstance(row, Mapping)
        else {
            f.name: getattr(row, f.name)
            for f in dataclasses.fields(row)
            if not f.metadata.get("derived")
            and not (f.metadata.get("optional") and getattr(row, f.name) == f.default)
        }
    )
    return json.dumps(fields, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, ImageRef):
        return value.content
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
