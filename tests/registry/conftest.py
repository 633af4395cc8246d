"""Distributions written by hand, and the program run in a process that sees them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Write a distribution: its metadata, its entry points and its module."""

    def write(name: str, code: str, **groups: dict[str, str]) -> None:
        site = tmp_path / "site"
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[paraclip_bench.{group}]"]
            lines += [f"{entry} = {value}" for entry, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (site / f"{name.replace('-', '_')}.py").write_text(code)

    return write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program in an empty workspace with those distributions installed."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path / "site"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *arguments],
            cwd=workspace,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return call
