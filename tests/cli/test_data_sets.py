"""`data list`, `prefetch`, `verify` and `path` as a user runs them, on a stand-in of the hub."""

import importlib.metadata
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sets import DATA_SETS, PINS
from hub_stand_in import Files, serve, write_cache
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]
MODEL = """
import numpy as np


class Letters:
    fingerprint = "letters-1"

    def encode_texts(self, texts):
        return np.array([[1.0, *(t.count(c) for c in "abcdehnort")] for t in texts])

    def encode_images(self, images):
        return np.array([np.asarray(i.resize((1, 1)), float).repeat(4)[:11] + 1 for i in images])
"""


def sts_rows(name: str) -> bytes:
    """As many rows as the pinned set has."""
    rows = [
        {"sentence1": f"one {i % 97} hat", "sentence2": f"{i % 89} other {i}", "score": i % 6}
        for i in range(PINS[name].rows or 0)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def relation_rows() -> bytes:
    """A Parquet file of VG-Relation's columns and number of rows, with forty small images."""
    images = []
    for i in range(40):
        file = io.BytesIO()
        Image.new("RGB", (8, 6), (6 * i, 100, 250 - 6 * i)).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    n = PINS["vg-relation"].rows or 0
    columns = {
        "image": [images[i % 40] for i in range(n)],
        "true_caption": [f"the cat is on the {i % 50} mat" for i in range(n)],
        "false_caption": [f"the {i % 50} mat is on the cat" for i in range(n)],
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=1000)
    return file.getvalue()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the program with caches of its own; `hub` is the hub's address, None cuts the network."""
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*_, **__):\n"
        "    raise AssertionError('the network was touched')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )

    def run(
        *arguments: str, hub: str | None = None, home: str = "hf"
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HF_") and not name.endswith("_OFFLINE")
        }
        environment |= {"HF_HOME": str(tmp_path / home), "PARACLIP_CACHE": str(tmp_path / "own")}
        environment |= {"HF_ENDPOINT": hub} if hub else {"PYTHONPATH": str(cut)}
        return subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    (tmp_path / "model.py").write_text(MODEL)
    return run


def hub_of(**repositories: Files) -> dict[str, tuple[str, Files]]:
    return {PINS[name].id: (PINS[name].revision, files) for name, files in repositories.items()}


def test_list(command: Command) -> None:
    done = command("data", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["data set"]: row for row in json.loads(done.stdout)}
    assert set(rows) >= {"STS12", "SICK-R", "vg-relation", "sugarcrepe-pp"}
    for name, row in rows.items():
        assert row["examples"] == dict(DATA_SETS[name].examples)
        assert row["licence"]
        assert row["from"]
        pinned = DATA_SETS[name].pin is not None
        assert row["state"] == ("missing" if pinned else "only with --data-dir")
        assert bool(row["hub"]) == pinned


