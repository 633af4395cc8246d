"""`mteb:NAME`: any task of mteb's on texts and images, with our engine and our result files.

mteb reads the data and computes the scores, so there are no outcomes and no intervals.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paraclip_bench.bridges.mteb import find_task, import_mteb, mteb_version
from paraclip_bench.data import hub
from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.source import HubSource
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.tasks.base import (
    Embed,
    Examples,
    ExternallyMeasured,
    ExternallyScoredTask,
    ExternalScores,
    Protocol,
    Side,
)
from paraclip_bench.tasks.catalog import all_tasks

PREFIX = "mteb:"
PARTS = "split/subset"
_REVISION = re.compile(r"[0-9a-f]{40}")


class MtebTask(ExternallyScoredTask):
    """mteb's task of that name (case-blind), under the one protocol `mteb`.

    Raises `UsageError` for a name that mteb does not know, or a task with audio or video;
    `BenchError` where mteb is not installed.
    """

    def __init__(self, name: str) -> None:
        self._task = find_task(name)
        about = self._task.metadata
        sides: list[Side] = [side for side in ("text", "image") if side in about.modalities]
        if others := sorted(set(about.modalities) - set(sides)):
            raise UsageError(
                f"{PREFIX}{about.name} needs {' and '.join(others)}, which no model here has; "
                "choose a task on texts and images"
            )
        rule = f"{about.type} as mteb has it; no intervals"
        # What is a class's elsewhere: each name makes another task.
        vars(self).update(
            name=PREFIX + about.name,
            protocols={"mteb": Protocol(tuple(sides), rule)},
            data_set=DataSet(str(about.license or "unknown"), "mteb fetches it when it runs"),
        )
        self._sizes: dict[str, int] = {}

    @property
    def main_score(self) -> str:
        """mteb's own main score of the task."""
        return str(self._task.metadata.main_score)

    @property
    def scored_by(self) -> str:
        """mteb and its version."""
        return f"mteb {mteb_version()}"

    @property
    def remark(self) -> str:
        """That a task of our own is on the same data, where one is."""
        path, _ = _data_set(self._task)
        own = [task.name for task in all_tasks()[0] if task.pin and task.pin.id == path]
        return "".join(
            f"{task} of paraclip-bench is on the same data as {self.name} and has intervals and "
            "paired differences, which mteb's scores lack"
            for task in own
        )

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        """Let mteb read its data from the hub, or the hub's cache.

        The examples are numbers alone, because mteb keeps the data; their sha256 is over the task's
        name, data sets, revisions, sizes and mteb's version. Raises `DataError` where the data
        cannot be had, or the cache has another revision than mteb asks for.
        """
        hub.once_reachable()
        import datasets

        datasets.utils.logging.set_verbosity_error()
        tasks = list(_leaves(self._task))
        sets = [_data_set(task) for task in tasks]
        sizes: list[dict[str, int]] = []
        for task, (path, revision) in zip(tasks, sets, strict=True):
            was_loaded = task.data_loaded
            try:
                with hub.without_unusable_variables():
                    task.load_data()
            # What the hub's libraries and mteb's own transforms raise may be anything.
            except Exception as error:
                what = f"data set {path} @ {revision[:8]}"
                raise hub.unreachable(
                    what, error, DataError, local="a cache (HF_HOME) that has it"
                ) from error
            _check_revision(self.name, task.dataset, path, revision)
            sizes.append(_sizes(task))
            # mteb reads it again for the scores; many tasks would not fit in memory together.
            if not was_loaded:
                task.unload_data()
        self._sizes = sizes[0] if len(tasks) == 1 else {}
        identity = [self._task.metadata.name, sets, sizes, mteb_version()]
        return Examples(
            range(sum(n for parts in sizes for n in parts.values())),
            id=", ".join(dict.fromkeys(path for path, _ in sets)),
            revision=", ".join(dict.fromkeys(revision for _, revision in sets)),
            notes={"outcomes": "none, because mteb gives scores alone"},
            sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        )

    def measured(self, examples: Examples, embed: Embed) -> ExternallyMeasured:
        """mteb's scores: means over splits and subsets, with a table where there are several.

        Raises `DataError` where mteb gives no result.
        """
        from paraclip_bench.bridges.mteb import NO_REVISION, EmbedEncoder, mteb_name

        mteb = import_mteb(self.name)
        encoder = EmbedEncoder(embed, mteb_name("model"), NO_REVISION, self.protocols["mteb"].needs)
        with hub.without_unusable_variables():
            found = mteb.evaluate(
                encoder, self._task, co2_tracker=False, cache=None, show_progress_bar=False
            )
        if not found.task_results:
            raise DataError(f"{self.name}: mteb gave no result ({found.exceptions}); see its log")
        parts = {
            f"{split}/{entry['hf_subset']}": self._scores(entry)
            for split, entries in found.task_results[0].scores.items()
            for entry in entries
        }
        if len(parts) == 1:
            return ExternallyMeasured(next(iter(parts.values())))
        table = {name: (self._sizes.get(name, 0), scores) for name, scores in parts.items()}
        return ExternallyMeasured(_means(list(parts.values())), {PARTS: table})

    def _scores(self, entry: Mapping[str, Any]) -> ExternalScores:
        """The numbers of an entry, the main one first and under its own name."""
        numbers = {
            name: _finite(value)
            for name, value in entry.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        main = numbers.pop("main_score", None)
        return {self.main_score: main, **{k: v for k, v in numbers.items() if k != self.main_score}}


def _leaves(task: Any) -> Iterator[Any]:
    """The task itself, or those that an aggregate is made of."""
    parts = getattr(task.metadata, "tasks", None)
    if parts is None:
        yield task
        return
    for part in parts:
        yield from _leaves(part)


def _check_revision(name: str, data: Any, path: str, revision: str) -> None:
    """Raise `DataError` where data were read from a cache of another revision.

    Without a network `datasets` takes the newest copy that it has, whatever was asked for; the
    folder of the copy is called by its revision.
    """
    if isinstance(data, Mapping):
        for part in data.values():
            _check_revision(name, part, path, revision)
        return
    for file in getattr(data, "cache_files", ()):
        cached = [part for part in Path(file["filename"]).parts if _REVISION.fullmatch(part)]
        if cached and revision not in cached:
            raise DataError(
                f"{name}: the cache has revision {cached[-1][:8]} of data set {path}, and mteb "
                f"{mteb_version()} wants {revision[:8]}; run it once with the network"
            )


def _data_set(task: Any) -> tuple[str, str]:
    about = task.metadata.dataset
    return str(about["path"]), str(about["revision"])


def _sizes(task: Any) -> dict[str, int]:
    """How many examples (of retrieval: queries) mteb evaluates, by split/subset, once loaded."""
    sizes = {}
    data = task.dataset or {}
    for split in task.eval_splits:
        for subset in task.hf_subsets:
            part = data.get(subset, data)
            if split in part:
                rows = part[split]
                sizes[f"{split}/{subset}"] = len(
                    rows["queries"] if isinstance(rows, dict) else rows
                )
    return sizes


def _means(parts: list[ExternalScores]) -> ExternalScores:
    """Plain means of the scores that all parts have; None where one is None."""
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    columns = {name: [part[name] for part in parts] for name in shared}
    return {
        name: None if None in values else sum(v for v in values if v is not None) / len(values)
        for name, values in columns.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
