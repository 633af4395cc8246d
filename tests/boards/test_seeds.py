"""Checkpoints of several seeds are one row: the mean, with an interval of examples and seeds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from paraclip_bench.boards import formats
from paraclip_bench.boards.compare_models import compare_models
from paraclip_bench.boards.content import legend, verdict
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.terminal import text
from paraclip_bench.cli.app import app
from paraclip_bench.errors import UsageError
from paraclip_bench.results.store import list_results

Put = Callable[..., Path]
Columns = dict[str, np.ndarray]
VG, STS = "vg-relation", "STS13"
SKILLS = (0.5, 0.6, 0.75)


@pytest.fixture
def seeds(put: Put) -> None:
    """A baseline and three seeds of a method, on two tasks."""
    for task in (VG, STS):
        put("clip", task, 0.2)
        for seed, skill in enumerate(SKILLS):
            put(
                f"tuned/seed-{seed}",
                task,
                skill,
                spec="paraclip",
                method="abc",
                seed=seed,
                base="clip",
            )


def test_one_row_with_the_mean_of_all(seeds: None, tmp_path: Path) -> None:
    board = make_board(tmp_path)
    apart = make_board(tmp_path, each_seed=True)
    assert [(row.name, row.seeds) for row in board.rows] == [("clip", 1), ("tuned (3 seeds)", 3)]
    assert [row.name for row in apart.rows] == ["clip", *(f"tuned/seed-{i}" for i in range(3))]
    for index in range(len(board.columns)):
        cell = board.rows[1].cells[index]
        each = [row.cells[index] for row in apart.rows[1:]]
        values = [one.estimate.value for one in each if one]
        assert cell is not None
        assert cell.seeds == 3
        assert cell.estimate.value == pytest.approx(np.mean(values))
        # At least as wide as what three seeds alone leave open, and as chance of the examples.
        wide = cell.estimate.high - cell.estimate.low
        alone = min(one.estimate.high - one.estimate.low for one in each if one)
        assert wide > 0.5 * alone
        changes = [one.difference.value for one in each if one and one.difference]
        assert cell.difference is not None
        assert cell.difference.value == pytest.approx(np.mean(changes))


def test_seeds_that_differ_widen_the_interval(put: Put, tmp_path: Path) -> None:
    n = 3000
    rng = np.random.default_rng(0)

    def outcomes(rate: float) -> Columns:
        correct = rng.random(n) < rate
        ids = np.array([str(i) for i in range(n)], dtype=object)
        group = np.array(["on"] * n, dtype=object)
        return {
            "example_id": ids,
            "cluster_id": ids,
            "correct": correct,
            "tie": np.zeros(n, dtype=bool),
            "counted_group": group,
        }

    put("clip", VG, 0, columns=outcomes(0.5))
    for seed, rate in enumerate((0.5, 0.6, 0.7)):
        put(f"x/seed-{seed}", VG, 0, columns=outcomes(rate), method="m", seed=seed)
    (cell,) = make_board(tmp_path, baseline="clip").rows[1].cells
    assert cell is not None
    assert cell.difference is not None
    # The seeds' own error, by hand, is nearly all: t with two degrees of freedom.
    reach = stats.t.ppf(0.975, 2) * np.std([0.5, 0.6, 0.7], ddof=1) / np.sqrt(3)
    found = (cell.difference.high - cell.difference.low) / 2
    assert found == pytest.approx(reach, rel=0.15)
    assert cell.difference.verdict == "no clear difference"
    # This checkpoint is better, which the method is not known to be.
    last = make_board(tmp_path, models=["clip", "x/seed-2"], baseline="clip").rows[1]
    assert (last.name, last.seeds) == ("x/seed-2", 1)
    assert last.cells[0].difference.verdict == "better"  # type: ignore[union-attr]


def test_a_spec_that_was_typed_for_all_means_all(seeds: None, put: Put, tmp_path: Path) -> None:
    """Also where one task was measured again, each seed by a spec of its own."""
    for seed, skill in enumerate(SKILLS):
        name = f"tuned/seed-{seed}"
        put(name, STS, skill, spec=f"paraclip:x/seed-{seed}", method="abc", seed=seed, day=2)
    for name in ("paraclip", "tuned"):
        (pair, _) = compare_models(tmp_path, ["clip", name]).pairs
        assert pair.model == "tuned (3 seeds)"
    (pair, _) = compare_models(tmp_path, ["clip", "paraclip:x/seed-1"]).pairs
    assert pair.model == "tuned/seed-1"


def test_each_seed_of_a_name(seeds: None, tmp_path: Path) -> None:
    for name in ("paraclip", "tuned"):
        rows = make_board(tmp_path, models=["clip", name], each_seed=True).rows
        assert [row.name for row in rows] == ["clip", *(f"tuned/seed-{i}" for i in range(3))]
        with pytest.raises(UsageError, match="several checkpoints here; choose one of tuned/seed"):
            make_board(tmp_path, baseline=name, each_seed=True)
        assert {
            p.model for p in compare_models(tmp_path, ["clip", name], each_seed=True).pairs
        } == {f"tuned/seed-{i}" for i in range(3)}


def test_rows_of_one_name_are_told_apart(seeds: None, put: Put, tmp_path: Path) -> None:
    for seed, skill in enumerate(SKILLS):
        name = f"tuned/seed-{seed}"
        put(name, VG, skill, method="abc", seed=seed, dtype="bfloat16")
        put(name, VG, skill, method="def", seed=seed, fingerprint=f"again {seed}")
    names = [row.name for row in make_board(tmp_path).rows]
    assert len(set(names)) == len(names) == 4
    assert any("bfloat16" in name for name in names)
    for name in names[1:]:
        assert make_board(tmp_path, models=["clip", name]).rows[1].name == name


def test_a_member_without_a_result_there_is_refused(seeds: None, put: Put, tmp_path: Path) -> None:
    put("clip", "vg-attribution", 0.2)
    with pytest.raises(UsageError, match="no model 'tuned/seed-0' on the board"):
        make_board(tmp_path, families=["vg-attribution"], models=["clip", "tuned/seed-0"])


def test_words(seeds: None, tmp_path: Path) -> None:
    board = make_board(tmp_path, adjust="none")
    assert verdict(board)[0].startswith("the method tuned (3 seeds) against clip: ")
    assert "3 seeds tell little of how seeds differ" in legend(board)
    assert "2 degrees of freedom" in legend(board)
    assert "seeds tell little" not in legend(make_board(tmp_path, each_seed=True))
    assert "3 seeds" in text(board)
    assert json.loads(formats.as_json(board))["rows"][1]["seeds"] == 3
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(board))))
    assert [(row["model"], row["seeds"]) for row in rows] == [
        ("clip", "1"),
        ("tuned (3 seeds)", "3"),
    ]


@pytest.mark.parametrize("name", ["tuned", "paraclip", "tuned (3 seeds)"])
def test_the_row_has_the_names_of_all(seeds: None, tmp_path: Path, name: str) -> None:
    found = compare_models(tmp_path, ["clip", name], families=[VG], show=2)
    (pair,) = found.pairs
    assert pair.model == "tuned (3 seeds)"
    assert pair.wins is not None
    assert pair.wins > pair.losses
    assert len(pair.changes) == 2
    turned = make_board(tmp_path, baseline=name)
    assert turned.rows[0].seeds == 3
    assert turned.rows[1].cells[0].difference is not None  # type: ignore[union-attr]


def test_one_of_them_can_be_the_baseline(seeds: None, tmp_path: Path) -> None:
    board = make_board(tmp_path, baseline="tuned/seed-1")
    assert {row.name: row.seeds for row in board.rows} == {
        "tuned/seed-1": 1,
        "clip": 1,
        "tuned (3 seeds)": 3,
    }


def test_what_is_not_of_one_method_stands_apart(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.5, method="one", seed=0)
    put("b", VG, 0.5, method="two", seed=1)
    put("c", VG, 0.5, method="one", seed=1, dtype="bfloat16")
    put("d", VG, 0.5, seed=1)
    assert {row.seeds for row in make_board(tmp_path).rows} == {1}
    # Folders of any name, of one method and dtype.
    put("e", VG, 0.6, method="one", seed=7)
    rows = {row.name: row.seeds for row in make_board(tmp_path).rows}
    assert rows == {"a and 1 more (2 seeds)": 2, "b": 1, "c": 1, "d": 1}


def test_a_seed_without_a_result_is_said(seeds: None, put: Put, tmp_path: Path) -> None:
    put("clip", "vg-attribution", 0.2)
    put("tuned/seed-0", "vg-attribution", 0.5, spec="paraclip", method="abc", seed=0)
    said = legend(make_board(tmp_path))
    assert "tuned (3 seeds): vg-attribution (aro) accuracy is of 1 seed alone." in said


@pytest.mark.parametrize("which", ["matching", "all"])
def test_published_numbers_beside_several_seeds(put: Put, tmp_path: Path, which: str) -> None:
    put("openai", STS, 0.3, spec="open_clip:ViT-B-32-quickgelu@openai", n=1500)
    for seed in range(2):
        put(f"tuned/seed-{seed}", STS, 0.5, method="abc", seed=seed, n=1500)
    for options in ({}, {"baseline": "tuned/seed-1"}, {"each_seed": True}):
        board = make_board(tmp_path, reference=which, **options)  # type: ignore[arg-type]
        assert board.published is not None
        found = {row.matches for row in board.published if row.matches}
        assert not any("tuned" in name for names in found for name in names)


def test_from_the_command_line(seeds: None, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "results").symlink_to(tmp_path)
    place = ["--workspace", str(tmp_path / "w")]
    board = CliRunner().invoke(app, ["leaderboard", *place, "--each-seed"])
    assert "tuned/seed-2" in board.stdout
    found = CliRunner().invoke(app, ["compare", "clip", "tuned", *place])
    assert "the method tuned (3 seeds)" in found.stdout


def test_a_name_that_is_nobody_s(seeds: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'tuned/seed-9' on the board"):
        make_board(tmp_path, baseline="tuned/seed-9")


@pytest.mark.parametrize("name", ["tuned", "TUNED", "paraclip", "tuned (3 seeds)"])
def test_results_know_the_names_of_a_row(seeds: None, put: Put, tmp_path: Path, name: str) -> None:
    """Also of a task that one seed lacks, and where a spec was another one the second time."""
    put("tuned/seed-0", "vg-attribution", 0.5, spec="paraclip", method="abc", seed=0)
    put("tuned/seed-1", STS, 0.6, spec="paraclip:x/seed-1", method="abc", seed=1, day=2)
    other = put("tuned/seed-9", STS, 0.6, method="def", seed=9)
    found, _ = list_results(tmp_path, model=name)
    assert {r.model.name for _, r in found} == {f"tuned/seed-{i}" for i in range(3)}
    assert len(found) == 7
    assert other not in [path for path, _ in found]
    ((_, one),) = list_results(tmp_path, model=name, task="vg-attribution")[0]
    assert one.model.name == "tuned/seed-0"


def test_results_know_every_label_of_a_board(seeds: None, put: Put, tmp_path: Path) -> None:
    for seed, skill in enumerate(SKILLS):
        name = f"tuned/seed-{seed}"
        put(name, VG, skill, method="abc", seed=seed, dtype="bfloat16")
        put(name, VG, skill, method="def", seed=seed, fingerprint=f"again {seed}")
    # A seed that was measured in part alone, and a suite of its own with fewer.
    put("tuned/seed-3", VG, 0.5, method="abc", seed=3, limit=5)
    for seed in range(2):
        put(f"tuned/seed-{seed}", VG, 0.5, method="abc", seed=seed, suite="demo")
    every = list_results(tmp_path)[0]
    for options in ({}, {"each_seed": True}, {"with_limits": True}, {"suite": "demo"}):
        options = {"suite": "paper", **options}
        board = make_board(tmp_path, **options)  # type: ignore[arg-type]
        for row in board.rows:
            found, _ = list_results(tmp_path, suite=str(options["suite"]), model=row.name)
            runs = board.members.get((row.fingerprint, row.dtype), ())
            runs = runs or ((row.fingerprint, row.dtype),)
            wanted = [
                path
                for path, r in every
                if r.suite == options["suite"] and (r.model.fingerprint, r.provenance.dtype) in runs
            ]
            assert sorted(path for path, _ in found) == sorted(wanted), row.name


def test_a_model_of_that_very_name_comes_first(seeds: None, put: Put, tmp_path: Path) -> None:
    own = put("tuned", STS, 0.4)
    assert make_board(tmp_path, models=["tuned"]).rows[0].seeds == 1
    assert [path for path, _ in list_results(tmp_path, model="tuned")[0]] == [own]
    assert len(list_results(tmp_path, model="tuned (3 seeds)")[0]) == 6


def test_commands_of_results_take_these_names(seeds: None, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "results").symlink_to(tmp_path)
    place = ["--workspace", str(tmp_path / "w")]
    chosen = ["--model", "tuned (3 seeds)", *place]
    shown = CliRunner().invoke(app, ["results", "show", "--json", *chosen])
    assert {row["model"] for row in json.loads(shown.stdout)} == {
        f"tuned/seed-{i}" for i in range(3)
    }
    table = tmp_path / "t.csv"
    for name in ("tuned", "tuned (3 seeds)"):
        line = ["results", "export", "--format", "csv", "-o", str(table), "-m", name, *place]
        assert CliRunner().invoke(app, line).exit_code == 0
        assert "tuned/seed-2" in table.read_text()
        assert ",clip,spec:clip," not in table.read_text()
    merged = ["results", "merge", str(tmp_path / "w"), "-o", str(tmp_path / "all"), "-m", "tuned"]
    assert "6 results copied" in CliRunner().invoke(app, merged).stdout
    wrong = CliRunner().invoke(app, ["results", "show", "--model", "tuned (4 seeds)", *place])
    assert wrong.exit_code
    assert "did you mean tuned (3 seeds)" in str(wrong.exception)
