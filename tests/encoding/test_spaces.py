"""Vectors on disk; where the disk refuses, in memory, and the user is told once."""

import numpy as np
import pytest

from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.encoding import spaces
from paraclip_bench.encoding.database import StoreUnavailable
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.encoding.vector_store import VectorStore

VECTORS = np.eye(3, dtype=np.float32)


def held(space, keys="abc"):
    return {keys[i]: (vector.tolist(), flag) for i, vector, flag in space.read(list(keys))}


@pytest.fixture
def blocked(tmp_path):
    (tmp_path / "file").write_text("in the way")
    return VectorStore(tmp_path / "file" / "cache")


def test_without_a_disk_the_run_goes_on_in_memory(blocked):
    said = []
    both = Spaces(said.append, blocked)
    space = both.space("text", "f", "float32", "m")
    space.claim(["a"])
    assert held(space) == {}
    space.write(["a", "b"], VECTORS[:2], [0, 1])
    space.write(["b", "c"], VECTORS[1:] * 9)
    assert held(space) == {"a": ([1, 0, 0], 0), "b": ([0, 1, 0], 1), "c": ([0, 0, 9], 0)}
    # The next task of the run finds them.
    assert held(both.space("text", "f", "float32", "m")) == held(space)
    assert held(both.space("text", "f", "bfloat16", "m")) == {}
    assert len(said) == 1
    assert said[0].startswith("note: ")
    assert said[0].endswith("in memory")


def test_ranks_cannot_do_without_the_disk(blocked, monkeypatch):
    monkeypatch.setattr(spaces, "process_group", lambda: ProcessGroup(0, 2))
    space = Spaces(print, blocked).space("text", "f", "float32", "m")
    with pytest.raises(StoreUnavailable):
        space.claim(["a"])


def test_a_disk_that_fails_later(tmp_path, monkeypatch):
    said = []
    space = Spaces(said.append, VectorStore(tmp_path)).space("text", "f", "float32", "m")
    space.write(["a"], VECTORS[:1])

    def full(*arguments):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("paraclip_bench.encoding.vector_store.Space.write", full)
    space.write(["b"], VECTORS[1:2])
    assert said == ["note: the disk is full; this run goes on with its vectors in memory"]
    assert held(space)["b"] == ([0, 1, 0], 0)


def test_no_fingerprint_no_sharing(tmp_path):
    both = Spaces(print, VectorStore(tmp_path))
    both.space("text", None, "float32", "m").write(["a"], VECTORS[:1])
    assert held(both.space("text", None, "float32", "m")) == {}
    assert not (tmp_path / "embeddings.sqlite").exists()
