"""Which models results are of, and what each is called: its name, its spec, all seeds together."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

from paraclip_bench.results.schema import Result

_UNKNOWN = "unknown:"
_SEEDS = "seeds:"
BASELINE = "clip"

RowKey = tuple[str, str]
"""(model fingerprint, dtype): what a row of a board is; the name is a label."""


def row_of(result: Result) -> RowKey:
    """What a result's model is, by its weights where they are known."""
    model = result.model
    return model.fingerprint or f"{_UNKNOWN}{model.spec}", result.provenance.dtype


@dataclasses.dataclass(frozen=True)
class ModelNames:
    """names are the labels of rows, aliases the rows that a name or spec may mean.

    members: of a row that stands for several seeds, the rows of its checkpoints; alone: what these
    are called alone.
    """

    names: dict[RowKey, str]
    aliases: dict[str, list[RowKey]]
    members: dict[RowKey, tuple[RowKey, ...]] = dataclasses.field(default_factory=dict)
    alone: dict[RowKey, str] = dataclasses.field(default_factory=dict)


def names_of(results: Sequence[Result]) -> ModelNames:
    """What the models of these results, the oldest first, are called; each checkpoint alone."""
    names: dict[RowKey, str] = {}
    aliases: dict[str, list[RowKey]] = defaultdict(list)
    for result in results:
        # One model under several names: the baseline's own name wins, else the newest.
        if names.get(row := row_of(result)) != BASELINE:
            names[row] = result.model.name
    # What a name may mean: the newest row first, a spec before a name.
    for attribute in ("spec", "name"):
        for result in reversed(results):
            rows = aliases[getattr(result.model, attribute)]
            if (row := row_of(result)) not in rows:
                rows.append(row)
    return ModelNames(_distinct(names), dict(aliases))


def seeds_together(known: ModelNames, results: Iterable[Result]) -> ModelNames:
    """Make one row of the checkpoints that differ in the seed of their training alone.

    results: the oldest first.
    """
    by_method: dict[tuple[str, str], dict[int, Result]] = defaultdict(dict)
    for result in results:
        model = result.model
        if model.method is not None and model.seed is not None and model.fingerprint is not None:
            # Of two checkpoints of one seed, the one that was measured last.
            by_method[model.method, result.provenance.dtype][model.seed] = result
    names, aliases = dict(known.names), {k: list(v) for k, v in known.aliases.items()}
    members: dict[RowKey, tuple[RowKey, ...]] = {}
    alone: dict[RowKey, str] = {}
    called: dict[RowKey, str] = {}
    for (method, dtype), seeds in by_method.items():
        rows = tuple(dict.fromkeys(row_of(seeds[seed]) for seed in sorted(seeds)))
        if len(rows) < 2:
            continue
        row = (f"{_SEEDS}{method}", dtype)
        alone |= {each: names.pop(each) for each in rows}
        members[row] = rows
        called[row] = _name_of_seeds([seeds[seed].model.name for seed in sorted(seeds)])
        for alias, meant in aliases.items():
            # What was typed for several of them means all of them.
            if len(set(meant) & set(rows)) > 1:
                aliases[alias] = list(dict.fromkeys(row if r in rows else r for r in meant))
        aliases.setdefault(called[row], []).insert(0, row)
    names |= _distinct({row: f"{called[row]} ({len(members[row])} seeds)" for row in members})
    return ModelNames(names, aliases, members, alone)


def labels_by_row(results: Iterable[Result]) -> dict[tuple[str, RowKey], set[str]]:
    """What a board calls a checkpoint beside its name and spec, by suite and row.

    These are its labels, with and without --with-limits, and the names and specs that stand for all
    seeds of which it is one.
    """
    by_suite: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda result: result.provenance.time):
        by_suite[result.suite].append(result)
    found: dict[tuple[str, RowKey], set[str]] = defaultdict(set)
    for suite, every in by_suite.items():
        for shown in (every, [result for result in every if not result.is_cut]):
            known = names_of(shown)
            board = seeds_together(known, shown)
            labels = board.alone | board.names
            # A name or spec that is a label too means the row of that label, as on the board.
            called = [
                (alias, row)
                for alias, rows in board.aliases.items()
                for row in rows
                if row in board.members and alias not in labels.values()
            ]
            # What one model is called by itself stays that.
            called += [(label, row) for row, label in labels.items() if label not in known.aliases]
            for label, row in called:
                for run in board.members.get(row, (row,)):
                    found[suite, run].add(label)
    return dict(found)


def _name_of_seeds(names: list[str]) -> str:
    """What checkpoints of several seeds are called together."""
    parents = {name.rpartition("/seed-")[0] for name in names}
    if len(parents) == 1 and (parent := parents.pop()):
        return parent
    return names[0] if len(set(names)) == 1 else f"{names[0]} and {len(names) - 1} more"


def _distinct(names: dict[RowKey, str]) -> dict[RowKey, str]:
    """Labels that tell rows apart: the dtype or the weights are added where names repeat."""
    count: dict[str, list[RowKey]] = defaultdict(list)
    for row, name in names.items():
        count[name].append(row)
    labels = {}
    for row, name in names.items():
        alike = count[name]
        label = name
        if len({other[1] for other in alike}) > 1:
            label += f" ({row[1]})"
        if len({other[0] for other in alike}) > 1:
            known = not row[0].startswith(_UNKNOWN)
            digest = row[0].removeprefix(_SEEDS)
            label += f" #{digest[:6]}" if known else f" ({row[0].removeprefix(_UNKNOWN)})"
        labels[row] = label
    return labels
