"""Cells, the best of a column, differences and group means."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.stats import rankdata

from paraclip_bench.boards import formats
from paraclip_bench.boards import make_board as make_board_module
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.content import Cell, verdict
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.page import as_html
from paraclip_bench.errors import UsageError
from paraclip_bench.metrics.correlation import ranks_within
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.results.store import outcomes_path
from paraclip_bench.tasks.base import Group
from paraclip_bench.tasks.catalog import all_tasks, load_task
from paraclip_bench.workspace import Workspace

Put = Callable[..., Path]
VG = "vg-relation"


def cells(board: Board) -> dict[tuple[str, str, str], Cell | None]:
    return {
        (row.name, column.title, column.score): cell
        for row in board.rows
        for column, cell in zip(board.columns, row.cells, strict=True)
    }


def kept_but(columns: dict[str, np.ndarray], cluster: str) -> dict[str, np.ndarray]:
    rows = columns["cluster_id"].astype(str) != cluster
    return {name: values[rows] for name, values in columns.items()}


def test_values_best_and_paired_differences(
    put: Put, tmp_path: Path, made: Callable[..., Any]
) -> None:
    skills = {"clip": 0.2, "better": 0.6, "between": 0.35}
    for name, skill in skills.items():
        put(name, VG, skill)
    board = make_board(tmp_path)
    title = "vg-relation (aro)"
    assert board.baseline == "clip"
    assert [row.name for row in board.rows] == ["clip", "better", "between"]
    assert [(c.title, c.score) for c in board.columns] == [(title, "accuracy")]
    statistic = load_task(VG).scores["accuracy"]
    found = cells(board)
    for name, skill in skills.items():
        cell = found[name, title, "accuracy"]
        assert cell.estimate == estimate(statistic, made(VG, skill))
        assert cell.best is (name == "better")
        if name == "clip":
            assert cell.difference is None
        else:
            value = point(statistic, made(VG, skill)) - point(statistic, made(VG, 0.2))
            # Delete-one-cluster jackknife of the difference, 20 clusters.
            columns = [made(VG, s) for s in (skill, 0.2)]
            without = np.array(
                [
                    point(statistic, kept_but(columns[0], name))
                    - point(statistic, kept_but(columns[1], name))
                    for name in np.unique(columns[0]["cluster_id"].astype(str))
                ]
            )
            error = np.sqrt(19 / 20 * np.sum((without - without.mean()) ** 2))
            reach = stats.t.ppf(0.975, 19) * error
            found_here = (cell.difference.value, cell.difference.low, cell.difference.high)
            assert found_here == pytest.approx((value, value - reach, value + reach), abs=1e-6)
            assert cell.difference.p == pytest.approx(
                2 * stats.t.sf(abs(value) / error, 19), rel=1e-4
            )
            assert cell.difference.verdict == "better"


def test_ties_are_all_best_and_one_alone_is_not(put: Put, tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(name, VG, 0.3)
    put("c", VG, 0.1)
    put("a", "vg-attribution", 0.3)
    found = cells(make_board(tmp_path))
    relation, attribution = "vg-relation (aro)", "vg-attribution (aro)"
    assert [found[name, relation, "accuracy"].best for name in "abc"] == [True, True, False]
    assert found["a", attribution, "accuracy"].best is False
    assert found["b", attribution, "accuracy"] is None


def test_all_scores_and_where_less_is_more(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.1)  # has ties, and is worse
    put("other", VG, 0.9)
    put("other", "paraphrased-retrieval", 0.5)
    few, many = make_board(tmp_path), make_board(tmp_path, all_scores=True)
    # The scores of negations are of sets that have some; coco-human has none.
    task = load_task("coco-human")
    assert [c.score for c in few.columns] == [*task.board, "accuracy"]
    assert [c.score for c in many.columns] == [*task.scores, *load_task(VG).scores]
    found = cells(many)
    title = "vg-relation (aro)"
    assert [c.lower_is_better for c in many.columns if c.score == "tie_rate"] == [True]
    assert found["other", title, "tie_rate"].best is True
    assert found["clip", title, "tie_rate"].best is False
    assert found["other", title, "accuracy"].best is True


def test_known_contamination_is_noted_where_its_column_is_shown(put: Put, tmp_path: Path) -> None:
    for task in (VG, "coco-human", "coco-paraphrase"):
        put("clip", task, 0.3)
    board = make_board(tmp_path)
    human, pairs = (load_task(f"coco-{name}").data_set for name in ("human", "paraphrase"))
    assert human is not None
    assert pairs is not None
    assert "SugarCrepe++" in pairs.contamination
    assert board.notes == (
        f"coco-human: {human.contamination}",
        f"coco-paraphrase: {pairs.contamination}",
    )
    shown = [formats.markdown(board), formats.as_json(board), str(board)]
    shown.append(as_html(board, Workspace(tmp_path)))
    for text in shown:
        assert "train2017 has most of these photos" in " ".join(text.split())
    (note,) = make_board(tmp_path, families=["coco-human"]).notes
    assert note.startswith("coco-human: models trained on COCO")
    assert make_board(tmp_path, families=[VG]).notes == ()
    assert make_board(tmp_path, scores=["accuracy"]).notes == ()
    put("clip", "sugarcrepe-pp", 0.3)
    notes = make_board(tmp_path).notes
    assert f"coco-paraphrase, sugarcrepe-pp: {pairs.contamination}" in notes


def test_baseline_by_name_or_spec(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3)
    put("b", VG, 0.5, spec="file.py:B")
    assert make_board(tmp_path).baseline is None
    assert all(cell.difference is None for cell in cells(make_board(tmp_path)).values())
    for asked in ("b", "file.py:B"):
        board = make_board(tmp_path, baseline=asked)
        assert board.baseline == "b"
        assert [row.name for row in board.rows] == ["b", "a"]
        assert cells(board)["a", "vg-relation (aro)", "accuracy"].difference.value < 0
    with pytest.raises(UsageError, match="there is no model 'bb' on the board"):
        make_board(tmp_path, baseline="bb")


def test_protocols_are_columns_of_their_own(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3)
    put("a", VG, 0.9, protocol="mteb")
    titles = [c.title for c in make_board(tmp_path).columns]
    assert titles == ["vg-relation (aro)", "vg-relation (mteb)"]


def group(name: str) -> list[str]:
    return [task.name for task in all_tasks()[0] if name in task.group_names]


def test_group_mean(put: Put, tmp_path: Path) -> None:
    members = group("sts")
    assert len(members) >= 7
    for index, task in enumerate(members):
        for name in ("clip", "twin"):
            put(name, task, 0.2 + 0.05 * index)
        put("whole", task, 0.4)
    board = make_board(tmp_path)
    title = f"sts (mean of {len(members)})"
    assert [(c.title, c.score) for c in board.columns] == [(title, "spearman")]
    single = cells(make_board(tmp_path, all_scores=True))
    found = cells(board)
    for name in ("clip", "whole"):
        cell = found[name, title, "spearman"].estimate
        values = [
            c.estimate.value
            for (row, column, score), c in single.items()
            if row == name and score == "spearman" and column != title and c
        ]
        assert len(values) == len(members)
        assert cell.value == pytest.approx(np.mean(values))
        assert cell.low < cell.value < cell.high
    change = found["whole", title, "spearman"].difference
    assert change.value == pytest.approx(
        found["whole", title, "spearman"].estimate.value
        - found["clip", title, "spearman"].estimate.value
    )
    assert change.low < change.value < change.high
    # The same outcomes do not differ at all, and nothing is said of how sure that is.
    twin = found["twin", title, "spearman"].difference
    assert (twin.value, twin.low, twin.high, twin.p) == (0, None, None, 1)
    assert twin.verdict == "no clear difference"


def test_only_groups_that_say_so_have_a_mean(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [load_task(VG), load_task("vg-attribution")]
    monkeypatch.setattr(make_board_module, "all_tasks", lambda: (pair, []))
    for task in pair:
        assert "compositionality" in task.group_names
        put("clip", task.name, 0.3)
    titles = ["vg-attribution (aro)", "vg-relation (aro)"]
    assert sorted(column.title for column in make_board(tmp_path).columns) == titles
    monkeypatch.setattr(type(pair[0]), "groups", (Group("compositionality", has_mean=True),))
    (column,) = make_board(tmp_path).columns
    assert column.title == "compositionality (mean of 2)"


def test_a_mean_needs_all_members_from_one_kind_of_source(put: Put, tmp_path: Path) -> None:
    members = group("sts")
    for index, task in enumerate(members):
        put("whole", task, 0.4)
        put("mixed", task, 0.4, source="hub" if index == 0 else "folder")
        if index:
            put("partial", task, 0.4)
    board = make_board(tmp_path)
    title = f"sts (mean of {len(members)})"
    found = cells(board)
    assert found["whole", title, "spearman"] is not None
    assert found["mixed", title, "spearman"] is None
    assert found["partial", title, "spearman"] is None
    # What has no mean is not lost: the single sets are shown beside it.
    shown = [column.title.split(" (")[0] for column in board.columns[1:]]
    assert sorted(shown) == sorted(members)
    (partial,) = [row for row in board.rows if row.name == "partial"]
    assert sum(cell is not None for cell in partial.cells) == len(members) - 1


def test_no_group_column_where_no_model_is_whole(put: Put, tmp_path: Path) -> None:
    members = group("sts")
    for index, task in enumerate(members):
        put("ab"[index % 2], task, 0.4)
    titles = [c.title.split(" (")[0] for c in make_board(tmp_path).columns]
    assert sorted(titles) == sorted(members)


def test_no_group_column_without_all_members(put: Put, tmp_path: Path) -> None:
    members = group("sts")
    for task in members[:-1]:
        put("a", task, 0.4)
    titles = [c.title.split(" (")[0] for c in make_board(tmp_path).columns]
    assert sorted(titles) == sorted(members[:-1])


def test_without_outcomes_the_value_still_stands(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.2)
    path = put("a", VG, 0.6)
    outcomes_path(path).unlink()
    board = make_board(tmp_path)
    cell = cells(board)["a", "vg-relation (aro)", "accuracy"]
    assert (cell.estimate.low, cell.estimate.high) == (None, None)
    (note,) = board.notes
    assert note.startswith("shown without intervals, because the outcomes are missing: a/vg-")
    assert cell.difference.value > 0
    assert (cell.difference.low, cell.difference.high) == (None, None)
    assert cell.best is True


def test_nothing_to_show_is_said_with_its_reason(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3, limit=5)
    with pytest.raises(UsageError, match=r"only its first 5 examples \(--limit\)"):
        make_board(tmp_path)
    assert len(make_board(tmp_path, with_limits=True).rows) == 1


def test_without_clip_the_base_of_the_checkpoints_is_the_baseline(put: Put, tmp_path: Path) -> None:
    put("ViT-L-14", VG, 0.2, spec="open_clip:ViT-L-14")
    put("other", VG, 0.3, spec="open_clip:other")
    put("tuned", VG, 0.4, base="open_clip:other")
    assert make_board(tmp_path).baseline == "other"
    for name in ("a", "b"):
        put(name, VG, 0.5, base="open_clip:ViT-L-14")
    assert make_board(tmp_path).baseline == "ViT-L-14"
    assert make_board(tmp_path, baseline="other").baseline == "other"
    put("c", VG, 0.5, base="open_clip:not-measured")
    assert make_board(tmp_path).baseline == "ViT-L-14"
    put("clip", VG, 0.1)
    assert make_board(tmp_path).baseline == "clip"


def test_one_model_under_two_names_is_one_row_and_clip_stays_the_baseline(
    put: Put, tmp_path: Path
) -> None:
    put("clip", VG, 0.2, fingerprint="same", day=1)
    put("ViT-B-32", VG, 0.2, fingerprint="same", day=2)
    put("ViT-B-32", "STS12", 0.2, fingerprint="same", day=3, spec="open_clip:ViT-B-32")
    put("other", VG, 0.6)
    board = make_board(tmp_path)
    assert [row.name for row in board.rows] == ["clip", "other"]
    assert board.baseline == "clip"
    for asked in ("ViT-B-32", "open_clip:ViT-B-32", "clip"):
        assert make_board(tmp_path, baseline=asked).baseline == "clip"


def test_of_two_precisions_the_baseline_is_float32(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.1, dtype="bfloat16")
    put("clip", VG, 0.2)
    put("other", VG, 0.6)
    board = make_board(tmp_path)
    assert board.baseline == "clip (float32)"
    assert make_board(tmp_path, baseline="clip (bfloat16)").baseline == "clip (bfloat16)"


def test_a_mean_goes_over_one_place_and_over_whole_sets(put: Put, tmp_path: Path) -> None:
    members = group("sts")
    title = f"sts (mean of {len(members)})"
    for index, task in enumerate(members):
        sha = f"{index:02d}" * 32
        for name, skill in {"a": 0.2, "b": 0.4}.items():
            # The same data from a folder that was moved is the same data.
            put(name, task, skill, sha256=sha, data=f"/{name}/data:{task}.tsv")
    means = {key: cell.estimate.value for key, cell in cells(make_board(tmp_path)).items() if cell}
    # Another set of one member, however many ran on it, does not slip into the mean.
    for name in ("a", "b", "c"):
        put(name, "STS12", 0.9, sha256="ff" * 32, data="/toy:STS12.tsv", day=9)
        put(name, "STS13", 0.9, sha256="ee" * 32, limit=5, day=9)
    board = make_board(tmp_path, with_limits=True)
    for name in ("a", "b"):
        after = cells(board)[name, title, "spearman"]
        assert after.estimate.value == means[name, title, "spearman"]
    assert [c.title for c in board.columns if c.is_group] == [title]
    # A second folder with whole sets of its own has a column of its own.
    for index, task in enumerate(members):
        put("c", task, 0.5, sha256=f"a{index}" * 32, data=f"/other:{task}.tsv")
    titles = [c.title for c in make_board(tmp_path).columns if c.is_group]
    assert sorted(titles) == [f"{title} [data]", f"{title} [other]"]


def test_of_two_models_named_clip_the_newest_is_the_baseline(put: Put, tmp_path: Path) -> None:
    put("clip", VG, 0.1, fingerprint="1" * 64, day=1, spec="clip")
    put("clip", VG, 0.2, fingerprint="2" * 64, day=2, spec="clip")
    put("clip", VG, 0.2, fingerprint="3" * 64, day=3, spec="local-dir:x/clip")
    assert make_board(tmp_path).baseline == "clip #222222"


def test_a_limit_that_cut_nothing_is_whole(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3, limit=1000)
    put("b", VG, 0.3, limit=7)
    (column,) = make_board(tmp_path).columns
    assert column.title == "vg-relation (aro)"


def test_what_is_scored_elsewhere_has_a_column_without_intervals(put: Put, tmp_path: Path) -> None:
    for task in group("sts"):
        put("clip", task, 0.3)
        put("other", task, 0.6)
    put("clip", "STS13", 0.3, scored_by="mteb 2.1")
    put("other", "STS13", 0.6, scored_by="mteb 2.1")
    board = make_board(tmp_path)
    assert [(c.title, c.scored_by) for c in board.columns] == [
        ("sts (mean of 7)", ""),
        ("elsewhere:STS13", "mteb 2.1"),
    ]
    assert all(m.task in group("sts") for m in board.columns[0].measures)
    mean, alone = board.rows[1].cells
    assert mean is not None
    assert alone is not None
    assert mean.difference is not None
    assert mean.difference.low is not None
    assert (alone.estimate.low, alone.estimate.high) == (None, None)
    assert alone.difference is not None
    assert alone.difference.value == pytest.approx(
        alone.estimate.value - (board.rows[0].cells[1].estimate.value)  # type: ignore[union-attr]
    )
    assert (alone.difference.low, alone.difference.high) == (None, None)
    shown = " ".join(str(board).split())
    assert "Scored by mteb 2.1, so without intervals: elsewhere:STS13." in shown
    (said,) = verdict(board)
    assert "sts (mean of 7)" in said
    assert "elsewhere" not in said


def test_some_models_in_their_order_and_some_tasks(put: Put, tmp_path: Path) -> None:
    for name in ("clip", "a", "b"):
        for task in (VG, "vg-attribution", "sts12"):
            put(name, task, 0.3, spec=f"spec:{name}")
    board = make_board(tmp_path, models=["b", "spec:a", "b"])
    assert [row.name for row in board.rows] == ["b", "a"]
    assert board.baseline is None
    board = make_board(
        tmp_path, models=["b", "a"], baseline="clip", families=["Compositionality", "STS12"]
    )
    assert [row.name for row in board.rows] == ["clip", "b", "a"]
    assert len(board.columns) == 3
    board = make_board(tmp_path, families=[VG])
    assert [c.title for c in board.columns] == ["vg-relation (aro)"]
    assert [row.name for row in board.rows] == ["clip", "a", "b"]
    # Fewer differences are shown, and p is adjusted over those.
    many, few = (make_board(tmp_path, **more) for more in ({}, {"models": ["clip", "a"]}))
    p = [board.rows[1].cells[0].difference for board in (many, few)]
    assert p[0].p == p[1].p
    for asked in ({"models": ["c"]}, {"families": ["sts13"]}):
        with pytest.raises(UsageError, match="there is no"):
            make_board(tmp_path, **asked)


def test_what_cannot_be_told_from_the_best_is_tied(put: Put, tmp_path: Path) -> None:
    for name, skill in {"clip": 0.1, "best": 0.6, "near": 0.59, "same": 0.6}.items():
        put(name, "vg-relation", skill)
    rows = {row.name: row.cells[0] for row in make_board(tmp_path).rows}
    marks = {name: (cell.best, cell.tied) for name, cell in rows.items() if cell}
    # Two that are equal are both the best.
    assert marks == {
        "clip": (False, False),
        "best": (True, False),
        "same": (True, False),
        "near": (False, True),
    }


def test_mean_ranks(put: Put, tmp_path: Path) -> None:
    tasks = ("vg-relation", "vg-attribution", "STS13")
    skills = {"clip": 0.01, "far": 0.99, "one": 0.5, "two": 0.49}
    for name, skill in skills.items():
        for task in tasks:
            put(name, task, skill)
    put("part", "STS13", 0.5)
    board = make_board(tmp_path)
    ranks = {row.name: row.rank for row in board.rows}
    assert ranks.pop("part") is None
    # The plain way: sort each column's values, and average a model's places.
    whole = [row for row in board.rows if row.name in skills]
    places: dict[str, list[float]] = {name: [] for name in skills}
    for index in range(len(board.columns)):
        values = {row.name: row.cells[index].estimate.value for row in whole}  # type: ignore[union-attr]
        for name in skills:
            above = sum(other > values[name] for other in values.values())
            same = sum(other == values[name] for other in values.values())
            places[name].append(1 + above + (same - 1) / 2)
    for name, found in ranks.items():
        assert found is not None
        assert found.value == pytest.approx(np.mean(places[name]))
        assert found.low <= found.value <= found.high
    assert ranks["far"].low == 1  # type: ignore[union-attr]
    assert ranks["far"].high < ranks["clip"].low  # type: ignore[union-attr]
    assert ranks["one"].high > 2  # type: ignore[union-attr]
    assert ranks["two"].low < 3  # type: ignore[union-attr]


def test_sets_of_equal_clusters_vary_apart_in_mean_ranks(put: Put, tmp_path: Path) -> None:
    widths = []
    for sets in (1, 9):
        for number in range(sets):
            for name, skill in {"clip": 0.5, "one": 0.52, "two": 0.48}.items():
                put(name, "STS13", skill, sha256=f"{number:064x}")
        rank = {row.name: row.rank for row in make_board(tmp_path).rows}["clip"]
        widths.append(rank.high - rank.low)  # type: ignore[union-attr,operator]
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["a", "b", "c", "clip"]),
        ("rank", ["a", "c", "clip", "b"]),
        ("vg-relation", ["a", "clip", "c", "b"]),
        ("vg-relation:accuracy", ["a", "clip", "c", "b"]),
        ("tie_rate", ["a", "clip", "c", "b"]),
        ("STS13", ["c", "a", "b", "clip"]),
    ],
)
def test_rows_in_the_order_that_is_asked_for(
    put: Put, tmp_path: Path, sort: str, order: list[str]
) -> None:
    for name, skill, other in (("clip", 0.3, 0.1), ("a", 0.8, 0.5), ("c", 0.1, 0.9)):
        put(name, "vg-relation", skill)
        put(name, "STS13", other)
    put("b", "STS13", 0.3)
    scores = ["tie_rate"] if sort == "tie_rate" else ()
    found = [row.name for row in make_board(tmp_path, sort=sort, scores=scores).rows]
    assert found == [name for name in order if name in found]
    with pytest.raises(UsageError, match="no mean rank to sort by"):
        make_board(tmp_path, models=["a", "b"], sort="rank")
    with pytest.raises(UsageError, match=r"no order 'vg-relatoin' of this board"):
        make_board(tmp_path, sort="vg-relatoin")


@given(
    arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(0, 3))
)
def test_ranks_are_scipy_s(scores: np.ndarray) -> None:
    assert np.array_equal(ranks_within(scores), rankdata(scores, axis=0))
