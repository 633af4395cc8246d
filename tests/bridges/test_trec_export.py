"""TREC runs and qrels: other programs find in them the numbers that we report."""

import shutil
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from measured import KEPT, NAMES, TASKS, copy_of, measure, measure_retrieval, retrieval_data

from paraclip_bench.bridges.trec_export import BEYOND, Export, encoded, export, falling, targets
from paraclip_bench.errors import UsageError
from paraclip_bench.results import store

P, DEPTHS = 0.9, (1, 5, 10)
Lists = dict[str, list[tuple[str, int, float]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rankings of ten places in a larger gallery, with ties and odd ids."""
    folder = tmp_path_factory.mktemp("trec")
    return measure_retrieval(folder, retrieval_data(folder / "data"), 10)


@pytest.fixture
def exported(results: Path, tmp_path: Path) -> Export:
    return export(results, tmp_path / "trec")


def read_run(path: Path) -> Lists:
    """Sorted as trec_eval sorts: by score in float32, then by falling name."""
    found: Lists = defaultdict(list)
    for line in path.read_text("ascii").splitlines():
        query, q0, image, rank, score, tag = line.split(" ")
        assert (q0, tag) == ("Q0", "coarse")
        found[query].append((image, int(rank), float(np.float32(float(score)))))
    for rows in found.values():
        rows.sort(key=lambda row: row[0], reverse=True)
        rows.sort(key=lambda row: row[2], reverse=True)
    return found


def files_of(done: Export) -> tuple[Path, Path, Path]:
    query, paraphrase, qrels = done.written
    assert [f.name.split(".", 4)[-1] for f in done.written] == [
        "query.run",
        "paraphrase.run",
        "qrels",
    ]
    return query, paraphrase, qrels


def reported(done: Export) -> dict[str, float]:
    (result,) = {id(r): r for r in done.written.values()}.values()
    return {name: score.value for name, score in result.scores.items() if score.value is not None}


def rbo(one: list[str], two: list[str], k: int) -> float:
    """RBO_EXT(k), Webber, Moffat & Zobel 2010, equation 23, by sets."""
    shares = [len({*one[:d]} & {*two[:d]}) / d for d in range(1, k + 1)]
    return shares[-1] * P**k + (1 - P) / P * sum(s * P**d for d, s in enumerate(shares, 1))


def test_the_numbers_by_hand(exported: Export) -> None:
    query, paraphrase, qrels = files_of(exported)
    runs = {"query": read_run(query), "paraphrase": read_run(paraphrase)}
    relevant = {}
    for line in qrels.read_text("ascii").splitlines():
        id, zero, image, one = line.split(" ")
        assert (zero, one) == ("0", "1")
        relevant[id] = image
    scores = reported(exported)
    for side, run in runs.items():
        assert len(run) == 40
        for rows in run.values():
            assert [rank for _, rank, _ in rows] == list(range(1, 11))
        for k in DEPTHS:
            found = [relevant[q] in [image for image, *_ in run[q][:k]] for q in relevant]
            assert np.mean(found) == pytest.approx(scores[f"recall@{k}/{side}"], abs=1e-12)
            assert 0 < np.mean(found) < 1 or k != 10
    tops = [{q: [image for image, *_ in rows] for q, rows in run.items()} for run in runs.values()]
    values = [rbo(tops[0][q], tops[1][q], 10) for q in tops[0]]
    assert np.mean(values) == pytest.approx(scores["rbo@10"], abs=1e-12)
    # Nothing is trivial here: there are ties, odd names, and targets beyond the tenth place.
    assert any("tied scores lowered" in remark for remark in exported.remarks)
    assert any("5 queries have no target" in remark for remark in exported.remarks)
    seen = {unquote(image) for rows in tops[0].values() for image in rows}
    assert {*NAMES} & seen
    assert len(relevant) == 35
    assert {unquote(q) for q in relevant} < {f"q {i} %20 ü" for i in range(40)}
    assert any(relevant[q] not in {*tops[0][q], *tops[1][q]} for q in relevant)
    assert not any(image.startswith(BEYOND) for image in relevant.values())


@pytest.mark.filterwarnings("ignore")
def test_the_numbers_by_ir_measures(exported: Export) -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="pip install -e .[trec-check]")
    query, paraphrase, qrels = files_of(exported)
    relevant = list(ir_measures.read_trec_qrels(str(qrels)))
    scores = reported(exported)
    for side, file in (("query", query), ("paraphrase", paraphrase)):
        measures = {k: ir_measures.parse_measure(f"R@{k}") for k in DEPTHS}
        run = list(ir_measures.read_trec_run(str(file)))
        found = ir_measures.calc_aggregate(measures.values(), relevant, run)
        for k, measure_ in measures.items():
            assert found[measure_] == pytest.approx(scores[f"recall@{k}/{side}"], abs=1e-9)
    # Its RBO is that of a run and the order that qrels say, to the end of both; what goes on from
    # there is the share of the ten that both have, which is its precision.
    order = [
        ir_measures.Qrel(doc.query_id, doc.doc_id, 11 - place)
        for q in read_run(paraphrase)
        for place, doc in enumerate(
            sorted(
                (d for d in ir_measures.read_trec_run(str(paraphrase)) if d.query_id == q),
                key=lambda d: -d.score,
            ),
            1,
        )
    ]
    compat, precision = map(ir_measures.parse_measure, (f"Compat(p={P},normalize=False)", "P@10"))
    run = list(ir_measures.read_trec_run(str(query)))
    found = ir_measures.calc_aggregate([compat, precision], order, run)
    value = found[compat] * (1 - P**10) + found[precision] * P**10
    assert value == pytest.approx(scores["rbo@10"], abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_the_numbers_by_ranx(exported: Export) -> None:
    ranx = pytest.importorskip("ranx", reason="pip install -e .[trec-check]")
    query, paraphrase, qrels = files_of(exported)
    relevant = ranx.Qrels.from_file(str(qrels), kind="trec")
    scores = reported(exported)
    for side, file in (("query", query), ("paraphrase", paraphrase)):
        run = ranx.Run.from_file(str(file), kind="trec")
        found = ranx.evaluate(relevant, run, [f"recall@{k}" for k in DEPTHS], make_comparable=True)
        for k in DEPTHS:
            assert found[f"recall@{k}"] == pytest.approx(scores[f"recall@{k}/{side}"], abs=1e-9)
    # It has no RBO: the agreement at each depth d is its precision@d of the one run, where the
    # first d of the other one are what is relevant.
    run, other = (ranx.Run.from_file(str(f), kind="trec").to_dict() for f in (query, paraphrase))
    shares = []
    for d in range(1, 11):
        first = {
            q: dict.fromkeys(sorted(docs, key=docs.__getitem__, reverse=True)[:d], 1)
            for q, docs in other.items()
        }
        shares.append(ranx.evaluate(ranx.Qrels(first), ranx.Run(run), f"precision@{d}"))
    value = shares[-1] * P**10 + (1 - P) / P * sum(s * P**d for d, s in enumerate(shares, 1))
    assert value == pytest.approx(scores["rbo@10"], abs=1e-9)


def test_outcomes_of_0_1_0_have_scores_by_rank(tmp_path: Path) -> None:
    done = export(KEPT / "results", tmp_path, model="Bags")
    assert {path.name for path in done.written} == {
        f"Bags.paraphrased-retrieval.cheng2024.7f9cad8b.{end}"
        for end in ("query.run", "paraphrase.run", "qrels")
    }
    (remark, *_) = done.remarks
    assert "keep no similarities, so scores are 10, 9 … 1 by rank" in remark
    query, _, qrels = done.written
    lines = [line.split() for line in query.read_text().splitlines()]
    assert [line[3:5] for line in lines[:10]] == [[str(r), f"{11 - r}.0"] for r in range(1, 11)]
    assert len(qrels.read_text().splitlines()) == 12
    assert done.left_out == [
        "3 results of STS12, vg-relation, whose outcomes keep no rankings",
    ]


def test_a_target_that_no_ranking_has_keeps_recall(results: Path) -> None:
    (path,) = results.glob("*/*/*.json")
    columns = store.read_outcomes(path)
    named = targets(columns)
    found = targets({name: v for name, v in columns.items() if name != "target"})
    for query, (own, guessed) in enumerate(zip(named, found, strict=True)):
        if own is None or not guessed.startswith(BEYOND):
            assert guessed == own
        else:
            assert own not in columns["top_query"][query]
            assert own not in columns["top_paraphrase"][query]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["example_id"].__setitem__(0, ""), "an example has an empty id"),
        (lambda c: c["example_id"].__setitem__(0, "q 1 %20 ü"), "'q 1 %20 ü' is there twice"),
        (lambda c: c["top_query"].__setitem__((3, 0), c["top_query"][3, 1]), "there twice"),
        (lambda c: c["rank_query"].__setitem__(1, 0), None),
        (lambda c: c["rank_query"].__setitem__(1, 3), None),
        (lambda c: c["similarity_query"].__setitem__((0, 1), 2.0), "do not fall along"),
        (lambda c: c["similarity_query"].__setitem__((0, 1), np.nan), "similarities of the query"),
        (lambda c: c.__setitem__("top_query", c["top_query"][:, 0]), "no ranking of the query"),
        (lambda c: c.__setitem__("rank_query", c["example_id"]), "no ranking of the query"),
    ],
)
def test_rankings_that_do_not_fit_are_left_out(results, tmp_path, change, said) -> None:
    (path,) = copy_of(results, tmp_path / "w").glob("results/*/*/*.json")
    columns = {name: values.copy() for name, values in store.read_outcomes(path).items()}
    before = {name: values.copy() for name, values in columns.items()}
    change(columns)
    if said is None:
        assert columns["rank_query"][1] != before["rank_query"][1]
        said = "its ranks of the query are not those of its ranking"
    store.write(path, store.read(path), columns)
    done = export(tmp_path / "w/results", tmp_path / "trec")
    assert not done.written
    (reason,) = done.left_out
    assert said in reason
    assert not (tmp_path / "trec").exists()


def test_results_without_rankings_are_named_once(tmp_path: Path) -> None:
    results = measure(tmp_path / "w")
    done = export(results, tmp_path / "trec", task="STS12")
    assert (done.written, done.left_out) == (
        {},
        ["1 result of STS12, whose outcomes keep no rankings"],
    )
    assert len(export(results, tmp_path / "trec").written) == 3
    with pytest.raises(UsageError, match="no task 'x'"):
        export(results, tmp_path / "trec", task="x")
    shutil.rmtree(results / "paper")
    with pytest.raises(UsageError, match="no results"):
        export(results, tmp_path / "trec")
    assert len(TASKS) == 3


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
@example("a%20b.png")
@example("a b\u00a0c\u2028\x00\x1c\x85.png")
def test_every_id_survives(id: str) -> None:
    assert unquote(encoded(id)) == id
    assert encoded(id).split() == [encoded(id)]
    assert encoded(id).isascii()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.integers(1, 4))
def test_scores_fall_strictly_and_hardly_move(values: list[float], times: int) -> None:
    given_ = np.sort(np.repeat(np.array(values, np.float32), times))[::-1][None]
    scores = falling(given_)
    assert (np.diff(scores) < 0).all()
    # As text and back, as double and as float.
    text = [float(repr(float(score))) for score in scores[0]]
    assert (np.diff(np.array(text)) < 0).all()
    assert (np.diff(np.array(text, np.float32)) < 0).all()
    untied = np.unique(given_)
    if len(untied) == given_.size and (np.diff(untied) > 1e-5).all():
        assert (scores == given_).all()
    assert np.abs(scores - given_).max() <= 1e-6 * given_.size
