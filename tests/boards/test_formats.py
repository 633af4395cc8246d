"""Every format says what the board says."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from paraclip_bench.boards import board as board_module
from paraclip_bench.boards import formats
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.make_board import make_board

Put = Callable[..., Path]


@pytest.fixture
def board(put: Put, tmp_path: Path) -> Board:
    put("clip", "vg-relation", 0.2)
    put("a | b\\c", "vg-relation", 0.6)
    put("alone", "vg-attribution", 0.6)
    put("late", "vg-relation", 0.6, limit=3)
    return make_board(tmp_path)


def test_sets_of_another_size_are_named(board: Board) -> None:
    assert board.partial == (
        "vg-attribution (aro) (60 examples, not 28,748)",
        "vg-relation (aro) (60 examples, not 23,937)",
    )
    said = f"Not the published set: {', '.join(board.partial)}."
    assert said in formats.legend(board)
    assert said in formats.markdown(board)


def test_json_is_the_whole_board(board: Board) -> None:
    raw = json.loads(formats.as_json(board))
    assert raw["suite"] == "paper"
    assert raw["baseline"] == "clip"
    assert raw["left_out"] == list(board.left_out)
    assert [row["name"] for row in raw["rows"]] == [row.name for row in board.rows]
    for row, parsed in zip(board.rows, raw["rows"], strict=True):
        for cell, other in zip(row.cells, parsed["cells"], strict=True):
            if cell is None:
                assert other is None
                continue
            assert other["estimate"]["value"] == cell.estimate.value
            assert other["best"] is cell.best
            assert (other["difference"] is None) is (cell.difference is None)


def test_csv_holds_fractions(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(board))))
    assert [row["model"] for row in rows] == [row.name for row in board.rows]
    for row, parsed in zip(board.rows, rows, strict=True):
        assert None not in parsed
        assert parsed["fingerprint"] == row.fingerprint
        for column, cell in zip(board.columns, row.cells, strict=True):
            name = f"{column.title}/{column.score}"
            if cell is None:
                assert parsed[name] == parsed[f"{name}/low"] == parsed[f"{name}/diff"] == ""
                continue
            assert float(parsed[name]) == cell.estimate.value
            assert float(parsed[f"{name}/high"]) == cell.estimate.high
            if cell.difference is None:
                assert parsed[f"{name}/diff"] == ""
            else:
                assert float(parsed[f"{name}/diff"]) == cell.difference.value
                assert float(parsed[f"{name}/diff_low"]) == cell.difference.low


def test_markdown(board: Board) -> None:
    text = formats.markdown(board)
    table = [line for line in text.splitlines() if line.startswith("|")]
    fields = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
    assert {len(line) for line in fields} == {1 + len(board.columns)}
    names = [line[0].strip().replace("\\|", "|").replace("\\\\", "\\") for line in fields[2:]]
    assert names == [row.name for row in board.rows]
    for row, line in zip(board.rows, fields[2:], strict=True):
        for cell, shown in zip(row.cells, line[1:], strict=True):
            if cell is None:
                assert shown.strip() == "–"
                continue
            value = f"{100 * cell.estimate.value:.1f}"
            assert shown.strip().startswith(f"**{value}**" if cell.best else value)
            change = cell.difference
            assert (change is not None) is (
                f"<br>{100 * (change.value):+.1f}" in shown if change else False
            )
    assert text.count("**") == 2  # one best in the one column with rivals
    assert "Left out:\n- late/" in text.replace("\n\n- ", "\n- ")
    assert board_module.DEMO_NOTICE not in text


def test_terminal_shows_every_value_at_any_width(board: Board) -> None:
    text = board_module.text(board)
    for row in board.rows:
        assert row.name in text
        for cell in row.cells:
            if cell is not None:
                assert f"{100 * cell.estimate.value:.1f}" in text
    from rich.console import Console

    for width in (40, 80, 200):
        console = Console(file=io.StringIO(), width=width)
        console.print(board_module.render(board, width, plain=True))
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        for column in board.columns:
            assert sum(column.title in line for line in lines) >= 1


def test_the_demo_says_that_it_is_the_demo(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.2, suite="demo", source="demo")
    put("real", "vg-relation", 0.2)
    assert board_module.DEMO_NOTICE not in formats.markdown(make_board(tmp_path, suite="paper"))
    board = make_board(tmp_path, suite="demo")
    assert board_module.DEMO_NOTICE in formats.markdown(board)
    assert board_module.DEMO_NOTICE in board_module.text(board)
    assert json.loads(formats.as_json(board))["suite"] == "demo"
    assert formats.as_csv(board).splitlines()[1].startswith("demo,")


def test_a_verdict_names_what_is_clear(put: Put, tmp_path: Path) -> None:
    for name, skill in {"clip": 0.2, "better": 0.6, "same": 0.2}.items():
        put(name, "vg-relation", skill)
    board = make_board(tmp_path)
    assert formats.verdict(board) == [
        "better against clip: better on vg-relation (aro) accuracy.",
        "same against clip: no clear difference on vg-relation (aro) accuracy.",
    ]
    turned = formats.verdict(make_board(tmp_path, baseline="better"))
    assert "clip against better: worse on vg-relation (aro) accuracy." in turned
    assert "better on vg-relation" in formats.markdown(board)
    # Less is more for the rate of ties.
    ties = formats.verdict(make_board(tmp_path, all_scores=True, adjust="none"))[0]
    assert "better on vg-relation (aro) accuracy, accuracy_micro, tie_rate" in ties
    # The rule is the same for any number of models.
    for extra in ("x", "y"):
        put(extra, "vg-relation", 0.3)
    assert len(formats.verdict(make_board(tmp_path))) == 4


HOSTILE = "<script>alert(1)</script> ![x](http://a/b) |`c`\x1b[31m\u202e"


def test_foreign_names_are_text_in_every_format(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.3)
    put(HOSTILE, "vg-relation", 0.6)
    put("=HYPERLINK(1)", "vg-relation", 0.6)
    put("[bold]rich[/bold]", "vg-relation", 0.6)
    board = make_board(tmp_path)
    shown = board_module.text(board)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "<script>" in shown  # a terminal shows it as it is
    assert "[bold]rich[/bold]" in shown
    page = formats.markdown(board)
    assert "<script" not in page
    assert "](" not in page.replace("\\](", "")
    for line in page.splitlines():
        if line.startswith("| "):
            assert line.replace("\\|", "").count("|") == len(board.columns) + 2
    cells = [row[1] for row in csv.reader(formats.as_csv(board).splitlines())]
    assert "'=HYPERLINK(1)" in cells
    assert json.loads(formats.as_json(board))["rows"]
    assert "\x1b" not in formats.as_json(board)
