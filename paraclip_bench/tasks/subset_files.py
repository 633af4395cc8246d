"""Benchmarks that come as one JSON file a subset, as SugarCrepe and SugarCrepe++ do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paraclip_bench.data.text_files import read_json_rows
from paraclip_bench.errors import DataError


def subset_files(folder: Path, subsets: Sequence[str]) -> dict[str, Path]:
    """The files SUBSET.json of a folder, as many of the subsets as there are, in their order.

    Raises `DataError` where there is none, or a JSON file that is no subset's.
    """
    files = {subset: folder / f"{subset}.json" for subset in subsets}
    there = {subset: file for subset, file in files.items() if file.is_file()}
    names = ", ".join(file.name for file in files.values())
    if not there:
        raise DataError(f"{folder} has none of {names}; put the authors' files there")
    strange = sorted(set(folder.glob("*.json")) - set(there.values()))
    if strange:
        raise DataError(f"{strange[0]} is none of {names}; rename it, or put it elsewhere")
    return there


def missing_subsets(subsets: Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """The result's note on subsets that are not there; empty where all are."""
    missing = [subset for subset in subsets if subset not in there]
    return {"subsets_missing": ", ".join(missing)} if missing else {}


def read_items(subset: str, file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each item of a subset's file: its id (SUBSET/ID), where it stands, and its fields.

    The file holds a list, or objects under keys; an item's own `id` goes before its key. Raises
    `DataError` for an id that came before.
    """
    ids: set[str] = set()
    for key, row in read_json_rows(file):
        where = f"{file}, item {key}"
        id = f"{subset}/{row.get('id', key)}"
        if id in ids:
            raise DataError(f"{where}: the id {row.get('id')!r} came before; mend the file")
        ids.add(id)
        yield id, where, row
