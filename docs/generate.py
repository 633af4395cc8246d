"""Writes what repeats what classes say: parts of the docs, and the JSON Schema of results.

    python docs/generate.py            # writes them
    python docs/generate.py --check    # exits 1 and names the pages that are not as they would be

A part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test keeps all of
them true.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from paraclip_bench.metrics.metric import Metric
from paraclip_bench.results.schema import json_schema
from paraclip_bench.tasks.base import Task
from paraclip_bench.tasks.catalog import all_metrics, all_tasks

FOLDER = Path(__file__).parent
SCHEMA = FOLDER.parent / "paraclip_bench/results/result.schema.json"
OURS = "paraclip_bench."


def layout() -> str:
    """The places below --data-dir that the tasks read."""
    places = [place for task in _tasks() if task.data_set for place in task.data_set.layout.items()]
    width = max(len(place) for place, _ in places)
    lines = [f"{place:{width}}  {about}" for place, about in dict(places).items()]
    return "\n".join(["```", *lines, "```"])


def data_sets() -> str:
    """What each task's data are, and whether the hub has them."""
    rows = ["| task | examples | licence | on the hub |", "|---|---|---|---|"]
    for task in _tasks():
        if data := task.data_set:
            sizes = ", ".join(f"{n:,}" for n in dict.fromkeys(data.examples.values())) or "yours"
            hub = f"`{data.pin.id}`" if data.pin else f"no: {data.not_on_hub}"
            rows.append(f"| {task.name} | {sizes} | {data.licence} | {hub} |")
    return "\n".join(rows)


def tasks() -> str:
    """Tasks that have the same protocols and scores share a row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for task in _tasks():
        said = ", ".join(task.group_names), ", ".join(task.protocols), ", ".join(_scores(task))
        rows.setdefault(said, []).append(task.name)
    lines = [
        "| task | groups | protocols, headline first | scores, main first |",
        "|---|---|---|---|",
    ]
    return "\n".join(
        lines + [f"| {', '.join(names)} | {' | '.join(said)} |" for said, names in rows.items()]
    )


def metrics() -> str:
    """A row for each kind of metric."""
    lines = [
        "| metric | range | better | what it is | source | tasks |",
        "|---|---|---|---|---|---|",
    ]
    for metric, names in all_metrics()[0]:
        ours = [name for name in names if name in {task.name for task in _tasks()}]
        if ours:
            lines.append(
                f"| `{metric.pattern}` | {metric.range[0]:g} to {metric.range[1]:g} "
                f"| {'lower' if metric.lower_is_better else 'higher'} | {metric.about} "
                f"| {metric.source} | {', '.join(ours)} |"
            )
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "layout": layout,
    "data sets": data_sets,
    "tasks": tasks,
    "metrics": metrics,
}


def page(text: str) -> str:
    """A page with its generated parts as they should be; `KeyError` for an unknown part."""
    return re.sub(
        r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def _tasks() -> list[Task]:
    """The shipped tasks; what a machine has installed besides is not in the docs."""
    return [task for task in all_tasks()[0] if type(task).__module__.startswith(OURS)]


def _scores(task: Task) -> list[str]:
    """The names of a task's scores; those that differ in a parameter alone as one: ao@{10,1,5}."""
    shown: dict[str, list[Metric]] = {}
    for name, score in task.scores.items():
        if isinstance(score, Metric):
            kind = score.name + "@" * (score.k is not None) + "/" * bool(score.choices)
            shown.setdefault(kind, []).append(score)
        else:
            shown[name] = []
    names = []
    for kind, alike in shown.items():
        depths = dict.fromkeys(str(metric.k) for metric in alike if metric.k is not None)
        of = dict.fromkeys(metric.of for metric in alike if metric.of)
        name = alike[0].name if alike else kind
        names.append(f"`{name}{'@' * bool(depths)}{_braces(depths)}{'/' * bool(of)}{_braces(of)}`")
    return names


def _braces(values: dict[str, None]) -> str:
    joined = ",".join(values)
    return f"{{{joined}}}" if len(values) > 1 else joined


def main() -> None:
    """Write the files, or compare them."""
    stale = []
    files = {path: page(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.md"))}
    files[SCHEMA] = json.dumps(json_schema(), indent=1) + "\n"
    for path, wanted in files.items():
        if not path.exists() or wanted != path.read_text(encoding="utf-8"):
            stale.append(path.name)
            if "--check" not in sys.argv[1:]:
                path.write_text(wanted, encoding="utf-8")
    if "--check" in sys.argv[1:] and stale:
        sys.exit(f"{', '.join(stale)} must be written again: python docs/generate.py")


if __name__ == "__main__":
    main()
