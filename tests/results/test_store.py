"""Result files: where they lie, that they are whole, and what reading refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from measured import result

from paraclip_bench.errors import BenchError, DataError
from paraclip_bench.results import store

COLUMNS: dict[str, np.ndarray] = {
    "example_id": np.array(["0", "ä\n", ""], dtype=object),
    "fixed": np.array(["a", "bb", "c"]),
    "count": np.array([1, -2, 2**40]),
    "small": np.array([1, 2, 3], dtype=np.int8),
    "right": np.array([True, False, True]),
    "cosine": np.array([0.1, np.nan, -np.inf], dtype=np.float32),
    "gold": np.array([0.1, 0.2, 0.30000000000000004]),
    "overlaps": np.arange(12).reshape(3, 4),
    "ties": np.array([[True, False]] * 3),
    "top": np.array([["x", "y"], ["z", ""], ["ü", "x"]], dtype=object),
    "turned": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    written = store.write(path, result(), COLUMNS)
    assert store.read(path) == written
    assert written.model_copy(update={"digests": None}) == result()
    assert store.has_outcomes(path, written)
    read = store.read_outcomes(path)
    assert list(read) == list(COLUMNS)
    for name, values in COLUMNS.items():
        if values.dtype.kind in "OU":
            assert read[name].tolist() == values.tolist()
        else:
            assert read[name].dtype == values.dtype, name
            assert np.array_equal(read[name], values, equal_nan=values.dtype.kind == "f"), name
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.json", "b.outcomes.parquet"]


def test_some_columns_of_some_rows(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    names = np.array([["a", "ä"], ["b", "a"], ["", "c"]], dtype=object)
    store.write(path, result(), {**COLUMNS, "top_query": names})
    whole = store.read_outcomes(path)
    some = store.read_outcomes(path, rows=[2, 0])
    assert list(some) == list(whole)
    for name, values in some.items():
        assert values.dtype == whole[name].dtype, name
        np.testing.assert_array_equal(values, whole[name][[2, 0]], err_msg=name)
    assert list(store.read_outcomes(path, lambda name: name.startswith("top_"))) == ["top_query"]
    assert store.read_outcomes(path, lambda name: False) == {}


def test_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    columns = {"overlaps": np.zeros((0, 10), dtype=np.int64), "x": np.zeros(0)}
    store.write(path, result(), columns)
    assert {k: v.shape for k, v in store.read_outcomes(path).items()} == {
        "overlaps": (0, 10),
        "x": (0,),
    }


def test_the_file_is_the_published_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write(path, result(), COLUMNS)
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["schema_version"] == 1
    assert raw["scores"]["spearman"] == {"value": 0.1 + 0.2, "low": None, "high": 1e-300}
    assert set(raw) == {
        *("schema_version", "suite", "task", "task_version", "protocol", "main_score", "n"),
        *("limit", "model", "scores", "details", "data", "provenance", "digests"),
    }


def test_scores_without_outcomes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    written = store.write(path, result(), None)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert store.read(path) == written
    assert not store.has_outcomes(path, written)
    with pytest.raises(DataError, match=r"a\.outcomes\.parquet is missing"):
        store.read_outcomes(path)


def test_extra_keys_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    raw = result().model_dump()
    raw["remark"] = {"by": ["us"]}
    raw["model"]["licence"] = "MIT"
    path.write_text(json.dumps(raw))
    read = store.read(path)
    store.write(tmp_path / "b.json", read, {})
    again = json.loads((tmp_path / "b.json").read_text())
    assert again["remark"] == {"by": ["us"]}
    assert again["model"]["licence"] == "MIT"


@pytest.mark.parametrize("whole", [True, False])
def test_a_later_schema_asks_for_an_update(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "a.json"
    raw = {**result().model_dump(), "schema_version": 2}
    if not whole:
        del raw["n"]  # a later schema may have other keys
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=r"a\.json has schema_version 2 .* update") as caught:
        store.read(path)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"suite": "paper"}', b"\xff\xfe", b'{"n": "x"}']
)
def test_a_damaged_result_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json is not a result of run .* made again"):
        store.read(path)
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        store.read(tmp_path / "none.json")


def test_damaged_outcomes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write(path, result(), COLUMNS)
    file = store.outcomes_path(path)
    for content in (b"", b"no parquet", file.read_bytes()[:-100]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.outcomes\.parquet is missing or damaged"):
            store.read_outcomes(path)
    file.unlink()
    with pytest.raises(DataError, match=r"a\.outcomes\.parquet is missing or damaged"):
        store.read_outcomes(path)


def test_paths_and_keys() -> None:
    key = store.result_key("f", "float32", 1, "ab", None)
    others = [
        store.result_key("g", "float32", 1, "ab", None),
        store.result_key("f", "bfloat16", 1, "ab", None),
        store.result_key("f", "float32", 2, "ab", None),
        store.result_key("f", "float32", 1, "ac", None),
        store.result_key("f", "float32", 1, "ab", 5),
    ]
    assert len({key, *others}) == 6
    assert key == store.result_key("f", "float32", 1, "ab", None)
    assert len(key) == 8
    assert int(key, 16) >= 0
    path = store.result_path(Path("r"), "paper", "open_clip:ViT-B-32/openai", "SICK-R", "mteb", key)
    assert path == Path(f"r/paper/open_clip-ViT-B-32-openai/SICK-R.mteb.{key}.json")
    assert store.outcomes_path(path).name == f"SICK-R.mteb.{key}.outcomes.parquet"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write(path, result(), COLUMNS)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(pa.ArrowException):
        store.write(path, result(n=9), {"bad": np.array([{"no": "text"}, 3], dtype=object)})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_reader_sees_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write(path, result(), COLUMNS)
    old = path.read_text(), store.outcomes_path(path).read_bytes()
    with path.open() as reading, store.outcomes_path(path).open("rb") as reading_too:
        store.write(path, result(n=9), {"x": np.arange(5)})
        assert (reading.read(), reading_too.read()) == old
    assert store.read(path).n == 9
    assert list(store.read_outcomes(path)) == ["x"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchError, match="cannot be written"):
        store.write(tmp_path / "file" / "a.json", result(), COLUMNS)
