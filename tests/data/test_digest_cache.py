"""Digests are remembered, and a changed file is noticed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paraclip_bench.data import digest_cache


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert digest_cache.file_sha256(path) == digest(b"one")
    path.write_bytes(b"three")
    assert digest_cache.file_sha256(path) == digest(b"three")
    path.write_bytes(b"four!")  # of the same size
    os.utime(path, ns=(1, 1))
    assert digest_cache.file_sha256(path) == digest(b"four!")


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    assert digest_cache.file_sha256(path) == digest(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(5, 5))  # size and time say that nothing changed
    assert digest_cache.file_sha256(path) == digest(b"one")


def test_a_stamp_is_of_path_size_and_time(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    for path in (one, two):
        path.write_bytes(b"same")
        os.utime(path, ns=(5, 5))
    assert digest_cache.stamp([one]) != digest_cache.stamp([two])
    assert digest_cache.stamp([one, two]) != digest_cache.stamp([two, one])
    before = digest_cache.stamp([one, two])
    os.utime(two, ns=(6, 6))
    assert digest_cache.stamp([one, two]) != before


def test_values_survive_and_a_broken_cache_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    assert digest_cache.get("k") is None
    digest_cache.put("k", {"a": [1, None]})
    digest_cache.put("k", {"a": [2]})
    assert digest_cache.get("k") == {"a": [2]}
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "file"))  # no folder
    digest_cache.put("k", 1)
    assert digest_cache.get("k") is None
    assert digest_cache.file_sha256(tmp_path / "file") == digest(b"x")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "memo.sqlite").write_bytes(b"this is not a database" * 500)
    monkeypatch.setenv("PARACLIP_CACHE", str(damaged))
    (tmp_path / "other").write_bytes(b"y")
    assert digest_cache.file_sha256(tmp_path / "other") == digest(b"y")


def test_a_digest_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    ask = (
        "import sys; from paraclip_bench.data.digest_cache import *; "
        "print(file_sha256(Path(sys.argv[1])))"
    )

    def from_outside() -> str:
        command = [sys.executable, "-c", ask, str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert from_outside() == digest(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(5, 5))
    assert from_outside() == digest(b"one")


def test_a_link_turned_to_another_file_of_equal_size_and_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "a")
    first = digest_cache.file_sha256(link)
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert digest_cache.file_sha256(link) != first


def test_a_forked_child_is_not_stopped_by_its_parent_s_lock() -> None:
    code = (
        "import os, sys\n"
        "from paraclip_bench.data import digest_cache\n"
        "digest_cache.put('k', 1)\n"
        "with digest_cache._locks[0]:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(0 if digest_cache.get('k') == 1 else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == 0
