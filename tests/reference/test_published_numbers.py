"""Our files hold every number of their sources, under names that our tasks have."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from paraclip_bench.errors import DataError
from paraclip_bench.reference.published_numbers import (
    PublishedScore,
    published_scores,
    read_file,
    reference_folder,
)
from paraclip_bench.tasks.catalog import all_tasks

# How the sources call what we call otherwise.
COMPOSITIONAL = {
    "imagenet-1k zero-shot top-1": ("zero-shot-classification", "accuracy"),
    **{name: (name, "accuracy") for name in ("vg-relation", "vg-attribution")},
    **{name: (name, "accuracy") for name in ("coco-order", "flickr30k-order")},
}
MTEB = {
    "AROVisualRelation": ("vg-relation", "accuracy"),
    "AROVisualAttribution": ("vg-attribution", "accuracy"),
    "AROCocoOrder": ("coco-order", "accuracy"),
    "AROFlickrOrder": ("flickr30k-order", "accuracy"),
    "SugarCrepe": ("sugarcrepe", "accuracy_micro"),
    "Winoground": ("winoground", "group"),
}


def of_source(name: str) -> list[PublishedScore]:
    """What a source gives itself, without what is derived from it."""
    return [s for s in published_scores() if s.source.name == name and not s.measure.mean_of]


def key_of(score: PublishedScore) -> tuple[str | None, ...]:
    """What a source's row and its score's name say."""
    model, measure = score.model, score.measure
    return model.architecture, model.pretrained, model.family, measure.task, measure.score


def named(theirs: str) -> tuple[str, str]:
    if theirs in COMPOSITIONAL:
        return COMPOSITIONAL[theirs]
    task, _, score = theirs.partition("/")
    return task, f"accuracy/{score}" if task == "sugarcrepe" else score


def test_every_compositional_number(real: Callable[[str], Path]) -> None:
    raw = json.loads(
        real("../reference/published_compositional.json").read_text(), parse_float=Decimal
    )
    assert raw["unit"] == "percent"
    theirs = {
        (row["architecture"], row["pretrained"], row["family"], *named(name)): float(value / 100)
        for row in raw["rows"]
        for name, value in row["scores"].items()
    }
    ours = {key_of(s): s.value for s in of_source("vl_compo")}
    assert len(ours) == len(of_source("vl_compo")) == 202 * 27
    assert ours == theirs
    source = of_source("vl_compo")[0].source
    assert f"github.com/ytaek-oh/vl_compo at commit {source.commit}" in raw["source"]
    for part in raw["note"].split("; "):
        assert part in source.note


def test_every_mteb_number(real: Callable[[str], Path]) -> None:
    raw = json.loads(real("../reference/published_mteb.json").read_text())
    theirs = {
        (
            row["model"],
            row["model_revision"],
            row["mteb_version"] and f"mteb {row['mteb_version']}",
            *MTEB.get(row["task"], (row["task"], "spearman")),
            row["dataset_revision"],
            f"mteb's {row['metric']}",
        ): row["value"]
        for row in raw
    }
    ours = {
        (
            s.model.hub_id,
            s.model.revision,
            s.model.evaluator,
            s.measure.task,
            s.measure.score,
            s.measure.dataset_revision,
            s.measure.note,
        ): s.value
        for s in of_source("mteb")
    }
    assert len(ours) == len(of_source("mteb")) == len(raw) == 117
    assert ours == theirs
    source = of_source("mteb")[0].source
    assert {row["source"].removeprefix("github.com/") for row in raw} == {
        f"{source.url.removeprefix('https://github.com/')} @ {source.commit}"
    }


def test_the_headline_scores_are_the_means_of_the_published_parts(
    real: Callable[[str], Path],
) -> None:
    raw = json.loads(real("../reference/published_compositional.json").read_text())
    prefixes = {
        ("sugarcrepe", "accuracy"): ("sugarcrepe/", 7),
        ("coco-karpathy", "mean_recall"): ("coco-karpathy/", 6),
        ("flickr30k-karpathy", "mean_recall"): ("flickr30k-karpathy/", 6),
    }
    theirs = {}
    for row in raw["rows"]:
        model = (row["architecture"], row["pretrained"], row["family"])
        for key, (prefix, count) in prefixes.items():
            parts = [value for name, value in row["scores"].items() if name.startswith(prefix)]
            assert len(parts) == count
            theirs[(*model, *key)] = sum(parts) / count / 100
    derived = [score for score in published_scores() if score.measure.mean_of]
    ours = {key_of(s): s.value for s in derived}
    assert len(derived) == len(ours) == 202 * 3
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert all(score.measure.remark.startswith("derived: ") for score in derived)


def test_a_model_without_all_parts_has_no_mean() -> None:
    file = read_file(reference_folder() / "vl_compo.json")
    whole = file.models[0]
    part = "sugarcrepe/accuracy/add_att"
    rest = {key: value for key, value in whole.values.items() if key != part}
    cut = file.model_copy(update={"models": [whole.model_copy(update={"values": rest})]})
    derived = {score.measure.task for score in cut.scores() if score.measure.mean_of}
    assert derived == {"coco-karpathy", "flickr30k-karpathy"}


def test_a_measure_of_a_task_that_is_there_is_one_of_its_own() -> None:
    """A protocol or score that no task has would compare nothing, without a word."""
    tasks = {task.name: task for task in all_tasks()[0]}
    checked = 0
    for measure in {s.measure.key: s.measure for s in published_scores()}.values():
        if (task := tasks.get(measure.task)) is not None:
            assert measure.protocol in task.protocols, measure
            assert measure.score in task.scores, measure
            checked += 1
    assert checked >= 11


def test_values_are_fractions_and_sources_are_named() -> None:
    for score in published_scores():
        assert 0 < score.value < 1
        assert score.measure.n > 1
        assert score.source.url.startswith("https://github.com/")
        assert re.fullmatch("[0-9a-f]{7,40}", score.source.commit)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    good = json.loads((reference_folder() / "mteb.json").read_text())
    measure = next(iter(good["measures"].values()))
    path = tmp_path / "some.json"
    for change in (
        {"schema_version": 2},
        {"measures": {}},
        {"models": [{"hub_id": "a/b", "values": {next(iter(good["measures"])): 59.9}}]},
        {"unit": "percent"},
        {"measures": {**good["measures"], "mean": {**measure, "mean_of": ["no such part"]}}},
        {"measures": {**good["measures"], "mean": {**measure, "mean_of": ["mean"]}}},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match=r"some\.json holds no published numbers \(.+; install"):
            read_file(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"some\.json"):
        read_file(path)
