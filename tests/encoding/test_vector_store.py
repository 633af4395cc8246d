"""The store on disk: bit for bit, by many processes, through kills, damage and eviction."""

import contextlib
import itertools
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.encoding import vector_store
from paraclip_bench.encoding.database import StoreUnavailable
from paraclip_bench.encoding.eviction import parse_size, size_text
from paraclip_bench.encoding.vector_store import Space, VectorStore
from paraclip_bench.errors import UsageError

DIMENSION = 512
# What a child process starts with; argv[1] is the store's folder.
HEAD = """
import sqlite3, sys
from pathlib import Path
import numpy as np
from paraclip_bench.encoding.vector_store import VectorStore

def vector(number):
    return np.random.default_rng(number).standard_normal(512, dtype=np.float32)

def ready():
    print("ready", flush=True)
    sys.stdin.readline()

folder = Path(sys.argv[1])
store = VectorStore(folder, limit=int(sys.argv[2]))
space = store.space("text", "f", "float32", "model")
"""
PLENTY = 10**9


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(DIMENSION, dtype=np.float32)


def child(code: str, folder: Path, limit: int = PLENTY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, str(folder), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def waiting(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A child that has done `code` and lives on; what comes after `ready()` waits for a line."""
    with child(code + "\nready()", folder) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def done(process: subprocess.Popen[str], line: str = "") -> str:
    out, _ = process.communicate(line, timeout=60)
    assert process.returncode == 0
    return out


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    made = VectorStore(tmp_path / "cache", limit=PLENTY)
    yield made
    made.close()


def texts(store: VectorStore) -> Space:
    return store.space("text", "f", "float32", "model")


def fill(space: Space, numbers: Sequence[int]) -> list[str]:
    keys = [f"key {number}" for number in numbers]
    space.write(keys, np.stack([vector(number) for number in numbers]), numbers)
    return keys


def stored(space: Space, total: int = 2000) -> set[int]:
    """The numbers of `fill` that are stored; what is stored must be right."""
    found = set()
    for index, values, flags in space.read([f"key {number}" for number in range(total)]):
        assert values.tobytes() == vector(index).tobytes()
        assert flags == index
        found.add(index)
    return found


def sql(store: VectorStore, query: str, *values: object) -> list[tuple[object, ...]]:
    """Change or ask the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(store.path, timeout=60)) as database, database:
        return database.execute(query, values).fetchall()


def age(store: VectorStore, hours: float, numbers: Sequence[int] | None = None) -> None:
    chosen = "1" if numbers is None else f"flags IN ({','.join(map(str, numbers))})"
    sql(store, f"UPDATE entries SET used = used - ? WHERE {chosen}", int(hours * 3_600_000))


any_text = st.text(st.characters(exclude_categories=()), max_size=8)
any_item = st.tuples(
    any_text,
    st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3),
    st.integers(-(2**63), 2**63 - 1),
)
spaces = itertools.count()


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    made = VectorStore(tmp_path_factory.mktemp("store"), limit=PLENTY)
    yield made
    made.close()


@given(st.lists(st.lists(any_item, min_size=1, max_size=8), max_size=4))
def test_vectors_come_back_bit_for_bit_and_the_first_write_wins(
    long_lived: VectorStore, batches: list[list[tuple[str, list[int], int]]]
) -> None:
    space = long_lived.space("text", f"{next(spaces)}", "float32", "model")
    expected: dict[str, tuple[bytes, int]] = {}
    for batch in batches:
        words = np.array([bits for _, bits, _ in batch], dtype=np.uint32)
        space.write([key for key, _, _ in batch], words.view(np.float32), [f for *_, f in batch])
        for (key, _, flags), row in zip(batch, words, strict=True):
            expected.setdefault(key, (row.tobytes(), flags))
        found = {}
        keys = list(expected)
        for index, values, flags in space.read(keys):
            assert values.dtype == np.float32
            assert values.shape == (3,)
            found[keys[index]] = (values.tobytes(), flags)
        assert found == expected
    assert space.dimension == (3 if batches else None)
    assert long_lived.damaged == 0


