"""`leaderboard --reference`, with and without a word."""

import json
from pathlib import Path

import pytest

LETTERS = """
class Letters:
    def encode_texts(self, texts):
        return [[1 + t.count(c) for c in "abcdefghijklmnop"] for t in texts]
"""


@pytest.fixture
def measured(cli, data):
    Path("letters.py").write_text(LETTERS)
    ended = cli("run", "-m", "letters.py:Letters", "-t", "STS12", "--data-dir", data)
    assert ended.code == 0, ended.err
    assert "published" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reference", "--json"),
        ("--json", "--reference"),
        ("--reference", "all", "--json"),
        ("--reference", "matching", "--format", "json"),
    ],
)
def test_a_word_may_be_left_out(cli, measured, arguments):
    board = cli("leaderboard", *arguments)
    assert board.code == 0, board.err
    # Three pairs are not STS12.
    assert json.loads(board.out)["published"] == []


def test_off_by_default_and_another_word_is_wrong_usage(cli, measured):
    assert json.loads(cli("leaderboard", "--json").out)["published"] is None
    assert "No published number" in " ".join(cli("leaderboard", "--reference").out.split())
    cli("leaderboard", "--reference", "some").fails(2, "'some'", "matching", "all")
