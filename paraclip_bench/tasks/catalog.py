"""Tasks and suites by the names that a user types: one, a group, or all of a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from paraclip_bench import registry
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import BenchError, UsageError, reason_of
from paraclip_bench.metrics.metric import Metric
from paraclip_bench.tasks.base import (
    ExternallyScoredTask,
    Protocol,
    Side,
    Task,
    load_metric,
)


@dataclasses.dataclass(frozen=True)
class Suite:
    """A set of tasks (those that name it), their default data and a baseline.

    baseline: the spec that `clip` stands for. source: where the data are, unless a folder is given.
    Both are functions, so that naming a suite costs nothing.
    """

    name: str
    baseline: Callable[[], str]
    source: Callable[[], Source]


PAPER = Suite("paper", baseline=lambda: "open_clip:ViT-B-32/openai", source=HubSource)


def find_suite(name: str) -> Suite:
    """The suite of that name; `UsageError` for an unknown one.

    Suites are entry points, as models and tasks are: the demo world brings its own.
    """
    plugin = registry.find("suite", name)
    suite = plugin.load()
    if not isinstance(suite, Suite) or suite.name != plugin.name:
        raise BenchError(
            f"suite {plugin.name!r} of {plugin.origin}: {plugin.value} must be a Suite of that name"
        )
    return suite


def suite_names() -> list[str]:
    """The names of all suites."""
    return [plugin.name for plugin in registry.plugins("suite")]


def load_task(name: str) -> Task:
    """The task of that name (case-blind), `NAME` or `PREFIX:ARG`.

    Raises `UsageError` for an unknown name, `BenchError` for a plugin that cannot be used.
    """
    head, colon, argument = name.partition(":")
    if head.endswith(".py"):
        raise UsageError(
            f"the task {name!r} is a file's, and tasks are entry points; docs/plugins.md shows how "
            "to register your own"
        )
    plugin = registry.find("task", head)
    cls = plugin.load()
    arguments = (argument,) if argument else ()
    if (colon or takes_argument(cls)) and not (argument and registry.accepts(cls, arguments)):
        wrong = "takes no argument" if argument else f"needs a name after a colon ({head}:NAME)"
        raise UsageError(f"the task {name!r} {wrong}; docs/tasks.md shows how tasks are named")
    try:
        task = cls(*arguments)
    except BenchError:
        raise
    # A plugin is foreign code: whatever its constructor raises becomes its own reason.
    except (Exception, SystemExit) as error:
        raise BenchError(
            f"task {plugin.name!r} of {plugin.origin} cannot be made "
            f"({reason_of(error)}); fix or uninstall that package"
        ) from error
    if not isinstance(task, Task):
        raise BenchError(
            f"task {plugin.name!r} of {plugin.origin} is not a paraclip_bench.plugin.Task; "
            "fix or uninstall that package"
        )
    if wrong := problem_of(task):
        raise BenchError(f"task {plugin.name!r} of {plugin.origin}: {wrong}; fix that package")
    own, entry = task.name.casefold(), plugin.name.casefold()
    if not own.startswith(f"{entry}:") if argument else own != entry:
        wanted = f"does not begin with '{plugin.name}:'" if argument else "is not its entry point's"
        raise BenchError(
            f"task {name!r} of {plugin.origin} calls itself {task.name!r}, which {wanted}; "
            "its results would be mixed with others, so fix that package"
        )
    return task


def problem_of(task: Task) -> str:
    """What a task's class attributes lack, as a clause; nothing where all is well."""
    if not isinstance(getattr(task, "name", None), str) or not task.name:
        return "its name must be a text"
    protocols = getattr(task, "protocols", None)
    if not isinstance(protocols, Mapping) or not protocols:
        return "its protocols must be a dict of at least one Protocol by name"
    for name, protocol in protocols.items():
        if not isinstance(protocol, Protocol) or not set(protocol.needs) <= set(get_args(Side)):
            return f'its protocol {name!r} must be a Protocol that needs "text", "image" or both'
    scores = getattr(task, "scores", None)
    external = isinstance(task, ExternallyScoredTask)
    if not external and (not isinstance(scores, Mapping) or not scores):
        return "its scores must be a dict of at least one statistic by name"
    if not external and not all(callable(score) for score in task.scores.values()):
        return "each of its scores must be a Metric or a function of (columns, weights)"
    if hasattr(task, "mean_groups"):
        return "a group with a mean is Group(NAME, has_mean=True) among its groups, not mean_groups"
    own = type(task)
    if (own.load, own.load_folder, own.load_hub) == (Task.load, Task.load_folder, Task.load_hub):
        return "it needs load(source, protocol), or load_folder and load_hub"
    for attribute in ("groups", "suites", "board", "lower_is_better"):
        if isinstance(getattr(task, attribute), str):
            return f"its {attribute} must be a tuple, such as ({getattr(task, attribute)!r},)"
    if not external and (strange := set(task.board) - set(task.scores)):
        return f"its board names {min(strange)!r}, which is none of its scores"
    return ""


