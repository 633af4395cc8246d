"""Listings, and what wrong usage of the program itself gets."""

import json
import subprocess
import sys

import importlib_metadata
import pytest


@pytest.mark.parametrize(
    ("command", "name"), [("models", "open_clip"), ("tasks", "SICK-R"), ("tasks", "mteb")]
)
def test_a_listing_is_json_or_a_table(cli, command, name):
    listed = cli(command, "--json")
    assert (listed.code, listed.err) == (0, "")
    rows = json.loads(listed.out)
    assert name in {row["name"] for row in rows}
    shown = cli(command)
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) == 1 + len(rows)


def test_metrics_say_what_they_are(cli):
    rows = {row["metric"]: row for row in json.loads(cli("metrics", "--json").out)}
    assert rows["rbo(p=0.9)@K"] == {
        "metric": "rbo(p=0.9)@K",
        "range": "0 to 1",
        "better": "higher",
        "about": "rank-biased overlap, extrapolated from the first k places; p weighs the deeper "
        "ones",
        "source": "Webber, Moffat & Zobel 2010, equation 23",
        "tasks": ["coco-human", "coco-paraphrase", "flickr30k-human", "paraphrased-retrieval"],
    }
    assert rows["tie_rate"]["better"] == "lower"
    assert rows["spearman"]["range"] == "-1 to 1"
    assert "recall@K/{query,paraphrase}" in rows
    shown = cli("metrics")
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) > len(rows)


def test_one_task_shows_its_protocols(cli):
    rows = json.loads(cli("tasks", "sick-r", "--json").out)
    assert [row["protocol"] for row in rows] == ["senteval", "mteb"]
    assert rows[0]["needs"] == "text"
    assert rows[0]["scores"].startswith("spearman")


def test_plugins_says_that_all_is_well(cli):
    checked = cli("plugins", "--json")
    assert (checked.code, checked.err) == (0, "")
    ours = [row for row in json.loads(checked.out) if row["from"].startswith("paraclip-bench ")]
    assert len(ours) >= 15
    assert {row["state"] for row in ours} == {"ok"}


def test_version(cli):
    assert cli("--version").out.strip() == importlib_metadata.version("paraclip-bench")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run"], "missing option '--model'"),
        (["run", "-m"], "option '-m' requires an argument"),
        (["runn"], "no such command 'runn'"),
        (["run", "--modle", "clip"], "no such option: --modle"),
        (["run", "-m", "clip", "-t", "STS12", "--limit", "0"], "'--limit'"),
        (["run", "-m", "clip", "-t", "STS12", "--limit", "x"], "'--limit'"),
        (["leaderboard", "--format", "pdf"], "'--format'"),
        (["tasks", "STS99"], "did you mean"),
        (["tasks", "mteb"], "'mteb' needs a name after a colon (mteb:NAME)"),
        (["tasks", "STS12:x"], "'STS12:x' takes no argument"),
        (["run", "-m", "clip", "-t", "mteb:"], "'mteb:' needs a name after a colon"),
        (["results", "export"], "missing option '--format'"),
        (["results", "export", "--format", "xlsx"], "'--format'"),
        (["results", "show"], "there are no results in results"),
    ],
)
def test_wrong_usage_is_one_sentence(cli, arguments, part):
    cli(*arguments).fails(2, part)


def test_no_arguments_show_the_help(cli):
    shown = cli()
    assert "Usage: paraclip-bench" in shown.out + shown.err
    assert "Traceback" not in shown.err


def test_debug_shows_the_traceback_anywhere_in_the_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "paraclip_bench", "tasks", "STS99", "--debug"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr
