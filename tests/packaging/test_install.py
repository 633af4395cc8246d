"""The wheels install and run: from an environment of their own that sees this one's packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "plugins/paraclip-bench-sentence-transformers"


def call(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the two wheels; everything else is seen by a .pth file."""
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    (site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    executable = folder / "bin/python"
    for project in (REPOSITORY, PLUGIN):
        call(
            *(sys.executable, "-m", "pip", "--quiet", "--python", executable, "install"),
            *("--no-deps", "--no-build-isolation", "--force-reinstall", project),
        )
    assert (site / "paraclip_bench/demo/base_clip/open_clip_model.safetensors").is_file()
    assert (site / "paraclip_bench/results/result.schema.json").is_file()
    return executable


@pytest.mark.slow
def test_the_wheel_has_all_that_the_demo_suite_needs(python: Path, tmp_path: Path) -> None:
    command = (python.with_name("paraclip-bench"), "run", "--json", "--suite", "demo")
    out = call(*command, "-m", "clip", "-t", "STS12", "-t", "vg-relation", "--workspace", tmp_path)
    results = json.loads(out)["results"]
    assert [row["task"] for row in results] == ["STS12", "vg-relation"]


@pytest.mark.slow
def test_the_wheel_has_the_published_numbers(python: Path) -> None:
    code = (
        "import paraclip_bench.reference.published_numbers as files; from pathlib import Path; "
        "print(files.reference_folder().relative_to(Path(files.__file__).parents[1]), "
        "len(files.published_scores()))"
    )
    # Of 202 models 47 scores and five means of them, of 118 twelve and two. -P: the repository is
    # not on the path.
    assert call(python, "-P", "-c", code).split() == [
        "results/reference",
        str(202 * (47 + 5) + 118 * (12 + 2) + 117),
    ]


@pytest.mark.slow
def test_the_plugin_installs_alone_and_is_found(python: Path) -> None:
    rows = json.loads(call(python.with_name("paraclip-bench"), "plugins", "--json"))
    states = {row["name"]: row["state"] for row in rows}
    assert states["sentence-transformers"] == states["clip"] == "ok"
    assert set(states.values()) == {"ok"}
