"""Semantic textual similarity: does cosine order sentence pairs as people do? Seven sets.

Score: Spearman's correlation over all pairs of a set (the "all" setting of SimCSE's SentEval
fork, mteb's cosine_spearman), tied ranks averaged.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.row_files import read_tsv
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, NotServed
from paraclip_bench.metrics.correlation import pearson_of, spearman_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import unit_cosine
from paraclip_bench.tasks.base import Embed, Examples, Group, Protocol, Task

MTEB_SCORES = {"spearman": "cosine_spearman", "pearson": "cosine_pearson"}


@dataclasses.dataclass(frozen=True)
class SentencePair:
    """Two sentences and how alike people find them."""

    sentence1: str
    sentence2: str
    score: float
    subset: str = ""


SPEARMAN = Metric(
    "spearman",
    "Spearman's correlation of cosine and gold score, tied ranks averaged",
    functools.partial(spearman_of, "cosine", "gold"),
    source="the `all` setting of SimCSE's SentEval fork, mteb's cosine_spearman",
    range=(-1.0, 1.0),
)
PEARSON = Metric(
    "pearson",
    "Pearson's correlation of cosine and gold score",
    functools.partial(pearson_of, "cosine", "gold"),
    source="mteb's cosine_pearson",
    range=(-1.0, 1.0),
)


def _data_set(
    name: str, id: str, revision: str, rows: int, source: str, licence: str = "research"
) -> DataSet:
    return DataSet(
        licence,
        source,
        layout={f"sts/{name}.tsv": "score, sentence1, sentence2[, subset]"},
        examples={"all": rows},
        pin=Pin(f"mteb/{id}", revision, rows=rows),
        mteb=MtebEquivalent(name, "all", MTEB_SCORES),
    )


class _STS(Task):
    groups = (Group("sts", has_mean=True),)
    suites = ("paper", "demo")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "all": Protocol(("text",), "Spearman over all pairs of the set")
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(SPEARMAN, PEARSON)
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"subset": ("spearman", "pearson")}
    gold_range: ClassVar[tuple[float, float]] = (0.0, 5.0)
    data_set: ClassVar[DataSet]

    def file(self, protocol: str) -> str:
        """The file's place in the layout of --data-dir."""
        return f"sts/{self.name}.tsv"

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        path = source.file(self.file(protocol))
        return self._checked(Examples(list(self._file_pairs(path)), id=f"{source.id}:{path.name}"))

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        pin = self.data_set.pin
        assert pin is not None
        return self._checked(
            Examples(
                list(self._hub_pairs(source.rows(pin))),
                id=pin.id,
                revision=pin.revision,
                notes={"text": "as the hub's copy has it"},
            )
        )

    def _checked(self, examples: Examples) -> Examples:
        check_golds([pair.score for pair in examples], f"{self.name} of {examples.id}")
        return examples

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        pairs: list[SentencePair] = list(examples)
        # One request, so that every distinct text is encoded once and equal texts tie.
        vectors = embed.texts([p.sentence1 for p in pairs] + [p.sentence2 for p in pairs])
        return {
            "cluster_id": _components(pairs),
            "cosine": unit_cosine(vectors[: len(pairs)], vectors[len(pairs) :]),
            "gold": np.array([p.score for p in pairs]),
            "subset": np.array([p.subset for p in pairs], dtype=object),
        }

    def _file_pairs(self, path: Path) -> Iterator[SentencePair]:
        for number, row in read_tsv(path, ("score", "sentence1", "sentence2")):
            yield self._pair(row, f"{path}, line {number}")

    def _hub_pairs(self, rows: Any) -> Iterator[SentencePair]:
        for column in ("score", "sentence1", "sentence2"):
            if column not in rows.column_names:
                raise DataError(
                    f"{self.name}: the hub's copy has no column {column!r} "
                    f"(it has {', '.join(rows.column_names)}); give the set with --data-dir"
                )
        for number, row in enumerate(rows):
            yield self._pair(row, f"{self.name} of the hub, row {number}")

    def _pair(self, row: Mapping[str, Any], where: str) -> SentencePair:
        score = gold_score(row["score"], self.gold_range, where)
        for key in ("sentence1", "sentence2"):
            if not isinstance(row[key], str) or not row[key].strip():
                raise DataError(f"{where}: {key} is empty; fix that row")
        return SentencePair(row["sentence1"], row["sentence2"], score, str(row.get("subset") or ""))