def test_what_is_asked_for_comes_at_each_of_its_places(store: VectorStore) -> None:
    space = texts(store)
    assert list(space.read(["key 1"])) == []
    keys = fill(space, range(700))
    asked = ["absent", *reversed(keys), "key 3", "other", "key 3"]
    found = {index: flags for index, _, flags in space.read(asked)}
    assert found == {index: int(key[4:]) for index, key in enumerate(asked) if key[:4] == "key "}
    space.write([], np.empty((0, 3), np.float32))
    assert list(space.read([])) == []


def test_keys_that_look_alike_are_apart(store: VectorStore) -> None:
    keys = ["?", "\ud800", "\udfff", "\ud83d\ude00", "\U0001f600", "", " ", "e\u0301", "\xe9"]
    texts(store).write(keys, np.ones((len(keys), 2), np.float32), range(len(keys)))
    assert [flags for *_, flags in texts(store).read(keys)] == list(range(len(keys)))


def test_spaces_are_apart_and_a_label_is_only_shown(store: VectorStore) -> None:
    fill(texts(store), [1])
    for names in (("image", "f", "float32"), ("text", "g", "float32"), ("text", "f", "bfloat16")):
        assert list(store.space(*names, "model").read(["key 1"])) == []
    assert stored(store.space("text", "f", "float32", "other")) == {1}
    # The parts are not simply joined.
    store.space("a", "b", "c", "").write(["k"], np.ones((1, 2), np.float32))
    assert list(store.space("a", "", "bc", "").read(["k"])) == []


@pytest.mark.parametrize(
    ("keys", "values", "flags"),
    [
        (["a"], np.ones((1, 2)), None),
        (["a"], np.ones(2, np.float32), None),
        (["a"], np.ones((1, 0), np.float32), None),
        (["a", "b"], np.ones((1, 2), np.float32), None),
        (["a"], np.ones((1, 2), np.float32), [1, 2]),
    ],
)
def test_a_wrong_call_is_refused(
    store: VectorStore, keys: list[str], values: np.ndarray, flags: list[int] | None
) -> None:
    with pytest.raises(ValueError, match="vectors"):
        texts(store).write(keys, values, flags)
    assert not store.path.exists()


def test_no_text_lies_in_the_file(store: VectorStore) -> None:
    texts(store).write(["a private caption"], np.ones((1, 4), np.float32))
    store.close()
    files = [path.read_bytes() for path in store.folder.iterdir() if path.is_file()]
    assert any(b"float32" in data for data in files)
    assert not any(b"private" in data for data in files)


def test_the_file_is_set_up_as_promised(store: VectorStore) -> None:
    fill(texts(store), [1])
    wanted = {"page_size": 16384, "auto_vacuum": 2, "journal_mode": "wal"}
    assert {name: sql(store, f"PRAGMA {name}")[0][0] for name in wanted} == wanted


@pytest.mark.parametrize("place", [0, 1000, 4 * DIMENSION, 4 * DIMENSION + 7])
def test_a_flipped_byte_is_noticed_and_written_again(store: VectorStore, place: int) -> None:
    space = texts(store)
    fill(space, range(20))
    ((value,),) = sql(store, "SELECT value FROM vectors WHERE id = 8")
    broken = bytearray(value)
    broken[place] ^= 1
    sql(store, "UPDATE vectors SET value = ? WHERE id = 8", bytes(broken))
    assert stored(space) == set(range(20)) - {7}
    assert store.damaged == 1
    assert stored(space) == set(range(20)) - {7}
    assert store.damaged == 1
    assert sql(store, "SELECT id FROM vectors WHERE id = 8") == []
    fill(space, [7])
    assert stored(space) == set(range(20))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET flags = 8 WHERE flags = 7",
        "UPDATE entries SET flags = 'x' WHERE flags = 7",
        "UPDATE entries SET vector = 7 WHERE flags = 7",
        "DELETE FROM vectors WHERE id = 8",
        "UPDATE vectors SET value = 'text' WHERE id = 8",
        "UPDATE vectors SET value = x'00' WHERE id = 8",
        "UPDATE vectors SET value = substr(value, 5) WHERE id = 8",
    ],
)
def test_an_entry_that_does_not_fit_its_vector_is_noticed(store: VectorStore, change: str) -> None:
    space = texts(store)
    fill(space, range(20))
    sql(store, change)
    assert stored(space) >= set(range(20)) - {6, 7}
    assert store.damaged >= 1
    assert stored(space) >= set(range(20)) - {6, 7}
    fill(space, range(20))
    assert stored(space) == set(range(20))


