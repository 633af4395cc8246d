"""The documentation's commands, links, tables and code hold."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from paraclip_bench.cli.app import app
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.models.adapter import Adapter, Encoder
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


def test_the_generated_parts_are_those_of_the_classes() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "docs/generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_generated_part_that_is_stale_is_noticed() -> None:
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, path in {"tasks": "tasks", "layout": "data", "data sets": "data"}.items():
        text = (REPOSITORY / f"docs/{path}.md").read_text(encoding="utf-8")
        assert f"<!-- generated: {name} -->" in text
        assert generate.page(text) == text
    for place in ("sts/STS12.tsv", "winoground/examples.jsonl", "coco-karpathy/dataset_coco.json"):
        assert place in generate.layout()
    stale = "<!-- generated: metrics -->\n| stale row |\n<!-- end -->\nrest\n"
    assert "stale row" not in generate.page(stale)
    assert generate.page(stale).endswith("<!-- end -->\nrest\n")


def contract(cls: type) -> set[str]:
    """What a class of the contract offers: its public attributes and methods."""
    named = {name for name in (*vars(cls), *cls.__annotations__) if not name.startswith("_")}
    return named - {"ABC"}


@pytest.mark.parametrize(
    ("cls", "begins", "ends"),
    [
        (Encoder, "An encoder, best a subclass", "The model itself"),
        (Adapter, "The model itself", "A property may stand"),
    ],
)
def test_the_contract_of_the_docs_is_the_class_s(cls: type, begins: str, ends: str) -> None:
    page = (REPOSITORY / "docs/models.md").read_text(encoding="utf-8")
    table = page[page.index(begins) : page.index(ends)]
    said = set()
    for line in table.splitlines():
        if line.startswith("| `"):
            said |= set(re.findall(r"`(\w+)", line.split("|")[1]))
    assert said == contract(cls)


def test_nobody_else_asks_what_an_adapter_has() -> None:
    """hasattr and getattr on models are in the one place that wraps them."""
    guessed = re.compile(r"(?:hasattr|getattr)\((?:self\.)?_?(?:model|adapter|made|encoder)\b")
    for path in (REPOSITORY / "paraclip_bench").rglob("*.py"):
        if path.name == "adapter.py" or "open_clip" in path.parts:
            continue
        found = guessed.findall(path.read_text(encoding="utf-8"))
        assert not found, (path.name, found)


def test_the_metric_of_the_docs_computes() -> None:
    text = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # the page's own code
    columns = {
        "overlaps": np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 2]]),
        "cluster_id": np.arange(4).astype(str),
    }
    metric = names["DISJOINT"]
    assert [point(m, columns) for m in metric.at(1, 2, 3)] == [0.75, 0.5, 0.25]
    assert metric.parse("disjoint@2").k == 2


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
