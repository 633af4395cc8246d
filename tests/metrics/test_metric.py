"""A metric prints its name, and reads it again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.errors import UsageError
from paraclip_bench.metrics.agreement import AO, JS, RBO
from paraclip_bench.metrics.inference import point
from paraclip_bench.metrics.metric import Metric, TooShallow, named
from paraclip_bench.metrics.ranking import RECALL
from paraclip_bench.tasks.catalog import all_tasks

KINDS = {
    str(score): score
    for task in all_tasks()[0]
    for score in task.scores.values()
    if isinstance(score, Metric)
}


@pytest.mark.parametrize("name", KINDS)
def test_every_shipped_metric_reads_its_own_name(name: str) -> None:
    metric = KINDS[name]
    assert metric.parse(name) == metric
    assert metric.about
    assert metric.source
    assert metric.range[0] < metric.range[1]
    assert str(metric) == name


def test_the_names_are_those_of_the_results_of_0_1() -> None:
    assert [str(metric) for metric in (AO, JS, RBO, *AO.at(1, 5), RECALL)] == [
        "ao@10",
        "js@10",
        "rbo@10",
        "ao@1",
        "ao@5",
        "recall@1/query",
    ]


@given(
    st.integers(1, 10**9 - 1),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.sampled_from(RECALL.choices),
)
def test_a_name_is_read_as_it_is_printed(k: int, p: float, of: str) -> None:
    made = RBO.parse(f"rbo(p={p!r})@{k}")
    assert made is not None
    assert (made.k, {**made.defaults, **made.given}["p"]) == (k, p)
    assert made.parse(str(made)) == made
    # One name for one metric: a default is left out.
    assert ("(" in str(made)) == (p != 0.9)
    recall = RECALL.parse(f"recall@{k}/{of}")
    assert recall is not None
    assert (recall.k, recall.of, str(recall)) == (k, of, f"recall@{k}/{of}")


@given(
    st.lists(
        st.sampled_from(
            [*("ao", "rbo", "recall", "accuracy", "query", "p"), *"@()=,/é９", "0.5", "10", "nan"]
        ),
        max_size=9,
    ).map("".join)
)
def test_any_text_is_a_metric_of_that_name_another_kind_or_one_sentence(text: str) -> None:
    for kind in (AO, RBO, RECALL, KINDS["accuracy"]):
        try:
            found = kind.parse(text)
        except UsageError:
            continue
        if found is not None:
            again = kind.parse(str(found))
            assert again == found
            parameters = {**found.defaults, **found.given}
            assert all(0 < value < 1 for value in parameters.values())
            assert found.k is None or found.k >= 1


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (AO, "ao@0", "'0' is not a number of places"),
        (AO, "ao@x", "'x' is not a number of places"),
        (AO, "ao@1e3", "'1e3' is not a number of places"),
        (AO, "ao(p=0.9)@5", "'p=0.9' sets none of: none"),
        (RBO, "rbo(q=0.9)@5", "'q=0.9' sets none of: p"),
        (RBO, "rbo(p)@5", "'p' sets none of: p"),
        (RBO, "rbo(p=x)@5", "'x' is not a number"),
        (RBO, "rbo(p=1)@5", "must lie between"),
        (RBO, "rbo(p=0)@5", "must lie between"),
        (RBO, "rbo(p=nan)@5", "must lie between"),
        (RBO, "rbo(p=inf)@5", "must lie between"),
        (RBO, "rbo(p=0.8,p=0.7)@5", "says p twice"),
        (RECALL, "recall@5/image", r"'image' is none of query, paraphrase"),
    ],
)
def test_a_wrong_parameter_is_named(kind: Metric, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        kind.parse(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text", ["js@10", "ao", "ao10", "recall@5", "recall/query", "rbo", "", "@"]
)
def test_a_name_of_another_kind_is_none_of_this(text: str) -> None:
    assert AO.parse(text) is None
    assert RECALL.parse(text) is None


def test_parameters_reach_the_statistic() -> None:
    overlaps = np.array([[1, 2, 3, 3], [0, 0, 1, 2], [0, 1, 1, 1]])
    columns: dict[str, Any] = {"overlaps": overlaps, "cluster_id": np.arange(3).astype(str)}
    for k in (1, 2, 3, 4):
        ao = np.mean([[row[d] / (d + 1) for d in range(k)] for row in overlaps])
        js = np.mean([row[k - 1] / (2 * k - row[k - 1]) for row in overlaps])
        assert point(AO.at(k)[0], columns) == pytest.approx(ao)
        assert point(JS.at(k)[0], columns) == pytest.approx(js)
        for p in (0.5, 0.9):
            metric = RBO.parse(f"rbo(p={p})@{k}")
            assert metric is not None
            # Webber et al. 2010, equation 23 with equal depths.
            expected = np.mean(
                [
                    row[k - 1] / k * p**k
                    + (1 - p) / p * math.fsum(row[d - 1] / d * p**d for d in range(1, k + 1))
                    for row in overlaps
                ]
            )
            assert point(metric, columns) == pytest.approx(expected)
    with pytest.raises(TooShallow, match="looks at 5 places, and the outcomes keep 4"):
        point(AO.at(5)[0], columns)


def test_whatever_a_plugin_s_metric_raises_is_one_sentence() -> None:
    def make(k: int) -> Any:
        raise RuntimeError(f"boom\nof {k}")

    metric = Metric("boom", "raises", make, k=1)
    with pytest.raises(UsageError, match=r"^the metric 'boom@5' cannot be made \(Runt.*: boom\)$"):
        metric.parse("boom@5")


def test_a_number_keeps_all_of_its_digits() -> None:
    for said, name in {
        "rbo(p=0.123456789)@10": "rbo(p=0.123456789)@10",
        "rbo(p=0.9000001)@10": "rbo(p=0.9000001)@10",
        "rbo(p=0.90)@10": "rbo@10",
        "rbo(p=.5)@10": "rbo(p=0.5)@10",
    }.items():
        assert str(RBO.parse(said)) == name


def test_a_task_s_scores_are_by_name() -> None:
    assert list(named(AO, *JS.at(1, 5))) == ["ao@10", "js@1", "js@5"]
