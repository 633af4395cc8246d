"""Results and outcomes that are not what run wrote: left out by name, never paired in silence."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from paraclip_bench.boards.formats import as_csv, as_json, markdown
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.cli.app import main
from paraclip_bench.results.contributions import contributions_path
from paraclip_bench.results.store import list_results, outcomes_path, read

Put = Callable[..., Path]
VG = "vg-relation"


def edit(path: Path, change: Callable[[dict[str, Any]], object], *, old: bool = False) -> None:
    """Change a result's file by hand; `old`: as 0.1.0 wrote it, without digests."""
    raw = json.loads(path.read_text())
    if old:
        del raw["digests"]
    change(raw)
    path.write_text(json.dumps(raw))


def nothing(raw: dict[str, Any]) -> None:
    """Change nothing."""


def more(raw: dict[str, Any]) -> None:
    raw["scores"]["accuracy"]["value"] -= 0.1


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "value": (more, "accuracy|digest"),
    "not a number": (
        lambda r: r["scores"]["accuracy"].update(value=float("nan")),
        "scores.accuracy.value",
    ),
    "out of range": (lambda r: r["scores"]["accuracy"].update(value=17), "17|digest"),
    "examples": (lambda r: r.update(n=50), "rows|digest"),
    "weights": (lambda r: r["model"].update(fingerprint="other"), "file name|digest"),
    "data": (lambda r: r["data"].update(sha256="cd" * 32), "file name|digest"),
    "precision": (lambda r: r["provenance"].update(dtype="bfloat16"), "file name|digest"),
    "limit": (lambda r: r.update(limit=1000), "file name|digest"),
    "task": (lambda r: r.update(task="STS12"), "file name|digest"),
    "interval turned": (lambda r: r["scores"]["accuracy"].update(low=0.9, high=0.1), "interval"),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("what", EDITS)
def test_a_result_that_was_edited_is_left_out_with_its_reason(
    what: str, old: bool, put: Put, tmp_path: Path
) -> None:
    put("clip", VG, 0.2)
    put("good", VG, 0.3)
    path = put("edited", VG, 0.6)
    change, reason = EDITS[what]
    edit(path, change, old=old)
    board = make_board(tmp_path, with_limits=True)
    assert [row.name for row in board.rows] == ["clip", "good"]
    (line,) = board.left_out
    assert path.name in line
    assert any(word in line for word in reason.split("|")), line


def test_an_edited_interval_is_seen_by_its_digest(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    edit(put("a", VG, 0.6), lambda r: r["scores"]["accuracy"].update(low=0.9999))
    assert "digest" in make_board(tmp_path).left_out[0]
    found, damaged = list_results(tmp_path)
    assert (len(found), len(damaged)) == (1, 1)


def test_an_edited_interval_of_an_old_result_is_not_shown(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    path = put("a", VG, 0.6)
    before = make_board(tmp_path)
    edit(path, lambda r: r["scores"]["accuracy"].update(low=0.0001, high=0.9999), old=True)
    after = make_board(tmp_path)
    assert after.rows == before.rows
    assert "their intervals computed again" in after.notes[0]


def test_an_old_result_under_the_name_of_another_model_is_left_out(
    put: Put, tmp_path: Path
) -> None:
    put("clip", VG, 0.2)
    good, bad = put("good", VG, 0.9), put("bad", VG, 0.1)
    edit(good, nothing, old=True)
    edit(bad, lambda r: r["model"].update(name="good"), old=True)
    board = make_board(tmp_path)
    assert [row.name for row in board.rows] == ["clip", "good"]
    (line,) = board.left_out
    assert "its model is 'good', and lies in the folder of another" in line
    contents = good.read_text(), bad.read_text()
    good.write_text(contents[1])
    bad.write_text(contents[0])
    assert len(make_board(tmp_path).left_out) == 2


def test_an_old_result_of_a_task_that_is_not_here_is_marked(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2, version=7)
    edit(put("a", VG, 0.6, version=7), nothing, old=True)
    (note,) = make_board(tmp_path).notes
    assert "nothing could be compared" in note


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["model"].update(name="good"),
        lambda r: r["model"].update(base="clip"),
        lambda r: r["data"].update(source="hub", revision="abc"),
        lambda r: r["provenance"].update(scored_by="me"),
        lambda r: r["provenance"].update(seed=7),
    ],
)
def test_what_a_result_says_of_itself_is_in_its_digest(
    change: Callable[[dict[str, Any]], object], put: Put, tmp_path: Path
) -> None:
    put("clip", VG, 0.2)
    edit(put("edited", VG, 0.6), change)
    board = make_board(tmp_path)
    assert [row.name for row in board.rows] == ["clip"]
    assert "was changed after it was written" in board.left_out[0]


def test_no_other_program_scores_a_task_of_ours(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)

    def elsewhere(raw: dict[str, Any]) -> None:
        raw["provenance"]["scored_by"] = "me"
        raw["scores"]["accuracy"]["value"] = 17

    edit(put("edited", VG, 0.6), elsewhere, old=True)
    (line,) = make_board(tmp_path).left_out
    assert "vg-relation is ours" in line


def test_every_score_of_an_old_result_is_compared(put: Put, tmp_path: Path) -> None:
    put("clip", "STS12", 0.2)
    edit(put("a", "STS12", 0.6), lambda r: r["scores"]["pearson"].update(value=0.99), old=True)
    (line,) = make_board(tmp_path).left_out
    assert "its pearson is 0.990000" in line


def test_a_csv_has_no_formula_in_any_cell(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2, dtype='=HYPERLINK("http://evil","x")')
    text = as_csv(make_board(tmp_path))
    assert "=HYPERLINK" in text
    assert ",=HYPERLINK" not in text.replace('"', "")