def test_an_entry_of_another_space_is_no_entry(store: VectorStore) -> None:
    fill(texts(store), [1])
    other = store.space("text", "g", "float32", "model")
    other.write(["key 2"], vector(2)[None])
    sql(store, "UPDATE entries SET space = 2 WHERE space = 1")
    assert list(other.read(["key 1"])) == []
    assert store.damaged == 1


@pytest.mark.parametrize("damage", ["no database", "a page", "half"])
@pytest.mark.parametrize("opened", [True, False])
def test_a_damaged_file_is_started_anew(
    store: VectorStore, damage: str, opened: bool, tmp_path: Path
) -> None:
    space = texts(store)
    fill(space, range(100))
    sql(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    if not opened:
        store.close()
    data = bytearray(store.path.read_bytes())
    if damage == "no database":
        data[:] = b"this is not a database" * 5000
    elif damage == "a page":
        data[2 * 16384 :] = b"\xff" * (len(data) - 2 * 16384)
    else:
        del data[len(data) // 2 :]
    # From outside: to open and close the file here would drop SQLite's own locks.
    copy = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])"
    (tmp_path / "damaged").write_bytes(data)
    subprocess.run([sys.executable, "-c", copy, tmp_path / "damaged", store.path], check=True)
    if opened:  # let the page cache forget
        sql(store, "PRAGMA user_version = 1") if damage == "a page" else None
        store.close()
    assert stored(space) <= set(range(100))
    fill(space, range(200))
    assert store.was_reset
    assert stored(space) == set(range(200))
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]
    assert not texts(VectorStore(store.folder, PLENTY))._store.was_reset


def test_a_file_that_another_process_started_anew_is_found(store: VectorStore) -> None:
    space = texts(store)
    fill(space, range(5))
    code = f"""
space.write(["key 7"], vector(7)[None], [7])
ready()
for path in list(folder.glob("{vector_store.NAME}*")):
    path.unlink()
space.write(["key 8"], vector(8)[None], [8])
print("again", flush=True)
"""
    with waiting(code, store.folder) as process:
        assert stored(space) == {0, 1, 2, 3, 4, 7}
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "again\n"
        fill(space, [9])
        assert stored(space) == {8, 9}
        # The one that closes last must not take the new file's log with it.
        done(process, "\n")
        assert stored(space) == {8, 9}
    store.close()
    assert stored(texts(VectorStore(store.folder, PLENTY))) == {8, 9}


def test_closing_a_replaced_file_leaves_the_new_one_alone(store: VectorStore) -> None:
    fill(texts(store), [1])
    code = f"""
for path in folder.glob("{vector_store.NAME}*"):
    path.unlink()
space.write(["key 8"], vector(8)[None], [8])
"""
    with waiting(code, store.folder):
        store.close()  # SQLite would remove the log beside the file, by name
        assert stored(texts(store)) == {8}


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = VectorStore(tmp_path / "file" / "cache", PLENTY)
    space = texts(store)
    calls = [
        lambda: list(space.read(["a"])),
        lambda: space.claim(["a"]),
        lambda: space.write(["a"], np.ones((1, 2), np.float32)),
        lambda: space.dimension,
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="file is a file, not a folder; move that file"):
            call()
    assert store.summary().spaces == []
    assert store.prune(0) == (0, 0)


