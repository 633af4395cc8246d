"""mteb reads what `results export` writes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from data_sets import EQUIVALENTS, PINS

from paraclip_bench.bridges.mteb_export import export
from paraclip_bench.bridges.mteb_task import PARTS
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import result_key, result_path, write
from paraclip_bench.tasks.catalog import load_task

slow = pytest.mark.slow  # importing mteb takes five seconds
pytestmark = pytest.mark.filterwarnings("ignore")


def put(results: Path, task: str, values: dict[str, float | None], **changes: Any) -> Path:
    """Write a result; a change's key may be one of data or provenance."""
    raw: dict[str, Any] = {
        "suite": "paper",
        "task": task,
        "task_version": 1,
        "protocol": "all",
        "main_score": next(iter(values)),
        "n": 1500,
        "limit": None,
        "details": {},
        "model": {
            "spec": "spec:m",
            "name": "a/model",
            "fingerprint": "f1",
            "activation": None,
            "base": None,
        },
        "scores": {k: {"value": v, "low": 0.1, "high": 0.9} for k, v in values.items()},
        "data": {"source": "hub", "id": "x", "revision": "r1", "sha256": "ab" * 32},
        "provenance": {
            "versions": {},
            "device": "cpu",
            "dtype": "float32",
            "seed": 0,
            "seconds": 1.5,
            "encode_seconds": 1.0,
            "from_store": 0.0,
            "command": "",
            "time": "2026-01-02T03:04:05+00:00",
            "scored_by": "",
        },
    }
    for key, value in changes.items():
        part = next((raw[p] for p in ("data", "provenance", "model") if key in raw[p]), raw)
        part[key] = value
    result = Result.model_validate(raw)
    key = result_key(
        str(result.model.fingerprint),
        result.provenance.dtype,
        1,
        result.data.sha256,
        result.limit,
    )
    path = result_path(results, result.suite, result.model.name, task, result.protocol, key)
    write(path, result, None)
    return path


def read_by_mteb(out: Path) -> dict[str, Any]:
    """mteb's results by task, of the one model that is there."""
    import mteb

    assert out.name == "results"
    found = mteb.ResultCache(out.parent).load_results(include_remote=False)
    (model,) = found.model_results
    assert (model.model_name, model.model_revision) == ("paraclip-bench/a-model", "f1")
    return {result.task_name: result for result in model.task_results}


@slow
def test_every_equivalent_is_read_by_mteb(tmp_path: Path) -> None:
    import mteb

    for index, (ours, equivalent) in enumerate(EQUIVALENTS.items()):
        task = load_task(ours)
        values = {name: 0.5 + index / 100 + i / 1000 for i, name in enumerate(task.scores)}
        n = mteb.get_task(equivalent.name).metadata.n_samples["test"]
        revision = PINS[ours].revision
        put(tmp_path, ours, values, protocol=equivalent.protocol, n=n, revision=revision)
    out = tmp_path / "mteb" / "results"
    done = export(tmp_path, out)
    assert (done.left_out, done.remarks) == ([], [])
    found = read_by_mteb(out)
    assert set(found) == {equivalent.name for equivalent in EQUIVALENTS.values()}
    for index, (ours, equivalent) in enumerate(EQUIVALENTS.items()):
        result = found[equivalent.name]
        about = result.task.metadata
        assert result.get_score() == pytest.approx(0.5 + index / 100)
        (entry,) = result.scores["test"]
        assert entry[about.main_score] == entry["main_score"]
        assert entry["hf_subset"] == "default"
        assert entry["languages"] == ["eng-Latn"]
        assert entry["evaluated_with"].startswith("paraclip-bench ")
        assert result.dataset_revision == PINS[ours].revision == about.revision
        assert result.evaluation_time == 1.5
        if "pearson" in load_task(ours).scores:
            assert entry["cosine_pearson"] == pytest.approx(0.501 + index / 100)
    (folder,) = out.glob("*/*")
    assert json.loads((folder / "model_meta.json").read_text())["modalities"] == ["image", "text"]


