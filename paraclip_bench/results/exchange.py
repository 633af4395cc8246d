"""Results of several machines: how two differ, and many folders made one.

Results are the same measurement where suite, model folder and file name (its key) are the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import atomic, only_process, slug
from paraclip_bench.metrics.metric import Columns
from paraclip_bench.results.checks import Place, check, find_results
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import (
    Found,
    choose,
    has_outcomes,
    outcomes_path,
    read,
    read_outcomes,
)

# What is another in each run of the same command.
WHEN = frozenset(
    f"provenance.{name}" for name in ("time", "run", "seconds", "encode_seconds", "from_store")
)
# What of its provenance a result's digest goes over; the rest says where and how it was measured.
_MEASURED = frozenset(f"provenance.{name}" for name in ("dtype", "seed", "scored_by", "depth"))
# Seconds that a merge waits for another one into the same folder.
_WAIT = 60.0


class Field(NamedTuple):
    """A field that differs, and its values; None where there is none."""

    name: str
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class OutcomesDifference:
    """How the outcomes of two results differ.

    examples: how many both have. different: how many of these differ, in which columns.
    """

    examples: int
    different: int
    only_in_a: int
    only_in_b: int
    columns: list[str]

    def __str__(self) -> str:
        said = f"{self.different:,} of {self.examples:,} examples differ"
        if self.columns:
            said += f" ({', '.join(self.columns)})"
        alone = [f"{n:,} only in {x}" for x, n in (("A", self.only_in_a), ("B", self.only_in_b))]
        return ", ".join([said, *(each for each in alone if not each.startswith("0 "))])


@dataclasses.dataclass(frozen=True)
class Difference:
    """Two results of one place that differ."""

    name: str
    a: Path
    b: Path
    fields: list[Field]
    outcomes: OutcomesDifference | None


@dataclasses.dataclass(frozen=True)
class Differences:
    """What is only in one of two, what is equal, what differs, and which files cannot be read."""

    only_in_a: list[Path]
    only_in_b: list[Path]
    equal: list[Path]
    different: list[Difference]
    left_out: list[str]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_in_a or self.only_in_b or self.different)


def diff(
    a: Path,
    b: Path,
    *,
    suite: str | None = None,
    task: str | None = None,
    model: str | None = None,
    ignored: Collection[str] = WHEN,
) -> Differences:
    """How two results differ, or two workspaces (or folders of results, of a suite, of a model).

    ignored: fields that may differ. Two files are compared whatever they measured. Raises
    `UsageError` where nothing is there, or a file stands beside a folder.
    """
    if a.is_dir() != b.is_dir() and a.exists() and b.exists():
        raise UsageError(f"{a} and {b} are a file and a folder; name two of a kind")
    left_out: list[str] = []
    sides = [_read_all(find_results(named), left_out) for named in (a, b)]
    chosen = {"suite": suite, "task": task, "model": model}
    if any(chosen.values()):
        known = choose([each for side in sides for each in side.values()], **chosen)
        kept = {path for path, _ in known}
        sides = [{k: each for k, each in side.items() if each[0] in kept} for side in sides]
    one, two = sides
    if not a.is_dir():
        # Whatever the two files are called.
        one, two = (dict(zip([""], side.values(), strict=False)) for side in sides)
    result = Differences(
        [one[name][0] for name in one if name not in two],
        [two[name][0] for name in two if name not in one],
        [],
        [],
        left_out,
    )
    for name in (name for name in one if name in two):
        try:
            found = _difference(name, one[name], two[name], ignored)
        except BenchError as error:
            left_out.append(f"{name or a.name}: {error}")
            continue
        if found is None:
            result.equal.append(one[name][0])
        else:
            result.different.append(found)
    return result


def _read_all(places: Iterable[Place], left_out: list[str]) -> dict[str, tuple[Path, Result]]:
    """Results by suite, model folder and file name."""
    found: dict[str, tuple[Path, Result]] = {}
    for place in places:
        try:
            result = read(place.path)
        except BenchError as error:
            left_out.append(str(error))
            continue
        # A folder that was named itself may be called anything.
        named = place.folder is None or place.path.parent == place.root
        folder = slug(result.model.name) if named else place.folder
        found[f"{result.suite}/{folder}/{place.path.name}"] = place.path, result
    return found


def _difference(
    name: str, one: tuple[Path, Result], two: tuple[Path, Result], ignored: Collection[str]
) -> Difference | None:
    fields = differing_fields(one[1], two[1], ignored)
    outcomes = None
    if one[0].resolve() != two[0].resolve():
        there = [has_outcomes(*each) for each in (one, two)]
        if there[0] != there[1]:
            said = ["there" if each else "missing" for each in there]
            fields.append(Field("outcomes", *said))
        elif all(there):
            outcomes = outcomes_difference(one[0], two[0])
    if not fields and outcomes is None:
        return None
    return Difference(name, one[0], two[0], fields, outcomes)


def differing_fields(one: Result, two: Result, ignored: Collection[str] = WHEN) -> list[Field]:
    """The fields in which two results differ, by name as `scores.ao@10.value`.

    Their digests are not: what these are of is compared itself.
    """
    a, b = (_flat(each.model_dump(mode="json", exclude={"digests"})) for each in (one, two))
    return [
        Field(name, a.get(name), b.get(name))
        for name in {**a, **b}
        if a.get(name) != b.get(name) and name not in ignored
    ]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested values by name; parts by their own names; what is empty has none."""
    if isinstance(value, Mapping):
        items = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        items = [(str(v.get("name", i)), v) for i, v in enumerate(value)]
    else:
        return {} if value in (None, "", []) else {name: value}
    found: dict[str, Any] = {}
    for key, each in items:
        found |= _flat(each, f"{name}.{key}" if name else key)
    return found


