"""mteb, where it is installed."""

from __future__ import annotations

from typing import Any

import importlib_metadata

from paraclip_bench.errors import BenchError
from paraclip_bench.registry import reason_of, unknown


def import_mteb(what: str) -> Any:
    """The package mteb; `BenchError` that says how to install it for `what`."""
    try:
        import mteb
    except ImportError as error:
        raise BenchError(
            f"{what} needs mteb, which cannot be imported ({reason_of(error)}); "
            'pip install "paraclip-bench[mteb]"'
        ) from error
    return mteb


def mteb_version() -> str:
    """The version of the installed mteb."""
    return str(importlib_metadata.version("mteb"))


def find_task(name: str) -> Any:
    """mteb's task of that name (case-blind); `UsageError` with near names for an unknown one."""
    mteb = import_mteb(f"mteb:{name}")
    try:
        return mteb.get_task(name)
    except KeyError:
        tasks = mteb.get_tasks(exclude_superseded=False, exclude_private=False)
        names = {task.metadata.name.casefold(): task.metadata.name for task in tasks}
    if name.casefold() in names:
        return mteb.get_task(names[name.casefold()])
    raise unknown("task", name, names.values(), "in mteb")
