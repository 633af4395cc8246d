"""Rankings as TREC runs and qrels, which trec_eval, ir_measures, ranx and their like read.

Of each result with rankings there are two runs, of the queries and of their paraphrases, and the
qrels of both. These programs sort by score, so that scores must fall strictly: where images tie,
the later one's score is the next smaller float32.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from paraclip_bench.errors import BenchError
from paraclip_bench.files import atomic, slug
from paraclip_bench.results.schema import Result
from paraclip_bench.results.store import has_outcomes, list_results, read_outcomes
from paraclip_bench.safe_text import counted

SIDES = ("query", "paraphrase")
# Everything that is printed in ASCII, without the space and the sign of the encoding.
_SAFE = "".join(map(chr, range(33, 127))).replace("%", "")
# Stands for a target that no ranking has, in outcomes that do not name targets.
BEYOND = "not-among-the-first:"

Columns = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Export:
    """What was written, by file; what was left out and why; what a reader should know."""

    written: dict[Path, Result]
    left_out: list[str]
    remarks: list[str]


class _LeftOut(Exception):
    """Why a result has no runs."""


class _NoRankings(Exception):
    """A task whose outcomes are of another kind."""


def export(
    results: Path,
    out: Path,
    *,
    suite: str | None = None,
    task: str | None = None,
    model: str | None = None,
) -> Export:
    """Write MODEL.TASK.PROTOCOL.KEY.query.run, .paraphrase.run and .qrels into the folder `out`.

    Ids are percent-encoded (`encoded`). Raises `UsageError` where there are no such results.
    """
    found, damaged = list_results(results, suite=suite, task=task, model=model)
    done = Export({}, list(damaged), [])
    unranked = Counter[str]()
    for path, result in found:
        stem = out / f"{slug(path.parent.name, 120)}.{path.name.removesuffix('.json')}"
        files = [stem.with_name(f"{stem.name}.{end}") for end in ("query.run", "paraphrase.run")]
        files.append(stem.with_name(f"{stem.name}.qrels"))
        try:
            if files[0] in done.written:
                raise _LeftOut("another suite has the same result; say --suite")
            if result.perturbation is not None:
                raise _LeftOut("its texts are reworded, and no rankings are kept of them")
            columns = _columns(path, result)
            tag = encoded(result.model.name)
            qrels = list(_qrels(columns))
            texts: list[Iterable[str]] = [*(_run(columns, side, tag) for side in SIDES), qrels]
        except _NoRankings:
            unranked[result.task] += 1
            continue
        except (_LeftOut, BenchError) as reason:
            done.left_out.append(f"{path.parent.name}/{path.name}: {reason}")
            continue
        done.remarks.extend(f"{stem.name}: {remark}" for remark in _remarks(columns))
        for file, lines in zip(files, texts, strict=True):
            with atomic(file) as temporary, temporary.open("w", encoding="utf-8") as opened:
                opened.writelines(lines)
            done.written[file] = result
    if unranked:
        done.left_out.append(
            f"{counted(unranked.total(), 'result')} of {', '.join(sorted(unranked))}, whose "
            "outcomes keep no rankings"
        )
    return done


@functools.lru_cache(maxsize=1 << 18)
def encoded(id: str) -> str:
    """An id in printable ASCII without spaces: other characters, and %, are percent-encoded.

    `urllib.parse.unquote` gives it back.
    """
    return quote(id, safe=_SAFE)


def falling(similarities: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Scores [n, k] that fall strictly: similarities [n, k], and in ties the next smaller float32.

    What follows a tie so closely that it would be passed goes below it too. Strictly in float32,
    which is what trec_eval reads.
    """
    scores = np.array(similarities, dtype=np.float32)
    for place in range(1, scores.shape[1]):
        below = np.nextafter(scores[:, place - 1], np.float32(-np.inf))
        scores[:, place] = np.minimum(scores[:, place], below)
    return scores


def _columns(path: Path, result: Result) -> Columns:
    """Outcomes with rankings, checked; `_LeftOut` where there are none."""
    if not has_outcomes(path, result):
        raise _LeftOut("it has no outcomes")
    columns = read_outcomes(path)
    needed = {"example_id", *(f"{column}_{side}" for column in ("top", "rank") for side in SIDES)}
    if not needed <= columns.keys():
        raise _NoRankings
    n = len(columns["example_id"])
    for side in SIDES:
        top, ranks = columns[f"top_{side}"], columns[f"rank_{side}"]
        if top.ndim != 2 or ranks.dtype.kind not in "iu" or (ranks < 0).any() or not n:
            raise _LeftOut(f"its outcomes have no ranking of the {side}")
    names: list[tuple[str, list[Any]]] = [("example", columns["example_id"].tolist())]
    names += [("image", top) for side in SIDES for top in columns[f"top_{side}"].tolist()]
    for kind, ids in names:
        if not all(isinstance(id, str) and id for id in ids):
            raise _LeftOut(f"an {kind} has an empty id, which no run can hold")
        if len(set(ids)) < len(ids):
            (twice, _), *_ = Counter(ids).most_common(1)
            raise _LeftOut(f"the {kind} {twice!r} is there twice in one list")
    for side in SIDES:
        top, found = columns[f"top_{side}"], columns.get(f"similarity_{side}")
        if found is None:
            continue
        if found.shape != top.shape or found.dtype.kind != "f" or not np.isfinite(found).all():
            raise _LeftOut(f"its similarities of the {side} are not those of its ranking")
        if (np.diff(found, axis=1) > 0).any():
            raise _LeftOut(f"its similarities of the {side} do not fall along its ranking")
    return columns


