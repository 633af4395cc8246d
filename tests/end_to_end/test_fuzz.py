"""Whatever is in a file, its reader gives rows or one sentence: nothing else comes out.

Some cases a reader by default; PARACLIP_FUZZ=N tries N a reader (`tox -e fuzz`).
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, Reader

from paraclip_bench.errors import BenchError

CASES = int(os.environ.get("PARACLIP_FUZZ", "0")) or 12
# Every one of them loads a network.
SLOW = max(5, CASES // 20)

TOKENS = [
    *(b'"', b"'", b"[", b"]", b"{", b"}", b",", b":", b"=", b"\n", b"\r", b"\t", b"\0", b"\\"),
    *(b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\x1b[31m", b"\x85"),
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 30, b"9" * 5000, b"[" * 2000),
    *(b"../", b"/etc/passwd", b"<script>", b"=1+1", b"true", b"''", b'"""', b"#", b"\xe2\x80\xae"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, float("nan"), 2**63, 10**400, "", " ", "a", "\0"),
    *("\ud800", "../x", "/x", "\u202e", "a" * 5000, [], {}, [[]], [None], {"a": None}, [1, 2], "1"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON document has values, outermost first, as many as fit in a draw."""
    found = [path]
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        found += places(inner, (*path, key))
        if len(found) > 500:
            break
    return found


@st.composite
def changed_json(draw: st.DrawFn, whole: Any) -> Any:
    """A document with some of its values replaced, dropped or doubled."""
    whole = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        *outer, last = draw(st.sampled_from(places(whole)[1:] or [(None,)]))
        if last is None:
            return copy.deepcopy(draw(st.sampled_from(VALUES)))
        inside = whole
        for key in outer:
            inside = inside[key]
        kind = draw(st.sampled_from(["replace", "replace", "drop", "rename"]))
        if kind == "replace":
            inside[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif kind == "drop":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(["", "x", "id", "\ud800", "image"]))] = inside.pop(last)
        else:
            inside.append(copy.deepcopy(inside[last]))
        if not isinstance(whole, dict | list) or not whole:
            break
    return whole


def as_json(value: Any) -> bytes:
    with contextlib.suppress(ValueError):  # an integer of many digits
        return json.dumps(value).encode()
    return b'{"a": ' + b"9" * 5000 + b"}"


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some of them flipped, cut, left out, doubled, or a token put among them."""
    bits = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(bits) - 1)))
        size = draw(st.integers(1, 64))
        kind = draw(st.sampled_from(["flip", "flip", "token", "token", "cut", "drop", "double"]))
        if kind == "flip" and bits:
            bits[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "token":
            bits[at:at] = draw(st.sampled_from(TOKENS))
        elif kind == "cut":
            del bits[at:]
        elif kind == "drop":
            del bits[at : at + size]
        else:
            bits[at:at] = bits[at : at + size]
    return bytes(bits)


def changed(reader: Reader, whole: bytes, ending: str) -> st.SearchStrategy[bytes]:
    """Files that are nearly right, and some that are anything."""
    kinds = [changed_bytes(whole), changed_bytes(whole), st.binary(max_size=300)]
    with contextlib.suppress(ValueError):
        if ending == ".jsonl":
            rows = [json.loads(line) for line in whole.splitlines()]
            some = changed_json(rows).filter(lambda found: isinstance(found, list))
            kinds += [some.map(lambda found: b"\n".join(map(as_json, found)))] * 3
        elif ending == ".json":
            kinds += [changed_json(json.loads(whole)).map(as_json)] * 3
    return st.one_of(kinds)


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.read(reader.make(tmp_path))


@pytest.mark.parametrize("name", READERS)
def test_no_file_brings_anything_but_rows_or_a_sentence(name: str) -> None:
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(Path(folder))
        whole = path.read_bytes()

        @settings(
            max_examples=SLOW if reader.slow else CASES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(content=changed(reader, whole, path.suffix))
        def tried(content: bytes) -> None:
            path.write_bytes(content)
            try:
                reader.read(path)
            except BenchError as error:
                said = str(error)
                assert said.strip()
                assert len(said) < 3000, said[:500]

        tried()
