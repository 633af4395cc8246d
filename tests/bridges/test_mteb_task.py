"""`mteb:NAME` is mteb's score of our model, marked as such."""

import dataclasses
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_cache
import numpy as np
import pytest
from data_sets import EQUIVALENTS, PINS

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks import catalog

mteb_is_slow = pytest.mark.slow  # importing mteb takes five seconds
quiet = pytest.mark.filterwarnings("ignore")


def sts13(real: Callable[[str], Path]) -> list[dict[str, Any]]:
    from paraclip_bench.tasks.sts import STS13

    keys = ("sentence1", "sentence2", "score")
    pairs = STS13().load(FolderSource(real("sts").parent), "all")
    return [{key: getattr(pair, key) for key in keys} for pair in pairs]


@mteb_is_slow
def test_sts13_from_the_hub_s_cache_is_our_sts13(
    real: Callable[[str], Path], run: Any, run_json: Any, home: Path, tmp_path: Path
) -> None:
    pin = PINS["STS13"]
    hub_cache.put(home, pin.id, pin.revision, {"test": sts13(real)})
    line = ("run", "-m", "letters.py:Letters", "-t", "mteb:sts13", "-t", "STS13", "--offline")
    first = run(*line)
    assert first.returncode == 0, first.stderr
    assert "STS13 of paraclip-bench is on the same data as mteb:STS13" in first.stderr
    rows = {row["task"]: row for row in run_json(*line)["results"]}
    assert "already there" in run(*line).stderr
    theirs, ours = rows["mteb:STS13"], rows["STS13"]
    assert theirs["value"] == pytest.approx(ours["value"], abs=1e-6)
    assert 0.2 < ours["low"] < ours["value"] < ours["high"]
    assert (theirs["low"], theirs["high"], theirs["n"]) == (None, None, 1500)

    file = tmp_path / "workspace" / theirs["file"]
    result = json.loads(file.read_text())
    assert result["main_score"] == "cosine_spearman"
    pearson = json.loads((tmp_path / "workspace" / ours["file"]).read_text())["scores"]["pearson"]
    assert result["scores"]["cosine_pearson"]["value"] == pytest.approx(pearson["value"], abs=1e-6)
    assert (result["data"]["id"], result["data"]["revision"]) == (pin.id, pin.revision)
    assert result["data"]["source"] == "hub"
    assert result["provenance"]["scored_by"].startswith("mteb 2.")
    assert not list(file.parent.glob("mteb-STS13*.parquet"))

    board = run_json("leaderboard", "--all")
    columns = {column["title"] for column in board["columns"]}
    assert columns == {"STS13", "mteb:STS13"}
    for column, cell in zip(board["columns"], board["rows"][0]["cells"], strict=True):
        assert (cell["estimate"]["low"] is None) is (column["title"] == "mteb:STS13")
    exported = run_json("results", "export", "--format", "mteb", "-o", "out")
    (written,) = exported["written"]
    assert written["task"] == "mteb:STS13"
    assert "STS13 is written from" in exported["left_out"][0]


@mteb_is_slow
def test_what_is_not_in_the_cache_is_named_before_anything_is_computed(run: Any) -> None:
    line = ("run", "-m", "letters.py:Letters", "-t", "mteb:STS12", "--offline")
    done = run(*line)
    assert done.returncode == 1
    assert done.stdout == "suite: paper (the hub's data)\n"
    assert (
        "error: data set mteb/sts12-sts @ a0d554a6 cannot be had: not in the local cache, and "
        "--offline forbids the network"
    ) in done.stderr
    assert "Traceback" not in done.stderr
    dry = run(*line, "--dry-run", "--json")
    assert "missing: data set mteb/sts12-sts" in json.loads(dry.stdout)["plan"][0]["state"]


