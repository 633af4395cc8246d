"""Kill every command at random moments; what it leaves at the end must be an undisturbed run's.

    tox -e kill        or        python tests/drives/kill_commands.py [--kills 50] [--only NAME ...]

A command that is through before its kill is compared, and begins again from nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from commands import COMMANDS, drive_each, prepare, start


def drive(name: str, kills: int, rng: random.Random, root: Path, hub: str) -> str:
    """Kill one command `kills` times; a line on how it went, or an assertion."""
    command = COMMANDS[name]
    whole, killed = root / "whole", root / "killed"
    prepare(whole)
    before = time.monotonic()
    assert start(command, whole, hub).wait() == 0, (whole / "said.txt").read_text()
    seconds = time.monotonic() - before
    prepare(killed, whole)
    done = ended = 0
    while done < kills:
        if command.refuses and (killed / command.made).exists():
            # A kill between its last write and its end: what is there must be whole.
            ended += compared(name, whole, killed, done)
        process = start(command, killed, hub)
        # A command needs half of its time to begin with its work.
        deadline = time.monotonic() + rng.uniform(0.2, 1.05) * seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            # Its group, for a kill reaches the workers of a container too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            continue
        assert process.returncode == 0, (killed / "said.txt").read_text()
        ended += compared(name, whole, killed, done)
    if not (command.refuses and (killed / command.made).exists()):
        assert start(command, killed, hub).wait() == 0, (killed / "said.txt").read_text()
    ended += compared(name, whole, killed, done)
    return f"{name}: {done} kills, {ended} times through, each as undisturbed"


def compared(name: str, whole: Path, killed: Path, kills: int) -> int:
    """1 where what was made is an undisturbed run's; then it begins again from nothing."""
    command = COMMANDS[name]
    wrong = command.same(whole / command.made, killed / command.made)
    assert not wrong, f"{name} after {kills} kills: {wrong}"
    prepare(killed, whole)
    return 1


def main() -> None:
    """Drive the commands asked for; exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    drives = ((name, partial(drive, name, options.kills, rng)) for name in options.only)
    sys.exit(drive_each(drives))


if __name__ == "__main__":
    main()