@slow
def test_mteb_s_own_scores_keep_their_subsets(tmp_path: Path) -> None:
    parts = [
        {
            "name": f"test/{name}",
            "n": 250,
            "scores": {"cosine_spearman": {"value": value, "low": None, "high": None}},
        }
        for name, value in {"en-de": 0.4, "en-en": 0.8}.items()
    ]
    put(
        tmp_path,
        "mteb:STS17",
        {"cosine_spearman": 0.6},
        protocol="mteb",
        details={PARTS: parts},
        scored_by="mteb 2.1.0",
    )
    export(tmp_path, tmp_path / "results")
    result = read_by_mteb(tmp_path / "results")["STS17"]
    by_subset = {entry["hf_subset"]: entry for entry in result.scores["test"]}
    assert {name: entry["main_score"] for name, entry in by_subset.items()} == {
        "en-de": 0.4,
        "en-en": 0.8,
    }
    assert by_subset["en-de"]["languages"] == ["eng-Latn", "deu-Latn"]
    assert "evaluated_with" not in by_subset["en-en"]
    assert result.get_score() == pytest.approx(0.6)
    assert (result.mteb_version, result.dataset_revision) == ("2.1.0", "r1")


@slow
def test_what_has_no_equivalent_is_left_out_with_its_reason(tmp_path: Path) -> None:
    sts = {"spearman": 0.5, "pearson": 0.6}
    put(tmp_path, "STS13", sts)
    reasons = {
        put(tmp_path, "SICK-R", sts, protocol="senteval", n=4927): "is protocol mteb of SICK-R",
        put(tmp_path, "vg-relation", {"accuracy": 0.5}, protocol="aro"): "and this is aro",
        put(tmp_path, "paraphrased-retrieval", {"ao@10": 0.5}): "no task that measures",
        put(tmp_path, "STS12", sts, n=3): "has 3 examples, and mteb's STS12 3108",
        put(tmp_path, "STS14", sts, source="demo"): "on the demo world",
        put(tmp_path, "STS15", {"spearman": None}): "spearman is undefined",
        put(tmp_path, "STS16", sts, n=1, limit=1): "first 1 example ",
        put(tmp_path, "STSBenchmark", {"spearman": 0.5}, n=1379): "has no pearson",
        put(tmp_path, "mteb:STS99", sts, scored_by="mteb 9"): "no task 'STS99' in mteb",
    }
    done = export(tmp_path, tmp_path / "out")
    assert [path.name for path in done.written] == ["STS13.json"]
    assert len(done.left_out) == len(reasons)
    for path, part in reasons.items():
        (line,) = [line for line in done.left_out if path.name in line]
        assert part in line


@slow
def test_of_several_results_one_is_written_and_a_folder_s_is_marked(tmp_path: Path) -> None:
    sts = {"spearman": 0.5, "pearson": 0.6}
    put(tmp_path, "STS13", {**sts, "spearman": 0.7}, source="folder", revision=None, sha256="cd")
    done = export(tmp_path, tmp_path / "results")
    assert "its dataset_revision is folder-cd and none of the hub's" in done.remarks[0]
    assert read_by_mteb(tmp_path / "results")["STS13"].dataset_revision == "folder-cd"
    put(tmp_path, "STS13", sts)
    done = export(tmp_path, tmp_path / "results")
    assert "STS13 is written from a-model/STS13.all." in done.left_out[0]
    result = read_by_mteb(tmp_path / "results")["STS13"]
    assert (result.dataset_revision, result.get_score()) == ("r1", 0.5)
    put(tmp_path, "mteb:STS13", {"cosine_spearman": 0.9}, protocol="mteb", scored_by="mteb 2.1.0")
    assert len(export(tmp_path, tmp_path / "results").left_out) == 2
    assert read_by_mteb(tmp_path / "results")["STS13"].get_score() == 0.9


def test_without_mteb_or_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(BenchError, match=r"needs mteb.*pip install mteb"):
        export(tmp_path, tmp_path / "out")


@slow
def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no results in"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@slow
def test_a_time_that_is_none_is_left_out(tmp_path: Path) -> None:
    """It ended the export with "unexpected"."""
    put(tmp_path, "STS12", {"spearman": 0.5, "pearson": 0.6}, n=3108, time="yesterday")
    (said,) = export(tmp_path, tmp_path / "mteb").left_out
    assert "its time, 'yesterday', is none" in said
