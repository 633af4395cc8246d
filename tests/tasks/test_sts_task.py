"""The STS sets: reading, scoring, and the organisers' own baseline on the real files."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.correlation import pearson
from paraclip_bench.metrics.inference import point
from paraclip_bench.tasks.sts import SICKR, STS12, STS13, STS14, STSBenchmark, unit_cosine

HEADER = "score\tsentence1\tsentence2\n"


def write(root: Path, text: str, name: str = "STS12") -> FolderSource:
    (root / "sts").mkdir(exist_ok=True)
    (root / "sts" / f"{name}.tsv").write_text(text, encoding="utf-8")
    return FolderSource(root)


def with_ids(columns: Any) -> dict[str, np.ndarray]:
    ids = np.arange(len(columns["gold"]))
    return {"example_id": ids, "cluster_id": ids, **columns}


def test_scores_are_those_of_scipy(tmp_path: Path, given: Callable[..., Any]) -> None:
    rng = np.random.default_rng(3)
    rows = [(round(rng.uniform(0, 5), 1), f"one {i % 37}", f"two {i % 23}") for i in range(300)]
    rows += [(5.0, f"same {i}", f"same {i}") for i in range(9)]
    source = write(tmp_path, HEADER + "".join(f"{g}\t{a}\t{b}\n" for g, a, b in rows))
    vectors: dict[str, np.ndarray] = {}
    for _, one, two in rows:
        for text in (one, two):
            raw = rng.normal(size=16).astype(np.float32)
            vectors.setdefault(text, raw / np.linalg.norm(raw))
    task = STS12()
    embed = given(vectors.__getitem__)
    columns = with_ids(task.outcomes(task.load(source, "all"), embed))
    cosine = [float(vectors[a].astype(float) @ vectors[b].astype(float)) for _, a, b in rows]
    assert columns["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert columns["cosine"].dtype == np.float32
    assert (columns["cosine"][300:] == 1).all()
    gold = [g for g, *_ in rows]
    assert columns["gold"].tolist() == gold
    for name, expected in (
        ("spearman", scipy.stats.spearmanr(columns["cosine"], gold)[0]),
        ("pearson", scipy.stats.pearsonr(columns["cosine"].astype(float), gold)[0]),
    ):
        assert point(task.scores[name], columns) == pytest.approx(expected, abs=1e-12)
    assert task.main_score == "spearman"


def test_identical_vectors_have_cosine_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(2000, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (unit_cosine(vectors, vectors) == 1).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1\ta\tb\nhigh\tc\td\n", "line 3: the score 'high' is not a number"),
        ("1\ta\tb\n\tc\td\n", "line 3: the score '' is not a number"),
        ("1\ta\tb\nnan\tc\td\n", "line 3: the score nan is not within 0 to 5"),
        ("1\ta\tb\ninf\tc\td\n", "line 3: the score inf is not within 0 to 5"),
        ("1\ta\tb\n5.1\tc\td\n", "line 3: the score 5.1 is not within 0 to 5"),
        ("1\ta\tb\n-0.1\tc\td\n", "line 3: the score -0.1 is not within 0 to 5"),
        ("1\ta\tb\n2\tc\t \n", "line 3: sentence2 is empty"),
        ("1\ta\tb\n2\t\td\n", "line 3: sentence1 is empty"),
        ("2\ta\tb\n2.0\tc\td\n", "the same score 2.0 in every row"),
        ("", "no pairs"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        STS12().load(write(tmp_path, HEADER + rows), "all")
    assert said in str(caught.value)
    assert "STS12.tsv" in str(caught.value)


def test_sick_has_its_own_range_and_two_files(tmp_path: Path) -> None:
    two = HEADER + "1\ta\tb\n5\tc\td\n"
    write(tmp_path, two, "SICK-R")
    source = write(tmp_path, two + "3\te\tf\n", "SICK-R.all")
    assert [len(SICKR().load(source, p)) for p in ("senteval", "mteb")] == [2, 3]
    assert SICKR().headline == "senteval"
    write(tmp_path, HEADER + "1\ta\tb\n0.5\tc\td\n", "SICK-R")
    with pytest.raises(DataError, match=r"line 3: the score 0\.5 is not within 1 to 5"):
        SICKR().load(source, "senteval")
    with pytest.raises(DataError, match="--protocol mteb"):
        SICKR().load(HubSource(), "senteval")


# Agirre et al.'s token-overlap baseline, per subset (PROTOCOLS.md).
BASELINE = {
    STS12: {
        "MSRpar": 0.4334,
        "MSRvid": 0.2996,
        "SMTeuroparl": 0.4542,
        "surprise.OnWN": 0.5868,
        "surprise.SMTnews": 0.3908,
        "": 0.3110,
    },
    STS13: {"headlines": 0.5399, "OnWN": 0.2828, "FNWN": 0.2146},
    STS14: {
        "deft-forum": 0.3531,
        "deft-news": 0.5957,
        "headlines": 0.5104,
        "images": 0.5134,
        "OnWN": 0.4058,
        "tweet-news": 0.6539,
    },
}


@pytest.mark.parametrize("task", BASELINE)
def test_the_organisers_baseline(task: Any, real: Callable[[str], Path]) -> None:
    source = FolderSource(real("sts").parent)
    pairs = task().load(source, "all")
    cosine = []
    for pair in pairs:
        one, two = set(pair.sentence1.split()), set(pair.sentence2.split())
        cosine.append(len(one & two) / math.sqrt(len(one) * len(two)))
    for subset, expected in BASELINE[task].items():
        rows = [i for i, pair in enumerate(pairs) if subset in ("", pair.subset)]
        x = np.array([cosine[i] for i in rows])
        y = np.array([pairs[i].score for i in rows])
        assert pearson(x, y, np.ones(len(rows))) == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(
    ("task", "n"), [(STS12, 3108), (STS13, 1500), (STS14, 3750), (STSBenchmark, 1379)]
)
def test_real_sets_are_whole(task: Any, n: int, real: Callable[[str], Path]) -> None:
    assert len(task().load(FolderSource(real("sts").parent), "all")) == n


def test_identical_real_sentences_tie(
    real: Callable[[str], Path], given: Callable[..., Any]
) -> None:
    task = STS12()
    pairs = task.load(FolderSource(real("sts").parent), "all")
    rng = np.random.default_rng(0)
    vectors: dict[str, np.ndarray] = {}

    def vector(text: str) -> np.ndarray:
        if text not in vectors:
            raw = rng.normal(size=8).astype(np.float32)
            vectors[text] = raw / np.linalg.norm(raw)
        return vectors[text]

    cosine = task.outcomes(pairs, given(vector))["cosine"]
    same = [pair.sentence1 == pair.sentence2 for pair in pairs]
    assert sum(same) == 61
    assert (cosine[same] == 1).all()