def outcomes_difference(a: Path, b: Path) -> OutcomesDifference | None:
    """How the outcomes of two results differ, by the JSON files' paths; None where they do not.

    Examples are matched by their ids, or by their rows where these are the same in both.
    """
    files = [outcomes_path(path) for path in (a, b)]
    if files[0].read_bytes() == files[1].read_bytes():
        return None
    one, two = read_outcomes(a), read_outcomes(b)
    ids = [_ids(columns) for columns in (one, two)]
    if ids[0] == ids[1]:
        rows = [np.arange(len(ids[0]))] * 2
    else:
        places = [{id: row for row, id in enumerate(each)} for each in ids]
        shared = [id for id in places[0] if id in places[1]]
        rows = [np.array([place[id] for id in shared], dtype=np.intp) for place in places]
    n = len(rows[0])
    differs = np.zeros(n, dtype=np.bool_)
    columns = []
    for name in {**one, **two}:
        apart = _rows_apart(one, two, name, *rows)
        if apart.any() or (name in one) != (name in two):
            columns.append(name)
            differs |= apart
    only_in_a, only_in_b = (len(each) - n for each in ids)
    if not columns and not only_in_a and not only_in_b:
        return None
    return OutcomesDifference(n, int(differs.sum()), only_in_a, only_in_b, columns)


def _ids(columns: Columns) -> list[str]:
    n = max((len(values) for values in columns.values()), default=0)
    ids = columns.get("example_id")
    return [str(id) for id in ids] if ids is not None else list(map(str, range(n)))