@pytest.mark.parametrize("old", [False, True])
def test_outcomes_of_another_model_or_a_part_of_them_are_not_paired(
    old: bool, put: Put, tmp_path: Path
) -> None:
    other = put("clip", VG, 0.0)
    swapped, cut = put("swapped", VG, 0.6), put("cut", VG, 0.7)
    shutil.copy(outcomes_path(other), outcomes_path(swapped))
    pq.write_table(pq.read_table(outcomes_path(cut)).slice(0, 50), outcomes_path(cut))
    for path in (other, swapped, cut):
        edit(path, nothing, old=old)
    board = make_board(tmp_path)
    assert [row.name for row in board.rows] == ["clip"]
    assert len(board.left_out) == 2
    assert all("outcomes" in line and "run --force" in line for line in board.left_out)


def test_a_flipped_bit_in_the_outcomes_never_changes_a_number(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    file = outcomes_path(put("a", VG, 0.6))
    whole, rng = file.read_bytes(), random.Random(0)
    for _ in range(30):
        bits = bytearray(whole)
        bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
        file.write_bytes(bits)
        board = make_board(tmp_path)
        assert [row.name for row in board.rows] == ["clip"]
        assert file.name in board.left_out[0]
    file.write_bytes(whole)
    assert len(make_board(tmp_path).rows) == 2


def test_results_of_before_the_digests_are_taken_and_marked(put: Put, tmp_path: Path) -> None:
    new = {name: put(name, VG, skill) for name, skill in {"clip": 0.2, "a": 0.6}.items()}
    before = make_board(tmp_path)
    for path in new.values():
        edit(path, nothing, old=True)
    after = make_board(tmp_path)
    assert after.rows == before.rows
    assert before.notes == ()
    (note,) = after.notes
    assert "written by version 0.1.0" in note
    assert all(path.name in note for path in new.values())


def test_missing_outcomes_leave_the_value_and_are_named_everywhere(
    put: Put, tmp_path: Path
) -> None:
    put("clip", VG, 0.2)
    outcomes_path(put("a", VG, 0.6)).unlink()
    board = make_board(tmp_path)
    (cell,) = (row.cells[0] for row in board.rows if row.name == "a")
    assert cell is not None
    assert (cell.estimate.low, cell.estimate.high) == (None, None)
    assert cell.difference is not None
    assert (cell.difference.low, cell.difference.high) == (None, None)
    for text in (str(board), markdown(board), as_json(board)):
        assert "the outcomes are missing" in text


def test_what_a_run_writes_knows_its_outcomes(put: Put) -> None:
    path = put("a", VG, 0.6)
    result = read(path)
    assert result.digests is not None
    assert result.digests.rows == result.n == 60
    assert result.digests.scores == result.scores_digest


def test_results_show_names_what_was_edited(
    put: Put, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("clip", VG, 0.2)
    path = put("a", VG, 0.6)
    folder = tmp_path / "w" / "results"
    shutil.copytree(tmp_path / "paper", folder / "paper")
    edited = folder / path.relative_to(tmp_path)
    edit(edited, more)
    lines = {("--workspace", str(tmp_path / "w")): 0, (str(edited),): 1}
    for line, code in lines.items():
        monkeypatch.setattr("sys.argv", ["paraclip-bench", "results", "show", *line])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        said = capsys.readouterr().err
        assert path.name in said
        assert "was changed after it was written" in said


def test_results_show_says_that_an_old_result_has_no_digest(
    put: Put, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put("a", VG, 0.6)
    edit(path, nothing, old=True)
    folder = tmp_path / "w" / "results"
    shutil.copytree(tmp_path / "paper", folder / "paper")
    for line in (("--workspace", str(tmp_path / "w")), (str(path),)):
        monkeypatch.setattr("sys.argv", ["paraclip-bench", "results", "show", *line])
        with pytest.raises(SystemExit):
            main()
        assert "without a digest" in capsys.readouterr().err


@pytest.mark.parametrize("value", [-0.5, 1.0001, 1e30])
def test_every_score_has_its_range_details_too(value: float, put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    path = put("a", VG, 0.6)
    part = {"name": "on", "n": 20, "scores": {"accuracy": {"value": value, "low": None}}}
    part["scores"]["accuracy"]["high"] = None  # type: ignore[index]
    edit(path, lambda r: r.update(details={"counted_group": [part]}), old=True)
    (line,) = make_board(tmp_path).left_out
    assert f"{value:g} is not within 0 to 1" in line


def test_rounding_of_another_machine_is_not_an_edit(put: Put, tmp_path: Path) -> None:
    put("clip", "STS12", 0.2)

    def in_the_last_digit(raw: dict[str, Any]) -> None:
        score = raw["scores"]["spearman"]
        score["value"] = float(np.nextafter(score["value"], 2))

    edit(put("a", "STS12", 0.6), in_the_last_digit, old=True)
    assert len(make_board(tmp_path).rows) == 2


def test_a_pipe_among_results_does_not_wait_for_ever(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    path = put("good", VG, 0.3)
    kept = contributions_path(path)
    kept.unlink(missing_ok=True)
    os.mkfifo(kept)
    os.mkfifo(path.with_name("vg-relation.aro.00000000.json"))
    code = (
        "import sys; from pathlib import Path; from paraclip_bench.boards.make_board import "
        "make_board; board = make_board(Path(sys.argv[1]), models=sys.argv[2:]); "
        "print([row.name for row in board.rows], *board.left_out)"
    )
    for names in ([], ["good"]):
        line = [sys.executable, "-c", code, str(tmp_path), *names]
        ended = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert ended.stdout.startswith(str(names or ["clip", "good"])), ended.stderr
        assert "00000000.json is a pipe" in ended.stdout
