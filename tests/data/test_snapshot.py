"""Files of the hub: their hashes, their revisions, and what a damaged copy is called."""

import dataclasses
import functools
import json
import os
from pathlib import Path

import pytest
from data_sets import DATA_SETS, PINS
from hub_stand_in import etag, write_cache

from paraclip_bench.data import hub
from paraclip_bench.data.data_set import Pin
from paraclip_bench.data.hub import prefetch
from paraclip_bench.data.snapshot import MANIFEST, check_cached, check_prefetched, files, git_sha1
from paraclip_bench.data.source import FolderSource, HubSource, folder_source
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import make_plan
from paraclip_bench.progress import Progress
from paraclip_bench.tasks.sts import SICKR

PIN = Pin("somebody/pairs", "a" * 40, rows=3)
ROWS = "".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(3)).encode()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache in a folder of this test, and no network."""
    import huggingface_hub.constants

    folder = tmp_path / "hub"
    for module in ("huggingface_hub.constants", "huggingface_hub._snapshot_download"):
        monkeypatch.setattr(f"{module}.HF_HUB_CACHE", str(folder), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(hub, "_why_offline", "the test forbids it")
    return folder


def test_every_revision_is_whole() -> None:
    for name, pin in PINS.items():
        assert len(pin.revision) == 40, name
        assert int(pin.revision, 16) > 0
        assert pin.rows in DATA_SETS[name].examples.values()


def test_git_hash(tmp_path: Path) -> None:
    # What `git hash-object` prints for an empty file, known to all who use git.
    (tmp_path / "empty").write_bytes(b"")
    assert git_sha1(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_damage_in_the_cache_is_named(cache: Path) -> None:
    snapshot = write_cache(cache, PIN, {"test.jsonl": ROWS, "README.md": b"short"})
    assert files(snapshot) == ["README.md", "test.jsonl"]
    assert check_cached(snapshot, PIN) == 2
    assert len(hub.load(PIN)) == 3
    for name, content in (("test.jsonl", ROWS), ("README.md", b"short")):
        blob = snapshot.parents[1] / "blobs" / etag(content)
        blob.write_bytes(content[:-2] + b"xx")
        with pytest.raises(DataError, match=rf"{name} of data set .* is damaged .*prefetch"):
            hub.load(PIN)
        blob.write_bytes(content)


def test_rot_that_leaves_size_and_time_is_found(cache: Path, tmp_path: Path) -> None:
    snapshot = write_cache(cache, PIN, {"test.jsonl": ROWS})
    folder, _ = prefetch(PIN, tmp_path / "usb", Progress(quiet=True))
    for path in ((snapshot / "test.jsonl").resolve(), folder / "test.jsonl"):
        before = path.stat()
        path.write_bytes(ROWS.replace(b"2", b"7"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # A run trusts what it hashed once; whoever asks for the check gets it.
    assert check_cached(snapshot, PIN) == 1
    with pytest.raises(DataError, match="is damaged"):
        check_cached(snapshot, PIN, again=True)
    with pytest.raises(DataError, match="is damaged"):
        check_prefetched(tmp_path / "usb", PIN, again=True)


def test_what_is_not_whole_is_not_carried_away(cache: Path, tmp_path: Path) -> None:
    write_cache(cache, PIN, {"README.md": b"only that", "test.jsonl": ROWS[:19]})
    with pytest.raises(DataError, match="has 1 row where there must be 3"):
        prefetch(PIN, tmp_path / "usb", Progress(quiet=True))
    assert not (tmp_path / "usb").exists()


@pytest.mark.parametrize("entry", [{}, {"revision": "a", "files": {"x": {}}}, [], {"revision": 1}])
def test_a_damaged_manifest_can_be_mended(cache: Path, tmp_path: Path, entry: object) -> None:
    write_cache(cache, PIN, {"test.jsonl": ROWS})
    (tmp_path / MANIFEST).write_text(json.dumps({"schema_version": 1, "data": {PIN.id: entry}}))
    with pytest.raises(DataError, match=r"prefetched.json is damaged .*delete it and run"):
        prefetch(PIN, tmp_path, Progress(quiet=True))
    (tmp_path / MANIFEST).unlink()
    prefetch(PIN, tmp_path, Progress(quiet=True))
    assert len(HubSource(root=tmp_path).rows(PIN)) == 3


def test_what_the_hub_does_not_serve_may_lie_beside_it(cache: Path, tmp_path: Path) -> None:
    pin = PINS["SICK-R"]
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": 1 + i % 5} for i in range(9927)]
    write_cache(cache, pin, {"test.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    prefetch(pin, tmp_path / "usb", Progress(quiet=True))
    plan = functools.partial(
        make_plan,
        [],
        [(SICKR(), "senteval"), (SICKR(), "mteb")],
        suite="paper",
        source=folder_source(tmp_path / "usb"),
        checkpoints=tmp_path,
        limit=None,
        device=None,
        dtype=None,
    )
    assert [(w.protocol, w.source) for w in plan().work] == [("mteb", "hub")]
    assert "does not mark the test pairs" in plan().problems[0]
    (tmp_path / "usb/sts").mkdir()
    (tmp_path / "usb/sts/SICK-R.tsv").write_text("score\tsentence1\tsentence2\n1\ta\tb\n2\tc\td\n")
    found = [(w.protocol, w.source, len(w.examples)) for w in plan().work]
    assert found == [("senteval", "folder", 2), ("mteb", "hub", 9927)]


def test_another_number_of_rows_is_refused(cache: Path) -> None:
    write_cache(cache, PIN, {"test.jsonl": ROWS})
    more = dataclasses.replace(PIN, rows=4)
    with pytest.raises(DataError, match="has 3 rows where there must be 4; the copy is not whole"):
        hub.load(more)


def test_another_revision_is_named(cache: Path) -> None:
    write_cache(cache, PIN, {"test.jsonl": ROWS}, revision="b" * 40)
    with pytest.raises(DataError, match=r"aaaaaaaa \(the cache has revision bbbbbbbb\) cannot be"):
        hub.load(PIN)


def test_unreadable_files_are_named(cache: Path) -> None:
    write_cache(cache, PIN, {"test.jsonl": b'{"text": "cut o'})
    with pytest.raises(DataError, match=r"cannot be read \(.*fetch them again"):
        hub.load(PIN)


def test_a_prefetched_folder_is_checked(cache: Path, tmp_path: Path) -> None:
    write_cache(cache, PIN, {"test.jsonl": ROWS, "sub/more.txt": b"not rows"})
    usb = tmp_path / "usb"
    folder, size = prefetch(PIN, usb, Progress(quiet=True))
    assert size == len(ROWS) + 8
    assert (folder / "sub/more.txt").read_bytes() == b"not rows"
    before = (folder / "test.jsonl").stat().st_mtime_ns
    prefetch(PIN, usb, Progress(quiet=True))
    assert (folder / "test.jsonl").stat().st_mtime_ns == before

    source = folder_source(usb)
    assert source == HubSource(root=usb)
    assert source.of(PIN) is source
    layout = source.of(PINS["STS12"])
    assert isinstance(layout, FolderSource)
    assert layout.root == usb
    assert [row["text"] for row in source.rows(PIN)] == ["text 0", "text 1", "text 2"]

    newer = dataclasses.replace(PIN, revision="c" * 40)
    with pytest.raises(DataError, match=r"has revision aaaaaaaa .* this version uses cccccccc"):
        source.rows(newer)
    (folder / "test.jsonl").write_bytes(ROWS.replace(b"2", b"7"))
    with pytest.raises(DataError, match=r"test.jsonl is damaged: its hash is not that of"):
        source.rows(PIN)
    (folder / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"test.jsonl is missing, though prefetched.json lists it"):
        source.rows(PIN)
    with pytest.raises(DataError, match="has no data set somebody/else"):
        source.rows(dataclasses.replace(PIN, id="somebody/else"))
    prefetch(PIN, usb, Progress(quiet=True))
    assert len(source.rows(PIN)) == 3

    write_cache(cache, newer, {"test.jsonl": ROWS}, revision=newer.revision)
    prefetch(newer, usb, Progress(quiet=True))
    assert not folder.exists()
    assert len(source.rows(newer)) == 3
    (usb / MANIFEST).write_text("{")
    with pytest.raises(DataError, match=r"prefetched.json is damaged .*prefetch --to"):
        source.rows(newer)


@pytest.mark.parametrize(
    ("id", "revision", "name"),
    [
        (PIN.id, "../../../kept", "test.jsonl"),
        (PIN.id, "/kept", "test.jsonl"),
        (PIN.id, "..", "test.jsonl"),
        (PIN.id, "", "test.jsonl"),
        ("../kept", "b" * 40, "test.jsonl"),
        (PIN.id, "b" * 40, "../../../../kept/mine.txt"),
        (PIN.id, "b" * 40, "/etc/hostname"),
        (PIN.id, "b" * 40, ""),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_damaged(
    cache: Path, tmp_path: Path, id: str, revision: str, name: str
) -> None:
    usb, kept = tmp_path / "usb", tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    write_cache(cache, PIN, {"test.jsonl": ROWS})
    prefetch(PIN, usb, Progress(quiet=True))
    entry = {"revision": revision, "files": {name: {"sha256": "0" * 64, "bytes": 4}}}
    (usb / MANIFEST).write_text(json.dumps({"schema_version": 1, "data": {id: entry}}))
    with pytest.raises(DataError, match=r"prefetched\.json is damaged"):
        prefetch(PIN, usb, Progress(quiet=True))
    assert (kept / "mine.txt").read_text() == "mine"


def test_only_what_prefetch_wrote_is_removed_with_an_old_revision(
    cache: Path, tmp_path: Path
) -> None:
    usb, kept = tmp_path / "usb", tmp_path / "kept"
    old = dataclasses.replace(PIN, revision="b" * 40)
    write_cache(cache, old, {"test.jsonl": ROWS, "sub/a.txt": b"a", "sub/deep/b.txt": b"b"})
    folder, _ = prefetch(old, usb, Progress(quiet=True))
    (folder / "notes.txt").write_text("mine")
    kept.mkdir()
    (kept / "b.txt").write_text("mine")
    (folder / "sub/deep/b.txt").unlink()
    (folder / "sub/deep").rmdir()
    (folder / "sub/deep").symlink_to(kept)
    write_cache(cache, PIN, {"test.jsonl": ROWS})
    prefetch(PIN, usb, Progress(quiet=True))
    assert not (folder / "test.jsonl").exists()
    assert not (folder / "sub/a.txt").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert (kept / "b.txt").read_text() == "mine"
    assert len(HubSource(root=usb).rows(PIN)) == 3
    # Nothing of a revision that has nothing else is left.
    write_cache(cache, old, {"test.jsonl": ROWS})
    prefetch(old, usb, Progress(quiet=True))
    assert not (folder.parent / PIN.revision).exists()
