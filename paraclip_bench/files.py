"""Files written whole: a reader sees the old content or the new, never a part.

And what every reader of JSON and TOML goes through, so that no file ends a command.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paraclip_bench.errors import BenchError, DataError, UsageError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it onto `path` on success.

    A link stays one: what it leads to is replaced. A device or a pipe, such as /dev/null, gets the
    content and stays what it is. Raises `BenchError` where the folder or file cannot be written.
    """
    if path.is_dir():
        raise BenchError(f"{path} is a folder, and a file is to be written; name a file in it")
    temporary: Path | None = None
    try:
        is_special = path.exists() and not path.is_file()
        place = path.resolve() if path.is_symlink() and not is_special else path
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = None if is_special else place.parent
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{place.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if is_special:
            with temporary.open("rb") as source, place.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            return
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; give them the mode a plain open() would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(place)
    except OSError as error:
        blocker = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
        if blocker is not None:
            raise BenchError(
                f"{path} cannot be written because {blocker} is a file, not a folder; "
                "move that file, or choose another place"
            ) from error
        raise BenchError(
            f"{path} cannot be written ({error.strerror or error}); "
            "check its permissions and the space on the disk"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(
    path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write torch tensors by name as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        try:
            save_file(
                dict(tensors), temporary, metadata=None if metadata is None else dict(metadata)
            )
        # It wraps what the system said: a full disk, a quota.
        except SafetensorError as error:
            raise OSError(str(error)) from error


@contextlib.contextmanager
def only_process(lock: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Be the only process of this machine in the block, which `lock`, a file, stands for.

    The system releases it when a process dies; the file stays. Raises `UsageError` with `busy`
    where another process is still in the block after `wait` seconds, `BenchError` where the file
    cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise BenchError(
            f"{lock.parent} cannot be written to ({error.strerror}); choose another place"
        ) from error
    try:
        with FileLock(lock, thread_local=False).acquire(timeout=wait):
            yield
    except Timeout as error:
        if error.lock_file != str(lock):
            raise
        raise UsageError(busy) from error


def parse_json(
    text: str | bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """What JSON holds; `pairs_hook` makes an object of its pairs, in place of dict.

    A whole number beyond the range of floats is infinite, as 1e999 is: it breaks nobody's sums.
    Raises `ValueError` (mostly `json.JSONDecodeError`, which has the line) for what is not JSON,
    for bytes that are not UTF-8, for a number of thousands of digits, and for what is nested so
    deeply that Python cannot read it.
    """
    try:
        found = json.loads(text, object_pairs_hook=pairs_hook)
        is_long = _LONG.search(text) if isinstance(text, str) else _LONG_BYTES.search(text)
        if is_long:
            found = json.loads(text, object_pairs_hook=pairs_hook, parse_int=_int_or_infinite)
        return found
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


# Whole numbers of more digits are beyond the range of floats.
_DIGITS = 308
_LONG = re.compile(rf"[0-9]{{{_DIGITS + 1}}}")
_LONG_BYTES = re.compile(_LONG.pattern.encode())


def _int_or_infinite(text: str) -> int | float:
    return int(text) if len(text.lstrip("-")) <= _DIGITS else float(text)


def _refuse_long(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _refuse_long(each)
    elif isinstance(value, int) and abs(value) >= 10**_DIGITS:
        raise ValueError(f"it has a number of more than {_DIGITS} digits")


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML holds; `ValueError` as `parse_json` raises it."""
    try:
        found = tomllib.loads(text)
        if _LONG.search(text.replace("_", "")):
            _refuse_long(found)
        return found
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def forget_temporaries(path: Path) -> None:
    """Delete what writes of a file that were killed left beside it."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


_NO_FILES = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


# Pipes that somebody writes to already: `<(command)` of a shell, and standard input.
_STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def regular(path: Path, *, streams: bool = False) -> Path:
    """`path` itself, where opening it cannot wait for ever: readers of a user's files ask first.

    What is missing, or a folder, the opening names. Raises `DataError` for a pipe, a socket or a
    device. `streams`: the reader reads once and from the beginning, so `/dev/stdin` and a shell's
    `<(command)` may stand.
    """
    if streams and str(path).startswith(_STREAMS):
        return path
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return path
    if (what := _NO_FILES.get(stat.S_IFMT(mode))) is not None:
        raise DataError(
            f"{path} is {what} and not a file; write its content to a file, and name that"
        )
    return path


_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def ending(file: Path | str) -> str:
    """What says a file's format, in lower case: `.jsonl`, and of a compressed file `.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in Path(file).suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        return "".join(suffixes)
    return "".join(suffixes[-1:])


_OF_FILES = frozenset(
    (
        *(".bin", ".csv", ".htm", ".html", ".ipynb", ".json", ".jsonl", ".markdown", ".md", ".npy"),
        *(".npz", ".onnx", ".parquet", ".pdf", ".pickle", ".pkl", ".png", ".pq", ".pt", ".pth"),
        *(".qrels", ".run", ".safetensors", ".svg", ".tar", ".tex", ".tgz", ".toml", ".trec"),
        *(".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip", *_COMPRESSED),
    )
)


def has_name_of_file(path: Path) -> bool:
    """Whether a name ends as those of files do, `a.csv`; `v1.2` may be a folder, or either."""
    return path.suffix.lower() in _OF_FILES


def slug(name: str, longest: int = 200) -> str:
    """A folder name for `name`: letters, digits, dot, dash and underscore only.

    Of one with more than `longest` characters the end is a digest of all, because file systems
    take 255 bytes.
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if len(cleaned) > longest:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
        cleaned = f"{cleaned[: longest - 9]}-{digest}"
    return cleaned or "model"
