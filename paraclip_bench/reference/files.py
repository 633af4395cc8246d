"""Reads results/reference/, which lies in the repository and is shipped inside the wheel."""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path

from pydantic import ValidationError

import paraclip_bench
from paraclip_bench.errors import DataError
from paraclip_bench.reference.schema import SCHEMA_VERSION, PublishedScore, ReferenceFile

_PLACE = "results/reference"


def reference_folder() -> Path:
    """The folder of the files: inside an installed package, or in the clone that it runs from.

    Raises `DataError` where neither is there.
    """
    package = Path(str(importlib.resources.files(paraclip_bench)))
    for folder in (package / _PLACE, package.parent / _PLACE):
        if any(folder.glob("*.json")):
            return folder
    raise DataError(
        f"the published numbers are missing ({package / _PLACE}); install paraclip-bench again"
    )


def read_file(path: Path) -> ReferenceFile:
    """Read one file; `DataError` for one that is damaged, or of another schema."""
    try:
        found = ReferenceFile.model_validate_json(path.read_bytes())
        # A derived measure has no values of its own, and is no part of another.
        given = {key for key, measure in found.measures.items() if not measure.mean_of}
        named = {key for row in found.models for key in row.values}
        named |= {key for measure in found.measures.values() for key in measure.mean_of}
        missing = named - given
        if found.schema_version != SCHEMA_VERSION or missing:
            wrong = f"measure {min(missing)!r}" if missing else f"version {found.schema_version}"
            raise ValueError(f"unknown {wrong}")
    except (ValidationError, ValueError, OSError) as error:
        raise DataError(
            f"{path} holds no published numbers ({str(error).splitlines()[0]}); "
            "install paraclip-bench again"
        ) from error
    return found


@functools.cache
def published_scores() -> tuple[PublishedScore, ...]:
    """Every published number that is shipped."""
    files = sorted(reference_folder().glob("*.json"))
    return tuple(score for path in files for score in read_file(path).scores())
