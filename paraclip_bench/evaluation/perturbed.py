"""A task under other wordings of its texts: the level, the drop from the plain task, the spread.

Each version of the texts is measured as the task itself is. For every score there are three:
NAME, the mean over versions; NAME~drop, the plain score less that mean; NAME~spread, the standard
deviation over versions. The drop's interval is paired: what plain and reworded texts find equally
hard cancels, block of clusters by block. Texts without another wording stay as they are, and are
counted; a version that rewords none of a task's texts is not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import BenchError, DataError
from paraclip_bench.evaluation.scoring import Scored, measure, score_of
from paraclip_bench.metrics.inference import (
    ANY,
    Contributions,
    Estimate,
    bounds_of,
    estimates,
    mean_of_seeds,
    score_with_interval,
)
from paraclip_bench.metrics.metric import Columns
from paraclip_bench.results.schema import Part, PerturbationInfo, Score
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import Embed, Examples, ExternallyScoredTask, Task, Vectors
from paraclip_bench.tasks.perturbation import Perturbation, rewordings

DROP, SPREAD = "~drop", "~spread"
BREAKDOWN = "wording"


@dataclasses.dataclass(frozen=True)
class Reworded:
    """What was measured: the plain outcomes, those of each version, and how many texts changed.

    texts: how many distinct texts the task has. covered: how many of them have another wording in
    some version; by_version: in each.
    """

    plain: Columns
    versions: Mapping[str, Columns]
    perturbation: Perturbation
    texts: int
    covered: int
    by_version: Mapping[str, int]


class _Embed:
    """`embed` with every text in one version; without a version, as they are, and noted."""

    def __init__(self, embed: Embed, reworded: Callable[[str], str | None] | None = None) -> None:
        self._embed = embed
        self._reworded = reworded
        self.known: dict[str, str] = {}

    def texts(self, texts: Sequence[str]) -> Vectors:
        for text in texts:
            if text not in self.known:
                other = None if self._reworded is None else self._reworded(text)
                self.known[text] = text if other is None else other
        return self._embed.texts([self.known[text] for text in texts])

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        return self._embed.images(images)


def measure_reworded(
    task: Task, examples: Examples, embed: Embed, perturbation: Perturbation
) -> Reworded:
    """Measure a task plainly, and with each version of its texts.

    Raises `BenchError` for a task that another program scores, `DataError` where the task has no
    text that the perturbation rewords.
    """
    if isinstance(task, ExternallyScoredTask):
        raise BenchError(
            f"{task.name} is scored as a whole by {task.scored_by}, so that its texts cannot be "
            "reworded; leave it or --perturb out"
        )
    noted = _Embed(embed)
    plain = measure(task, examples, noted)
    assert isinstance(plain, Mapping)
    found: dict[str, Columns] = {}
    by_version: dict[str, int] = {}
    covered = set[str]()
    for version in perturbation.versions:
        reworded = rewordings(perturbation, version)
        changed = {text for text in noted.known if reworded(text) not in (None, text)}
        if not changed:
            continue
        columns = measure(task, examples, _Embed(embed, reworded))
        assert isinstance(columns, Mapping)
        covered |= changed
        found[version], by_version[version] = columns, len(changed)
    texts = len(noted.known)
    if not covered:
        raise DataError(
            f"{perturbation.name} has another wording of none of the {counted(texts, 'text')} of "
            f"{task.name}; give a file that is made from its texts"
        )
    return Reworded(plain, found, perturbation, texts, len(covered), by_version)


def score_reworded(task: Task, found: Reworded) -> tuple[Scored, PerturbationInfo]:
    """Level, drop and spread of each score, the main one also by version; and what was reworded.

    There are no outcome columns: what blocks of clusters add to levels and drops is kept.
    """
    own = task.scores_of(found.plain)
    plain, kept, _ = estimates(own, found.plain)
    runs = {version: estimates(own, columns) for version, columns in found.versions.items()}
    scores: dict[str, Score] = {}
    contributions: dict[str, Contributions] = {}
    for name, statistic in own.items():
        values = [run[0][name].value for run in runs.values()]
        known = [value for value in values if value is not None]
        base = plain[name].value
        level = float(np.mean(known)) if len(known) == len(values) else None
        drop = None if level is None or base is None else base - level
        several = level is not None and len(known) > 1
        scores[name] = score_of(Estimate(level, None, None))
        scores[name + DROP] = score_of(Estimate(drop, None, None))
        spread = float(np.std(known, ddof=1)) if several else None
        scores[name + SPREAD] = score_of(Estimate(spread, None, None))
        parts = [run[1][name] for run in runs.values() if name in run[1]]
        if level is None or drop is None or name not in kept or len(parts) < len(runs):
            continue
        mean = dataclasses.replace(mean_of_seeds(parts), value=level)
        lost = _less(kept[name], mean)
        contributions |= {name: mean, name + DROP: lost}
        scores[name] = score_of(score_with_interval(level, mean, bounds_of(statistic)))
        scores[name + DROP] = score_of(score_with_interval(drop, lost, ANY))
    main = task.main_score
    rows = []
    for version, (values_of, parts_of, _) in runs.items():
        value, base = values_of[main].value, plain[main].value
        drop = None if value is None or base is None else base - value
        said = {main: score_of(values_of[main]), main + DROP: score_of(Estimate(drop, None, None))}
        if main in kept and main in parts_of:
            lost = _less(kept[main], parts_of[main])
            said[main + DROP] = score_of(score_with_interval(lost.value, lost, ANY))
        n = len(found.plain["cluster_id"])
        rows.append(Part(name=version, n=n, scores=said, covered=found.by_version[version]))
    info = PerturbationInfo(
        name=found.perturbation.name,
        digest=found.perturbation.digest,
        texts=found.texts,
        covered=found.covered,
        k=len(runs),
    )
    return Scored(scores, {BREAKDOWN: rows}, None, contributions=contributions), info


def _less(plain: Contributions, other: Contributions) -> Contributions:
    """What each block adds to the plain score less another one's."""
    return dataclasses.replace(
        plain,
        value=plain.value - other.value,
        shares=plain.shares - other.shares,
        is_rate=False,
        right=None,
    )
