"""`results diff` and `merge`: several machines' results."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import KEPT, copy_of, measure

from paraclip_bench.boards.selection import select
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.results import store
from paraclip_bench.results.contributions import keep, read_contributions
from paraclip_bench.results.exchange import diff, differing_fields, merge
from paraclip_bench.results.schema import Result


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(tmp_path_factory.mktemp("exchange"))


@pytest.fixture
def two(measured: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two workspaces with the same results."""
    return copy_of(measured, tmp_path / "a"), copy_of(measured, tmp_path / "b")


def the(workspace: Path, task: str = "STS12") -> Path:
    (path,) = workspace.glob(f"results/*/*/{task}*.json")
    return path


def change(path: Path, rows: int = 0, about: dict[str, Any] | None = None, **fields: Any) -> Result:
    """Write a result again, as a run would: with other fields, and some outcomes changed."""
    result = store.read(path)
    columns = {name: values.copy() for name, values in store.read_outcomes(path).items()}
    if rows:
        columns["cosine"][:rows] += 0.25
    provenance = result.provenance.model_copy(update=about or {})
    changed = result.model_copy(update={**fields, "provenance": provenance})
    return store.write(path, changed, columns)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.name[0] != "."}


def scored(result: Result, value: float) -> dict[str, Any]:
    score = result.scores["spearman"].model_copy(update={"value": value})
    return {**result.scores, "spearman": score}


def test_equal_folders(two: tuple[Path, Path]) -> None:
    found = diff(*two)
    assert found.is_equal
    assert len(found.equal) == 3
    assert diff(two[0], two[0]).is_equal
    assert diff(two[0] / "results/paper/Bags", two[1] / "results").is_equal


def test_when_it_was_measured_counts_only_where_asked(two: tuple[Path, Path]) -> None:
    change(the(two[1]), about={"time": "2030-01-01T00:00:00+00:00", "seconds": 9.0, "run": "x"})
    assert diff(*two).is_equal
    (found,) = diff(*two, ignored=()).different
    assert {field.name for field in found.fields} == {
        "provenance.time",
        "provenance.seconds",
        "provenance.run",
    }
    change(the(two[1]), about={"command": "other", "versions": {"numpy": "9"}})
    names = {field.name for field in diff(*two).different[0].fields}
    assert {"provenance.command", "provenance.versions.numpy"} <= names


def test_scores_and_outcomes_that_differ(two: tuple[Path, Path]) -> None:
    paths = the(two[0]), the(two[1])
    result = store.read(paths[1])
    before = result.scores["spearman"].value
    change(paths[1], rows=2, scores=scored(result, 0.5), n=99)
    for found in (diff(*two), diff(*paths)):
        (one,) = found.different
        assert (one.a, one.b) == paths
        assert [tuple(field) for field in one.fields] == [
            ("n", result.n, 99),
            ("scores.spearman.value", before, 0.5),
        ]
        assert one.outcomes is not None
        assert str(one.outcomes) == f"2 of {result.n} examples differ (cosine)"
    assert len(diff(*two).equal) == 2


def test_parts_have_names(two: tuple[Path, Path]) -> None:
    path = the(two[1], "vg-relation")
    result = store.read(path)
    (kind, (first, *rest)) = next(iter(result.details.items()))
    part = first.model_copy(update={"n": first.n + 1})
    change(path, details={**result.details, kind: [*rest, part]})
    (found,) = diff(*two).different
    assert [tuple(f) for f in found.fields] == [
        (f"details.{kind}.{first.name}.n", first.n, first.n + 1)
    ]


def test_examples_are_matched_by_their_ids(two: tuple[Path, Path]) -> None:
    paths = the(two[0]), the(two[1])
    columns = store.read_outcomes(paths[1])
    n = len(columns["cosine"])
    turned = {name: values[::-1][: n - 1] for name, values in columns.items()}
    turned["new"] = np.arange(n - 1)
    store.write(paths[1], store.read(paths[1]), turned)
    (found,) = diff(*paths).different
    assert found.outcomes is not None
    assert str(found.outcomes) == (f"{n - 1} of {n - 1} examples differ (new), 1 only in A")
    del turned["new"]
    store.write(paths[1], store.read(paths[1]), turned)
    (found,) = diff(*paths).different
    assert str(found.outcomes) == f"0 of {n - 1} examples differ, 1 only in A"


def test_the_same_outcomes_in_other_bytes_are_the_same(two: tuple[Path, Path]) -> None:
    import pyarrow.parquet as pq

    path = the(two[1])
    file = store.outcomes_path(path)
    table = pq.read_table(file)
    store.write(path, store.read(path), None)
    pq.write_table(table, file, compression="gzip")
    import hashlib

    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    result = store.read(path)
    assert result.digests is not None
    digests = result.digests.model_copy(update={"outcomes": sha256, "rows": table.num_rows})
    path.write_text(result.model_copy(update={"digests": digests}).model_dump_json(indent=1))
    assert diff(*two).is_equal
    done = merge([two[1]], two[0] / "results")
    assert (done.conflicts, done.copied, len(done.there)) == ([], [], 3)


