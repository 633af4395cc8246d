"""The results of a workspace, all of them or those that a user asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paraclip_bench import registry
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import read

Found = list[tuple[Path, Result]]


def list_results(
    results: Path,
    *,
    suite: str | None = None,
    task: str | None = None,
    model: str | None = None,
) -> tuple[Found, list[str]]:
    """Results by suite, model, task, protocol and age; and which files are none, and why.

    `task` is case-blind, `model` a name or spec. Raises `UsageError` where nothing is there, or a
    name that no result has.
    """
    found: Found = []
    damaged: list[str] = []
    for path in sorted(results.glob("*/*/*.json")):
        try:
            found.append((path, read(path)))
        except BenchError as error:
            damaged.append(str(error))
    if not found:
        raise UsageError(f"there are no results in {results}; make some with `paraclip-bench run`")
    if suite is not None:
        found = _kept("suite", suite, found, lambda r: (r.suite,))
    if task is not None:
        found = _kept("task", task, found, lambda r: (r.task,))
    if model is not None:
        found = _kept("model", model, found, lambda r: (r.model.name, r.model.spec))
    found.sort(key=lambda f: _order(f[1]))
    return found, damaged


def _order(result: Result) -> tuple[str, ...]:
    about = result.provenance
    return result.suite, result.model.name, result.task, result.protocol, about.time


def _kept(kind: str, asked: str, found: Found, names: Callable[[Result], tuple[str, ...]]) -> Found:
    wanted = asked.casefold()
    kept = [(p, r) for p, r in found if wanted in (name.casefold() for name in names(r))]
    if not kept:
        known = {name for _, result in found for name in names(result)}
        raise registry.unknown(kind, asked, known, "among these results")
    return kept
