"""`leaderboard`: its format comes from the ending of the file it writes."""

import csv
import json

import pytest


@pytest.fixture
def measured(cli, tiny, data):
    """One model on one set."""
    assert cli("run", "-m", f"local-dir:{tiny}", "--data-dir", data, "-t", "STS12").code == 0
    return cli


def test_the_format_is_that_of_the_ending(measured, tmp_path):
    reads = {
        "board.md": lambda text: text.startswith("### Leaderboard"),
        "board.MARKDOWN": lambda text: text.startswith("### Leaderboard"),
        "board.json": lambda text: json.loads(text)["suite"] == "paper",
        "board.csv": lambda text: next(csv.reader(text.splitlines()))[:2] == ["suite", "model"],
        "board.txt": lambda text: text.startswith("Leaderboard, suite paper"),
        "board": lambda text: text.startswith("Leaderboard, suite paper"),
    }
    for name, reads_it in reads.items():
        ended = measured("leaderboard", "-o", tmp_path / name)
        assert ended.code == 0, ended
        assert reads_it((tmp_path / name).read_text()), name


def test_a_format_that_is_asked_for_wins(measured, tmp_path):
    assert measured("leaderboard", "--format", "csv", "-o", tmp_path / "board.md").code == 0
    assert (tmp_path / "board.md").read_text().startswith("suite,model")
    assert measured("leaderboard", "--json", "-o", tmp_path / "board.tex").code == 0
    assert json.loads((tmp_path / "board.tex").read_text())["suite"] == "paper"


def test_an_ending_of_no_format_is_a_table_as_before(measured, tmp_path):
    assert measured("leaderboard", "-o", tmp_path / "board.out").code == 0
    assert (tmp_path / "board.out").read_text().startswith("Leaderboard, suite paper")


def test_a_folder_is_no_file_to_write(measured, tmp_path):
    (tmp_path / "boards").mkdir()
    measured("leaderboard", "-o", tmp_path / "boards").fails(
        1, f"{tmp_path / 'boards'} is a folder", "name a file in it"
    )
    measured("leaderboard", "-o", ".").fails(1, ". is a folder")