def test_only_in_one(two: tuple[Path, Path]) -> None:
    gone, changed = the(two[1]), the(two[0], "vg-relation")
    gone.unlink()
    store.outcomes_path(the(two[1], "vg-relation")).unlink()
    found = diff(*two)
    assert (found.only_in_a, found.only_in_b) == ([the(two[0])], [])
    assert [tuple(f) for f in found.different[0].fields] == [("outcomes", "there", "missing")]
    changed.write_text("{")
    assert len(diff(*two).left_out) == 1
    assert diff(*two, task="paraphrased-retrieval").is_equal
    with pytest.raises(UsageError, match="no task 'x'"):
        diff(*two, task="x")
    with pytest.raises(UsageError, match="a file and a folder"):
        diff(the(two[0]), two[1])


def test_0_1_0_and_today(measured: Path) -> None:
    """The same key: what was measured is the same, intervals are made in another way."""
    found = diff(KEPT / "results", measured, model="Bags", task="vg-relation")
    (one,) = found.different
    names = {field.name for field in one.fields}
    assert {"scores.accuracy.low", "scores.accuracy.method"} <= names
    assert "scores.accuracy.value" not in names
    assert one.outcomes is None


def whole(results: Path) -> dict[str, bytes]:
    """What a merge brings: all but contributions, which a board makes again and believes."""
    return {k: v for k, v in contents(results).items() if not k.endswith(".safetensors")}