def test_a_full_disk_and_an_unknown_format(store: VectorStore) -> None:
    space = texts(store)
    fill(space, range(5))
    store._database.call(lambda connection: connection.execute("PRAGMA max_page_count = 10"))
    with pytest.raises(StoreUnavailable, match="the disk is full; make room, or set PARACLIP"):
        fill(space, range(200))
    assert stored(space) == set(range(5))
    assert not store.was_reset
    sql(store, "PRAGMA user_version = 9")
    store.close()
    with pytest.raises(StoreUnavailable, match=r"format 9, .* knows 1; check .* or remove it"):
        list(space.read(["a"]))


def test_another_process_that_does_not_let_go(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = texts(store)
    fill(space, [1])
    store._database.call(lambda connection: connection.execute("PRAGMA busy_timeout = 50"))
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="other processes kept it locked"):
            fill(space, [2])
        assert stored(space) == {1}  # readers do not wait for writers
        space.claim(["key 1", "key 2"])  # nor does a claim that has nothing to renew
    fill(space, [2])
    assert stored(space) == {1, 2}


WRITER = """
import random, time
me = int(sys.argv[3])
space.claim([])  # opens the file
keys = [f"key {i}" for i in range(300)]
random.Random(me).shuffle(keys)
ready()
for start in range(0, 300, 20):
    batch = keys[start : start + 20]
    space.write(batch, np.stack([vector(1000 * me + int(key[4:])) for key in batch]), [me] * 20)
    if start == 0:
        ready()  # nobody is through before all have begun
print(sorted((index, flags, values.tobytes().hex()) for index, values, flags
             in space.read([f"key {i}" for i in range(300)])))
"""


def test_three_processes_write_the_same_keys(store: VectorStore) -> None:
    command = [sys.executable, "-c", HEAD + WRITER, str(store.folder), str(PLENTY)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(me)], **pipes) for me in range(3)]
    for _ in range(2):
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:  # off together
            writer.stdin.write("\n")
            writer.stdin.flush()
    seen = [done(writer) for writer in writers]
    assert seen[0] == seen[1] == seen[2]
    found = list(texts(store).read([f"key {i}" for i in range(300)]))
    assert len(found) == 300
    for index, values, writer in found:
        assert values.tobytes() == vector(1000 * writer + index).tobytes()
    assert len({writer for *_, writer in found}) > 1
    assert sql(store, "SELECT count(*) FROM entries") == [(300,)]
    assert sql(store, "SELECT count(*) FROM vectors") == [(300,)]


