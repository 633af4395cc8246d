"""Plain and macro means against loops."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of

ROWS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["", "a", "b", "left of"]), st.integers(0, 2)),
    min_size=1,
    max_size=15,
)


@given(ROWS)
def test_means_are_those_of_loops(rows: list[tuple[bool, str, int]]) -> None:
    columns = {
        "right": np.array([row[0] for row in rows]),
        "group": np.array([row[1] for row in rows], dtype=object),
    }
    weights = np.array([[row[2] for row in rows], [1] * len(rows)], dtype=float)
    plain, macro = [], []
    for counts in weights.astype(int).tolist():
        groups, flat = defaultdict(list), []
        for (right, group, _), count in zip(rows, counts, strict=True):
            flat += [right] * count
            if group and count:
                groups[group] += [right] * count
        plain.append(np.mean(flat) if flat else np.nan)
        macro.append(np.mean([np.mean(v) for v in groups.values()]) if groups else np.nan)
    assert mean_of("right")(columns, weights) == pytest.approx(plain, nan_ok=True)
    assert macro_mean_of("right", "group")(columns, weights) == pytest.approx(macro, nan_ok=True)


def test_groups_count_alike_whatever_their_size() -> None:
    columns = {
        "right": np.array([True] * 9 + [False]),
        "group": np.array(["big"] * 9 + ["small"], dtype=object),
    }
    ones = np.ones((1, 10))
    assert mean_of("right")(columns, ones)[0] == pytest.approx(0.9)
    assert macro_mean_of("right", "group")(columns, ones)[0] == pytest.approx(0.5)
    drawn_empty = np.array([[1.0] * 9 + [0.0]])
    assert macro_mean_of("right", "group")(columns, drawn_empty)[0] == 1