def gold_score(value: Any, bounds: tuple[float, float], where: str) -> float:
    """A gold score as a number; `DataError` where it is none, or not within bounds."""
    low, high = bounds
    try:
        score = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the score {value!r} is not a number; fix that row") from error
    if not math.isfinite(score) or not low <= score <= high:
        raise DataError(
            f"{where}: the score {value} is not within {low:g} to {high:g}; fix that row"
        )
    return score


def check_golds(scores: Sequence[float], what: str) -> None:
    """Raise `DataError` where gold scores, of `what`, correlate with nothing."""
    golds = set(scores)
    if len(golds) < 2:
        has = "no pairs" if not golds else f"the same score {golds.pop()} in every row"
        raise DataError(f"{what} has {has}, so no correlation exists; give the whole set")


def _components(pairs: Sequence[SentencePair]) -> npt.NDArray[np.object_]:
    """A name for each pair [n], the same for pairs that share a sentence, or are so connected.

    Such pairs are not independent: a sentence that a model misreads is misread in all of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = dict[str, int]()
    first, second = (
        [ids.setdefault(text, len(ids)) for text in texts]
        for texts in ([p.sentence1 for p in pairs], [p.sentence2 for p in pairs])
    )
    shape = (len(ids), len(ids))
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=shape)
    _, component = connected_components(graph, directed=False)
    return np.array([str(component[sentence]) for sentence in first], dtype=object)


class STS12(_STS):
    """SemEval 2012 task 6."""

    name = "STS12"
    data_set = _data_set(
        name, "sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384", 3108, "SemEval 2012"
    )


class STS13(_STS):
    """SemEval 2013, without SMT."""

    name = "STS13"
    data_set = _data_set(
        name, "sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca", 1500, "SemEval 2013"
    )


class STS14(_STS):
    """SemEval 2014 task 10."""

    name = "STS14"
    data_set = _data_set(
        name, "sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375", 3750, "SemEval 2014"
    )


class STS15(_STS):
    """SemEval 2015 task 2."""

    name = "STS15"
    data_set = _data_set(
        name, "sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3", 3000, "SemEval 2015"
    )


class STS16(_STS):
    """SemEval 2016 task 1."""

    name = "STS16"
    data_set = _data_set(
        name, "sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513", 1186, "SemEval 2016"
    )


class STSBenchmark(_STS):
    """The test part of the STS benchmark."""

    name = "STSBenchmark"
    data_set = _data_set(
        name,
        "stsbenchmark-sts",
        "b0fddb56ed78048fa8b90373c8a3cfc37b684831",
        1379,
        "SemEval 2012 to 2017",
        "CC BY-SA 4.0",
    )


class SICKR(_STS):
    """SICK relatedness: SentEval's test part, or all pairs as mteb has it."""

    name = "SICK-R"
    data_set = DataSet(
        "CC BY-NC-SA 3.0",
        "SICK (Marelli et al. 2014)",
        layout={
            "sts/SICK-R.tsv": "the 4,927 test pairs: score, sentence1, sentence2",
            "sts/SICK-R.all.tsv": "all 9,927 pairs, for protocol mteb",
        },
        examples={"senteval": 4927, "mteb": 9927},
        pin=Pin("mteb/sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d", rows=9927),
        mteb=MtebEquivalent("SICK-R", "mteb", MTEB_SCORES),
    )
    gold_range = (1.0, 5.0)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "senteval": Protocol(("text",), "the 4,927 test pairs, as SentEval and the papers use"),
        "mteb": Protocol(("text",), "all 9,927 pairs, as mteb uses"),
    }

    def file(self, protocol: str) -> str:
        """The test pairs, or all of them for the mteb protocol."""
        return "sts/SICK-R.all.tsv" if protocol == "mteb" else "sts/SICK-R.tsv"

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        """As the other sets; the hub marks no test pairs, so senteval needs a folder."""
        if protocol == "senteval":
            raise NotServed(
                "SICK-R: the hub's copy does not mark the test pairs of the senteval protocol; "
                "give sts/SICK-R.tsv with --data-dir, or ask for --protocol mteb"
            )
        return super().load_hub(source, protocol)