@mteb_is_slow
def test_another_revision_in_the_cache_is_refused(run: Any, home: Path) -> None:
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i % 5} for i in range(9)]
    hub_cache.put(home, PINS["STS12"].id, "f" * 40, {"test": rows})
    done = run("run", "-m", "letters.py:Letters", "-t", "mteb:STS12", "--offline")
    assert done.returncode == 1
    assert "the cache has revision ffffffff of data set mteb/sts12-sts, and mteb" in done.stderr
    assert "wants a0d554a6" in done.stderr
    assert "cosine_spearman" not in done.stdout


@mteb_is_slow
@quiet
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mteb:STS133", "no task 'STS133' in mteb; did you mean STS13"),
        ("mteb:zzzzzz", "no task 'zzzzzz' in mteb; known: "),
        ("mteb:Kinetics400VA", "needs audio and video, which no model here has"),
    ],
)
def test_a_wrong_name_is_one_sentence(name: str, part: str) -> None:
    with pytest.raises(UsageError, match="(?s)" + part) as caught:
        catalog.load_task(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mteb", r"'mteb' needs a name after a colon \(mteb:NAME\)"),
        ("mteb:", r"'mteb:' needs a name after a colon"),
        ("STS13:x", "'STS13:x' takes no argument"),
        ("mtebb:STS13", "no task 'mtebb'; did you mean mteb"),
    ],
)
def test_a_prefix_needs_an_argument_and_a_task_takes_none(name: str, part: str) -> None:
    for ask in (catalog.load_task, lambda n: catalog.choose_tasks([n], "paper")):
        with pytest.raises(UsageError, match=part):
            ask(name)


def test_a_prefix_is_part_of_no_group() -> None:
    tasks, broken = catalog.all_tasks()
    assert tasks
    assert not [reason for reason in broken if "mteb" in reason]
    assert not [task for task in tasks if task.name.startswith("mteb")]


def test_without_mteb_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(BenchError, match="install it again: pip install mteb"):
        catalog.load_task("mteb:STS13")


@mteb_is_slow
def test_options_that_it_cannot_obey_are_refused(tmp_path: Path) -> None:
    task = catalog.load_task("MTEB:sts13")
    assert (task.name, task.headline, task.main_score) == ("mteb:STS13", "mteb", "cosine_spearman")
    with pytest.raises(UsageError, match=r"mteb:STS13 is scored as a whole .* --limit"):
        read_examples(task, HubSource(), "mteb", 3)
    for source in (FolderSource(tmp_path), FolderSource(tmp_path, kind="demo")):
        with pytest.raises(DataError, match="mteb:STS13 reads the hub's data alone"):
            read_examples(task, source, "mteb", None)
    with pytest.raises(BenchError, match=r"mteb:STS13 has no outcomes, because mteb 2"):
        task.outcomes(None, None)  # type: ignore[arg-type]


@mteb_is_slow
def test_the_table_of_equivalents_is_mteb_s_own() -> None:
    import mteb

    for ours, equivalent in EQUIVALENTS.items():
        task = catalog.load_task(ours)
        assert equivalent.protocol in task.protocols
        assert equivalent.scores.keys() <= task.scores.keys()
        about = mteb.get_task(equivalent.name).metadata
        assert (PINS[ours].id, PINS[ours].revision) == (
            about.dataset["path"],
            about.dataset["revision"],
        )
        assert equivalent.scores[task.main_score] == about.main_score
        # SugarCrepe's one split is called train, and mteb renames it.
        assert about.eval_splits == ["test"]
        assert PINS[ours].split == ("train" if ours == "sugarcrepe" else "test")


class Words:
    """`embed` for texts: a random vector each, so that no two cosines tie."""

    def texts(self, texts: Any) -> np.ndarray:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        raw = np.array([np.random.default_rng(seed).normal(size=8) for seed in seeds], np.float32)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def with_data(name: str, make: Callable[[Any], Any]) -> Any:
    """mteb:NAME whose data are there, as `load_data` leaves them."""
    from paraclip_bench.bridges.mteb_task import _leaves

    task = catalog.load_task(name)
    for leaf in _leaves(task._task):  # type: ignore[attr-defined]
        leaf.dataset, leaf.data_loaded = make(leaf), True
    return task


