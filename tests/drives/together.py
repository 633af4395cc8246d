"""Start every command several times at once in one folder: the outputs must be those of one alone.

    tox -e together    or        python tests/drives/together.py [--processes 2 6] [--rounds 3]

A process may refuse, in one sentence, to work where another one does; one at least must be through.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from commands import COMMANDS, drive_each, prepare, start


def drive(name: str, processes: int, root: Path, hub: str) -> str:
    """One command in several processes; a line on how it went, or an assertion."""
    command = COMMANDS[name]
    whole, shared = root / "whole", root / "shared"
    prepare(whole)
    assert start(command, whole, hub).wait() == 0, (whole / "said.txt").read_text()
    prepare(shared, whole)
    said = [root / f"said-{i}.txt" for i in range(processes)]
    running = [start(command, shared, hub, file) for file in said]
    codes = [process.wait() for process in running]
    told = [file.read_text() for file in said]
    for code, text in zip(codes, told, strict=True):
        assert "Traceback" not in text, text
        assert "unexpected" not in text, text
        assert code == 0 or "error: " in text, text
    assert 0 in codes, told
    wrong = command.same(whole / command.made, shared / command.made)
    assert not wrong, f"{name} by {processes} processes: {wrong}"
    return f"{name}: {codes.count(0)} of {processes} processes through, the others refused"


def main() -> None:
    """Drive the commands asked for; exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="*", default=[2, 6])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    drives = (
        (name, partial(drive, name, processes))
        for name in options.only
        for processes in options.processes
        for _ in range(options.rounds)
    )
    sys.exit(drive_each(drives))


if __name__ == "__main__":
    main()
