"""A server in a process of its own, and the command against it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[1] / "support/llm_server.py"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Running:
    """A server that runs; its address and its log."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        command = [sys.executable, str(SERVER), "--log", str(log), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def requests(self) -> list[tuple[str, str]]:
        """(outcome, question's digest) of each request."""
        found = []
        for line in self.log.read_text().splitlines():
            outcome, _, digest = line.partition(" ")
            found.append((outcome, digest))
        return found

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def start(*arguments: str) -> Running:
            running = Running(tmp_path / f"server_{next(count)}.log", *arguments)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """`paraclip-bench paraphrase …` in tmp_path."""

    def run(
        *arguments: object, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
        return subprocess.run(
            [sys.executable, "-m", "paraclip_bench", "paraphrase", *map(str, arguments)],
            cwd=tmp_path,
            env={**clean, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