@mteb_is_slow
@quiet
def test_several_subsets_have_a_table_and_a_mean() -> None:
    import datasets
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)

    def pairs(n: int) -> Any:
        letters = list("abcdefgh ")
        text = lambda: "".join(rng.choice(letters, 12))  # noqa: E731
        columns = {
            "sentence1": [text() for _ in range(n)],
            "sentence2": [text() for _ in range(n)],
            "score": rng.uniform(0, 5, n).tolist(),
        }
        return {"test": datasets.Dataset.from_dict(columns)}

    task = with_data(
        "mteb:STS17", lambda t: {name: pairs(10 + i) for i, name in enumerate(t.hf_subsets)}
    )
    examples = read_examples(task, HubSource(), "mteb", None)
    measured = task.measured(examples, Words())
    (table,) = measured.tables.values()
    subsets = task._task.hf_subsets
    assert list(table) == [f"test/{name}" for name in subsets]
    assert [n for n, _ in table.values()] == [10 + i for i in range(len(subsets))]
    assert len(examples) == sum(n for n, _ in table.values())
    for subset in subsets:
        rows = task._task.dataset[subset]["test"]
        cosine = (Words().texts(rows["sentence1"]) * Words().texts(rows["sentence2"])).sum(axis=1)
        wanted = spearmanr(cosine, rows["score"]).statistic
        found = table[f"test/{subset}"][1]["cosine_spearman"]
        assert found == pytest.approx(wanted, abs=1e-6)
    mean = np.mean([scores["cosine_spearman"] for _, scores in table.values()])
    assert measured.scores["cosine_spearman"] == pytest.approx(mean)
    assert next(iter(measured.scores)) == task.main_score


@mteb_is_slow
@quiet
def test_an_aggregate_counts_the_queries_of_its_parts() -> None:
    import datasets

    def retrieval(task: Any) -> Any:
        texts = ["abc", "def", "gha", "hhb"]
        ids = [str(i) for i in range(len(texts))]
        return {
            "default": {
                "test": {
                    "corpus": datasets.Dataset.from_dict(
                        {"id": ids, "title": [""] * len(texts), "text": texts}
                    ),
                    "queries": datasets.Dataset.from_dict({"id": ids[:3], "text": texts[:3]}),
                    "relevant_docs": {i: {i: 1} for i in ids[:3]},
                    "top_ranked": None,
                }
            }
        }

    task = with_data("mteb:CQADupstackRetrieval", retrieval)
    examples = read_examples(task, HubSource(), "mteb", None)
    assert len(examples) == 3 * 12
    assert len(examples.revision.split(", ")) == len(set(examples.revision.split(", "))) > 1
    measured = task.measured(examples, Words())
    assert measured.scores[task.main_score] == pytest.approx(1.0)
    assert measured.tables == {}


@mteb_is_slow
def test_the_digest_names_task_data_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from paraclip_bench.bridges import mteb_task

    def digest(name: str, revision: str = "r") -> str:
        task = with_data(name, lambda t: {"test": [0, 1]})
        about = task._task.metadata
        changed = about.model_copy(
            update={"dataset": {"path": about.dataset["path"], "revision": revision}}
        )
        monkeypatch.setattr(task._task, "metadata", changed)
        examples = read_examples(task, HubSource(), "mteb", None)
        assert examples_sha256(examples) == examples.sha256
        assert examples_sha256(dataclasses.replace(examples, rows=[])) == examples.sha256
        return examples.sha256

    found = [digest("mteb:STS13"), digest("mteb:STS13", "s"), digest("mteb:STS12")]
    assert found[0] == digest("mteb:STS13")
    monkeypatch.setattr(mteb_task, "mteb_version", lambda: "3.0")
    found.append(digest("mteb:STS13"))
    assert len(set(found)) == 4