def test_contributions_of_another_s_folder_are_not_believed(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    path = the(two[0])
    result = store.read(path)
    (value,) = (s.value for n, s in result.scores.items() if n == result.main_score)
    raw = path.read_bytes()
    kept = read_contributions(path, raw)
    assert kept is not None
    lie = json.loads(kept.header)
    lie["scores"][result.main_score]["value"] = 0.99
    keep(path, raw, json.dumps(lie), {}, store.outcomes_state(path))
    target = tmp_path / "all/results"
    merge([path], target)
    (entry,) = select(target, "paper", with_limits=False).cells.values()
    assert entry.result.scores[result.main_score].value == value


def test_lost_outcomes_hide_no_conflict(two: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all/results"
    merge([the(two[0])], target)
    change(the(two[1]), rows=1)
    for path in (target / "paper/Bags").glob("*.parquet"):
        path.unlink()
    done = merge([the(two[1])], target)
    (conflict,) = done.conflicts
    assert "digests.outcomes" in [field.name for field in conflict.fields]
    assert done.copied == []


def test_folders_become_one(two: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.rmtree(two[1] / "results")
    shutil.copytree(KEPT / "results/paper/checkpoint", two[1] / "results/paper/checkpoint")
    target = tmp_path / "all/results"
    done = merge(two, target)
    assert (len(done.copied), done.there, done.conflicts, done.left_out) == (6, [], [], [])
    expected = whole(two[0] / "results") | whole(two[1] / "results")
    assert contents(target) == expected
    again = merge(two, target)
    assert (again.copied, len(again.there), again.remarks) == ([], 6, [])
    assert contents(target) == expected


def test_files_and_model_folders_and_some(two: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all/results"
    assert merge([the(two[0])], target).copied == [target / "paper/Bags" / the(two[0]).name]
    assert len(merge([two[0] / "results/paper/Bags"], target, task="vg-relation").copied) == 1
    assert len(merge([two[0] / "results"], target, model="bags").copied) == 1
    assert contents(target) == whole(two[0] / "results")
    with pytest.raises(UsageError, match="does not exist"):
        merge([tmp_path / "none"], target)


def test_another_content_is_an_error_that_shows_both(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "all/results"
    merge([the(two[0])], target)
    before = contents(target)
    result = store.read(the(two[1]))
    change(the(two[1]), rows=1, scores=scored(result, 0.75))
    done = merge([two[1]], target)
    (conflict,) = done.conflicts
    assert (conflict.a, conflict.b) == (target / "paper/Bags" / the(two[1]).name, the(two[1]))
    assert [tuple(field) for field in conflict.fields] == [
        ("scores.spearman.value", result.scores["spearman"].value, 0.75)
    ]
    assert str(conflict.outcomes).startswith("1 of ")
    # Not a file of the others either.
    assert (done.copied, contents(target)) == ([], before)
    # And between two sources, where the target has neither.
    done = merge(two, tmp_path / "new/results")
    assert [(c.a, c.b) for c in done.conflicts] == [(the(two[0]), the(two[1]))]
    assert contents(tmp_path / "new") == {}


@pytest.mark.parametrize(
    "fields",
    [{"n": 5}, {"details": {}}, {"about": {"seed": 7}}, {"about": {"depth": 3}}, {"rows": 3}],
    ids=str,
)
def test_whatever_was_measured_counts(two: tuple[Path, Path], fields: dict[str, Any]) -> None:
    change(the(two[1]), **fields)
    assert len(merge([two[1]], two[0] / "results").conflicts) == 1


def test_when_and_where_it_was_measured_does_not_count(two: tuple[Path, Path]) -> None:
    about = {"time": "2030-01-01T00:00:00+00:00", "device": "cuda", "versions": {"torch": "3"}}
    change(the(two[1]), about=about)
    before = contents(two[0])
    done = merge([two[1]], two[0] / "results")
    assert (done.conflicts, done.copied, len(done.there)) == ([], [], 3)
    (remark,) = done.remarks
    assert remark.startswith("1 of them were measured at another time")
    assert contents(two[0]) == before


def test_a_damaged_source_is_named_and_the_others_come(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    the(two[0]).write_text("{")
    os.truncate(store.outcomes_path(the(two[0], "vg-relation")), 50)
    done = merge([two[0]], tmp_path / "all/results")
    assert len(done.left_out) == 2
    assert [p.name.split(".")[0] for p in done.copied] == ["paraphrased-retrieval"]
    (tmp_path / "all/results/paper/Bags" / the(two[0]).name).write_text("damaged")
    done = merge([two[1]], tmp_path / "all/results")
    (conflict,) = done.conflicts
    assert "is not a result of run" in conflict.fields[0].a


def test_outcomes_that_are_lost_come_back(two: tuple[Path, Path]) -> None:
    file = store.outcomes_path(the(two[0]))
    kept = file.read_bytes()
    file.unlink()
    done = merge([two[1]], two[0] / "results")
    assert (done.copied, file.read_bytes()) == ([the(two[0])], kept)
    file.unlink()
    done = merge([two[0]], two[1].parent / "c/results")
    assert "has lost its outcomes" in done.remarks[0]
    assert len(done.copied) == 3


def test_links_lead_nowhere_else(two: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "all/results"
    path = the(two[0])
    outside = shutil.move(path, tmp_path / "outside.json")
    path.symlink_to(outside)
    file = store.outcomes_path(the(two[0], "vg-relation"))
    file.symlink_to(shutil.move(file, tmp_path / "outside.parquet"))
    done = merge([two[0]], target)
    assert len(done.left_out) == 2
    assert all("is a link to outside of" in reason for reason in done.left_out)
    assert len(done.copied) == 1
    # Nor is anything written through a link of the target.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = tmp_path / "other/results/paper"
    other.mkdir(parents=True)
    (other / "Bags").symlink_to(elsewhere)
    done = merge([two[1]], other.parent)
    assert (done.copied, list(elsewhere.iterdir()), len(done.left_out)) == ([], [], 3)


@pytest.mark.parametrize("suite", ["../../out", "/tmp/out", "..", "a/b", ""])
def test_a_suite_s_name_is_no_path(two: tuple[Path, Path], tmp_path: Path, suite: str) -> None:
    change(the(two[0]), suite=suite)
    for source in (the(two[0]), two[0]):
        done = merge([source], tmp_path / "all/results")
        assert len(done.left_out) == 1
        assert all(p.parent == tmp_path / "all/results/paper/Bags" for p in done.copied)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_a_file(two: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file/results"):
        with pytest.raises(BenchError, match="is no folder to write to"):
            merge([two[0]], target)


def many(folder: Path, measured: Path, count: int) -> Path:
    """A workspace with results of that many models."""
    for index in range(count):
        for path in measured.glob("paper/Bags/*.json"):
            result = store.read(path)
            model = result.model.model_copy(update={"name": f"m{index}", "fingerprint": str(index)})
            key = store.result_key(
                str(index), "float32", result.task_version, result.data.sha256, None
            )
            target = store.result_path(
                folder / "results", "paper", model.name, result.task, result.protocol, key
            )
            columns = store.read_outcomes(path)
            store.write(target, result.model_copy(update={"model": model}), columns)
    return folder


CODE = """
import sys
from pathlib import Path
from paraclip_bench.results.exchange import merge
done = merge([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))
assert not done.conflicts and not done.left_out, done
"""


def start(target: Path, *sources: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", CODE, target, *sources])


def test_merges_at_once_and_killed_ones_lose_nothing(measured: Path, tmp_path: Path) -> None:
    sources = [many(tmp_path / f"s{i}", measured, 4 + i) for i in range(3)]
    expected = contents(sources[2] / "results")
    target = tmp_path / "all/results"
    killed = start(target, *sources)
    while killed.poll() is None and len(contents(target)) < 5:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Whatever has its JSON file is whole.
    for path in target.glob("*/*/*.json"):
        assert store.has_outcomes(path, store.read(path))
    assert len(contents(target)) < len(expected)
    running = [start(target, source) for source in sources]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert contents(target) == expected


def test_a_source_that_changes_meanwhile_is_an_error(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile

    def change_first(source: Path, target: Path) -> None:
        Path(source).write_bytes(b"changed")
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", change_first)
    with pytest.raises(DataError, match="was changed during the merge"):
        merge([the(two[0])], tmp_path / "all/results")
    assert contents(tmp_path / "all/results") == {}


def test_a_field_s_absence_is_a_difference() -> None:
    from measured import result

    one, two = result(), result(remark="x")
    assert [tuple(f) for f in differing_fields(one, two)] == [("remark", None, "x")]
    assert differing_fields(one, one) == []
