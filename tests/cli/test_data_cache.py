"""`data cache`: what is shown, what is removed, and what wrong options get."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from paraclip_bench.encoding.vector_store import VectorStore


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PARACLIP_CACHE", str(folder))
    monkeypatch.delenv("PARACLIP_STORE_LIMIT", raising=False)
    return folder


@pytest.fixture
def filled(cache):
    store = VectorStore()
    for side, count, days in (("text", 300, 40), ("image", 20, 10)):
        space = store.space(side, f"{side} f", "float32", "clip")
        space.write([f"{i}" for i in range(count)], np.ones((count, 512), np.float32))
        # A process protects what it used; long ago it used nothing.
        with closing(sqlite3.connect(store.path)) as database, database:
            database.execute(
                "UPDATE entries SET used = used - ? WHERE used > (SELECT max(used) FROM entries)"
                " - 3600000",
                (days * 86_400_000,),
            )
    yield store
    store.close()


def test_nothing_is_there(cli, cache):
    shown = cli("data", "cache")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"nothing\n{cache / 'embeddings.sqlite'}: 0 B of at most 20.0 GB\n"
    pruned = cli("data", "cache", "--max-size", "0", "--older-than", "1d", "--json")
    assert pruned.err == "removed 0 vectors, freed 0 B\n"
    assert json.loads(pruned.out) == {
        "path": str(cache / "embeddings.sqlite"),
        "bytes": 0,
        "limit": 20_000_000_000,
        "spaces": [],
    }
    assert not cache.exists()


def test_a_table_and_json(cli, filled, monkeypatch):
    monkeypatch.setenv("PARACLIP_STORE_LIMIT", "3 MB")
    shown = cli("data", "cache")
    assert (shown.code, shown.err) == (0, "")
    head, image, text, total = shown.out.splitlines()
    assert head.split() == ["model", "side", "dtype", "vectors", "size", "last", "used", "(UTC)"]
    assert image.split()[:6] == ["clip", "image", "float32", "20", "41.1", "kB"]
    assert text.split()[:6] == ["clip", "text", "float32", "300", "616.8", "kB"]
    assert total.startswith(f"{filled.path}: ")
    assert total.endswith(" of at most 3.0 MB")
    listed = json.loads(cli("data", "cache", "--json").out)
    assert listed["limit"] == 3_000_000
    assert listed["bytes"] > 600_000
    first = listed["spaces"][0]
    assert (first["model"], first["side"], first["dtype"]) == ("clip", "image", "float32")
    assert (first["fingerprint"], first["vectors"], first["bytes"]) == ("image f", 20, 20 * 2056)
    assert first["last_used"].endswith("+00:00")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--older-than", "30d"], {"image": 20}),
        (["--older-than", "50d"], {"image": 20, "text": 300}),
        (["--older-than", "12h"], {}),
        (["--max-size", "0"], {}),
        (["--max-size", "5GB"], {"image": 20, "text": 300}),
        (["--max-size", "5GB", "--older-than", "2W"], {"image": 20}),
    ],
)
def test_pruning(cli, filled, options, left):
    before = filled.summary()
    pruned = cli("data", "cache", *options, "--json")
    removed = 320 - sum(left.values())
    assert pruned.code == 0
    assert pruned.err.startswith(f"removed {removed} vectors, freed ")
    shown = json.loads(pruned.out)
    assert {space["side"]: space["vectors"] for space in shown["spaces"]} == left
    assert shown["bytes"] <= before.bytes - removed * 2056


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--max-size", "big"], "--max-size is 'big', which is not a size"),
        (["--max-size", "-1"], "--max-size is '-1', which is not a size"),
        (["--older-than", "soon"], "--older-than is 'soon', which is not an age"),
        (["--older-than", "9999999d"], "which is not an age"),
        (["--max-size", "0", "--older-than", "1"], "which is not an age"),
    ],
)
def test_wrong_options_remove_nothing(cli, filled, options, part):
    cli("data", "cache", *options).fails(2, part)
    assert sum(space.vectors for space in filled.summary().spaces) == 320


def test_a_wrong_setting_and_a_wrong_command(cli, cache, monkeypatch):
    cli("data", "cach").fails(2, "no such command 'cach'", "data --help")
    monkeypatch.setenv("PARACLIP_STORE_LIMIT", "lots")
    cli("data", "cache").fails(2, "PARACLIP_STORE_LIMIT is 'lots'")


def test_a_file_that_is_no_store(cli, cache):
    cache.mkdir()
    file = Path(cache / "embeddings.sqlite")
    file.write_bytes(b"this is not a database" * 500)
    shown = cli("data", "cache")
    assert shown.code == 0
    assert shown.err == f"{file} was damaged and has been started again, empty\n"
    file.unlink()
    file.mkdir()
    cli("data", "cache").fails(1, str(file), "PARACLIP_CACHE")