KILLED = """
import itertools, random
numbers = list(range(2000))
random.shuffle(numbers)
print("ready", flush=True)
for turn in itertools.count() if len(sys.argv) == 3 else range(40):
    some = [numbers[(8 * turn + i) % 2000] for i in range(8)]
    keys = [f"key {number}" for number in some]
    space.claim(keys)
    space.write(keys, np.stack([vector(number) for number in some]), some)
    if turn % 20 == 0:  # so that all but the last ones may be evicted, and are
        with sqlite3.connect(store.path, timeout=60) as database:
            database.execute("UPDATE entries SET used = used - 8000000")
        database.close()
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_only_right_vectors(store: VectorStore) -> None:
    delays, space, seen = random.Random(0), texts(store), set()
    for _ in range(10):
        with child(KILLED, store.folder, limit=1_500_000) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(delays.uniform(0, 0.4))
            process.kill()
        found = stored(space)
        seen.add(len(found))
        assert sql(store, "PRAGMA integrity_check") == [("ok",)]
        assert sql(store, "SELECT count(*) FROM entries") == [(len(found),)]
        assert sql(store, "SELECT count(*) FROM vectors") == [(len(found),)]
    assert len(seen) > 3
    assert store.damaged == 0
    assert not store.was_reset
    command = [sys.executable, "-c", HEAD + KILLED, str(store.folder), str(PLENTY), "finish"]
    subprocess.run(command, check=True, timeout=60)
    assert len(stored(space)) >= 8 * 40
    # The dead are forgotten when the next process looks.
    VectorStore(store.folder, PLENTY).prune(max_size=PLENTY)
    assert list((store.folder / "running").iterdir()) == []


def test_the_oldest_are_evicted_and_the_size_holds(store: VectorStore) -> None:
    store.limit = 1_000_000
    space = texts(store)
    for start in range(0, 2000, 50):
        fill(space, range(start, start + 50))
        age(store, 2)  # so that this process protects none, and order stays
        assert store._database.call(vector_store.eviction.bytes_in_use) <= store.limit
    found = stored(space)
    # Seven vectors a page, some pages for the rest, and an eviction leaves 90%.
    assert len(found) > 0.7 * store.limit / (16384 / 7)
    assert found == set(range(min(found), 2000))
    assert not store.over_limit
    sql(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert store.path.stat().st_size <= store.limit + 64 * 16384


def test_what_was_asked_for_again_is_not_the_oldest(store: VectorStore) -> None:
    space = texts(store)
    fill(space, range(300))
    age(store, 48)
    space.claim([f"key {number}" for number in range(50)])
    age(store, 24)
    removed, freed = store.prune(max_size=400_000)
    found = stored(space)
    assert removed == 300 - len(found) > 150
    assert freed > 150 * 4 * DIMENSION
    assert set(range(50)) <= found
    assert found - set(range(50)) == set(range(min(found - set(range(50)), default=300), 300))


def test_a_stamp_is_renewed_only_after_an_hour(store: VectorStore) -> None:
    space = texts(store)
    keys = fill(space, range(600))
    before = dict(sql(store, "SELECT flags, used FROM entries"))
    age(store, 0.9, range(300))
    age(store, 1.1, range(300, 600))
    space.claim([*keys, "absent"])
    after = dict(sql(store, "SELECT flags, used FROM entries"))
    hour = 3_600_000
    assert all(after[n] == before[n] - int(0.9 * hour) for n in range(300))
    assert all(before[n] <= after[n] < before[n] + hour for n in range(300, 600))
    age(store, 2)
    fill(space, range(5))  # what is written again is used again
    written = dict(sql(store, "SELECT flags, used FROM entries"))
    assert all(written[n] >= before[n] for n in range(5))
    assert all(written[n] < before[n] for n in range(5, 600))


def test_what_a_living_process_asked_for_stays(store: VectorStore) -> None:
    vectors = "np.stack([vector(i) for i in range(300)])"
    code = f'space.write([f"key {{i}}" for i in range(300)], {vectors}, range(300))'
    done(child(code, store.folder))
    age(store, 0.9, range(100))  # young enough for a claim to leave the stamp
    age(store, 5, range(100, 300))
    claim = 'space.claim([f"key {i}" for i in [*range(50), *range(100, 150)]])'
    with waiting(claim, store.folder):
        removed, _ = store.prune(max_size=0)
        # Of the stamps that are younger than an hour no one knows who counts on them.
        assert stored(texts(store)) == {*range(150)}
        assert removed == 150
        assert store.prune(older_than=timedelta(0)) == (0, 0)
    removed, _ = store.prune(max_size=0)  # it was killed
    assert removed == 150
    assert stored(texts(store)) == set()
    assert list((store.folder / "running").iterdir()) == []


def test_a_store_that_is_all_in_use_says_so(store: VectorStore) -> None:
    store.limit = 500_000
    space = texts(store)
    fill(space, range(100))
    assert not store.over_limit
    fill(space, range(100, 400))
    assert store.over_limit
    assert stored(space) == set(range(400))
    store.limit = PLENTY
    fill(space, [0])
    assert not store.over_limit
    store.limit, store._next_look = 500_000, 0.0
    fill(space, [0])
    assert store.over_limit
    age(store, 3)
    fill(space, [400])  # it looked a moment ago
    assert len(stored(space)) == 401
    store._next_look = 0.0
    fill(space, [401])
    assert not store.over_limit
    assert {400, 401} <= stored(space) < set(range(402))


def test_a_forked_child_has_a_connection_and_a_lock_of_its_own(tmp_path: Path) -> None:
    code = """
