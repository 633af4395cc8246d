"""The drives of tests/drives in their short forms; `tox -e kill,disk,together` run all of each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVES = Path(__file__).parents[1] / "drives"


def run(name: str, *arguments: str) -> list[str]:
    """The lines of a drive that found nothing wrong."""
    line = [sys.executable, str(DRIVES / name), *arguments]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_killed_commands_go_on() -> None:
    lines = run("kill_commands.py", "--kills", "2", "--only", "convert")
    assert [line.split(",")[0] for line in lines] == ["convert: 2 kills"]


def test_two_processes_at_once() -> None:
    only = ("leaderboard", "build")
    lines = run("together.py", "--processes", "2", "--rounds", "1", "--only", *only)
    assert [line.split(":")[0] for line in lines] == list(only)


def test_a_full_and_a_read_only_disk() -> None:
    can = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if (
        not shutil.which("unshare")
        or subprocess.run(can, capture_output=True, check=False).returncode
    ):
        pytest.skip("a file system cannot be mounted here, even in a name space of its own")
    lines = run("full_disk.py", "--shares", "0.5", "--only", "convert")
    assert all("2 of 2 disks" in line for line in lines), lines
