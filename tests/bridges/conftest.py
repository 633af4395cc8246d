"""The program in a process of its own, with a hub cache and no network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MODEL = '''
import numpy as np


class Letters:
    """Counts of letters."""

    fingerprint = "letters-1"

    def encode_texts(self, texts):
        return np.array([[1 + t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts])
'''
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HF_HOME: nothing was fetched yet."""
    return tmp_path / "hub"


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Run:
    """Run the program in an empty workspace, where letters.py:Letters is a model."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "letters.py").write_text(MODEL)

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *map(str, arguments)],
            cwd=workspace,
            env={
                **os.environ,
                "HF_HOME": str(home),
                "HF_HUB_OFFLINE": "1",
                "PARACLIP_CACHE": str(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return call


@pytest.fixture
def run_json(run: Run) -> Callable[..., dict]:
    """What a command that succeeds prints with --json."""

    def call(*arguments: object) -> dict:
        done = run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call