import os
space.write(["key 1"], vector(1)[None], [1])
running = lambda: len(list((folder / "running").iterdir()))
child = os.fork()
if child == 0:
    space.write(["key 2"], vector(2)[None], [2])
    store.close()
    sys.exit(0 if running() == 2 else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert running() == 1
space.write(["key 3"], vector(3)[None], [3])
ready()
"""
    store = VectorStore(tmp_path, PLENTY)
    with waiting(code, tmp_path):
        assert stored(texts(store)) == {1, 2, 3}
        assert store.prune(max_size=0) == (0, 0)  # the parent lives
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]
    assert store.prune(max_size=0)[0] == 3
    store.close()


def test_prune_by_age_shrinks_the_file(store: VectorStore) -> None:
    fill(texts(store), range(300))
    fill(store.space("image", "g", "float32", "model"), [1])
    age(store, 30)
    fill(store.space("text", "h", "float32", "other"), [1])
    before = store.summary()
    assert len(before.spaces) == 3
    removed, freed = store.prune(older_than=timedelta(hours=24))
    after = store.summary()
    assert removed == 301
    assert [(space.label, space.vectors) for space in after.spaces] == [("other", 1)]
    assert sql(store, "SELECT count(*) FROM spaces") == [(1,)]
    assert freed > 300 * 4 * DIMENSION
    assert after.bytes <= before.bytes - freed
    assert store.path.stat().st_size < 10 * 16384


def test_the_summary(store: VectorStore) -> None:
    assert store.summary() == vector_store.StoreSummary(store.path, 0, PLENTY, [])
    assert not store.folder.exists()
    start = datetime.now(UTC) - timedelta(seconds=1)
    fill(texts(store), range(3))
    age(store, 2, [0, 1])
    store.space("image", "\ud800", "bfloat16", "b\ud800").write(["k"], np.ones((1, 4), np.float32))
    summary = store.summary()
    image, text = sorted(summary.spaces, key=lambda space: space.side)
    assert (text.label, text.side, text.dtype, text.fingerprint) == (
        "model",
        "text",
        "float32",
        "f",
    )
    assert (text.vectors, text.bytes) == (3, 3 * (4 * DIMENSION + 8))
    assert (image.label, image.vectors, image.bytes) == ("b?", 1, 24)
    assert start <= text.created <= text.last_used <= datetime.now(UTC)
    assert summary.bytes == sum(path.stat().st_size for path in store.folder.glob("*.sqlite*"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("0.5 GiB", 2**29), ("0", 0), ("7k", 7000)],
)
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse_size(text, "x") == size
    monkeypatch.setenv("PARACLIP_STORE_LIMIT", text)
    assert VectorStore(tmp_path).limit == size


@pytest.mark.parametrize(
    "text", ["much", "-1GB", "1 PB", "1e3", "nan", "GB", "1.GB", "１ GB!", " "]
)
def test_a_limit_that_is_no_size(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARACLIP_STORE_LIMIT", text)
    with pytest.raises(
        UsageError, match=r"PARACLIP_STORE_LIMIT is .* not a size; write one such as"
    ):
        VectorStore(tmp_path)


def test_the_limit_and_the_folder_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PARACLIP_STORE_LIMIT", raising=False)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    store = VectorStore()
    assert (store.path, store.limit) == (tmp_path / "cache" / "embeddings.sqlite", 20 * 10**9)


def test_sizes_for_people() -> None:
    shown = [size_text(size) for size in (0, 999, 1000, 999_949, 999_950, 20 * 10**9, 10**13)]
    assert shown == ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "20.0 GB", "10.0 TB"]
