"""The hub's data sets: fetched, read as rows, and what a failure of the network is called."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import socket
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from paraclip_bench.data.data_set import Pin
from paraclip_bench.data.digest_cache import file_sha256
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.snapshot import (
    MANIFEST,
    check_cached,
    check_prefetched,
    files,
    folder_bytes,
    other_revisions,
    prefetched_folder,
    read_manifest,
)
from paraclip_bench.errors import BenchError, DataError, reason_of
from paraclip_bench.files import atomic, write_text
from paraclip_bench.progress import Progress
from paraclip_bench.proxies import all_proxies, certificate_problem, proxy_for, redacted
from paraclip_bench.safe_text import counted

# How long to wait for the hub's first answer. Its libraries would try for 24 seconds a file.
PATIENCE = 5.0

# What the libraries raise for a thing that is not in the cache, when the network is forbidden.
_ABSENT = {
    "ConnectionError",
    "DatasetNotFoundError",
    "FileNotFoundError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "OSError",
}
# The first that is set decides, as in huggingface_hub.
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_why_offline: str | None = None
_is_dry = False


def offline_by() -> str | None:
    """The environment variable that forbids the hub's libraries the network, None where none."""
    for name in _OFFLINE:
        if value := os.environ.get(name):
            return name if value.upper() in {"1", "ON", "YES", "TRUE"} else None
    return None


def go_offline(why: str = "--offline forbids the network", *, dry: bool = False) -> None:
    """Forbid the hub's libraries any network, whether they are imported already or not.

    `dry`: only because nothing is to be fetched now; what is not cached is then no problem.
    """
    global _why_offline, _is_dry
    _why_offline, _is_dry = why, dry
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    # They read the environment once, when they are imported.
    for module in ("huggingface_hub.constants", "datasets.config"):
        if module in sys.modules:
            sys.modules[module].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


@functools.cache
def once_reachable() -> bool:
    """Ask once, briefly, whether the hub can be reached; where not, only its cache is used."""
    if offline_by():
        return False
    if unusable := _unusable():
        go_offline(next(iter(unusable.values())))
        return False
    endpoint = _endpoint()
    url, what = urllib.parse.urlsplit(endpoint), urllib.parse.urlsplit(endpoint).hostname
    if (proxy := proxy_for(endpoint)) is not None:
        url, what = proxy.parts, f"{proxy}"
    answered: list[bool] = []

    def ask() -> None:
        port = url.port or (443 if url.scheme == "https" else 80)
        with (
            contextlib.suppress(OSError),
            socket.create_connection((url.hostname or "", port), timeout=PATIENCE),
        ):
            answered.append(True)

    # A thread, because looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not answered:
        go_offline(f"{what} cannot be reached")
    return bool(answered)


def _unusable() -> dict[str, str]:
    """The environment variables that keep the hub's libraries from any request, and why each."""
    # They prepare for every proxy that is set, whichever the hub needs.
    found = {
        proxy.variable: problem
        for proxy in all_proxies().values()
        if (problem := proxy.problem(_socks_package()))
    }
    certificates = certificate_problem(is_needed=_endpoint().startswith("https:"))
    return found | dict([certificates] if certificates else [])


@contextlib.contextmanager
def without_unusable_variables() -> Iterator[None]:
    """Hide proxies and certificates of the environment that no client can use, for a while.

    The hub's libraries raise because of them even where all is in the cache. The caller's
    environment is as before afterwards.
    """
    hidden: dict[str, str] = {}
    # Behind a variable of small letters its twin may come to light.
    while names := [name for name in _unusable() if name in os.environ]:
        hidden |= {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _socks_package() -> str:
    """What the hub's library imports for a SOCKS proxy: of httpx, or of requests before 1.0."""
    import importlib_metadata

    is_old = importlib_metadata.version("huggingface_hub").startswith("0.")
    return "socks" if is_old else "socksio"


def load(pin: Pin, root: Path | None = None) -> Any:
    """The pinned split as a `datasets.Dataset`; images stay undecoded ({"bytes", "path"}).

    The files come from `root`, a folder that prefetch wrote, else from the hub or its cache; their
    hashes are checked. Raises `DataError` where they cannot be had, are damaged, or hold another
    number of rows than the pin.
    """
    if root is not None:
        folder = check_prefetched(root, pin)
    else:
        folder = fetch(pin)
        check_cached(folder, pin)
    import datasets

    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with without_unusable_variables():
            rows = datasets.load_dataset(str(folder), pin.config, split=pin.split)
    # Its readers raise pyarrow's errors, DatasetGenerationError, NonMatchingSplitsSizesError.
    except Exception as error:
        # What happened is the cause; the library's own sentence says only where.
        why = reason_of(error.__cause__ or error)
        raise DataError(
            f"the files of data set {pin} in {folder} cannot be read ({why[:200]}); "
            "fetch them again (data prefetch)"
        ) from error
    if pin.rows is not None and len(rows) != pin.rows:
        raise DataError(
            f"data set {pin} in {folder} has {counted(len(rows), 'row')} where there must be "
            f"{pin.rows:,}; the copy is not whole, fetch it again (data prefetch)"
        )
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def fetch(pin: Pin, *, bars: bool = False) -> Path:
    """The folder of the pinned files in the hub's cache; what is missing there is downloaded.

    A download that was cut off goes on where it stopped. `bars` shows the library's own. Raises
    `DataError` where it cannot be had.
    """
    once_reachable()
    import huggingface_hub
    from huggingface_hub import utils

    getattr(utils, "enable_progress_bars" if bars else "disable_progress_bars")()
    try:
        with without_unusable_variables():
            folder = huggingface_hub.snapshot_download(
                pin.id, repo_type="dataset", revision=pin.revision
            )
    # The library raises its own errors, httpx's and the system's.
    except Exception as error:
        raise unreachable(
            f"data set {pin}{_others(pin)}", error, DataError, local="the files with --data-dir"
        ) from error
    return Path(folder)


def _others(pin: Pin) -> str:
    others = other_revisions(pin)
    return f" (the cache has revision {', '.join(r[:8] for r in others)})" if others else ""


class HubBytes:
    """The encoded bytes of one image of a data set, read from its files when called.

    It pickles as the bytes themselves: another process gets the image and not the data set.
    """

    def __init__(self, rows: Any, index: int, name: str, column: str = "image") -> None:
        self._rows, self._index, self._name, self._column = rows, index, name, column

    def __call__(self) -> bytes:
        """The bytes, undecoded; `DataError` where the row has none."""
        image = self._rows[self._index][self._column]
        data: bytes | None = image["bytes"] if image else None
        if data is None:
            raise DataError(
                f"{self._name} of the hub, row {self._index}: there is no {self._column!r}; "
                "give the authors' files with --data-dir"
            )
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (bytes, self())


def require_columns(rows: Any, columns: Sequence[str], name: str) -> None:
    """Raise `DataError` where a data set of the hub lacks a column that task `name` reads."""
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{name}: the hub's copy lacks {', '.join(missing)} (it has "
            f"{', '.join(rows.column_names)}); give the authors' files with --data-dir"
        )


