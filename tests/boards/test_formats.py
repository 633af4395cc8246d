"""Every format says what the board says."""

import csv
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from paraclip_bench.boards import formats
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.content import DEMO_NOTICE
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.terminal import lines, text

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
    assert DEMO_NOTICE not in text


def at(board: Board, width: int, *, plain: bool = True) -> list[str]:
    """The board's lines at a width."""
    return [line.plain for line in lines(board, width, plain=plain)]


def together(parts: list[str]) -> str:
    """Text without the spaces and line ends that folding puts into it."""
    return "".join("".join(parts).split())


@pytest.mark.parametrize("models", [3, 6])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_shows_every_value_at_any_width(
    put: Put, tmp_path: Path, models: int, width: int
) -> None:
    long = "organisation/a-model-with-a-very-long-name-that-fits-nowhere"
    for i, name in enumerate(["clip", "模型一二三四五", long, "d", "e", "f"][:models]):
        for task in ("vg-relation", "vg-attribution", "paraphrased-retrieval"):
            put(name, task, 0.2 + i / 10)
    board = make_board(tmp_path)
    shown = at(board, width)
    assert max(map(cell_len, shown)) <= width
    for row in board.rows:
        assert row.name[:5] in together(shown)
        for cell in row.cells:
            assert cell is not None
            assert f"{100 * cell.estimate.value:.1f}" in "\n".join(shown)
    for column in board.columns:
        assert together([column.title])[:12] in together(shown)
        assert together([column.score])[:6] in together(shown)
    # A task is named once over its scores.
    if width == 200:
        assert sum("paraphrased-retrieval" in line for line in shown) == 1


def test_up_to_four_models_are_columns_with_verdicts_in_words(put: Put, tmp_path: Path) -> None:
    for name, skill in {"clip": 0.2, "better": 0.8, "same": 0.2}.items():
        put(name, "vg-relation", skill)
    shown = at(make_board(tmp_path, precision=2), 120)
    assert shown[0].split() == ["clip", "better", "same"]
    text = "\n".join(shown)
    assert re.search(r"no clear\s+difference", text)
    (row,) = (line for line in shown if line.startswith("vg-relation (aro)"))
    assert re.search(r"\d\d\.\d\d\* \[\d\d\.\d\d, \d+\.\d\d\]", row), row
    for extra in ("x", "y"):
        put(extra, "vg-relation", 0.3)
    shown = at(make_board(tmp_path), 80)
    assert next(line for line in shown if line.startswith("better")).split()[0] == "better"
    assert sum("▲" in line for line in shown) == 2  # the difference, and what the sign is


