"""`models`, `tasks`, `metrics` and `plugins`: what is there.

Names of models and tasks come from package metadata alone.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from paraclip_bench import registry, safe_text
from paraclip_bench.cli.shared import JsonOption, table
from paraclip_bench.errors import BenchError


def models(as_json: JsonOption = False) -> None:
    """List the models that can be named; file.py:Class works without being listed."""
    _print(_names("model"), as_json)


def tasks(
    name: Annotated[
        str | None, typer.Argument(help="A task or PREFIX:NAME, to show its protocols and scores.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks, or show one."""
    if name is None:
        _print(_names("task"), as_json)
        return
    from paraclip_bench.tasks.catalog import choose_tasks

    choice = choose_tasks([name], "paper")
    if choice.problems:
        raise BenchError(choice.problems[0])
    rows = [
        {
            "task": task.name,
            "protocol": protocol,
            "needs": " + ".join(rule.needs),
            "scores": ", ".join(task.scores) or task.main_score,
            "about": rule.about,
        }
        for task in choice.tasks
        for protocol, rule in task.protocols.items()
    ]
    _print(rows, as_json)


def metrics(as_json: JsonOption = False) -> None:
    """List the metrics: a name's parameters, its range, which way is better, and whose it is."""
    from paraclip_bench.tasks.catalog import all_metrics

    found, problems = all_metrics()
    rows = [
        {
            "metric": metric.pattern,
            "range": f"{metric.range[0]:g} to {metric.range[1]:g}",
            "better": "lower" if metric.lower_is_better else "higher",
            "about": metric.about,
            "source": metric.source,
            "tasks": tasks if as_json else ", ".join(tasks),
        }
        for metric, tasks in found
    ]
    for problem in problems:
        typer.echo(safe_text.line(problem), err=True)
    _print(rows, as_json)


def plugins(as_json: JsonOption = False) -> None:
    """Import every plugin and say which are broken, and why."""
    from paraclip_bench.tasks.catalog import (
        all_tasks,
        check_metric,
        find_suite,
        load_task,
        takes_argument,
    )
    from paraclip_bench.tasks.perturbation import find_perturbation
    from paraclip_bench.training.losses import find_kind

    tasks, _ = all_tasks()
    rows: list[dict[str, Any]] = []
    for kind in registry.GROUPS:
        clashing = registry.clashes(kind)
        for plugin in registry.plugins(kind):
            state, reason = "ok", None
            twins = clashing.get(plugin.name.casefold() if kind == "task" else plugin.name)
            if twins:
                others = [p.origin for p in twins if p != plugin]
                state, reason = "clash", f"the name is also claimed by {', '.join(others)}"
            else:
                try:
                    found = plugin.load()
                    # A prefix makes tasks of names that nobody has given yet.
                    if kind == "task" and not takes_argument(found):
                        load_task(plugin.name)
                    elif kind == "metric":
                        check_metric(plugin.name, tasks)
                    elif kind == "perturbation":
                        find_perturbation(plugin.name)
                    elif kind == "loss":
                        find_kind(plugin.name)
                    elif kind == "suite":
                        find_suite(plugin.name)
                except BenchError as error:
                    state, reason = "broken", str(error)
            rows.append(
                {
                    "kind": kind,
                    "name": plugin.name,
                    "from": plugin.origin,
                    "object": plugin.value,
                    "state": state,
                    "reason": reason,
                }
            )
    _print(rows, as_json)


def _names(kind: registry.Kind) -> list[dict[str, Any]]:
    return [
        {"name": plugin.name, "from": plugin.origin, "object": plugin.value}
        for plugin in registry.plugins(kind)
    ]


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    typer.echo(json.dumps(rows, indent=1) if as_json else table(rows))
