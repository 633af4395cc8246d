"""The tables of parts hold what the statistics say of each part's rows alone."""

import statistics
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.metrics.correlation import spearman_of
from paraclip_bench.metrics.inference import FEWEST, estimate
from paraclip_bench.tasks.base import Protocol, Task


class Parted(Task):
    name = "parted"
    protocols: ClassVar[Mapping[str, Protocol]] = {"all": Protocol(("text",))}
    scores: ClassVar[Mapping[str, Any]] = {
        "mean": mean_of("value"),
        "spearman": spearman_of("value", "gold"),
        "of the whole": mean_of("gold"),
    }
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "part": ("mean", "spearman"),
        "other": ("mean",),
    }

    def load(self, source: Any, protocol: str) -> Any:
        raise AssertionError("these tests make outcomes themselves")

    def outcomes(self, examples: Any, embed: Any) -> Any:
        raise AssertionError("these tests make outcomes themselves")


Row = tuple[str, str, int, int, int]
"""part, other, cluster, value, gold"""

rows_of_few_values = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "B", "a b", "é", "swap_obj"]),
        st.sampled_from(["", "x"]),
        st.integers(0, 24),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=90,
)


def table(rows: list[Row]) -> dict[str, np.ndarray]:
    part, other, cluster, value, gold = zip(*rows, strict=True)
    return {
        "example_id": np.arange(len(rows)),
        "cluster_id": np.array(cluster),
        "part": np.array(part, dtype=object),
        "other": np.array(other, dtype=object),
        "value": np.array(value, dtype=np.float64),
        "gold": np.array(gold, dtype=np.float64),
    }


@given(rows_of_few_values, st.integers(0, 3))
@example([("a", "x", i, i % 4, i % 6) for i in range(FEWEST)] + [("b", "", 0, 1, 1)], 0)
@example([("a", "x", i, i % 4, i % 6) for i in range(FEWEST - 1)] + [("b", "", 0, 1, 1)], 0)
def test_parts_are_statistics_of_their_rows(rows: list[Row], seed: int) -> None:
    columns = table(rows)
    tables = details(Parted(), columns)
    parts = sorted({row[0] for row in rows} - {""})
    assert "other" not in tables  # one name is not a breakdown
    assert ("part" in tables) == (len(parts) > 1)
    if len(parts) < 2:
        return
    assert [part.name for part in tables["part"]] == parts
    for part in tables["part"]:
        inside = [row for row in rows if row[0] == part.name]
        assert part.n == len(inside)
        assert list(part.scores) == ["mean", "spearman"]
        values, golds = [row[3] for row in inside], [row[4] for row in inside]
        assert part.scores["mean"].value == pytest.approx(statistics.fmean(values))
        if len(set(values)) > 1 and len(set(golds)) > 1:
            rho = scipy.stats.spearmanr(values, golds)[0]
            assert part.scores["spearman"].value == pytest.approx(rho, abs=1e-12)
        else:
            assert part.scores["spearman"].value is None
        enough = len({row[2] for row in inside}) >= FEWEST
        for name, found in part.scores.items():
            alone = estimate(Parted.scores[name], table(inside))
            assert found.value == alone.value
            interval = (alone.low, alone.high) if enough else (None, None)
            assert (found.low, found.high) == interval


def test_a_part_of_enough_clusters_has_an_interval() -> None:
    rows = [("a", "x", i, i % 2, 0) for i in range(40)] + [
        ("b", "x", 1, i % 2, 0) for i in range(40)
    ]
    many, one = details(Parted(), table(rows))["part"]
    found = many.scores["mean"]
    assert found.low is not None
    assert found.high is not None
    # The normal interval of 20 in 40: 0.5 +- 1.96 x sqrt(0.25 / 40) = 0.345 to 0.655.
    assert (found.low, found.high) == pytest.approx((0.345, 0.655), abs=0.02)
    assert one.scores["mean"].model_dump() == {"value": 0.5, "low": None, "high": None}


def test_no_column_no_table() -> None:
    assert details(Parted(), table([("a", "", 0, 1, 1), ("a", "", 1, 0, 0)])) == {}