def takes_argument(cls: Any) -> bool:
    """Whether a task class is a prefix: without an argument it is not a task yet."""
    return not registry.accepts(cls, ()) and registry.accepts(cls, ("argument",))


def all_tasks() -> tuple[list[Task], list[str]]:
    """Every task that can be imported, and why the others cannot; prefixes stand for none."""
    tasks, broken = [], []
    for plugin in registry.plugins("task"):
        try:
            if takes_argument(plugin.load()):
                continue
            tasks.append(load_task(plugin.name))
        except BenchError as error:
            broken.append(str(error))
    return tasks, broken


@dataclasses.dataclass(frozen=True)
class TaskChoice:
    """Tasks to run, why a task that was named cannot be, and remarks on the others."""

    tasks: list[Task]
    problems: list[str]
    notes: list[str]


def choose_tasks(names: Sequence[str | Task], suite: str) -> TaskChoice:
    """Tasks by name, PREFIX:ARG or group, in the order asked, each once; `all` is the suite's own.

    A task that is given as an object is that task.

    Raises `UsageError` for a name that is neither task, group nor `all`.
    """
    if not names:
        raise UsageError("no task is named; give --task NAME, or --task all")
    known = {plugin.name.casefold() for plugin in registry.plugins("task")}
    chosen: dict[str, Task] = {}
    problems: list[str] = []
    notes: list[str] = []
    for name in names:
        members: list[Task]
        if isinstance(name, Task):
            if wrong := problem_of(name):
                raise UsageError(f"the task {type(name).__name__}: {wrong}")
            if chosen.get(name.name, name) is not name:
                raise UsageError(f"two tasks are named {name.name!r}; give each a name of its own")
            members = [name]
        elif ":" in name or name.casefold() in known:
            try:
                members = [load_task(name)]
            except UsageError:
                raise
            except BenchError as error:
                problems.append(str(error))
                continue
        else:
            tasks, notes = all_tasks()
            group = name.casefold()
            members = [
                task
                for task in tasks
                if group in (own.casefold() for own in task.group_names)
                or (group == "all" and suite in task.suites)
            ]
            if not members:
                groups = {group for task in tasks for group in task.group_names}
                names_known = {plugin.name for plugin in registry.plugins("task")}
                raise registry.unknown("task", name, names_known | groups | {"all"})
        for task in members:
            chosen.setdefault(task.name, task)
    remarks = [
        task.remark
        for task in chosen.values()
        if isinstance(task, ExternallyScoredTask) and task.remark
    ]
    return TaskChoice(list(chosen.values()), problems, notes + remarks)


def choose_protocols(tasks: Iterable[Task], wanted: Sequence[str]) -> list[tuple[Task, str]]:
    """(task, protocol) pairs: the wanted protocols where a task has them, else its headline.

    Raises `UsageError` for a protocol that none of the tasks has.
    """
    tasks = list(tasks)
    folded = [name.casefold() for name in wanted]
    offered = {protocol.casefold(): protocol for task in tasks for protocol in task.protocols}
    for name in wanted:
        if name.casefold() not in offered:
            raise registry.unknown("protocol", name, offered.values(), "of these tasks")
    pairs = []
    for task in tasks:
        own = [protocol for protocol in task.protocols if protocol.casefold() in folded]
        pairs += [(task, protocol) for protocol in own or [task.headline]]
    return pairs


def all_metrics() -> tuple[list[tuple[Metric, list[str]]], list[str]]:
    """Every kind of metric with the tasks that have it, plugins' too; and what cannot be used.

    A score that is a plain function has no description and is left out.
    """
    found: dict[tuple[str, str, str], tuple[Metric, list[str]]] = {}
    tasks, problems = all_tasks()
    for task in tasks:
        for score in task.scores.values():
            if isinstance(score, Metric):
                key = (score.pattern, score.about, score.source)
                _, names = found.setdefault(key, (score, []))
                if task.name not in names:
                    names.append(task.name)
    metrics = list(found.values())
    for plugin in registry.plugins("metric"):
        try:
            metric = check_metric(plugin.name, tasks)
        except BenchError as error:
            problems.append(str(error))
        else:
            metrics.append((metric, list(metric.tasks)))
    return sorted(metrics, key=lambda each: each[0].pattern), problems


def check_metric(name: str, tasks: Iterable[Task]) -> Metric:
    """The metric of a plugin; `BenchError` where it cannot be used with any of these tasks.

    It is for nothing where no task has that name or group, and where the task has a metric of that
    name already, which comes first.
    """
    metric = load_metric(name)
    origin = registry.find("metric", name).origin
    meant = [t for t in tasks if {t.name, *t.group_names} & set(metric.tasks)]
    if not meant:
        raise BenchError(
            f"metric {name!r} of {origin} is for {', '.join(metric.tasks)}, and there is no such "
            "task or group; fix that package"
        )
    for task in meant:
        if any(isinstance(own, Metric) and own.name == name for own in task.scores.values()):
            raise BenchError(
                f"metric {name!r} of {origin} has the name of a metric of {task.name}, which comes "
                "first; give it another name"
            )
    return metric
