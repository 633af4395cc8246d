"""Every command on a disk that is full, or read-only: one sentence, and later it goes on.

    tox -e disk        or        python tests/drives/full_disk.py [--only NAME ...]

It mounts small file systems in a name space of its own, so it needs Linux and `unshare`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from commands import COMMANDS, drive_each, prepare, start

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_INSIDE = "PARACLIP_DISK_DRIVE"


def used(folder: Path) -> int:
    """Bytes that a folder's files take, by blocks."""
    return sum(f.lstat().st_blocks * 512 for f in folder.rglob("*"))


def mount(*options: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *options], check=True)


def one_sentence(folder: Path, code: int) -> list[str]:
    """What is wrong with how a command ended that could not write."""
    said = (folder.parent / "said.txt").read_text()
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    wrong = ["it ended as if all were well"] * (code == 0)
    wrong += ["a traceback"] * ("Traceback" in said) + ["unexpected"] * ("unexpected" in said)
    return wrong + [f"{len(errors)} sentences"] * (not errors)


def drive(name: str, shares: list[float], root: Path, hub: str) -> str:
    """One command on disks with ever more room; a line on how it went, or an assertion."""
    command = COMMANDS[name]
    whole, small = root / "whole", root / "small"
    whole.mkdir(exist_ok=True)
    prepare(whole)
    before = used(whole)
    said = root / "said.txt"
    assert start(command, whole, hub, said).wait() == 0, said.read_text()
    needed = used(whole) - before
    small.mkdir(exist_ok=True)
    failed = 0
    for share in (*shares, None):
        mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(small))
        try:
            prepare(small / "w", whole)
            is_full = share is not None
            if is_full:
                room = os.statvfs(small)
                held = (room.f_blocks - room.f_bfree) * room.f_frsize
                mount("-o", f"remount,size={held + max(4096, int(share * needed))}", str(small))
            else:
                mount("-o", "remount,ro", str(small))
            code = start(command, small / "w", hub, said).wait()
            if code or not is_full:
                wrong = one_sentence(small, code)
                assert not wrong, f"{name} with {share} of its room: {wrong}: {said.read_text()}"
                failed += 1
            mount("-o", "remount,rw,size=1g", str(small))
            if code == 0 and command.refuses:
                shutil.rmtree(small / "w" / command.made, ignore_errors=True)
                (small / "w" / command.made).unlink(missing_ok=True)
            assert start(command, small / "w", hub, said).wait() == 0, said.read_text()
            wrong = command.same(whole / command.made, small / "w" / command.made)
            assert not wrong, f"{name} after a disk with {share} of its room: {wrong}"
        finally:
            subprocess.run(["umount", str(small)], check=True)
    return f"{name}: {failed} of {len(shares) + 1} disks were too small or read-only; each went on"


def main() -> None:
    """Drive the commands asked for; exit 1 where anything is wrong."""
    if _INSIDE not in os.environ:
        line = ["unshare", "-rm", sys.executable, *sys.argv]
        sys.exit(subprocess.run(line, env={**os.environ, _INSIDE: "1"}, check=False).returncode)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument(
        "--shares", type=float, nargs="*", default=SHARES, help="of the room needed"
    )
    options = parser.parse_args()
    drives = ((name, partial(drive, name, options.shares)) for name in options.only)
    sys.exit(drive_each(drives))


if __name__ == "__main__":
    main()
