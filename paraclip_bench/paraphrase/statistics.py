"""What a file of pairs is like: lengths, how many words change at a step, tokens, examples."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraclip_bench.paraphrase.export import report_file
from paraclip_bench.paraphrase.gate import words
from paraclip_bench.paraphrase.pairs_file import TEXTS, first_text, read_pairs

# Which views are compared, and what the comparison is called.
OVERLAPS = {"T, T'": (0, 1), "T', T''": (1, 2), "T, T''": (0, 2)}
VIEWS = ("T", "T'", "T''")
BINS = 20
_LONGEST = 40


@dataclass
class Statistics:
    """Sums over rows. Overlaps are histograms of 20 bins from 0 to 1, lengths one bin a word."""

    rows: int = 0
    images: int = 0
    lengths: list[Counter[int]] = field(default_factory=lambda: [Counter() for _ in VIEWS])
    overlaps: dict[str, Counter[int]] = field(
        default_factory=lambda: {name: Counter() for name in OVERLAPS}
    )
    overlap_sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OVERLAPS, 0.0))
    word_sums: list[int] = field(default_factory=lambda: [0] * len(VIEWS))
    tokens: Counter[str] = field(default_factory=Counter)
    examples: list[list[str]] = field(default_factory=list)
    report: dict[str, Any] | None = None

    def mean_length(self, view: int) -> float:
        """Words a text."""
        return self.word_sums[view] / max(1, self.rows)

    def mean_overlap(self, name: str) -> float:
        """Mean of `overlap`."""
        return self.overlap_sums[name] / max(1, self.rows)


def overlap(one: Iterable[str], two: Iterable[str]) -> float:
    """Jaccard index of two sets of words, in [0, 1]; 1 where both are empty."""
    left, right = set(one), set(two)
    return len(left & right) / len(left | right) if left | right else 1.0


def statistics(path: Path, *, examples: int = 5) -> Statistics:
    """Read a file of pairs once; of several paraphrases the first counts.

    Examples are those rows that come first by a digest, so that they do not change with the order.
    """
    found = Statistics()
    best: list[tuple[bytes, list[str]]] = []
    for row in read_pairs(path):
        texts = [first_text(row[key]) for key in TEXTS]
        several = [words(text) for text in texts]
        found.rows += 1
        found.images += row.get("image") is not None
        for view, spoken in enumerate(several):
            found.word_sums[view] += len(spoken)
            found.lengths[view][min(len(spoken), _LONGEST)] += 1
        for name, (one, two) in OVERLAPS.items():
            value = overlap(several[one], several[two])
            found.overlap_sums[name] += value
            found.overlaps[name][min(int(value * BINS), BINS - 1)] += 1
        for name, count in (row.get("usage") or {}).items():
            found.tokens[name] += count or 0
        best.append((hashlib.sha256("\n".join(texts).encode()).digest(), texts))
        if len(best) > 100 * examples:
            best = sorted(best)[:examples]
    found.examples = [texts for _, texts in sorted(best)[:examples]]
    report = report_file(path)
    if report.is_file():
        found.report = json.loads(report.read_text(encoding="utf-8"))
    return found
