"""What --dry-run says: nothing is encoded, and every state is told."""

from pathlib import Path
from typing import Any

import pytest

from paraclip_bench.api import evaluate
from paraclip_bench.evaluation.plan import describe
from paraclip_bench.evaluation.run import Options, plan_run
from paraclip_bench.workspace import Workspace


@pytest.fixture
def states(models: Path, data: Path, work: Path) -> Any:
    def ask(names: str, *tasks: str, limit: int | None = None) -> dict[tuple[Any, Any], str]:
        specs = [f"{models}:{name}" for name in names.split()]
        options = Options(data_dir=data, limit=limit)
        plan = plan_run(specs, tasks, options, Workspace(work))
        rows = describe(plan, work / "results")
        return {(row["model"], row["task"]): str(row["state"]) for row in rows}

    return ask


def test_states(states: Any, models: Path, data: Path, work: Path) -> None:
    evaluate([f"{models}:Both"], ["STS12"], workspace=work, quiet=True, data_dir=data)
    calls = models.with_suffix(".calls").read_text()
    found = states("Both TextOnly Nameless CannotBeMade", "STS12", "vg-relation", "STS13")
    assert models.with_suffix(".calls").read_text() == calls
    broken = found.pop((f"{models}:CannotBeMade", None))
    assert broken.startswith("missing: ")
    assert "no such weights" in broken
    assert "STS13.tsv is missing" in found.pop((None, "STS13"))
    done = found.pop(("Both", "STS12"))
    assert done.startswith("done: STS12.all.")
    assert (work / "results/paper/Both" / done.removeprefix("done: ")).is_file()
    assert found == {
        ("Both", "vg-relation"): "to run",
        ("TextOnly", "STS12"): "to run",
        ("TextOnly", "vg-relation"): "skip: TextOnly has no image encoder",
        ("Nameless", "STS12"): "to run",
        ("Nameless", "vg-relation"): "to run",
    }
    assert states("Both", "STS12", limit=5) == {("Both", "STS12"): "to run"}
    alone = states("CannotBeMade", "STS12")
    assert alone[None, "STS12"] == "data found"


def test_examples_know_their_protocol_and_limit(models: Path, data: Path, work: Path) -> None:
    options = Options(data_dir=data, limit=5, protocols=("mteb", "aro"))
    tasks = ["vg-relation", "paraphrased-retrieval"]
    plan = plan_run([f"{models}:Both"], tasks, options, Workspace(work))
    assert [(w.title, w.protocol, w.examples.protocol, len(w.examples)) for w in plan.work] == [
        ("vg-relation (aro)", "aro", "aro", 5),
        ("vg-relation (mteb)", "mteb", "mteb", 5),
        ("paraphrased-retrieval", "cheng2024", "cheng2024", 5),
    ]
    # Fewer queries still search the whole gallery.
    assert len(plan.work[-1].examples.shared) == 12
    assert len({w.sha256 for w in plan.work}) == 3
