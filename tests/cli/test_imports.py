"""Help and listings are quick: they import none of the heavy libraries."""

import subprocess
import sys

COMMANDS = (
    "demo",
    "finetune",
    "run",
    "leaderboard",
    "models",
    "tasks",
    "metrics",
    "plugins",
    "data",
    "results",
)
LINES = [
    ["--help"],
    ["--version"],
    *([command, "--help"] for command in COMMANDS),
    ["data", "cache", "--help"],
    ["data", "cache"],
    ["models"],
    ["models", "--json"],
    ["tasks"],
    ["tasks", "--json"],
    ["tasks", "sick-r"],
    ["metrics"],
    ["metrics", "--json"],
    ["results", "show", "--help"],
    *(["results", name, "--help"] for name in ("validate", "diff", "merge", "export")),
    ["leaderboard", "--json"],
    ["results", "show"],
    ["results", "validate"],
    ["results", "export", "--format", "csv"],
    ["results", "export", "--format", "trec"],
]
CODE = """
import sys
from paraclip_bench.cli import main

for line in {lines}:
    sys.argv = ["paraclip-bench", *line]
    try:
        main()
    except SystemExit as end:
        # There are no results.
        lists = line[0] in ("leaderboard", "results") and "--help" not in line
        expected = 2 if lists else 0
        assert (end.code or 0) == expected, (line, end)
    heavy = {{"torch", "open_clip", "mteb", "datasets", "transformers"}} & set(sys.modules)
    assert not heavy, (line, heavy)
"""


def test_help_and_listings_import_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(lines=LINES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"Usage: paraclip-bench {command}" in done.stdout


def test_help_starts_at_once():
    """Nothing that a command needs is imported for the list of commands."""
    code = CODE.replace("transformers", 'pydantic", "numpy", "PIL", "rich.table')
    done = subprocess.run(
        [sys.executable, "-c", code.format(lines=[["--help"]])],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