def _scores(columns: Columns, side: str) -> npt.NDArray[np.float32]:
    """Falling scores [n, k]: similarities, or of outcomes without them k, k - 1 … 1."""
    top = columns[f"top_{side}"]
    if (found := columns.get(f"similarity_{side}")) is not None:
        return falling(found)
    return np.broadcast_to(np.arange(top.shape[1], 0, -1, dtype=np.float32), top.shape)


def _run(columns: Columns, side: str, tag: str) -> Iterator[str]:
    """Lines of a run: query, Q0, image, rank from 1, score, tag."""
    rows = (columns["example_id"].tolist(), columns[f"top_{side}"].tolist())
    for id, top, scores in zip(*rows, _scores(columns, side).tolist(), strict=True):
        query = encoded(id)
        for rank, (image, score) in enumerate(zip(top, scores, strict=True), 1):
            yield f"{query} Q0 {encoded(image)} {rank} {score!r} {tag}\n"


def targets(columns: Columns) -> list[str | None]:
    """The id of each query's target; None where it has none.

    Outcomes of earlier versions do not name targets: theirs are found in the rankings, also in
    those of other queries for the same image. What is in none of them gets a name of its own, which
    recall does not change.
    """
    ranks = np.stack([columns[f"rank_{side}"] for side in SIDES])
    named = columns.get("target")
    if named is not None:
        return [str(id) or None for id in named]
    clusters = columns["cluster_id"].astype(str).tolist()
    known: dict[str, str] = {}
    for side, places in zip(SIDES, ranks, strict=True):
        top = columns[f"top_{side}"]
        for row in np.flatnonzero((places > 0) & (places <= top.shape[1])):
            known[clusters[row]] = str(top[row, places[row] - 1])
    has_target: Any = (ranks > 0).any(axis=0)
    return [
        known.get(cluster, BEYOND + cluster) if has_target[row] else None
        for row, cluster in enumerate(clusters)
    ]


def _qrels(columns: Columns) -> Iterator[str]:
    """Lines of qrels: query, 0, image, 1; a query without a target has none."""
    found = targets(columns)
    _check_ranks(columns, found)
    for id, target in zip(columns["example_id"].tolist(), found, strict=True):
        if target is not None:
            yield f"{encoded(id)} 0 {encoded(target)} 1\n"


def _check_ranks(columns: Columns, found: list[str | None]) -> None:
    """`_LeftOut` where a target is not in the place that its rank says."""
    wanted = np.array([target or "" for target in found], dtype=object)[:, None]
    has_target = wanted[:, 0] != ""
    for side in SIDES:
        top, ranks = columns[f"top_{side}"], columns[f"rank_{side}"]
        places = np.where((top == wanted).any(axis=1), (top == wanted).argmax(axis=1) + 1, 0)
        seen = np.where(ranks <= top.shape[1], ranks, 0)
        if (places != seen).any() or ((ranks > 0) != has_target).any():
            raise _LeftOut(f"its ranks of the {side} are not those of its ranking")


def _remarks(columns: Columns) -> list[str]:
    remarks = []
    if any(f"similarity_{side}" not in columns for side in SIDES):
        depth = columns["top_query"].shape[1]
        remarks.append(
            f"its outcomes are of version 0.1.0 and keep no similarities, so scores are {depth}, "
            f"{depth - 1} … 1 by rank"
        )
    else:
        lowered = sum(
            int((_scores(columns, side) != columns[f"similarity_{side}"]).sum()) for side in SIDES
        )
        if lowered:
            remarks.append(
                f"{counted(lowered, 'tied score')} lowered in the last digit, so that sorting by "
                "score keeps the ranks"
            )
    found = targets(columns)
    if unknown := sum(target is not None and target.startswith(BEYOND) for target in found):
        remarks.append(
            f"{counted(unknown, 'target')} beyond the rankings, of which the outcomes have no id; "
            f"the qrels call them {BEYOND}…"
        )
    if without := sum(target is None for target in found):
        queries = counted(without, "query has", "queries have")
        remarks.append(f"{queries} no target, and no line in the qrels")
    return remarks
