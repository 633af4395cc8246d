"""Names become tasks, protocols, a suite and a source."""

import json
import os
from pathlib import Path

import pytest

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import UsageError
from paraclip_bench.evaluation import plan
from paraclip_bench.tasks import catalog

SEVEN = {"STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R"}


def names(wanted: list[str], suite: str = "paper") -> list[str]:
    return [task.name for task in catalog.choose_tasks(wanted, suite).tasks]


def test_tasks_and_groups_mix_each_once() -> None:
    assert names(["sts12", "VG-Relation", "STS12"]) == ["STS12", "vg-relation"]
    assert set(names(["sts"])) >= SEVEN
    assert set(names(["compositionality"])) == {
        *("vg-relation", "vg-attribution", "sugarcrepe", "sugarcrepe-pp", "winoground"),
        *("coco-order", "flickr30k-order", "valse", "whatsup", "colorswap", "negbench"),
    }
    assert names(["STS14", "STS"])[0] == "STS14"
    assert len(names(["STS14", "sts"])) == len(names(["sts"]))


@pytest.mark.parametrize("suite", ["paper", "demo"])
def test_all_is_every_task_of_the_suite(suite: str) -> None:
    every = catalog.all_tasks()[0]
    assert set(names(["all"], suite)) == {task.name for task in every if suite in task.suites}
    assert set(names(["all"], suite)) >= {*SEVEN, "vg-relation", "paraphrased-retrieval"}
    siblings = {"sugarcrepe", "winoground", "coco-order", "valse"}
    assert len(siblings & set(names(["all"], suite))) == (4 if suite == "paper" else 0)


def test_unknown_tasks() -> None:
    with pytest.raises(UsageError, match="no task 'STS11'; did you mean"):
        catalog.choose_tasks(["STS11"], "paper")
    with pytest.raises(UsageError, match="no task is named"):
        catalog.choose_tasks([], "paper")


def chosen(tasks: list[str], *protocols: str) -> list[tuple[str, str]]:
    found = catalog.choose_tasks(tasks, "paper").tasks
    return [(task.name, p) for task, p in catalog.choose_protocols(found, protocols)]


def test_protocols_apply_where_a_task_has_them() -> None:
    tasks = ["STS12", "SICK-R", "vg-relation"]
    headlines = [("STS12", "all"), ("SICK-R", "senteval"), ("vg-relation", "aro")]
    assert chosen(tasks) == headlines
    assert chosen(tasks, "mteb") == [("STS12", "all"), ("SICK-R", "mteb"), ("vg-relation", "mteb")]
    assert chosen(tasks, "MTEB", "aro") == [
        ("STS12", "all"),
        ("SICK-R", "mteb"),
        ("vg-relation", "aro"),
        ("vg-relation", "mteb"),
    ]
    with pytest.raises(UsageError, match="'senteval'"):
        chosen(["STS12", "vg-relation"], "senteval")


def checkpoint(root: Path, name: str, suite: str) -> str:
    """A finished checkpoint as far as its suite is concerned: weights are not looked at."""
    folder = root / name
    folder.mkdir()
    (folder / "recipe.toml").write_text("")
    (folder / "provenance.json").write_text(json.dumps({"suite": suite}))
    return f"paraclip:{folder}"


def test_suite_is_that_of_the_checkpoints(tmp_path: Path) -> None:
    demo, other = checkpoint(tmp_path, "a", "demo"), checkpoint(tmp_path, "b", "demo")
    paper = checkpoint(tmp_path, "c", "paper")
    assert plan.choose_suite(None, ["clip", demo, other], tmp_path) == "demo"
    assert plan.choose_suite(None, [f"local-dir:{tmp_path / 'a'}"], tmp_path) == "demo"
    assert plan.choose_suite(None, [paper], tmp_path) == "paper"
    assert plan.choose_suite("paper", [demo], tmp_path) == "paper"
    with pytest.raises(UsageError, match=r"of different suites .*a is of demo.*say --suite NAME"):
        plan.choose_suite(None, [demo, paper], tmp_path)


def test_the_newest_checkpoint_is_meant_where_none_is_named(tmp_path: Path) -> None:
    for index, (name, suite) in enumerate([("old", "paper"), ("new", "demo"), ("mid", "paper")]):
        checkpoint(tmp_path, name, suite)
        time = (5, 9, 7)[index]
        os.utime(tmp_path / name / "provenance.json", (time, time))
    assert plan.choose_suite(None, ["paraclip"], tmp_path) == "demo"


def test_suite(tmp_path: Path) -> None:
    assert plan.choose_suite(None, ["open_clip:ViT-B-32/openai", "clip"], tmp_path) == "paper"
    assert plan.choose_suite(None, ["some/file.py:Class"], tmp_path) == "paper"
    assert plan.choose_suite("demo", ["clip"], tmp_path) == "demo"
    with pytest.raises(UsageError, match="no suite 'dem'; did you mean demo"):
        plan.choose_suite("dem", ["clip"], tmp_path)


def test_source(tmp_path: Path) -> None:
    assert plan.choose_source("paper", None) == HubSource()
    (tmp_path / "x").write_text("")
    for suite in ["paper", "demo"]:
        assert plan.choose_source(suite, tmp_path) == FolderSource(tmp_path, id=str(tmp_path))
