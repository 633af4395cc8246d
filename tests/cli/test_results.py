"""The commands of `results`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paraclip_bench.results import store


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


def test_validate_says_what_is_wrong_where_and_what_to_do(shown):
    good = shown("results", "validate")
    assert (good.code, good.err) == (0, "")
    assert good.out.startswith("3 results, 3 with outcomes; ")
    assert good.out.endswith(": 0 problems\n")
    rows = json.loads(shown("results", "show", "--json").out)
    file = Path(rows[0]["file"])
    text = file.read_text()
    file.write_text(text.replace('"n": 3', '"n": 4'))
    Path(rows[1]["file"].replace(".json", ".outcomes.parquet")).unlink()
    bad = shown("results", "validate")
    assert bad.code == 1
    lines = bad.out.splitlines()
    assert lines[0].split() == ["file", "problem", "what", "to", "do"]
    assert lines[1].startswith(rows[0]["file"])
    assert "was changed after it was written" in lines[1]
    assert lines[1].endswith("measure it again with run --force")
    assert "its outcomes are gone" in lines[2]
    assert bad.out.endswith(": 2 problems\n")
    raw = json.loads(shown("results", "validate", "--json").out)
    assert (raw["results"], raw["problems"]) == (3, 2)
    assert [row["file"] for row in raw["found"]] == [rows[0]["file"], rows[1]["file"]]
    # One alone, and twice the same.
    assert shown("results", "validate", rows[2]["file"], rows[2]["file"]).out.startswith(
        "1 result,"
    )
    shown("results", "validate", "none").fails(2, "none does not exist")


def test_diff_has_the_exit_codes_of_diff(shown, tiny, data):
    rows = json.loads(shown("results", "show", "--json").out)
    line = ("run", "-m", f"local-dir:{tiny}", "--data-dir", data, "-t", "STS12")
    assert shown(*line, "--workspace", "other").code == 0
    same = shown("results", "diff", ".", "other", "-t", "STS12")
    assert same.code == 1  # another command line
    assert "provenance.command" in same.out
    assert "scores." not in same.out
    assert same.out.endswith("equal: 0, different: 1, only in A: 0, only in B: 0\n")
    both = shown("results", "diff", ".", ".")
    assert (both.code, both.out) == (
        0,
        "equal: 3, different: 0, only in A: 0, only in B: 0\n",
    )
    file = rows[0]["file"]
    assert shown("results", "diff", file, file).out == "equal\n"
    other = shown("results", "diff", rows[0]["file"], rows[1]["file"])
    assert other.code == 1
    words = [line.split() for line in other.out.splitlines()]
    assert ["task", '"STS12"', '"STS13"'] in words
    raw = json.loads(shown("results", "diff", ".", "other", "--json").out)
    assert len(raw["only_in_a"]) == 2
    (different,) = raw["different"]
    assert "provenance.command" in {field["name"] for field in different["fields"]}
    # Trouble is 2.
    shown("results", "diff", file, "none.json").fails(2, "none.json does not exist")
    Path(file).write_text("{")
    shown("results", "diff", file, rows[1]["file"]).fails(2, "is not a result of run")
    broken = shown("results", "diff", ".", "other")
    assert broken.code == 2
    assert f"left out: {file} is not a result" in broken.err


def test_merge_brings_together_and_shows_a_conflict(shown):
    done = shown("results", "merge", ".", "-o", "all")
    assert (done.code, done.err) == (0, "")
    assert done.out == "3 results copied to all/results; there already: 0\n"
    again = shown("results", "merge", ".", "results", "--workspace", "all")
    assert again.out == "0 results copied to all/results; there already: 3\n"
    assert shown("results", "diff", ".", "all").code == 0
    assert shown("leaderboard", "--workspace", "all").code == 0
    # Other scores under the same key, as another machine may have them.
    file = Path(json.loads(shown("results", "show", "-t", "STS12", "--json").out)[0]["file"])
    result = store.read(file)
    score = result.scores["spearman"].model_copy(update={"value": 0.125})
    changed = result.model_copy(update={"scores": {**result.scores, "spearman": score}})
    store.write(file, changed, store.read_outcomes(file))
    bad = shown("results", "merge", ".", "-o", "all")
    assert bad.code == 1
    assert f"A: all/{file}\nB: {file}\n" in bad.out
    assert "scores.spearman.value" in bad.out
    assert "0.125" in bad.out
    assert "error: 1 key with other content in two places, so nothing was copied" in bad.err
    raw = json.loads(shown("results", "merge", ".", "-o", "all", "--json").out)
    assert raw["conflicts"][0]["fields"][0]["b"] == 0.125
    file.write_text("{")
    damaged = shown("results", "merge", ".", "-o", "new")
    assert (damaged.code, damaged.out) == (1, "2 results copied to new/results; there already: 0\n")
    assert damaged.err.startswith(f"left out: {file}: is not a result of run")
    shown("results", "merge", ".", "-o", "x/results").fails(2, "name the workspace")
    shown("results", "merge", "-o", "x").fails(2, "FROM")


def test_export_for_other_programs(shown):
    for form, name in (("csv", "results.csv"), ("parquet", "results.parquet")):
        done = shown("results", "export", "--format", form)
        assert (done.code, done.err) == (0, "")
        assert Path(name).is_file()
        assert shown("results", "export", "--format", form, "-o", f"d/x.{form}").code == 0
        assert Path(f"d/x.{form}").is_file()
    rows = json.loads(shown("results", "export", "--format", "csv", "-t", "STS12", "--json").out)
    assert rows["written"] == [{"file": "results.csv", "rows": 2}]
    done = shown("results", "export", "--format", "trec", "-o", "t")
    assert done.code == 0
    assert len(list(Path("t").iterdir())) == 3
    assert "left out: 2 results of STS12, STS13" in done.err
    none = shown("results", "export", "--format", "trec", "-t", "STS12")
    assert none.code == 1
    assert none.err.endswith("trec has none of these measurements, so nothing was written\n")
    shown("results", "export", "--format", "mteb", "-t", "STS12").fails(2, "leave out --task")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_o_means_for_a_table(shown, form):
    export = ("results", "export", "--format", form, "-o")
    # A file by its ending; a folder by none, by that of a version, and where it is there.
    Path("there.json").mkdir()
    expected = {
        f"a/q.{form}": "a/q." + form,
        f"Q.{form.upper()}": f"Q.{form.upper()}",
        "plain": f"plain/results.{form}",
        "v1.2": f"v1.2/results.{form}",
        "there.json": f"there.json/results.{form}",
        {"csv": "q.txt", "parquet": "q.pq"}[form]: {"csv": "q.txt", "parquet": "q.pq"}[form],
    }
    for out, file in expected.items():
        done = shown(*export, out)
        assert (done.code, done.err) == (0, "")
        assert file in done.out
        assert Path(file).is_file()
    other = {"csv": "x.parquet", "parquet": "x.csv"}[form]
    for out in (other, "x.json", "x.tsv", "x.csv.gz"):
        shown(*export, out).fails(
            2, f"{out} has the ending of another kind", f"folder for results.{form}"
        )
        assert not Path(out).exists()
    assert shown(*export, "/dev/null").code == 0
    # A file that is there is the file that is meant.
    Path("old").write_text("x")
    assert shown(*export, "old").code == 0
    assert Path("old").read_bytes() == Path(f"plain/results.{form}").read_bytes()


def test_a_table_into_a_pipe_is_that_table_alone(shown):
    assert shown("results", "export", "--format", "csv").code == 0
    line = [sys.executable, "-m", "paraclip_bench", "results", "export", "--format", "csv"]
    done = subprocess.run([*line, "-o", "/dev/stdout"], capture_output=True, check=True)
    assert done.stdout == Path("results.csv").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "results export --format trec -o",
        "results export --format mteb -o",
        "results merge . -o",
        "data prefetch STS12 --to",
        "finetune -o",
        "merge clip paraclip:made -o",
        "data build paraphrased-retrieval --captions c --pairs p --images i -o",
    ],
)
def test_a_folder_with_the_name_of_a_file_is_refused(cli, line):
    for out in ("q.txt", "deep/q.JSON", "q.run", "q.safetensors"):
        said = f"{out} is the name of a file, and a folder is written"
        cli(*line.split(), out).fails(2, said)
    assert list(Path().iterdir()) == []
    Path("plain").write_text("")
    cli(*line.split(), "plain").fails(2, "plain is a file, and a folder is written")
    assert Path("plain").read_text() == ""


def test_a_folder_that_is_there_may_have_any_name(shown):
    Path("q.txt").mkdir()
    assert shown("results", "export", "--format", "trec", "-o", "q.txt").code == 0
    assert shown("results", "merge", ".", "-o", "v1.2").code == 0
    assert Path("v1.2/results").is_dir()
