"""The one door for plugins: what it offers, who goes through it, and what the docs say of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import paraclip_bench.plugin as door

REPOSITORY = Path(__file__).parents[1]
PLUGINS = sorted(REPOSITORY.glob("plugins/*/*.py"))
EXAMPLES = sorted(REPOSITORY.glob("docs/examples/precomputed.py"))


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, lazily too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if re.match(r"paraclip_bench(\.|$)", name)}


@pytest.mark.parametrize("path", [*PLUGINS, *EXAMPLES], ids=lambda path: path.name)
def test_the_shipped_plugins_import_nothing_else(path: Path) -> None:
    assert imported(path) == {"paraclip_bench.plugin"}


def test_every_name_is_there_and_is_named_in_the_docs() -> None:
    page = (REPOSITORY / "docs/plugins.md").read_text(encoding="utf-8")
    table = page[page.index("## What a plugin imports") :]
    promised = set()
    for line in table.splitlines():
        if line.startswith("| ") and "`" in line:
            promised |= set(re.findall(r"`(\w+)`", line.split("|")[2].split(":")[0]))
    assert promised == set(door.__all__)
    for name in door.__all__:
        assert getattr(door, name) is not None


def test_the_code_of_the_docs_imports_through_it() -> None:
    for page in REPOSITORY.glob("docs/*.md"):
        for block in re.findall(
            r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            modules = set(re.findall(r"from (paraclip_bench[\w.]*) import", block))
            assert modules <= {"paraclip_bench.plugin", "paraclip_bench"}, (page.name, modules)


def test_it_is_cheap() -> None:
    code = (
        "import sys, paraclip_bench.plugin;"
        "heavy = {'torch', 'open_clip', 'mteb', 'datasets', 'transformers', 'huggingface_hub'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
