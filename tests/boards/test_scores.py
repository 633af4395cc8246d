"""`leaderboard --score`: other depths and parameters, from the outcomes that are there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip_bench.boards.formats import as_json
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.cli.app import app
from paraclip_bench.errors import UsageError
from paraclip_bench.metrics.inference import estimate
from paraclip_bench.results.store import outcomes_path
from paraclip_bench.tasks.catalog import load_task

Put = Callable[..., Path]
PR = "paraphrased-retrieval"


def test_a_score_that_the_results_lack_is_computed_with_its_interval(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    for name, skill in {"clip": 0.3, "other": 0.8}.items():
        put(name, PR, skill)
    board = make_board(tmp_path, scores=["ao@7", "rbo(p=0.5)@3", "js@10"])
    assert [(c.title, c.score) for c in board.columns] == [
        (PR, "ao@7"),
        (PR, "rbo(p=0.5)@3"),
        (PR, "js@10"),
    ]
    for column, score in enumerate(("ao@7", "rbo(p=0.5)@3", "js@10")):
        metric = load_task(PR).metric(score)
        for row, skill in zip(board.rows, (0.3, 0.8), strict=True):
            columns = made(PR, skill)
            overlap = columns["overlaps"][0]  # the same for every example
            if score == "ao@7":
                value = np.mean(overlap[:7] / np.arange(1, 8))
            elif score == "js@10":
                value = overlap[9] / (20 - overlap[9])
            else:
                share = overlap[:3] / np.arange(1, 4)
                value = share[2] * 0.5**3 + sum(
                    0.5 / 0.5 * share[d] * 0.5 ** (d + 1) for d in range(3)
                )
            cell = row.cells[column]
            assert cell is not None
            assert cell.estimate.value == pytest.approx(value)
            assert cell.estimate == estimate(metric, columns)
        # Every pair of the one is as much better: no error, and no doubt.
        change = board.rows[1].cells[column].difference
        assert change.low is None
        assert change.p == pytest.approx(2.0**-19 if change.value else 1.0)
        assert change.verdict == ("better" if change.value else "no clear difference")
    assert board.rows[1].cells[0].best


def test_a_default_that_is_said_is_the_score_by_its_usual_name(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    board = make_board(tmp_path, scores=["rbo(p=0.9)@10"])
    assert [(c.score, c.is_computed) for c in board.columns] == [("rbo@10", False)]


def test_a_score_is_of_every_task_that_has_it(put: Put, tmp_path: Path) -> None:
    for task in (PR, "vg-relation", "sts12"):
        put("clip", task, 0.3)
    board = make_board(tmp_path, scores=["accuracy", "pearson"])
    assert [(c.title, c.score) for c in board.columns] == [
        ("vg-relation (aro)", "accuracy"),
        ("STS12", "pearson"),
    ]


def test_a_lower_score_is_better_where_the_metric_says_so(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.3)
    put("sure", "vg-relation", 0.9)
    board = make_board(tmp_path, scores=["tie_rate"])
    values = {row.name: row.cells[0].estimate.value for row in board.rows}
    assert values["sure"] < values["clip"]
    assert [row.cells[0].best for row in board.rows] == [False, True]


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ("aoo@5", "there is no score 'aoo@5' among these results; did you mean ao@5"),
        ("ao@none", "'none' is not a number of places"),
        ("rbo(q=1)@5", "'q=1' sets none of: p"),
        ("spearman", "there is no score 'spearman' among these results"),
    ],
)
def test_what_no_result_has_is_refused(put: Put, tmp_path: Path, score: str, said: str) -> None:
    put("clip", PR, 0.3)
    with pytest.raises(UsageError) as caught:
        make_board(tmp_path, scores=[score])
    assert said in str(caught.value)


def test_too_shallow_outcomes_name_the_command_that_makes_them_again(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    deep = made(PR, 0.5)
    deep["overlaps"] = np.minimum(np.arange(1, 51), np.full((60, 1), 25))
    put("deep", PR, 0.5, columns=deep)
    put("clip", PR, 0.3, spec="open_clip:A/b c", limit=60, dtype="bfloat16")
    board = make_board(tmp_path, scores=["ao@50"], with_limits=True)
    assert [(row.name, row.cells[0] is None) for row in board.rows] == [
        ("clip", True),
        ("deep", False),
    ]
    (said,) = [line for line in board.left_out if "ao@50" in line]
    assert "ao@50 looks at 50 places, and the outcomes keep 10" in said
    program, *words = shlex.split(said[said.index("`") + 1 : said.rindex("`")])
    assert program == "paraclip-bench"
    options = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    assert options == {
        "--model": "open_clip:A/b c",
        "--task": PR,
        "--protocol": "cheng2024",
        "--suite": "paper",
        "--data-dir": "/data",
        "--limit": "60",
        "--dtype": "bfloat16",
        "--depth": "50",
    }
    assert words[-1] == "--force"
    import typer

    group = typer.main.get_command(app)
    group.commands["run"].make_context("run", words[1:])  # type: ignore[attr-defined]


def test_a_whole_gallery_cannot_be_measured_deeper(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    put("clip", PR, 0.3, depth=100)
    with pytest.raises(UsageError) as caught:
        make_board(tmp_path, scores=["ao@11"])
    assert str(caught.value).endswith("ao@11 looks at 11 places, and the whole gallery has 10")
    put("other", PR, 0.3, depth=10)
    with pytest.raises(UsageError):
        make_board(tmp_path, scores=["ao@11"], baseline="other")


def test_a_parameter_that_one_task_refuses_is_anothers_score(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    put("clip", "sugarcrepe-pp", 0.5)
    put("clip", "sugarcrepe", 0.5)
    board = make_board(tmp_path, scores=["accuracy/add_obj"])
    assert [column.title for column in board.columns] == ["sugarcrepe (sugarcrepe)"]


def test_scores_of_another_program_are_those_that_it_gave(put: Put, tmp_path: Path) -> None:
    put("clip", "STS13", 0.3, scored_by="mteb 2.1")
    board = make_board(tmp_path, scores=["pearson"])
    assert [(c.title, c.scored_by) for c in board.columns] == [("elsewhere:STS13", "mteb 2.1")]
    with pytest.raises(UsageError, match="there is no score 'kendall'"):
        make_board(tmp_path, scores=["kendall"])


def test_every_score_and_some_are_not_asked_for_at_once(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    with pytest.raises(UsageError, match="give one of them"):
        make_board(tmp_path, scores=["ao@3"], all_scores=True)


def test_how_a_value_was_had_is_not_in_the_json(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    written = json.loads(as_json(make_board(tmp_path, scores=["ao@3"])))
    assert set(written["columns"][0]) == {
        "title",
        "family",
        "score",
        "measures",
        "lower_is_better",
        "scored_by",
    }


def test_nothing_deep_enough_is_an_error_that_says_the_same(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    with pytest.raises(UsageError, match=r"ao@11 looks at 11 places.*--depth 11 --force"):
        make_board(tmp_path, scores=["ao@11"])


def test_without_outcomes_the_cell_is_empty_and_says_why(put: Put, tmp_path: Path) -> None:
    put("clip", PR, 0.3)
    outcomes_path(put("other", PR, 0.4)).unlink()
    board = make_board(tmp_path, scores=["ao@4"])
    assert [row.cells[0] is None for row in board.rows] == [False, True]
    assert any("outcomes" in line for line in board.left_out)
