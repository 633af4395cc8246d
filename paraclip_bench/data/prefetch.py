"""Fetch data sets while there is a network, into the hub's cache and into a folder to carry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from paraclip_bench.data.hub import fetch, load
from paraclip_bench.data.memo import file_sha256
from paraclip_bench.data.pins import Pin
from paraclip_bench.data.snapshot import (
    MANIFEST,
    files,
    folder_bytes,
    prefetched_folder,
    read_manifest,
)
from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic, write_text
from paraclip_bench.progress import Progress


def prefetch(pin: Pin, to: Path | None, progress: Progress) -> tuple[Path, int]:
    """Fetch one data set; returns where its files are and how many bytes they are.

    With `to`, they are copied there too, and a manifest says what they must be: that folder is a
    --data-dir on a machine without a network. What is there already is not fetched or copied
    again. Raises `DataError` where a file cannot be had or is damaged.
    """
    if to is not None:
        if to.exists() and not to.is_dir():
            raise DataError(f"--to {to} is a file; name a folder")
        read_manifest(to)  # a damaged one is said before anything is fetched
    snapshot = fetch(pin, bars=progress.is_shown)
    # Reads the hashes and the rows: a copy that is not whole is not passed on.
    load(pin)
    if to is None:
        return snapshot, folder_bytes(snapshot)
    folder = prefetched_folder(to, pin)
    names = files(snapshot)
    with progress.track(f"copying {pin}", len(names)) as advance:
        found = {name: _copied(snapshot / name, folder / name, advance) for name in names}
    before = _list(to, pin, found)
    if before and before["revision"] != pin.revision:
        shutil.rmtree(folder.parent / before["revision"], ignore_errors=True)
    return folder, sum(entry["bytes"] for entry in found.values())


def _copied(source: Path, target: Path, advance: Any) -> dict[str, Any]:
    """Copy one file unless its copy is there; what the manifest says of it."""
    digest, size = file_sha256(source), source.stat().st_size
    there = target.is_file() and target.stat().st_size == size and file_sha256(target) == digest
    if not there:
        with atomic(target) as temporary:
            shutil.copyfile(source, temporary)
        if file_sha256(target) != digest:
            raise DataError(
                f"{target} is not what was copied to it; check that disk and run it again"
            )
    advance(1)
    return {"sha256": digest, "bytes": size}


def _list(to: Path, pin: Pin, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Write a data set's files into the manifest; what it said of them before."""
    # Another prefetch may have written meanwhile, or be about to.
    with FileLock(to / f".{MANIFEST}.lock"):
        data = dict(read_manifest(to) or {})
        before: Mapping[str, Any] | None = data.get(pin.id)
        data[pin.id] = {"revision": pin.revision, "files": dict(found)}
        manifest = {"schema_version": 1, "data": dict(sorted(data.items()))}
        write_text(to / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return before
