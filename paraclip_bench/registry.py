"""Names become objects through entry points; the built-ins come through the same door.

Listing reads package metadata alone; a plugin is imported when its name is asked for.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import importlib_metadata

from paraclip_bench.errors import BenchError, UsageError, reason_of

Kind = Literal["model", "task", "metric", "perturbation", "loss", "suite"]
# So many known names are listed in an error, and no more.
MANY = 30
GROUPS: dict[Kind, str] = {
    "model": "paraclip_bench.models",
    "task": "paraclip_bench.tasks",
    "metric": "paraclip_bench.metrics",
    "perturbation": "paraclip_bench.perturbations",
    "loss": "paraclip_bench.losses",
    "suite": "paraclip_bench.suites",
}


@dataclass(frozen=True)
class Plugin:
    """One entry point: a name, the object it stands for, and the distribution it comes from."""

    kind: Kind
    name: str
    value: str
    distribution: str
    version: str
    entry: importlib_metadata.EntryPoint

    def load(self) -> Any:
        """Import and return the object; raise `BenchError` with the reason where that fails."""
        try:
            return self.entry.load()
        # A plugin is foreign code: whatever it raises on import becomes its own reason.
        except (Exception, SystemExit) as error:
            raise BenchError(
                f"{self.kind} {self.name!r} of {self.origin} cannot be imported "
                f"({reason_of(error)}); fix or uninstall that package"
            ) from error

    @property
    def origin(self) -> str:
        """The distribution and its version, as a reader would name it."""
        return f"{self.distribution} {self.version}"


@functools.cache
def plugins(kind: Kind) -> tuple[Plugin, ...]:
    """All entry points of a kind, sorted by name; metadata only, nothing is imported."""
    found = {
        Plugin(
            kind=kind,
            name=entry.name,
            value=entry.value,
            distribution=entry.dist.metadata["Name"] if entry.dist else "unknown",
            version=entry.dist.version if entry.dist else "unknown",
            entry=entry,
        )
        for entry in importlib_metadata.entry_points(group=GROUPS[kind])
    }
    return tuple(sorted(found, key=lambda p: (p.name.casefold(), p.distribution, p.value)))


def clashes(kind: Kind) -> dict[str, tuple[Plugin, ...]]:
    """Names that more than one entry point claims (task names are case-blind)."""
    by_name: dict[str, list[Plugin]] = defaultdict(list)
    for plugin in plugins(kind):
        by_name[_fold(kind, plugin.name)].append(plugin)
    return {name: tuple(found) for name, found in by_name.items() if len(found) > 1}


def find(kind: Kind, name: str) -> Plugin:
    """Return the one plugin of that name.

    Raises `UsageError` for an unknown name (with the nearest known ones) and for a name that
    two plugins claim (naming both).
    """
    matches = [p for p in plugins(kind) if _fold(kind, p.name) == _fold(kind, name)]
    if not matches:
        raise unknown(kind, name, (p.name for p in plugins(kind)))
    if len(matches) > 1:
        claims = " and ".join(f"{p.origin} ({p.value})" for p in matches)
        raise UsageError(
            f"the {kind} name {matches[0].name!r} is claimed by two plugins, {claims}; "
            "uninstall one of them"
        )
    return matches[0]


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """Make the error for an unknown name, with "did you mean" where something is near.

    `where` follows the name, such as "in custom.py".
    """
    names = sorted(set(known))
    folded = {n.casefold(): n for n in names}
    # `sts-b` is near `sts` by its letters, and is how STSBenchmark begins.
    start = _letters(name)
    begun = [n for n in names if len(start) > 2 and _letters(n).startswith(start)][:3]
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    near = list(dict.fromkeys([*begun, *near]))[:3]
    listed = ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" * (len(names) > MANY))
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {listed or 'none'}"
    return UsageError(f"there is no {kind} {name!r}{where and ' ' + where}; {hint}")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def accepts(made: Any, arguments: tuple[str, ...]) -> bool:
    """Whether a class or function can be called with these arguments, as far as its signature says.

    What needs an argument is named `NAME:ARG`.
    """
    try:
        inspect.signature(made).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a class without a signature, such as one written in C
        return True
    return True


def _fold(kind: Kind, name: str) -> str:
    return name.casefold() if kind == "task" else name
