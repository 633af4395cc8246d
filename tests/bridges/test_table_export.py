"""CSV and Parquet: pandas reads what the results say back from both."""

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measured import KEPT, copy_of, measure

from paraclip_bench.bridges.table_export import COLUMNS, table_rows, write_csv, write_parquet
from paraclip_bench.errors import UsageError
from paraclip_bench.results import store

# Exact by default in pandas 4, which says so; the option is for those before.
pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision'")
INTS = [name for name, kind in COLUMNS.items() if kind == "int"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(tmp_path_factory.mktemp("tables"))


def read_csv(path: Path) -> pd.DataFrame:
    types = dict.fromkeys(INTS, "Int64")
    return pd.read_csv(path, dtype=types, parse_dates=["time"], float_precision="round_trip")


def test_a_row_for_each_score_and_each_part(results: Path) -> None:
    rows, left_out = table_rows(results)
    assert left_out == []
    expected = []
    for path in results.glob("*/*/*.json"):
        raw = json.loads(path.read_text())
        whole = [(None, None, raw["n"], raw["scores"])]
        whole += [
            (kind, part["name"], part["n"], part["scores"])
            for kind, parts in raw["details"].items()
            for part in parts
        ]
        expected += [
            (
                *(raw["task"], raw["model"]["fingerprint"], kind, part, n, name),
                *(score["value"], score["low"], score["high"], score.get("method")),
            )
            for kind, part, n, scores in whole
            for name, score in scores.items()
        ]
    names = ("task", "fingerprint", "part_of", "part", "n", "score", "value", "low", "high")
    found = [tuple(row[name] for name in (*names, "method")) for row in rows]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {row["part_of"] for row in rows} == {None, "group", "subset"}
    assert sum(row["is_main"] for row in rows if row["part"] is None) == 3
    for row in rows:
        assert (results / row["file"]).is_file()
        assert list(row) != []
        assert row.keys() == COLUMNS.keys()


def test_pandas_reads_the_same_from_both(results: Path, tmp_path: Path) -> None:
    (one,) = write_csv(results, tmp_path / "t.csv").written
    (two,) = write_parquet(results, tmp_path / "t.parquet").written
    frames = read_csv(one), pd.read_parquet(two).astype(dict.fromkeys(INTS, "Int64"))
    assert list(frames[0]) == list(frames[1]) == list(COLUMNS)
    for name in COLUMNS:
        columns = [frame[name] for frame in frames]
        assert columns[0].isna().tolist() == columns[1].isna().tolist(), name
        assert columns[0].dropna().tolist() == columns[1].dropna().tolist(), name
    rows, _ = table_rows(results)
    assert frames[1]["value"].tolist() == [row["value"] for row in rows]
    assert frames[1]["time"].dt.tz is not None


def test_the_types_of_parquet(results: Path, tmp_path: Path) -> None:
    (path,) = write_parquet(results, tmp_path).written
    assert path == tmp_path / "results.parquet"
    schema = pq.read_schema(path)
    assert schema.field("n").type == schema.field("limit").type == pa.int64()
    assert schema.field("value").type == pa.float64()
    assert schema.field("is_main").type == pa.bool_()
    assert pa.types.is_timestamp(schema.field("time").type)


def test_results_of_0_1_0_and_of_some(tmp_path: Path) -> None:
    (path,) = write_csv(KEPT / "results", tmp_path).written
    assert path == tmp_path / "results.csv"
    assert set(read_csv(path)["model"]) == {"Bags", "checkpoint"}
    chosen = write_csv(KEPT / "results", tmp_path, model="bags", task="STS12")
    frame = read_csv(path)
    assert chosen.written == {path: len(frame)}
    assert set(frame["task"]) == {"STS12"}
    with pytest.raises(UsageError, match="no model 'x'"):
        write_csv(KEPT / "results", tmp_path, model="x")


def test_foreign_text_is_no_formula_and_no_second_row(results: Path, tmp_path: Path) -> None:
    (path,) = copy_of(results, tmp_path / "w").glob("results/*/*/STS12*.json")
    result = store.read(path)
    model = result.model.model_copy(update={"spec": '=1+1\n"x",y', "base": "a,b"})
    about = result.provenance.model_copy(update={"time": "yesterday"})
    store.write(path, result.model_copy(update={"model": model, "provenance": about}), None)
    (file,) = write_csv(tmp_path / "w/results", tmp_path, task="STS12").written
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert {row["spec"] for row in rows} == {'\'=1+1 "x",y'}
    assert {row["base"] for row in rows} == {"a,b"}
    assert {row["time"] for row in rows} == {""}
    (file,) = write_parquet(tmp_path / "w/results", tmp_path, task="STS12").written
    assert set(pq.read_table(file)["spec"].to_pylist()) == {'=1+1\n"x",y'}


def test_a_number_that_no_column_can_hold_is_left_out(results: Path, tmp_path: Path) -> None:
    (path,) = copy_of(results, tmp_path / "w").glob("results/*/*/STS12*.json")
    result = store.read(path)
    about = result.model.model_copy(update={"seed": 10**30})
    store.write(path, result.model_copy(update={"model": about}), None)
    done = write_parquet(tmp_path / "w/results", tmp_path)
    (reason,) = done.left_out
    assert "more than 64 bits" in reason
    assert done.written
