"""Published rows stand apart: where they may stand, and that they change nothing else."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from paraclip_bench.boards import formats
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.terminal import lines, text
from paraclip_bench.errors import UsageError
from paraclip_bench.reference.published_numbers import published_scores
from paraclip_bench.tasks.sugarcrepe import SUBSETS

Columns = dict[str, np.ndarray]
Put = Callable[..., Path]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
STS13, VG = 1500, 23937


@pytest.fixture
def results(put: Put, tmp_path: Path) -> Path:
    """MiniLM, CLIP and a model that nobody published; n is that of the whole sets."""
    put(MINILM, "STS13", 0.5, n=STS13, spec=f"sentence-transformers:{MINILM}")
    put("mine", "STS13", 0.9, n=STS13)
    put("clip", "STS13", 0.3, n=STS13, spec="clip", activation="quick_gelu")
    put("clip", "vg-relation", 0.3, n=VG, spec="clip", activation="quick_gelu")
    return tmp_path


def numbers(board: Board) -> dict[tuple[str, str], float]:
    return {
        (row.label, column.title): cell.value
        for row in board.published or ()
        for column, cell in zip(board.columns, row.cells, strict=True)
        if cell
    }


def test_the_measured_models_rows_and_no_others(results: Path) -> None:
    board = make_board(results, reference="matching")
    assert numbers(board) == {
        (f"{MINILM} (mteb)", "STS13"): 0.806032,
        ("ViT-B-32/openai (vl_compo)", "vg-relation (aro)"): 0.59896,
    }
    matches = {row.name: row.matches for row in board.published or ()}
    assert matches == {MINILM: (MINILM,), "ViT-B-32/openai": ("clip",)}


def test_every_row_with_a_number_in_a_column_when_asked(results: Path) -> None:
    board = make_board(results, reference="all")
    of_columns = [
        score
        for score in published_scores()
        if score.measure.key in {("STS13", "all", "spearman"), ("vg-relation", "aro", "accuracy")}
    ]
    assert len(of_columns) == 3 + 202
    assert sorted(numbers(board).values()) == sorted(score.value for score in of_columns)
    rows = board.published or ()
    assert [bool(row.matches) for row in rows] == [True] * 2 + [False] * 203


def test_published_rows_change_nothing_else(results: Path) -> None:
    plain = make_board(results)
    assert plain.published is None
    for which in ("matching", "all"):
        board = make_board(results, reference=which)
        assert dataclasses.replace(board, published=None) == plain
        assert formats.verdict(board) == formats.verdict(plain)
    for written in (formats.markdown, text, formats.as_csv):
        assert "ublished" not in written(plain)


def test_only_beside_a_whole_set_of_the_same_protocol_and_suite(put: Put, tmp_path: Path) -> None:
    clip = {"spec": "clip", "activation": "quick_gelu"}
    put("clip", "vg-relation", 0.3, n=VG - 1, **clip)
    put("clip", "STS13", 0.3, n=STS13, **clip)
    put("clip", "vg-relation", 0.3, n=VG, limit=VG, sha256="cd" * 32, **clip)
    board = make_board(tmp_path, reference="all", with_limits=True)
    assert {title for _, title in numbers(board)} == {"STS13"}
    # mteb's number is of its own protocol, and the same VG-Relation under it has no other.
    put("clip", "vg-relation", 0.3, n=VG, protocol="mteb", **clip)
    board = make_board(tmp_path, reference="matching")
    assert numbers(board) == {
        ("openai/clip-vit-base-patch32 (mteb)", "vg-relation (mteb)"): 0.517609
    }
    put("clip", "STS13", 0.3, n=STS13, suite="demo", source="demo", **clip)
    assert make_board(tmp_path, suite="demo", reference="all").published == ()


def test_a_word_that_is_none(results: Path) -> None:
    with pytest.raises(UsageError, match="'mathcing'; did you mean matching"):
        make_board(results, reference="mathcing")


def test_formats(results: Path) -> None:
    board = make_board(results, reference="matching")
    raw = json.loads(formats.as_json(board))
    row = next(row for row in raw["published"] if row["name"] == MINILM)
    assert row["commit"] == "f4cc6c8"
    assert row["revision"] == "8b3219a92973c328a8e22fadcfa821b5dc75636a"
    cell = next(cell for cell in row["cells"] if cell)
    assert cell["value"] == 0.806032
    assert cell["dataset_revision"] == "7e90230a92c190f1bf69ae9002b8cea547a64cca"
    assert MINILM not in [row["name"] for row in raw["rows"][1:] if row["name"] == "mine"]

    rows = list(csv.DictReader(io.StringIO(formats.as_csv(board))))
    assert not any(None in row or None in row.values() for row in rows)
    assert {row["seeds"] for row in rows if row["published"]} == {""}
    assert {row["seeds"] for row in rows if not row["published"]} == {"1"}
    assert [row["published"] for row in rows] == [
        "",
        "",
        "",
        "mteb @ f4cc6c8",
        "vl_compo @ 43e2eae",
    ]
    assert float(rows[3]["STS13/spearman"]) == 0.806032
    assert rows[3]["STS13/spearman/diff"] == rows[3]["fingerprint"] == ""
    assert float(rows[4]["vg-relation (aro)/accuracy"]) == 0.59896

    page = formats.markdown(board)
    ours, _, theirs = page.partition("#### Published, not measured here")
    assert f"| {MINILM} (mteb) | 80.6 | – |" in theirs
    assert "| ViT-B-32/openai (vl_compo) | – | 59.9 |" in theirs
    assert "(mteb)" not in ours
    assert "https://github.com/ytaek-oh/vl_compo @ 43e2eae" in theirs
    assert "may differ" in theirs

    shown = text(board)
    assert shown.index("mine") < shown.index("Published, not measured here")
    assert "80.6" in shown.split("Published, not measured here")[1]


def test_what_is_to_be_known_of_a_number_stands_beside_it(
    put: Put, made: Callable[..., Columns], tmp_path: Path
) -> None:
    clip = {"spec": "clip", "activation": "quick_gelu"}
    put("clip", "vg-relation", 0.3, n=VG, **clip)
    subsets = np.array([SUBSETS[i % 7] for i in range(60)], dtype=object)
    cases = {**made("vg-relation", 0.3), "subset": subsets, "averaged": subsets}
    put("clip", "coco-order", 0.3, n=25010, columns=cases, **clip)
    put("clip", "sugarcrepe", 0.3, n=7511, columns=cases, **clip)
    board = make_board(tmp_path, reference="matching")
    # A task's own main score has a published cell, though only its parts are published.
    assert ("ViT-B-32/openai (vl_compo)", "sugarcrepe (sugarcrepe)") in numbers(board)
    raw = json.loads(formats.as_json(board))
    (row,) = (row for row in raw["published"] if row["source"] == "vl_compo")
    assert row["paper"] == "Oh et al. 2024, arXiv 2406.09388"
    assert "one third party's run of all models" in row["note"]
    titles = [column["title"] for column in raw["columns"]]
    cells = dict(zip(titles, row["cells"], strict=True))
    facts = {
        title: (cell["note"], cell["reproducible"], cell["derived"])
        for title, cell in cells.items()
    }
    assert facts == {
        "vg-relation (aro)": ("the mean over relations", True, False),
        "coco-order (aro)": ("of other shuffles", False, False),
        "sugarcrepe (sugarcrepe)": ("derived: the mean of the seven published subsets", True, True),
    }
    for shown in (formats.markdown(board), " ".join(text(board).split())):
        assert "coco-order (aro) accuracy of vl_compo is of other shuffles, compare rough" in shown
        assert "of vl_compo is derived: the mean of the seven published subsets." in shown
        assert "the mean over relations" not in shown
        assert "vl_compo (Oh et al. 2024, arXiv 2406.09388)" in shown


def test_in_a_terminal_they_are_dim_and_fit(results: Path) -> None:
    board = make_board(results, reference="all")
    for width in (60, 100, 160):
        shown = [line.plain for line in lines(board, width, plain=True)]
        assert max(map(len, shown)) <= width
        for row in board.published or ():
            for cell in row.cells:
                assert cell is None or f" {100 * cell.value:.1f}" in "\n".join(shown)
    console = Console(
        file=io.StringIO(), width=160, force_terminal=True, color_system="truecolor", _environ={}
    )
    (line,) = [ln for ln in lines(board, 160, plain=False) if "ViT-B-32/openai" in ln.plain]
    console.print(line)
    assert "\x1b[2m" in console.file.getvalue()
    assert "\x1b[1m" not in console.file.getvalue()


def test_nothing_published_is_said(put: Put, tmp_path: Path) -> None:
    put("mine", "STS13", 0.5)
    shown = text(make_board(tmp_path, reference="matching"))
    assert "No published number is of what is shown here." in " ".join(shown.split())
