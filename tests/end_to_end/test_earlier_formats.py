"""Results, outcomes, a store, checkpoints and paraphrases of version 0.1.0 go on working."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compare_results import differences

import paraclip_bench
from paraclip_bench.paraphrasing.job import make_job

KEPT = Path(__file__).parents[1] / "support/formats_0_1"
MODELS = ["bags.py:Bags", "paraclip:checkpoint"]
TASKS = ["STS12", "vg-relation", "paraphrased-retrieval"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files as they were, as the working directory, with their store."""
    folder = tmp_path / "kept"
    shutil.copytree(KEPT, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PARACLIP_CACHE", str(folder / "cache"))
    return folder


def run(force: bool = False) -> Any:
    return paraclip_bench.evaluate(
        MODELS, TASKS, suite="paper", data_dir="data", force=force, quiet=True
    )


def test_what_is_there_is_not_measured_again(kept: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(kept.glob("results/*/*/*"))}
    report = run()
    assert (report.failures, report.skipped) == ([], [])
    assert len(report.results) == len(MODELS) * len(TASKS)
    # Not a file more: every key is what it was.
    assert {path: path.read_bytes() for path in sorted(kept.glob("results/*/*/*"))} == before


def test_the_same_is_measured_from_the_same_store(kept: Path) -> None:
    report = run(force=True)
    assert report.failures == []
    assert {result.provenance.from_store for _, result in report.results} == {1.0}
    assert differences(KEPT / "results", kept / "results") == []
    (path,) = kept.glob("results/*/Bags/paraphrased-retrieval.*.outcomes.parquet")
    columns = pq.read_table(path).to_pydict()
    columns["rank_query"][0] += 1
    pq.write_table(pa.table(columns), path)
    (said,) = differences(KEPT / "results", kept / "results")
    assert said.endswith(".outcomes.parquet: rank_query")


def test_the_board_is_the_same(kept: Path) -> None:
    board = paraclip_bench.leaderboard(baseline="Bags")
    old = json.loads((KEPT / "board.json").read_text(encoding="utf-8"))
    assert [(c.title, c.score) for c in board.columns] == [
        (c["title"], c["score"]) for c in old["columns"]
    ]
    for row, before in zip(board.rows, old["rows"], strict=True):
        assert row.name == before["name"]
        for cell, was in zip(row.cells, before["cells"], strict=True):
            for estimate, values in (
                (cell.estimate, was["estimate"]),
                (cell.difference, was["difference"]),
            ):
                assert (estimate is None) == (values is None)
                if values is not None:
                    assert estimate.value == values["value"]


def test_an_unfinished_run_goes_on(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = paraclip_bench.finetune(
        base="local-dir:checkpoint",
        data="pairs.jsonl",
        images="data/vg-relation/images",
        recipe="unfinished.toml",
        out="unfinished",
        resume=True,
    )
    assert "going on after step 4" in capsys.readouterr().err
    before = (KEPT / "unfinished/losses.jsonl").read_text().splitlines()
    lines = (folder / "losses.jsonl").read_text().splitlines()
    assert lines[:4] == before[:4]
    # As 0.1.0 went on from here; on another processor the last digits differ.
    went_on = (KEPT / "finished_losses.jsonl").read_text().splitlines()
    assert len(lines) == len(went_on) == 6
    for line, expected in zip(map(json.loads, lines), map(json.loads, went_on), strict=True):
        assert line.keys() == expected.keys()
        assert line == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert json.loads((folder / "provenance.json").read_text())["steps"] == 6


def test_a_finished_run_is_not_repeated(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in sorted(kept.glob("checkpoint/*"))}
    folder = paraclip_bench.finetune(
        base="local-dir:base",
        data="pairs.jsonl",
        images="data/vg-relation/images",
        recipe="finished.toml",
        out="checkpoint",
    )
    assert folder == Path("checkpoint")
    assert "is already made by this recipe from this base and data" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted(kept.glob("checkpoint/*"))} == before
    assert (
        paraclip_bench.load_model("paraclip:checkpoint").fingerprint
        == (json.loads((kept / "unfinished/begun.json").read_text())["base"])
    )


def test_the_input_of_paraphrase_is_known_again(kept: Path) -> None:
    """What an output was made of is the same digest, so its captions are not read again."""
    known = sqlite3.connect("reworded.jsonl.work/journal.sqlite")
    rows = known.execute("SELECT value FROM meta WHERE name = 'selected'").fetchall()
    known.close()
    job = make_job(Path("captions.txt"), Path("reworded.jsonl"), llm="demo", sampling={})
    assert job.digest() in str(rows)


def test_an_output_of_paraphrase_is_gone_on_with(kept: Path) -> None:
    before = (kept / "reworded.jsonl").read_bytes()
    with Path("captions.txt").open("a", encoding="utf-8") as file:
        file.write("a photo of a red ball and a blue box\n")
    report = paraclip_bench.paraphrase("captions.txt", "reworded.jsonl", llm="demo", quiet=True)
    after = Path("reworded.jsonl").read_bytes()
    assert after.startswith(before)
    assert report["rows"] == {"written": 3, "dropped": 1, "unfinished": 0}
