"""`results show`: a table of results, or one of them whole."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def shown(cli, tiny, data):
    """Two STS sets, of which STS13 names subsets, and a limited one."""
    rows = ["score\tsentence1\tsentence2\tsubset"]
    rows += [f"{i % 6}\ta {'dog' * (i % 4)} {i}\tthe cat {i}\t{'ab'[i % 2]}" for i in range(20)]
    (data / "sts" / "STS13.tsv").write_text("\n".join(rows) + "\n")
    line = ("run", "-m", f"local-dir:{tiny}", "--data-dir", data, "-t")
    assert cli(*line, "STS12", "-t", "STS13").code == 0
    assert cli(*line, "paraphrased-retrieval", "--limit", "1").code == 0
    return cli


def test_a_table_of_all_or_of_some(shown, tiny):
    rows = json.loads(shown("results", "show", "--json").out)
    assert [row["task"] for row in rows] == ["STS12", "STS13", "paraphrased-retrieval"]
    assert {row["suite"] for row in rows} == {"paper"}
    table = shown("results", "show")
    assert (table.code, table.err) == (0, "")
    assert len(table.out.splitlines()) == 1 + len(rows)
    for row in rows:
        assert row["file"] in table.out
    (one,) = json.loads(shown("results", "show", "-t", "sts13", "--json").out)
    assert one == rows[1]
    for model in (rows[0]["model"], f"local-dir:{tiny}"):
        assert json.loads(shown("results", "show", "-m", model, "--json").out) == rows


def test_one_result_whole(shown):
    file = json.loads(shown("results", "show", "-t", "STS13", "--json").out)[0]["file"]
    raw = json.loads(shown("results", "show", file, "--json").out)
    whole = shown("results", "show", file)
    assert (whole.code, whole.err) == (0, "")
    blocks = [block.splitlines() for block in whole.out.split("\n\n")]
    path, about, scores, subsets = blocks
    assert path == [file]
    fields = dict(line.split(maxsplit=1) for line in about[1:])
    assert fields["model.fingerprint"] == raw["model"]["fingerprint"]
    assert fields["n"] == "20"
    assert scores[1].split() == [
        "spearman",
        *(f"{100 * raw['scores']['spearman'][key]:.2f}" for key in ("value", "low", "high")),
    ]
    header, *lines = subsets
    assert header.split()[:5] == ["subset", "n", "spearman", "spearman", "low"]
    assert [line.split()[:2] for line in lines] == [["a", "10"], ["b", "10"]]
    (first, _) = raw["details"]["subset"]
    assert lines[0].split()[2] == f"{100 * first['scores']['spearman']['value']:.2f}"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-t", "STS1"], "no task 'STS1' among these results; did you mean STS1"),
        (["-m", "clip"], "no model 'clip' among these results"),
        (["--suite", "demo"], "no suite 'demo' among these results; known: paper"),
        (["a.json", "-t", "STS12"], "FILE is one result"),
    ],
)
def test_wrong_usage(shown, arguments, part):
    shown("results", "show", *arguments).fails(2, part)


def test_a_file_that_is_no_result(shown):
    shown("results", "show", "none.json").fails(1, "none.json does not exist")


def test_a_damaged_file_is_named_and_the_others_are_shown(shown):
    rows = json.loads(shown("results", "show", "--json").out)
    Path(rows[0]["file"]).write_text("{")
    ended = shown("results", "show", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == rows[1:]
    assert ended.err.startswith(f"left out: {rows[0]['file']} is not a result")