def _rows_apart(one: Columns, two: Columns, name: str, rows: Any, others: Any) -> Any:
    """Which rows [n] of a column differ; all of them where one side lacks it."""
    if name not in one or name not in two:
        return np.ones(len(rows), dtype=np.bool_)
    a, b = one[name][rows], two[name][others]
    if a.shape != b.shape:
        return np.ones(len(rows), dtype=np.bool_)
    try:
        apart = a != b
    except ValueError:  # lists of lists, which a damaged file may hold
        return np.ones(len(rows), dtype=np.bool_)
    if a.dtype.kind == b.dtype.kind == "f":
        apart &= ~(np.isnan(a) & np.isnan(b))
    return np.asarray(apart, dtype=np.bool_).reshape(len(rows), -1).any(axis=1)


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a merge did, or with conflicts would have done: then nothing was copied.

    copied: new files. there: those that the target had. left_out: sources that are damaged, and
    why. A conflict's `a` is what was there, or came first.
    """

    copied: list[Path]
    there: list[Path]
    conflicts: list[Difference]
    left_out: list[str]
    remarks: list[str]


@dataclasses.dataclass(frozen=True)
class _Copy:
    """What is copied; only_outcomes where the target has the result and has lost these."""

    place: Place
    result: Result
    raw: bytes
    only_outcomes: bool = False


def merge(
    sources: Sequence[Path],
    results: Path,
    *,
    suite: str | None = None,
    task: str | None = None,
    model: str | None = None,
) -> Merged:
    """Copy the results of `sources` (as `find_results` takes them) into the folder `results`.

    Everything is checked first, and nothing is copied where one key stands for two measurements.
    What is there is kept: the same measurement of another time or machine is no conflict. Each
    result comes whole, its JSON file last, so a merge that was stopped can be run again. Raises
    `UsageError` where a source has no results, or another merge goes on for a minute.
    """
    places = [place for source in sources for place in find_results(source)]
    busy = f"another merge into {results} is running; wait for it, and run this again"
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{results} is no folder to write to ({error.strerror})") from error
    with only_process(results / ".merge.lock", busy, wait=_WAIT):
        done = Merged([], [], [], [], [])
        plan = _planned(places, results, {"suite": suite, "task": task, "model": model}, done)
        if not done.conflicts:
            for target, copy in plan.items():
                _copy(copy, target)
                done.copied.append(target)
        return done


def _planned(
    places: Sequence[Place], results: Path, chosen: Mapping[str, str | None], done: Merged
) -> dict[Path, _Copy]:
    """What is to be copied where; what is not, and why, goes into `done`."""
    plan: dict[Path, _Copy] = {}
    sound = _sound(places, done)
    kept: Found = choose([(c.place.path, c.result) for c in sound], **chosen) if sound else []
    paths = {path for path, _ in kept}
    elsewhere = 0
    for copy in sound:
        if copy.place.path not in paths:
            continue
        folder = copy.place.folder or slug(copy.result.model.name)
        target = results / copy.result.suite / folder / copy.place.path.name
        if not target.resolve().is_relative_to(results.resolve()):
            done.left_out.append(f"{copy.place.path}: {target} is a link to outside of {results}")
            continue
        other = plan.get(target)
        there = target if other is None else other.place.path
        if other is None and not target.exists():
            plan[target] = copy
            continue
        name = "/".join(target.parts[-3:])
        try:
            before = (there, read(there) if other is None else other.result)
            now = (copy.place.path, copy.result)
            found = _conflict(name, before, now)
        except BenchError as error:
            found = Difference(name, there, copy.place.path, [Field("file", str(error), "")], None)
        if found is not None:
            done.conflicts.append(found)
            continue
        elsewhere += bool(differing_fields(before[1], copy.result, ()))
        lacks = not has_outcomes(*before) and has_outcomes(*now)
        if lacks and before[1].digests == copy.result.digests:
            # The same result, which came without its outcomes.
            plan[target] = dataclasses.replace(copy, only_outcomes=other is None)
        elif other is None and target not in done.there:
            done.there.append(target)
    if elsewhere:
        done.remarks.append(
            f"{elsewhere:,} of them were measured at another time, or by another machine or "
            "version, with the same outcomes; what was there, or came first, is kept"
        )
    return plan


def _sound(places: Sequence[Place], done: Merged) -> list[_Copy]:
    """The sources that are what run wrote."""
    found = []
    for place in places:
        if place.leads_outside:
            done.left_out.append(
                f"{place.path}: it, or a file beside it, is a link to outside of {place.root}; "
                "copy it there (cp -L)"
            )
            continue
        checked = check(place, thorough=False)
        if checked.problems or checked.result is None:
            what, todo = checked.problems[0]
            done.left_out.append(f"{place.path}: {what}; {todo}")
            continue
        if checked.lacks_outcomes:
            done.remarks.append(f"{place.path} has lost its outcomes, so it has no intervals")
        found.append(_Copy(place, checked.result, place.path.read_bytes()))
    return found


def _conflict(
    name: str, before: tuple[Path, Result], now: tuple[Path, Result]
) -> Difference | None:
    """How two results of one key differ in what was measured; None where they do not."""
    found = _difference(name, before, now, ())
    fields = [
        field
        for field in (found.fields if found else ())
        if field.name != "outcomes"
        and (not field.name.startswith("provenance.") or field.name in _MEASURED)
    ]
    # Of outcomes that one side has lost the digest is known still.
    digests = [side[1].digests.outcomes if side[1].digests else None for side in (before, now)]
    is_lost = not all(has_outcomes(*side) for side in (before, now))
    if is_lost and None not in digests and digests[0] != digests[1]:
        fields.append(Field("digests.outcomes", *map(str, digests)))
    outcomes = found.outcomes if found else None
    if not fields and outcomes is None:
        return None
    return Difference(name, before[0], now[0], fields, outcomes)


def _copy(copy: _Copy, target: Path) -> None:
    """Copy a result's files, the JSON file last: only then it is there."""
    if target.exists() and not copy.only_outcomes:
        raise DataError(f"{target} came into being during the merge; run the merge again")
    source, digests = copy.place.path, copy.result.digests
    if has_outcomes(source, copy.result):
        sha256 = digests.outcomes if digests else None
        _copy_file(outcomes_path(source), outcomes_path(target), sha256)
    if not copy.only_outcomes:
        # Contributions are made again: a board believes those that lie beside its results.
        with atomic(target) as temporary:
            temporary.write_bytes(copy.raw)


def _copy_file(source: Path, target: Path, sha256: str | None = None) -> None:
    """Copy a file with its time of change; `DataError` where it is not that of its digest."""
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)
        if sha256 and hashlib.sha256(temporary.read_bytes()).hexdigest() != sha256:
            raise DataError(f"{source} was changed during the merge; run the merge again")
        state = source.stat()
        os.utime(temporary, ns=(state.st_atime_ns, state.st_mtime_ns))