@pytest.mark.parametrize(("asked", "width"), [("", 80), ("100", 100), ("banana", 80)])
def test_a_pipe_obeys_columns(
    board: Board, monkeypatch: pytest.MonkeyPatch, asked: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", asked)
    legend = [line for line in text(board).splitlines() if line.startswith("Scores x 100")]
    assert width - 14 < len(legend[0]) <= width


def test_the_demo_says_that_it_is_the_demo(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.2, suite="demo", source="demo")
    put("real", "vg-relation", 0.2)
    assert DEMO_NOTICE not in formats.markdown(make_board(tmp_path, suite="paper"))
    board = make_board(tmp_path, suite="demo")
    assert DEMO_NOTICE in formats.markdown(board)
    assert DEMO_NOTICE in " ".join(text(board).split())
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


MARKED = "_e_ __s__ my_model ~a~ ~~b~~ $x$ *i* [l](u) <b> | \\ `c` #"


def test_markdown_shows_names_and_captions_literally(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.3)
    put(MARKED, "vg-relation", 0.6)
    put("late _x_", "vg-relation", 0.6, limit=5)
    board = make_board(tmp_path, caption=f"# {MARKED}")
    raw = formats.markdown(board)
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(raw)
    shown = html.unescape(page.replace("<span>$</span>", "$"))
    assert f"<td>{MARKED}</td>" in shown
    assert f"<p># {MARKED}</p>" in shown
    assert set(re.findall(r"<(\w+)", page)) <= {
        *("h3", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "ins", "br"),
        *("ul", "li", "span"),
    }
    assert page.count("<h3>") == 1
    # Nothing that GitHub strikes through or sets as a formula, and a name in a word as it is.
    plain = re.sub(r"\\.", "", raw)
    assert "~" not in plain
    assert "$" not in plain.replace("<span>$</span>", "")
    assert " my_model " in raw


def test_foreign_names_are_text_in_every_format(put: Put, tmp_path: Path) -> None:
    put("clip", "vg-relation", 0.3)
    put(HOSTILE, "vg-relation", 0.6)
    put("=HYPERLINK(1)", "vg-relation", 0.6)
    put("[bold]rich[/bold]", "vg-relation", 0.6)
    board = make_board(tmp_path)
    shown = text(board, 200)
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
    shown = board._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "'=HYPERLINK(1)" in formats.tidy_csv(board)


def test_tidy_has_a_row_a_model_and_score(put: Put, tmp_path: Path) -> None:
    for i, name in enumerate(("clip", "a", "b")):
        put(name, "vg-relation", 0.2 + i / 5)
    put("a", "paraphrased-retrieval", 0.3)
    board = make_board(tmp_path)
    rows = list(csv.DictReader(io.StringIO(formats.tidy_csv(board))))
    assert tuple(rows[0]) == formats.TIDY
    found = {(row["model"], row["task"], row["score"]): row for row in rows}
    assert len(found) == len(rows) == sum(c is not None for row in board.rows for c in row.cells)
    for row in board.rows:
        for column, cell in zip(board.columns, row.cells, strict=True):
            if cell is None:
                continue
            own = found[row.name, column.measures[0].task, column.score]
            assert float(own["value"]) == cell.estimate.value
            assert own["best"] == str(cell.best)
            assert own["data_sha256"] == column.measures[0].sha256
            if cell.difference is None:
                assert own["difference"] == own["verdict"] == ""
            else:
                assert float(own["difference_low"]) == cell.difference.low
                assert float(own["p_adjusted"]) == cell.difference.adjusted
                assert own["verdict"] == cell.difference.verdict
    frame = board.to_frame()
    assert list(frame.columns) == list(formats.TIDY)
    wide = frame.pivot(index="model", columns=["task", "score"], values="value")
    assert wide.loc["a", ("vg-relation", "accuracy")] == board.rows[1].cells[-1].estimate.value  # type: ignore[union-attr]


def test_the_picture_shows_each_difference(put: Put, tmp_path: Path) -> None:
    for i, name in enumerate(("clip", "a", "$\\input{x}$")):
        for task in ("vg-relation", "vg-attribution"):
            put(name, task, 0.2 + i / 5)
    board = make_board(tmp_path)
    figure = board.plot()
    figure.savefig(tmp_path / "plot.png")
    (axes,) = figure.axes
    drawn = sorted(
        float(x) for line in axes.lines if len(line.get_xdata()) == 2 for x in line.get_xdata() if x
    )
    wanted = [
        100 * cell.difference.value
        for row in board.rows
        for cell in row.cells
        if cell and cell.difference
    ]
    assert any(abs(x - wanted[0]) < 1e-9 for x in drawn)
    assert len(axes.containers) == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_whatever_the_names_are(put: Put, tmp_path: Path) -> None:
    letters = "".join(map(chr, range(0x20, 0x7F))) + "".join(map(chr, range(0xA0, 0x100)))
    names = ("clip", HOSTILE, "\\input{/etc/passwd}", letters, "模型😀--x", "[3cm] a", "* b")
    for i, name in enumerate(names):
        for task in ("vg-relation", "paraphrased-retrieval"):
            put(name, task, 0.2 + i / 10)
    board = make_board(tmp_path, sort="name", caption="100% of \\LaTeX & more")
    table = formats.latex(board)
    page = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        f"{table}\\end{{document}}\n"
    )
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    ended = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert table.count(r"\textbf{") >= len(board.columns)
