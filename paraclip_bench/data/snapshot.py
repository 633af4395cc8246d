"""A data set's files as the hub has them, in its own cache or in a folder that prefetch wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip_bench.data.data_set import Pin
from paraclip_bench.data.digest_cache import file_sha256
from paraclip_bench.data.images import leads_outside
from paraclip_bench.errors import DataError
from paraclip_bench.files import parse_json

# As the hub writes them: ORG/NAME, and a commit.
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][\w.+-]*")

MANIFEST = "prefetched.json"
"""In a folder that prefetch wrote: {"schema_version": 1, "data": {ID: {"revision", "files":
{path: {"sha256", "bytes"}}}}}."""


def cached(pin: Pin) -> Path | None:
    """The snapshot's folder in the hub's cache, or None; the network is not asked."""
    folder = _snapshots(pin) / pin.revision
    return folder if folder.is_dir() and any(files(folder)) else None


def other_revisions(pin: Pin) -> list[str]:
    """Revisions of the data set that the hub's cache has and this version does not use."""
    folder = _snapshots(pin)
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return [revision for revision in there if revision != pin.revision]


def _snapshots(pin: Pin) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"datasets--{pin.id.replace('/', '--')}" / "snapshots"


def files(folder: Path) -> list[str]:
    """The files below a folder, as sorted relative paths with slashes, hidden ones left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not path.name.startswith("."))


def check_cached(folder: Path, pin: Pin, *, again: bool = False) -> int:
    """Hash the files of a cached snapshot; returns how many could be checked.

    `again`: also those whose size and time did not change since they were hashed.

    The cache names a file's blob by the hub's own checksum: sha256 of a large file, git's sha1 of
    a small one. Where the cache was copied without its links, nothing says what the bytes should
    be. Raises `DataError` for a file that is not what the hub sent.
    """
    checked = 0
    for name in files(folder):
        blob = (folder / name).resolve()
        if blob.parent.name != "blobs":
            continue
        found = file_sha256(blob, again=again) if len(blob.name) == 64 else git_sha1(blob)
        if found != blob.name:
            raise DataError(
                f"{name} of data set {pin} is damaged in the local cache: its hash is "
                f"{found[:12]}, not {blob.name[:12]}; delete {blob} and fetch it again "
                "(data prefetch)"
            )
        checked += 1
    return checked


def git_sha1(path: Path) -> str:
    """What git calls a file of these bytes: sha1 (hex) over a header and them."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(root: Path) -> Mapping[str, Any] | None:
    """The data sets of a folder that prefetch wrote, by id; None for another folder.

    Raises `DataError` for a damaged manifest, or one of a later version.
    """
    path = root / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        if manifest["schema_version"] > 1:
            raise DataError(f"{path} is of a later version; update paraclip-bench")
        data: dict[str, Any] = manifest["data"]
        for id, entry in data.items():
            # They become parts of paths.
            if not _ID.fullmatch(id) or not _REVISION.fullmatch(entry["revision"]):
                raise ValueError(f"{id!r} @ {entry['revision']!r} is not a data set's revision")
            for name, file in entry["files"].items():
                if leads_outside(name) or not name:
                    raise ValueError(f"the file name {name!r} leads outside")
                if not isinstance(file["sha256"], str) or not isinstance(file["bytes"], int):
                    raise TypeError("a file without sha256 or bytes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it and run data "
            f"prefetch --to {root} again, which keeps the files that are right"
        ) from error
    return data


def prefetched_folder(root: Path, pin: Pin) -> Path:
    """Where prefetch lays a data set's files."""
    return root / "hub" / pin.id.replace("/", "--") / pin.revision


def check_prefetched(root: Path, pin: Pin, *, again: bool = False) -> Path:
    """The folder of a data set that prefetch wrote, each file's hash checked.

    `again`: also of those whose size and time did not change since they were hashed.

    Raises `DataError` where it is missing, of another revision, incomplete or damaged.
    """
    fix = f"run data prefetch --to {root} again where there is a network"
    entry = (read_manifest(root) or {}).get(pin.id)
    if entry is None:
        raise DataError(f"{root} has no data set {pin.id}; {fix}")
    if entry["revision"] != pin.revision:
        raise DataError(
            f"{root} has revision {entry['revision'][:8]} of {pin.id}, and this version uses "
            f"{pin.revision[:8]}; {fix}"
        )
    folder = prefetched_folder(root, pin)
    for name, wanted in entry["files"].items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing, though {MANIFEST} lists it; {fix}")
        found = file_sha256(path, again=again)
        if path.stat().st_size != wanted["bytes"] or found != wanted["sha256"]:
            raise DataError(f"{path} is damaged: its hash is not that of {MANIFEST}; {fix}")
    return folder


def files_folder(pin: Pin, root: Path | None) -> Path | None:
    """The folder of a data set's files, in the hub's cache or in one that prefetch wrote, or None.

    Only whether it is there: neither hashes nor revisions are looked at.
    """
    if root is None:
        return cached(pin)
    entry = (read_manifest(root) or {}).get(pin.id)
    return prefetched_folder(root, pin) if entry else None


def folder_bytes(folder: Path) -> int:
    """Size of the files below a folder, links followed."""
    return sum((folder / name).stat().st_size for name in files(folder))
