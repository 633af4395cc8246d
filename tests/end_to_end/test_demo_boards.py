"""results/demo: one run's results, and the board that each format makes of them."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from demo_boards import FOLDER, boards, data_of

from paraclip_bench.results.checks import check, find_results

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="results/demo is not here")


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return boards()


def same(one: Any, two: Any) -> bool:
    """Whether two values of JSON or CSV are the same, numbers to 1e-6: machines round apart."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float) and isinstance(two, float):
        return bool(one == pytest.approx(two, abs=1e-6))
    return bool(one == two)


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("name", ["board.txt", "board.md", "board.tex"])
def test_texts_are_as_they_were(made: dict[str, str], name: str) -> None:
    assert made[name] == (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["board.csv", "board-tidy.csv", "board.json", "board.html"])
def test_data_are_as_they_were(made: dict[str, str], name: str) -> None:
    kept, now = (FOLDER / name).read_text(encoding="utf-8"), made[name]
    if name.endswith(".csv"):
        rows = [[list(map(number, r)) for r in csv.reader(t.splitlines())] for t in (kept, now)]
        assert same(rows[0], rows[1])
    else:
        read = data_of if name.endswith(".html") else json.loads
        assert same(read(kept), read(now))


def test_all_results_are_whole() -> None:
    places = find_results(FOLDER / "workspace")
    assert len(places) == 60
    assert not [problem for place in places for problem in check(place).problems]
