"""What may share a table, and that the rest is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.selection import Selection, choose_board_suite, select
from paraclip_bench.errors import UsageError

Put = Callable[..., Path]
VG = "vg-relation"


def shown(selection: Selection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (row, (task, *_)), _entry in selection.cells.items():
        found.setdefault(selection.names[row], []).append(task)
    return {name: sorted(tasks) for name, tasks in sorted(found.items())}


def test_other_data_have_columns_of_their_own(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3, sha256="ab" * 32, day=9)
    for name in ("a", "b"):
        put(name, VG, 0.4, sha256="cd" * 32)
    selection = select(tmp_path, "paper", with_limits=False)
    # The data that most models were run on come first.
    assert [m.sha256[:2] for m in selection.measures] == ["cd", "ab"]
    assert shown(selection) == {"a": [VG, VG], "b": [VG]}
    assert selection.left_out == []
    columns = make_board(tmp_path).columns
    assert [column.title for column in columns] == [
        "vg-relation (aro) [n=60, data cdcdcd]",
        "vg-relation (aro) [n=60, data ababab]",
    ]


def test_an_older_version_of_a_task_is_left_out(put: Put, tmp_path: Path) -> None:
    # A score that was corrected is never outvoted by its older version.
    old = [put(name, VG, 0.3, day=9, version=7) for name in ("a", "b")]
    put("d", VG, 0.5, version=8, day=1)
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"d": [VG]}
    for path, line in zip(sorted(old), sorted(selection.left_out), strict=True):
        assert path.name in line
        assert "by version 7 of vg-relation, whose scores version 8 changed" in line


def test_of_a_model_without_a_fingerprint_the_last_run_alone(put: Put, tmp_path: Path) -> None:
    for task in (VG, "STS12"):
        put("mine", task, 0.3, fingerprint=None, day=1, run="first")
    put("mine", "STS12", 0.4, fingerprint=None, day=2, run="second")
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"mine": ["STS12"]}
    (line,) = selection.left_out
    assert "mine/vg-relation" in line
    assert "of an earlier run" in line


def test_limits_only_when_asked_for(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3)
    limited = put("b", VG, 0.3, limit=7)
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"a": [VG]}
    assert selection.left_out == [f"b/{limited.name}: only its first 7 examples (--limit)"]
    selection = select(tmp_path, "paper", with_limits=True)
    assert shown(selection) == {"a": [VG], "b": [VG]}
    assert selection.left_out == []


def test_suites_never_share_a_table(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3)
    assert choose_board_suite(tmp_path, None) == "paper"
    put("a", VG, 0.3, suite="demo")
    with pytest.raises(UsageError, match="demo and paper, which never share a table"):
        choose_board_suite(tmp_path, None)
    assert choose_board_suite(tmp_path, "demo") == "demo"
    # A file copied into another suite's folder does not slip in.
    stray = put("b", VG, 0.3, suite="demo")
    target = tmp_path / "paper" / "b" / stray.name
    target.parent.mkdir()
    stray.rename(target)
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"a": [VG]}
    assert selection.left_out == [f"b/{stray.name}: is of suite demo"]


def test_no_results(put: Put, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no results in"):
        choose_board_suite(tmp_path, None)
    put("a", VG, 0.3)
    with pytest.raises(UsageError, match="there are no results of suite demo"):
        choose_board_suite(tmp_path, "demo")
    with pytest.raises(UsageError, match="there is no suite 'papers'; did you mean paper"):
        choose_board_suite(tmp_path, "papers")


def test_damaged_files_are_named_and_the_rest_stands(put: Put, tmp_path: Path) -> None:
    put("a", VG, 0.3)
    put("b", VG, 0.3).write_text("{")
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"a": [VG]}
    assert "is not a result" in selection.left_out[0]


def test_equal_names_get_labels_that_differ(put: Put, tmp_path: Path) -> None:
    put("m", VG, 0.3, fingerprint="1" * 64)
    put("m", VG, 0.3, fingerprint="2" * 64)
    put("m", VG, 0.3, fingerprint="2" * 64, dtype="bfloat16")
    put("n", VG, 0.3, fingerprint="3" * 64)
    put("n", VG, 0.3, fingerprint="3" * 64, dtype="bfloat16")
    put("o", VG, 0.3, fingerprint="4" * 64)
    names = select(tmp_path, "paper", with_limits=False).names
    assert sorted(names.values()) == [
        "m (bfloat16) #222222",
        "m (float32) #111111",
        "m (float32) #222222",
        "n (bfloat16)",
        "n (float32)",
        "o",
    ]


def test_models_without_fingerprint_are_told_apart_by_spec(put: Put, tmp_path: Path) -> None:
    put("M", VG, 0.3, fingerprint=None, spec="one.py:M")
    put("M", VG, 0.4, fingerprint=None, spec="two.py:M")
    selection = select(tmp_path, "paper", with_limits=False)
    assert shown(selection) == {"M (one.py:M)": [VG], "M (two.py:M)": [VG]}


def test_the_newer_of_two_results_of_one_model(put: Put, tmp_path: Path) -> None:
    old = put("name", VG, 0.3, fingerprint="same", day=1)
    new = put("renamed", VG, 0.3, fingerprint="same", day=2)
    selection = select(tmp_path, "paper", with_limits=False)
    assert [entry.path for entry in selection.cells.values()] == [new]
    (line,) = selection.left_out
    assert f"name/{old.name}: the same model" in line
    assert f"renamed/{new.name}, which is newer" in line


def test_nothing_differs_by_the_order_of_folders(put: Put, tmp_path: Path) -> None:
    for name in ("b", "a"):
        for task in ("vg-attribution", VG):
            put(name, task, 0.3)
    selection = select(tmp_path, "paper", with_limits=False)
    assert [m[:2] for m in selection.measures] == [("vg-attribution", "aro"), (VG, "aro")]
    assert shown(selection) == {"a": ["vg-attribution", VG], "b": ["vg-attribution", VG]}


def test_of_some_models_the_others_are_not_read(put: Put, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(name, "vg-relation", 0.5, fingerprint=name)
    # The same weights under another name, and a seed of the same method.
    put("other", "vg-attribution", 0.5, fingerprint="a")
    for seed in (0, 1):
        put(f"x/seed-{seed}", "vg-relation", 0.5, method="m", seed=seed)

    def names(*only: str) -> set[str]:
        found = select(tmp_path, "paper", with_limits=False, only=only)
        return {entry.result.model.name for entry in found.cells.values()}

    every = {"a", "b", "c", "other", "x/seed-0", "x/seed-1"}
    assert names() == every
    assert names("a") == names("other") == names("spec:a") == {"a", "other"}
    assert names("a", "b") == {"a", "other", "b"}
    assert names("x") == names("x/seed-1") == {"x/seed-0", "x/seed-1"}
    # A label, or a slip: only all of them can tell.
    assert names("a", "x (2 seeds)") == every
    # What cannot be read may be anybody's, and is named.
    (path,) = tmp_path.glob("paper/b/*.json")
    path.write_text("{")
    found = select(tmp_path, "paper", with_limits=False, only=["a"])
    assert any("b/" in reason for reason in found.left_out)
    (path,) = tmp_path.glob("paper/c/*.json")
    path.write_text("{}")
    assert {e.result.model.name for e in found.cells.values()} == {"a", "other"}
