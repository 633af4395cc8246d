"""Good runs, runs of which a part fails, and what is on the disk afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LETTERS = """
import numpy as np

class Letters:
    def encode_texts(self, texts):
        return np.array([[1 + t.count(c) for c in "abcdefghijklmnop"] for t in texts])
"""


@pytest.fixture
def letters(cli):
    Path("letters.py").write_text(LETTERS)
    return "letters.py:Letters"


def stored():
    return sorted(
        path.name.rpartition(".")[0].rpartition(".")[0] for path in Path().rglob("*.json")
    )


def told(stderr: str) -> list[str]:
    """Lines without those that say how far a job is, which a slow machine has some of."""
    lines = stderr.splitlines()
    return [line for line in lines if not re.search(r" so far\b|: [\d,]+ of [\d,]+ \(", line)]


def test_a_run_writes_its_result_and_finds_it_again(cli, tiny, data, own_store):
    arguments = ("run", "-m", f"local-dir:{tiny}", "-t", "STS12", "--data-dir", data, "--json")
    first = cli(*arguments)
    assert first.code == 0
    assert told(first.err)[0] == f"suite: paper (data of {data})"
    said = [line.partition(":") for line in told(first.err)]
    assert [subject for subject, _, _ in said] == ["suite", "tiny", "tiny on STS12"]
    assert said[1][2] == " text tower alone, texts packed"
    (row,) = json.loads(first.out)["results"]
    result = json.loads(Path(row["file"]).read_text())
    assert result["model"]["activation"] == "gelu"
    assert result["provenance"]["dtype"] == "float32"

    again = cli(*arguments)
    assert again.code == 0
    assert "already there" in again.err
    assert json.loads(again.out)["results"] == [row]


def test_bfloat16_is_another_result(cli, tiny, data):
    arguments = ("run", "-m", f"local-dir:{tiny}", "-t", "STS12", "--data-dir", data, "--json")
    files = []
    for dtype in ("float32", "bf16"):
        ended = cli(*arguments, "--dtype", dtype)
        assert ended.code == 0, ended.err
        files.append(Path(json.loads(ended.out)["results"][0]["file"]))
    assert files[0] != files[1]
    assert json.loads(files[1].read_text())["provenance"]["dtype"] == "bfloat16"


def test_a_text_model_skips_an_image_task_by_name(cli, letters, data):
    ended = cli("run", "-m", letters, "-t", "paraphrased-retrieval", "--data-dir", data)
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert "paraphrased-retrieval is skipped" in line
    assert "has no image encoder" in line


def test_one_bad_task_does_not_stop_the_others(cli, letters, data):
    (data / "sts" / "STS12.tsv").write_text("score\n")
    tasks = ("-t", "STS12", "-t", "STS13", "-t", "STS14")
    ended = cli("run", "-m", letters, *tasks, "--data-dir", data, "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert [row["task"] for row in found["results"]] == ["STS13"]
    assert len(found["failures"]) == 2
    assert stored() == ["STS13.all"]
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "STS12.tsv" in errors[0]
    assert "STS14.tsv" in errors[1]


def test_a_task_that_fails_while_it_runs_loses_nothing(cli, tiny, data):
    images = data / "paraphrased-retrieval" / "images"
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:300])
    tasks = ("-t", "STS12", "-t", "paraphrased-retrieval", "-t", "STS13")
    ended = cli("run", "-m", f"local-dir:{tiny}", *tasks, "--data-dir", data, "--json")
    assert ended.code == 1
    assert stored() == ["STS12.all", "STS13.all"]
    (failure,) = json.loads(ended.out)["failures"]
    assert "2.png" in failure


def test_bad_models_do_not_stop_the_others(cli, letters, tiny, tmp_path, data):
    cut = shutil.copytree(tiny, tmp_path / "cut")
    weights = cut / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    Path("raises.py").write_text(
        "class Raises:\n def encode_texts(self, texts): raise RuntimeError('out of ideas')"
    )
    bare = tmp_path / "bare"
    bare.mkdir()
    models = (f"local-dir:{cut}", "raises.py:Raises", f"local-dir:{bare}", letters)
    named = [part for model in models for part in ("-m", model)]
    ended = cli("run", *named, "-t", "STS12", "--data-dir", data, "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert [row["model"] for row in found["results"]] == ["Letters"]
    failures = sorted(found["failures"])
    assert len(failures) == 3
    assert any("damaged or cut off" in failure for failure in failures)
    assert any("out of ideas" in failure for failure in failures)
    assert any("has no open_clip_config.json" in failure for failure in failures)


def test_a_results_folder_that_cannot_be_written(cli, letters, data):
    Path("results").write_text("a file where the folder should be")
    ended = cli("run", "-m", letters, "-t", "STS12", "--data-dir", data)
    ended.fails(1, "cannot be written because results is a file, not a folder")


def test_a_dry_run_computes_nothing(cli, tiny, data):
    tasks = ("-t", "STS12", "-t", "STS14")
    ended = cli("run", "-m", f"local-dir:{tiny}", *tasks, "--data-dir", data, "--dry-run", "--json")
    assert ended.code == 1  # STS14 is not there
    states = {row["task"]: row["state"] for row in json.loads(ended.out)["plan"]}
    assert states["STS12"].startswith("to run")
    assert states["STS14"].startswith("missing: ")
    assert not Path("results").exists()


@pytest.mark.slow
def test_a_process_of_its_own_says_nothing_but_its_progress(tiny, data, tmp_path, own_store):
    """No warning or log line of a library, in a good run or a bad one."""
    cut = shutil.copytree(tiny, tmp_path / "cut")
    weights = cut / "open_clip_model.safetensors"
    weights.rename(cut / "my_own_name.safetensors")
    models = ("-m", f"local-dir:{tiny}", "-m", f"local-dir:{cut}", "-m", "hf-hub:nobody/nothing")
    tasks = ("-t", "STS12", "-t", "paraphrased-retrieval")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    program = (sys.executable, "-m", "paraclip_bench", "run")
    done = subprocess.run(
        [*program, *models, *tasks, "--data-dir", data, "--offline", "--json"],
        cwd=tmp_path,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    starts = [line.split(":")[0].split(" (")[0] for line in told(done.stderr)]
    assert starts == [
        "suite",
        "error",
        "tiny",
        "tiny on STS12",
        "tiny on paraphrased-retrieval",
        "cut on STS12",
        "cut on paraphrased-retrieval",
    ]
    assert len(json.loads(done.stdout)["results"]) == 4


@pytest.mark.slow
def test_without_a_network_a_run_ends_soon_and_says_so(tmp_path):
    """The hub's name does not resolve: 20 seconds at most, no lines of its libraries."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HF_") and not name.lower().endswith("_proxy")
    }
    environment |= {"HF_ENDPOINT": "https://hub.invalid", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-m", "paraclip_bench", "run", "-m", "clip", "-t", "STS12"],
        cwd=tmp_path,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    lines = told(done.stderr)
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert line.startswith("error: ")
        assert "hub.invalid cannot be reached" in line
    assert "--data-dir" in lines[1]


def test_a_cut_off_file_is_found_before_anything_is_computed(cli, letters, tiny, tmp_path, data):
    cut = shutil.copytree(tiny, tmp_path / "cut")
    weights = cut / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    models = ("-m", letters, "-m", f"local-dir:{cut}")
    tasks = ("-t", "STS12", "-t", "STS13")
    ended = cli("run", *models, *tasks, "--data-dir", data)
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert "damaged or cut off" in lines[0]
    assert [line.partition(":")[0] for line in lines] == [
        "error",
        "Letters on STS12",
        "Letters on STS13",
    ]


def test_ctrl_c_keeps_what_is_finished(cli, letters, data):
    Path("stopped.py").write_text(
        "class Stopped:\n def encode_texts(self, texts): raise KeyboardInterrupt"
    )
    ended = cli("run", "-m", letters, "-m", "stopped.py:Stopped", "-t", "STS12", "--data-dir", data)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == (
        "stopped; what was finished is kept: run the same command again, it goes on where it was"
    )
    assert stored() == ["STS12.all"]


def test_debug_shows_where_a_users_class_raised(cli, data):
    Path("raises.py").write_text(
        "class Raises:\n def encode_texts(self, texts): raise RuntimeError('out of ideas')"
    )
    arguments = ("run", "-m", "raises.py:Raises", "-t", "STS12", "--data-dir", data)
    with pytest.raises(RuntimeError, match="out of ideas"):
        cli(*arguments, "--debug")
    cli(*arguments).fails(1, "RuntimeError: out of ideas")
