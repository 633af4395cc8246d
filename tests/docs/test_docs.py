"""The documentation's commands, links, tables and code hold."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer

from paraclip_bench.cli.app import app
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.resampling import estimate
from paraclip_bench.training.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("plugins/*/*.md")]
)


def page_id(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            line = line.split("  # ")[0]
            for part in line.split("&&"):
                if part.strip().startswith("paraclip-bench "):
                    found.append((page_id(page), part.strip()))
    return found


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_docs_is_one(page: str, line: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    command = group.commands.get(name)  # type: ignore[attr-defined]
    assert command is not None, f"{page}: {line}"
    command.make_context(name, arguments)  # raises for an option or value that does not exist


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page_id(page)} links to {target}"


def test_the_recipe_s_defaults_are_those_of_the_table() -> None:
    page = (REPOSITORY / "docs/finetune.md").read_text(encoding="utf-8")
    text = page[page.index("| key | default") : page.index("| shipped recipe")]
    table = {}
    for keys, values in re.findall(r"^\| ([a-z_0-9, ]+) \| ([^|]+) \|", text, re.MULTILINE):
        for key, value in zip(keys.split(", "), values.split(", "), strict=True):
            table[key] = value.strip().strip('"`')
    del table["key"]
    fields = Recipe.model_fields
    assert table.keys() == fields.keys()
    for key, shown in table.items():
        default = fields[key].default
        if key == "loss":
            assert "the three terms" in shown
            continue
        if shown in ("all", "by memory"):
            shown = "none"
        if key == "base":
            assert shown == "clip"
            assert default is None
        elif shown == "none":
            assert default is None
        else:
            assert type(default)(shown) == default, key


def test_the_task_of_the_docs_runs() -> None:
    text = (REPOSITORY / "docs/tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (code,) = (block for block in blocks if "class Negation" in block)
    names: dict[str, type] = {}
    exec(code, names)  # the page's own code
    task = names["Negation"]()

    class Embed:
        def texts(self, texts: list[str]) -> np.ndarray:
            letters = np.array([[t.count(c) for c in "adefghnoxyz"] for t in texts], np.float32)
            return letters / np.linalg.norm(letters, axis=1, keepdims=True)

    examples = read_examples(task, None, "all", None)  # type: ignore[arg-type]
    columns = {k: np.asarray(v) for k, v in task.outcomes(examples, Embed()).items()}
    columns["cluster_id"] = np.array(["0"])
    assert estimate(task.scores["accuracy"], columns).value in (0.0, 1.0)