@pytest.mark.slow
def test_prefetched_runs_without_a_network(command: Command, tmp_path: Path) -> None:
    stand_in = hub_of(
        STS13={"test.jsonl": sts_rows("STS13")},
        STS16={"data/test.jsonl": sts_rows("STS16")},
        **{"vg-relation": {"data/test-00000-of-00001.parquet": relation_rows()}},
    )
    usb = tmp_path / "usb"
    with serve(stand_in) as (url, served):
        asked = ("STS13", "STS16", "vg-relation", "SICK-R", "paraphrased-retrieval")
        done = command("data", "prefetch", *asked, "--to", str(usb), hub=url)
        assert done.returncode == 1
        assert "mteb/sickr-sts @ 20a6d6f3 cannot be had from the hub" in done.stderr
        assert "paraphrased-retrieval has no copy on the hub" in done.stderr
        assert "Traceback" not in done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(asked[:3])
        count = len(served)
        assert count == 3
        again = command("data", "prefetch", *asked[:3], "--to", str(usb), "--json", hub=url)
        assert again.returncode == 0, again.stderr
        assert len(served) == count
        sizes = {row["data set"]: row["bytes"] for row in json.loads(again.stdout)}
        assert sizes["STS13"] == len(sts_rows("STS13"))

    checked = command("data", "verify", *asked[:3], "--data-dir", str(usb), "--json", home="new")
    assert checked.returncode == 0, checked.stderr
    found = {(row["task"], row["protocol"]): row for row in json.loads(checked.stdout)}
    assert found["STS13", "all"]["state"] == "right"
    assert found["STS13", "all"]["n"] == 1500
    assert found["vg-relation", "mteb"]["n"] == 23937
    assert found["vg-relation", "aro"]["state"] == "other"
    assert "lacks bbox_h" in found["vg-relation", "aro"]["why"]
    where = command("data", "path", "STS16", "--data-dir", str(usb), home="new")
    assert (Path(where.stdout.strip()) / "data/test.jsonl").is_file()

    tasks = ("--task", "STS13", "--task", "STS16", "--task", "vg-relation", "--protocol", "mteb")
    run = ("run", "--model", "model.py:Letters", *tasks, "--json", "--offline")
    done = command(*run, "--data-dir", str(usb), home="new")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [row["n"] for row in results] == [1500, 1186, 23937]
    stored = json.loads(Path(tmp_path / results[0]["file"]).read_text())
    assert stored["data"]["source"] == "hub"
    assert stored["data"]["revision"] == PINS["STS13"].revision

    # The cache that prefetch filled does without the network too, and is the same data.
    same = command(*run)
    assert same.returncode == 0, same.stderr
    assert same.stderr.count("already there") == 3
    # Where nothing was fetched, what is missing is said before anything is computed.
    missing = command(*run, home="empty")
    assert missing.returncode == 1
    assert "not in the local cache, and --offline forbids the network" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_fetching_goes_on(command: Command, tmp_path: Path) -> None:
    rows = sts_rows("STS16")
    files = {"test.jsonl": rows, "extra/notes.txt": b"a file of its own"}
    with serve(hub_of(STS16=files), cut_after={"test.jsonl": 3000}) as (url, served):
        done = command("data", "prefetch", "STS16", hub=url)
        if importlib.metadata.version("huggingface_hub").startswith("0."):
            # It gives up where a connection breaks, and goes on when it is called again.
            assert done.returncode == 1
            assert "Connection broken" in done.stderr
            done = command("data", "prefetch", "STS16", hub=url)
        assert done.returncode == 0, done.stderr
        assert [name for name, _ in served].count("test.jsonl") == 2
        path = command("data", "path", "STS16").stdout.strip()
        assert (Path(path) / "test.jsonl").read_bytes() == rows
    there = command("data", "list", "STS16", "--json")
    assert json.loads(there.stdout)[0]["state"] == "here"
    assert json.loads(there.stdout)[0]["bytes"] == len(rows) + 17
    verdict = command("data", "verify", "STS16", "--json")
    assert verdict.returncode == 0, verdict.stderr
    assert [row["hashed"] for row in json.loads(verdict.stdout)] == [2]
    (Path(path) / "test.jsonl").resolve().write_bytes(rows[:-9])
    verdict = command("data", "verify", "STS16")
    assert verdict.returncode == 1
    assert "is damaged in the local cache" in verdict.stderr
    run = command("run", "--model", "model.py:Letters", "--task", "STS16", "--offline")
    assert run.returncode == 1
    assert "is damaged in the local cache" in run.stderr


def test_verify_tells_wrong_rows_from_other_ones(command: Command, tmp_path: Path) -> None:
    rows = sts_rows("STS16").replace(b'"score": 5', b'"score": 9')
    write_cache(tmp_path / "hf" / "hub", PINS["STS16"], {"test.jsonl": rows})
    done = command("data", "verify", "STS16", "--json")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)
    assert row["state"] == "wrong"
    assert "the score 9 is not within 0 to 5" in row["why"]


def test_verify_counts_a_folder(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "own-data" / "sts"
    folder.mkdir(parents=True)
    lines = [f"{i % 6}\tone {i}\ttwo {i}" for i in range(1186)]
    header = "score\tsentence1\tsentence2"
    (folder / "STS16.tsv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "STS13.tsv").write_text("\n".join([header, *lines]) + "\n")
    done = command("data", "verify", "--data-dir", str(folder.parent), "--json")
    assert done.returncode == 1
    states = {(row["task"], row["protocol"]): row["state"] for row in json.loads(done.stdout)}
    assert states["STS16", "all"] == "right"
    assert states["STS13", "all"] == "partial"
    assert states["STS12", "all"] == "missing"
    assert "STS13 (all): 1,186 examples where the whole set has 1,500" in done.stderr
    assert command("data", "verify", "STS16", "--data-dir", str(folder.parent)).returncode == 0
    assert command("data", "verify", "STS12", "--data-dir", str(folder.parent)).returncode == 1


def test_wrong_names_and_folders(command: Command, tmp_path: Path) -> None:
    for arguments, said in (
        (("data", "prefetch", "STS21"), "did you mean"),
        (
            ("data", "path", "STS12"),
            "STS12 is not in the cache; data prefetch fetches it",
        ),
        (("data", "list", "--data-dir", str(tmp_path)), "was not written by data prefetch --to"),
    ):
        done = command(*arguments)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
