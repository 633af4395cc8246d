"""What each block of clusters adds to a result's scores: its file ….contributions.safetensors.

A board and a comparison are arithmetic on these, so outcomes are read once, when a result is
written. A file fits its result by the digest of the result's bytes; one that does not fit, or is
damaged, is made again from the outcomes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from paraclip_bench.errors import BenchError
from paraclip_bench.files import atomic, regular
from paraclip_bench.metrics.inference import Contributions

SUFFIX = ".contributions.safetensors"
_FORMAT = 1


class Kept:
    """What a file of contributions holds; a score is read when it is asked for.

    header: the result without its parts, as JSON. outcomes: size and time of change (ns) of the
    outcomes' file that was found to be the result's; None where there was none.
    """

    def __init__(self, about: Mapping[str, Any], tensors: Mapping[str, memoryview]) -> None:
        self.header: str = about["header"]
        outcomes = about["outcomes"]
        self.outcomes = None if outcomes is None else (int(outcomes[0]), int(outcomes[1]))
        self._rows: Mapping[str, Any] = about["scores"]
        self._tensors = tensors

    def __deepcopy__(self, _: Any) -> Kept:
        return self  # nothing of it changes, and a board of such is copied by `asdict`

    def __contains__(self, score: str) -> bool:
        return score in self._rows

    def score(self, name: str) -> Contributions | None:
        """The contributions to a score; None where there are none, or they are damaged."""
        if (row := self._rows.get(name)) is None:
            return None
        try:
            shares, sizes = (self._numbers(row[part], "<f8") for part in ("shares", "sizes"))
            right = None if row["right"] is None else self._numbers(row["right"], "u1")
            value = float(row["value"])
        # A damaged file may hold anything.
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        return Contributions(
            value,
            shares,
            sizes,
            (len(shares),),
            row["n"],
            row["digest"],
            row["is_rate"],
            row["is_mean"],
            right,
        )

    def _numbers(self, place: tuple[str, int], dtype: str) -> npt.NDArray[Any]:
        name, crc32 = place
        found = self._tensors[name]
        if zlib.crc32(found) != crc32:
            raise ValueError(name)
        return np.frombuffer(found, dtype)


def contributions_path(path: Path) -> Path:
    """Where the contributions to a result's JSON file lie."""
    return path.with_name(path.name.removesuffix(".json") + SUFFIX)


def keep(
    path: Path,
    raw: bytes,
    header: str,
    scores: Mapping[str, Contributions],
    outcomes: tuple[int, int] | None,
) -> Kept:
    """Write the contributions to the result whose JSON file has the bytes `raw`; see `Kept`.

    Where nothing can be written they are made again when they are needed.
    """
    from safetensors.numpy import save

    tensors: dict[str, npt.NDArray[Any]] = {}
    places: dict[bytes, tuple[str, int]] = {}

    def put(values: npt.NDArray[Any]) -> tuple[str, int]:
        # Most scores of a task have the same sizes.
        data = values.tobytes()
        if data not in places:
            name = str(len(places))
            tensors[name], places[data] = values, (name, zlib.crc32(data))
        return places[data]

    rows = {
        name: {
            "value": each.value,
            "n": each.n,
            "digest": each.digest,
            "is_rate": each.is_rate,
            "is_mean": each.is_mean,
            "shares": put(each.shares.astype("<f8")),
            "sizes": put(each.sizes.astype("<f8")),
            "right": None if each.right is None else put(each.right),
        }
        for name, each in scores.items()
    }
    about = {
        "format": _FORMAT,
        "result": hashlib.sha256(raw).hexdigest(),
        "header": header,
        "outcomes": outcomes,
        "scores": rows,
    }
    written = json.dumps(about)
    crc32 = str(zlib.crc32(written.encode()))
    data = save(tensors, {"about": written, "crc32": crc32})
    place = contributions_path(path)
    # A pipe in its place would wait for a reader.
    with contextlib.suppress(OSError, BenchError), atomic(regular(place)) as temporary:
        temporary.write_bytes(data)
    return Kept(about, {name: memoryview(values.tobytes()) for name, values in tensors.items()})


def read_contributions(path: Path, raw: bytes) -> Kept | None:
    """What is kept of the result whose JSON file has the bytes `raw`; None where nothing fits."""
    try:
        data = memoryview(regular(contributions_path(path)).read_bytes())
        # The format's own layout: a length, a header in JSON, the tensors. Only what is asked for
        # is read, which the library's own loader does not do from memory.
        start = 8 + int.from_bytes(data[:8], "little")
        # Some three times as fast as the standard library's, which counts for 6,000 results.
        head = from_json(bytes(data[8:start]))
        written = head.pop("__metadata__")
        if str(zlib.crc32(written["about"].encode())) != written["crc32"]:
            return None
        about = from_json(written["about"])
        if about["format"] != _FORMAT or about["result"] != hashlib.sha256(raw).hexdigest():
            return None
        places = {name: tensor["data_offsets"] for name, tensor in head.items()}
        return Kept(about, {name: data[start + a : start + b] for name, (a, b) in places.items()})
    # A damaged file may hold anything.
    except (
        *(BenchError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    ):
        return None
