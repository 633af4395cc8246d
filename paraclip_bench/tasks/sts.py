"""Semantic textual similarity: does cosine order sentence pairs as people do? Seven sets.

Score: Spearman's correlation over all pairs of a set (the "all" setting of SimCSE's SentEval
fork, mteb's cosine_spearman), tied ranks averaged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import PINS
from paraclip_bench.data.row_files import read_tsv
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import DataError, NotServed
from paraclip_bench.metrics.correlation import pearson_of, spearman_of
from paraclip_bench.metrics.statistic import Statistic
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, Vectors


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sentences and how alike people find them."""

    sentence1: str
    sentence2: str
    score: float
    subset: str = ""


def unit_cosine(a: Vectors, b: Vectors) -> Vectors:
    """Cosine [n] of unit float32 vectors a, b [n, d], as 1 - |a - b|^2 / 2.

    This form (that of sklearn's paired distances) gives identical vectors exactly 1, so that
    identical sentences tie.
    """
    difference = a - b
    one, half = np.float32(1), np.float32(0.5)
    return np.asarray(one - half * (difference * difference).sum(axis=1, dtype=np.float32))


class _STS(Task):
    groups = ("sts",)
    mean_groups = ("sts",)
    suites = ("paper", "demo")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "all": Protocol(("text",), "Spearman over all pairs of the set")
    }
    scores: ClassVar[Mapping[str, Statistic]] = {
        "spearman": spearman_of("cosine", "gold"),
        "pearson": pearson_of("cosine", "gold"),
    }
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"subset": ("spearman", "pearson")}
    gold_range: ClassVar[tuple[float, float]] = (0.0, 5.0)

    def file(self, protocol: str) -> str:
        """The file's place in the layout of --data-dir."""
        return f"sts/{self.name}.tsv"

    def load(self, source: Source, protocol: str) -> Examples:
        if isinstance(source, HubSource):
            pin = PINS[self.name]
            pairs = list(self._hub_pairs(source.rows(pin)))
            examples = Examples(
                pairs, id=pin.id, revision=pin.revision, notes={"text": "as the hub's copy has it"}
            )
        else:
            path = source.file(self.file(protocol))
            examples = Examples(list(self._file_pairs(path)), id=f"{source.id}:{path.name}")
        golds = {pair.score for pair in examples}
        if len(golds) < 2:
            what = "no pairs" if not golds else f"the same score {golds.pop()} in every row"
            raise DataError(
                f"{self.name} of {examples.id} has {what}, so no correlation exists; "
                "give the whole set"
            )
        return examples

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        pairs: list[Pair] = list(examples)
        # One request, so that every distinct text is encoded once and equal texts tie.
        vectors = embed.texts([p.sentence1 for p in pairs] + [p.sentence2 for p in pairs])
        return {
            "cosine": unit_cosine(vectors[: len(pairs)], vectors[len(pairs) :]),
            "gold": np.array([p.score for p in pairs]),
            "subset": np.array([p.subset for p in pairs], dtype=object),
        }

    def _file_pairs(self, path: Path) -> Iterator[Pair]:
        for number, row in read_tsv(path, ("score", "sentence1", "sentence2")):
            yield self._pair(row, f"{path}, line {number}")

    def _hub_pairs(self, rows: Any) -> Iterator[Pair]:
        for column in ("score", "sentence1", "sentence2"):
            if column not in rows.column_names:
                raise DataError(
                    f"{self.name}: the hub's copy has no column {column!r} "
                    f"(it has {', '.join(rows.column_names)}); give the set with --data-dir"
                )
        for number, row in enumerate(rows):
            yield self._pair(row, f"{self.name} of the hub, row {number}")

    def _pair(self, row: Mapping[str, Any], where: str) -> Pair:
        low, high = self.gold_range
        try:
            score = float(row["score"])
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{where}: the score {row['score']!r} is not a number; mend that row"
            ) from error
        if not math.isfinite(score) or not low <= score <= high:
            raise DataError(
                f"{where}: the score {row['score']} is not within {low:g} to {high:g}; "
                "mend that row"
            )
        for key in ("sentence1", "sentence2"):
            if not isinstance(row[key], str) or not row[key].strip():
                raise DataError(f"{where}: {key} is empty; mend that row")
        return Pair(row["sentence1"], row["sentence2"], score, str(row.get("subset") or ""))


class STS12(_STS):
    """SemEval 2012 task 6."""

    name = "STS12"


class STS13(_STS):
    """SemEval 2013, without SMT."""

    name = "STS13"


class STS14(_STS):
    """SemEval 2014 task 10."""

    name = "STS14"


class STS15(_STS):
    """SemEval 2015 task 2."""

    name = "STS15"


class STS16(_STS):
    """SemEval 2016 task 1."""

    name = "STS16"


class STSBenchmark(_STS):
    """The test part of the STS benchmark."""

    name = "STSBenchmark"


class SICKR(_STS):
    """SICK relatedness: SentEval's test part, or all pairs as mteb has it."""

    name = "SICK-R"
    gold_range = (1.0, 5.0)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "senteval": Protocol(("text",), "the 4,927 test pairs, as SentEval and the papers use"),
        "mteb": Protocol(("text",), "all 9,927 pairs, as mteb uses"),
    }

    def file(self, protocol: str) -> str:
        """The test pairs, or all of them for the mteb protocol."""
        return "sts/SICK-R.all.tsv" if protocol == "mteb" else "sts/SICK-R.tsv"

    def load(self, source: Source, protocol: str) -> Examples:
        """As the other sets; the hub marks no test pairs, so senteval needs a folder."""
        if protocol == "senteval" and isinstance(source, HubSource):
            raise NotServed(
                "SICK-R: the hub's copy does not mark the test pairs of the senteval protocol; "
                "give sts/SICK-R.tsv with --data-dir, or ask for --protocol mteb"
            )
        return super().load(source, protocol)
