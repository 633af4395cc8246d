"""The public functions, by whichever way they are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAYS = [
    "from paraclip_bench import {0}; f = {0}",
    "import paraclip_bench; f = paraclip_bench.{0}",
    "import paraclip_bench.finetune.run, paraclip_bench.leaderboard.board, paraclip_bench as p;"
    "f = p.{0}",
    "from paraclip_bench.api import {0}; f = {0}",
]


@pytest.mark.parametrize("way", WAYS)
def test_every_public_function_can_be_called(way: str) -> None:
    import paraclip_bench

    lines = ["import sys"]
    for name in paraclip_bench.__all__:
        lines += [way.format(name), f"assert callable(f), {name!r}"]
    lines += ["assert not {'torch', 'open_clip', 'mteb'} & set(sys.modules)"]
    lines += [
        "from pathlib import Path",
        "from paraclip_bench.errors import UsageError",
        way.format("leaderboard"),
        "try: f(workspace=Path('/nowhere'))",
        "except UsageError: print('called')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "called\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import paraclip_bench

    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        _ = paraclip_bench.fine_tune