def with_images(
    rows: Any, columns: Sequence[str], name: str
) -> Iterator[tuple[int, dict[str, Any], list[ImageRef]]]:
    """Each row: its number, its fields without the images, and the images of these columns.

    An image's id is the row number and, of several, the column; its bytes are read when needed.
    `name` is the task's, for errors.
    """
    images = {column: rows.select_columns([column]) for column in columns}
    for index, row in enumerate(rows.remove_columns(list(columns))):
        refs = [
            ImageRef(
                id=f"{index}" if len(columns) == 1 else f"{index}/{column}",
                read=HubBytes(images[column], index, name, column),
            )
            for column in columns
        ]
        yield index, row, refs


def unreachable(
    what: str, error: Exception, kind: type[BenchError], *, local: str = "a local copy"
) -> BenchError:
    """One sentence for whatever a hub library raises; `local` is what would do instead."""
    offline = offline_by()
    absent = offline is not None and type(error).__name__ in _ABSENT
    if absent and _is_dry:
        later = kind(f"{what} is not in the local cache; a run fetches it from the hub")
        later.fetchable = True
        return later
    if absent:
        why = _why_offline or f"{offline} is set"
        return kind(
            f"{what} cannot be had: not in the local cache, and {why}; "
            f"fetch it once with the network, or give {local}"
        )
    # datasets drops the error that says so by its type; what is absent may be "private or gated".
    gated = r"^(?!.*private or gated).*\bgated (data ?set|repo)"
    if type(error).__name__ == "GatedRepoError" or re.search(gated, str(error), re.DOTALL):
        return kind(
            f"{what} is gated; accept its licence on its page on the hub, with the account whose "
            f"token is in HF_TOKEN, or give {local}"
        )
    first = redacted(str(error)).strip().splitlines()[0][:160] if str(error).strip() else ""
    proxy = proxy_for(_endpoint())
    through = "" if proxy is None else f", through {proxy}"
    return kind(
        f"{what} cannot be had from the hub ({type(error).__name__}: {first}){through}; "
        f"check its name and the network, or give {local}"
    )


def size_on_hub(pin: Pin) -> int | None:
    """Bytes of a data set's files as the hub says, or None where it cannot be asked."""
    if not once_reachable():
        return None
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().dataset_info(
            pin.id, revision=pin.revision, files_metadata=True, timeout=PATIENCE
        )
    # A size is a courtesy: whatever goes wrong, the list is shown without it.
    except Exception:
        return None
    return sum(file.size or 0 for file in info.siblings or ())


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
    # On a terminal the library has a bar of its own.
    shown = (
        contextlib.nullcontext() if progress.is_shown else progress.track(f"fetching {pin}", None)
    )
    with shown:
        snapshot = fetch(pin, bars=progress.is_shown)
    # Reads the hashes and the rows: a copy that is not whole is not passed on.
    with progress.track(f"checking {pin}", None):
        load(pin)
    if to is None:
        return snapshot, folder_bytes(snapshot)
    folder = prefetched_folder(to, pin)
    names = files(snapshot)
    with progress.track(f"copying {pin}", len(names)) as advance:
        found = {name: _copied(snapshot / name, folder / name, advance) for name in names}
    before = _list(to, pin, found)
    if before and before["revision"] != pin.revision:
        _remove(folder.parent / before["revision"], before["files"])
    return folder, sum(entry["bytes"] for entry in found.values())


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove the files of these names, which an earlier prefetch wrote, and what is empty then.

    Whatever else lies there stays, and nothing is removed through a link.
    """
    if folder.is_symlink():
        return
    for name in names:
        path = folder / name
        inside = [parent for parent in path.parents if parent.is_relative_to(folder)]
        with contextlib.suppress(OSError):
            if not any(parent.is_symlink() for parent in inside):
                path.unlink()
                for parent in inside:
                    parent.rmdir()


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
