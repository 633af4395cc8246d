"""compare: wins, losses and changes by hand, gates, and what cannot be compared."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip_bench.boards.compare_models import Gate, compare_models
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.cli.app import main
from paraclip_bench.cli.compare import text
from paraclip_bench.errors import UsageError
from paraclip_bench.results.store import outcomes_path

Put = Callable[..., Path]
VG, PR, STS = "vg-relation", "paraphrased-retrieval", "sts12"


def test_wins_and_losses_are_counted_by_example(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(0)
    columns = [made(VG, 0.5) for _ in range(2)]
    columns[1]["correct"] = columns[1]["correct"] ^ (rng.random(60) < 0.4)
    for name, held in zip(("old", "new"), columns, strict=True):
        put(name, VG, 0.5, columns=held)
    found = compare_models(tmp_path, ["old", "new"], show=100)
    (pair,) = found.pairs
    one, two = (held["correct"] for held in columns)
    assert (pair.wins, pair.losses, pair.examples) == (
        int((two & ~one).sum()),
        int((one & ~two).sum()),
        60,
    )
    assert found.board.baseline == "old"
    changed = {change.example_id: (change.baseline, change.candidate) for change in pair.changes}
    assert changed == {
        str(i): (float(one[i]), float(two[i])) for i in range(60) if one[i] != two[i]
    }
    # The data are not at hand: named once, and the numbers stand.
    (note,) = found.notes
    assert "texts are not shown" in note
    assert not pair.changes[0].texts
    turned = compare_models(tmp_path, ["new", "old"]).pairs[0]
    assert (turned.wins, turned.losses) == (pair.losses, pair.wins)


def test_fewer_ties_are_a_win(put: Put, tmp_path: Path) -> None:
    put("old", VG, 0.2)  # every tenth is a tie
    put("new", VG, 0.9)
    (pair,) = compare_models(tmp_path, ["old", "new"], scores=["tie_rate"]).pairs
    assert (pair.wins, pair.losses) == (6, 0)
    assert pair.cell.difference is not None
    assert pair.cell.difference.value == pytest.approx(-0.1)


def test_of_a_correlation_the_gap_of_ranks_is_compared(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    gold = np.arange(60.0) / 12
    base = {**made(STS, 0.5), "gold": gold, "cosine": (gold * 0.1).astype(np.float32)}
    worse = {**base, "cosine": base["cosine"].copy()}
    worse["cosine"][[3, 50]] = worse["cosine"][[50, 3]]
    put("old", STS, 0.5, columns=base)
    put("new", STS, 0.5, columns=worse)
    (pair,) = compare_models(tmp_path, ["old", "new"], show=5).pairs
    assert (pair.wins, pair.losses) == (0, 2)
    assert [change.example_id for change in pair.changes] == ["3", "50"]
    assert pair.changes[0].candidate == pytest.approx(-47 / 60)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("vg-relation", ("vg-relation", None)),
        ("sts=0.5", ("sts", 0.005)),
        ("mteb:STS17=0.5", ("mteb:STS17", 0.005)),
        ("paraphrased-retrieval:recall@1/query=1", (f"{PR}:recall@1/query", 0.01)),
        ("paraphrased-retrieval:rbo(p=0.5)@5", (f"{PR}:rbo(p=0.5)@5", None)),
        ("paraphrased-retrieval:rbo(p=0.5)@5=2", (f"{PR}:rbo(p=0.5)@5", 0.02)),
    ],
)
def test_gates_are_read(text: str, parts: tuple[Any, ...]) -> None:
    gate = Gate.parse(text)
    assert (gate.name, gate.margin) == parts


@pytest.mark.parametrize(
    "text", ["", "=1", ":ao@10", "sts=", "sts=x", "sts=-1", "sts=nan", "sts=100"]
)
def test_gates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fail-if-worse"):
        Gate.parse(text)


def test_a_gate_follows_the_verdict_or_the_margin(put: Put, tmp_path: Path) -> None:
    for name, skill in {"old": 0.5, "new": 0.2, "same": 0.5}.items():
        put(name, VG, skill)
    worse = compare_models(tmp_path, ["old", "new", "same"])
    change = worse.pairs[0].cell.difference
    assert change is not None
    assert change.verdict == "worse"
    assert change.high is not None
    (said,) = Gate.parse("VG-relation").failures(worse)
    assert said.startswith("new is worse than old on vg-relation (aro) accuracy: -")
    points = -100 * change.high
    assert Gate.parse(f"vg-relation:accuracy={points - 0.01:.4f}").failures(worse)
    assert not Gate.parse(f"vg-relation={points + 0.01:.4f}").failures(worse)
    # The second model is the candidate, whoever else is there.
    better = compare_models(tmp_path, ["new", "old", "same"])
    assert not Gate.parse("vg-relation").failures(better)
    with pytest.raises(UsageError, match=r"no such score in common; known: vg-relation:accuracy"):
        Gate.parse("vg-attribution").failures(better)


def test_more_of_what_should_be_less_is_worse(put: Put, tmp_path: Path) -> None:
    put("old", VG, 0.9)
    put("new", VG, 0.2)
    found = compare_models(tmp_path, ["old", "new"], scores=["tie_rate"], adjust="none")
    change = found.pairs[0].cell.difference
    assert change is not None
    assert change.value == pytest.approx(0.1)
    assert bool(Gate.parse("vg-relation:tie_rate").failures(found)) is (change.verdict == "worse")
    assert change.low is not None
    assert bool(Gate.parse("vg-relation=0").failures(found)) is (change.low > 0)


def test_what_cannot_be_tested_does_not_pass_a_gate(put: Put, tmp_path: Path) -> None:
    put("old", VG, 0.5)
    outcomes_path(put("new", VG, 0.2)).unlink()
    found = compare_models(tmp_path, ["old", "new"])
    assert found.pairs[0].wins is None
    assert "no test" in text(found)
    with pytest.raises(UsageError, match="cannot be tested"):
        Gate.parse("vg-relation").failures(found)


def test_the_text_of_a_comparison_is_read_at_80_columns(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    for name, skill in (("old", 0.2), ("new", 0.6), ("\x1b[31mred\n\u202e", 0.4)):
        put(name, PR, skill)
        put(name, VG, skill)
    shown = text(compare_models(tmp_path, ["old", "new"])).splitlines()
    assert shown[2] == "paraphrased-retrieval"
    rows = shown[: shown.index(next(line for line in shown if line.startswith("Scores x 100")))]
    assert max(map(len, rows)) <= 80
    assert any(line.split()[:4] == ["ao@10", "48.6", "->", "88.7"] for line in rows)
    assert any(
        "better (p " in line and "of 60 examples 60 better, 0 worse" in line for line in rows
    )
    three = text(compare_models(tmp_path, ["old", "new", "\x1b[31mred\n\u202e"]))
    assert not {"\x1b", "\u202e"} & set(three)
    assert "\\x1b[31mred" in three


def test_models_that_cannot_be_compared_are_refused(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.5, spec="spec:a")
    put("b", STS, 0.5)
    for models, said in (
        (["a"], "two models or more"),
        (["a", "spec:a"], "one model"),
        (["a", "c"], "there is no model 'c'"),
        (["a", "b"], "no result on the same examples"),
    ):
        with pytest.raises(UsageError, match=said):
            compare_models(tmp_path, models)


@pytest.fixture
def workspace(put: Put, tmp_path: Path) -> Path:
    for name, skill in {"old": 0.5, "new": 0.2}.items():
        put(name, VG, skill)
        put(name, PR, 1 - skill)
    shutil.copytree(tmp_path / "paper", tmp_path / "w/results/paper")
    return tmp_path / "w"


@pytest.mark.parametrize("line", [["compare", "old", "new"], ["leaderboard"]])
def test_a_command_leaves_the_search_for_cycles_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    """Whoever calls it in a process that lives on would keep every cycle for ever."""
    monkeypatch.setattr("sys.argv", ["paraclip-bench", *line, "--workspace", str(workspace)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert gc.isenabled()


def test_the_command_prints_data_and_fails_by_its_gate(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["compare", "old", "new", "--workspace", str(workspace)]
    for more, code in ((["--json"], 0), (["--fail-if-worse", VG], 1), (["--show", "2"], 0)):
        monkeypatch.setattr("sys.argv", ["paraclip-bench", *line, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        said = capsys.readouterr()
        if more == ["--json"]:
            data = json.loads(said.out)
            scores = {(s["task"], s["score"]): s for s in data["scores"]}
            change = scores["vg-relation (aro)", "accuracy"]["difference"]
            assert change["verdict"] == "worse"
            assert change["low"] < change["value"] < change["high"] < 0
            assert change["p"] <= change["adjusted"] < 0.05
            assert change["smallest"] > 0
        elif code:
            assert said.err.startswith("error: new is worse than old on vg-relation (aro) accuracy")
            assert "worse" in said.out
        else:
            assert "examples that changed most" in said.out


def test_what_is_left_out_of_a_comparison_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (cut,) = workspace.glob(f"results/paper/new/{VG}.*.json")
    cut.write_text(cut.read_text()[:300])
    line = ["compare", "old", "new", "--workspace", str(workspace)]
    for more in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["paraclip-bench", *line, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        said = capsys.readouterr()
        if more:
            assert cut.name in json.loads(said.out)["left_out"][0]
        else:
            assert "paraphrased-retrieval" in said.out
            assert said.err.startswith("left out: ")
            assert cut.name in said.err


def test_a_model_whose_results_are_left_out_is_not_just_unknown(put: Put, tmp_path: Path) -> None:
    put("old", VG, 0.5)
    path, other = put("new", VG, 0.6), put("third", VG, 0.6)
    for each in (other, path):
        each.write_text("{")
    with pytest.raises(UsageError, match=r"no model 'new'.* 2 results, such as \S+/new/vg-"):
        compare_models(tmp_path, ["old", "new"])
    path.unlink()
    other.unlink()
    put("new", PR, 0.6)
    path = put("new", VG, 0.6, limit=60)
    with pytest.raises(UsageError, match=rf"same examples; .* 1 result, such as new/{path.name}"):
        compare_models(tmp_path, ["old", "new"])
    for each in path.parent.iterdir():
        each.unlink()
    with pytest.raises(UsageError, match=r"no model 'new' on the board; known: old, spec:old$"):
        compare_models(tmp_path, ["old", "new"])


def test_options_from_python_are_checked(put: Put, tmp_path: Path) -> None:
    put("old", VG, 0.5)
    put("new", VG, 0.6)
    for show in (-1, "2"):
        with pytest.raises(UsageError, match="show takes a number of examples"):
            compare_models(tmp_path, ["old", "new"], show=show)  # type: ignore[arg-type]


def test_negations_that_find_more_are_never_better(put: Put, tmp_path: Path) -> None:
    """A model whose negations find the target as often as its queries do does not hear "not"."""
    n = 60
    ids = {
        "example_id": np.array([str(i) for i in range(n)], dtype=object),
        "cluster_id": np.array([f"c{i}" for i in range(n)], dtype=object),
    }
    hears = np.arange(n) % 2 == 0
    names = np.full((n, 10), "a.jpg", dtype=object)
    found = {
        **{"overlaps": np.tile(np.arange(1, 11), (n, 1)), "rank_query": np.ones(n, dtype=np.int64)},
        **{"rank_paraphrase": np.ones(n, dtype=np.int64), "top_negation": names.copy()},
        "overlaps_negation": np.where(hears[:, None], 0, np.arange(1, 11)),
        "rank_negation": np.where(hears, 50, 1),
        "cosine_query": np.full(n, 0.5, dtype=np.float32),
        "cosine_negation": np.where(hears, 0.1, 0.5).astype(np.float32),
    }
    # The last five have no negation.
    for name, value in {"overlaps_negation": -1, "rank_negation": 0, "top_negation": ""}.items():
        found[name][-5:] = value
    deaf = {
        **found,
        "overlaps_negation": np.where(found["overlaps_negation"] < 0, -1, np.arange(1, 11)),
        "rank_negation": np.minimum(found["rank_negation"], 1),
        "cosine_negation": found["cosine_query"],
    }
    put("old", PR, 0.5, columns={**ids, **found})
    put("deaf", PR, 0.5, columns={**ids, **deaf})
    board = make_board(tmp_path, baseline="old")
    assert [column.score for column in board.columns][-2:] == [
        "query_over_negation",
        "recall_fall@10",
    ]
    comparison = compare_models(tmp_path, ["old", "deaf"], all_scores=True, show=60)
    verdicts = {
        pair.column.score: (np.sign(pair.cell.difference.value), pair.cell.difference.verdict)
        for pair in comparison.pairs
        if pair.cell.difference is not None and pair.cell.difference.value
    }
    rises = {*(f"recall@{k}/negation" for k in (1, 5, 10)), "ao@10/negation"}
    assert {score for score, (sign, _) in verdicts.items() if sign > 0} == rises
    assert set(verdicts) == {*rises, "query_over_negation", "recall_fall@10"}
    assert {verdict for _, verdict in verdicts.values()} == {"worse"}
    for score in verdicts:
        (said,) = Gate.parse(f"{PR}:{score}").failures(comparison)
        assert said.startswith(f"deaf is worse than old on {PR} {score}")
    (pair,) = [p for p in comparison.pairs if p.column.score == "recall@10/negation"]
    assert (pair.wins, pair.losses, pair.examples) == (0, 28, 55)
    # Sorted by it, the model that hears is first; and no score is of a set without negations.
    sorted_ = make_board(tmp_path, scores=["recall@10/negation"], sort=f"{PR}:recall@10/negation")
    assert [row.name for row in sorted_.rows] == ["old", "deaf"]
    plain = {name: values for name, values in found.items() if "neg" not in name}
    put("old", PR, 0.5, columns={**ids, **plain}, sha256="cd" * 32)
    board = make_board(tmp_path, models=["old"], scores=["recall@10/negation"])
    assert any(
        "is of another kind of set (its outcomes have no rank_negation)" in note
        for note in board.left_out
    )
