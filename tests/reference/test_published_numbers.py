"""Our files hold every number of their sources, under names that our tasks have."""

import csv
import json
import re
import statistics
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
    found = [s for s in of_source("vl_compo") if s.measure.task not in FOILS]
    ours = {key_of(s): s.value for s in found}
    assert len(ours) == len(found) == 202 * 27
    assert ours == theirs
    source = of_source("vl_compo")[0].source
    assert f"github.com/ytaek-oh/vl_compo at commit {source.commit}" in raw["source"]
    for part in raw["note"].split("; "):
        assert part in source.note


# Our names of the columns whose task is the first part of theirs.
WHATSUP = {
    "WhatsUp_A": "controlled_a",
    "WhatsUp_B": "controlled_b",
    "COCO_QA_ONE": "coco_one",
    "COCO_QA_TWO": "coco_two",
    "VG_QA_ONE": "gqa_one",
    "VG_QA_TWO": "gqa_two",
}
FOILS = {"valse": 11, "whatsup": 6, "colorswap": 3}


@pytest.fixture
def columns(real: Callable[[str], Path]) -> list[dict[str, str]]:
    """The rows of vl_compo's individual_results.csv."""
    path = real("../reference/vl_compo_individual_results.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_valse_whatsup_and_colorswap(columns: list[dict[str, str]]) -> None:
    theirs = {}
    for row in columns:
        for column, value in row.items():
            task, _, name = column.partition("::")
            if task in FOILS:
                part = WHATSUP.get(name, name)
                score = part if task == "colorswap" else f"accuracy/{part}"
                fraction = float(round(Decimal(value) / 100, 5))
                theirs[row["arch"], row["pretrained"], row["family"], task, score] = fraction
    found = [s for s in of_source("vl_compo") if s.measure.task in FOILS]
    ours = {key_of(s): s.value for s in found}
    assert len(ours) == len(found) == 202 * sum(FOILS.values())
    assert ours == theirs


def test_the_published_foils_are_of_as_many_items_as_ours(columns: list[dict[str, str]]) -> None:
    """A share of n items is a number of them divided by n, and of no smaller n for all models.

    So vl_compo's VALSE is of the valid items alone, its ColorSwap of the test part, and its
    What'sUp of images and not of pairs or sets.
    """
    sizes = dict.fromkeys([c for c in columns[0] if c.split("::")[0] in FOILS], 0)
    for column in sizes:
        shares = [float(row[column]) / 100 for row in columns]
        sizes[column] = next(
            n for n in range(2, 9000) if all(abs(s * n - round(s * n)) < 1e-6 for s in shares)
        )
    tasks = {task.name: task for task in all_tasks()[0]}
    for name in FOILS:
        parts = {column: n for column, n in sizes.items() if column.startswith(f"{name}::")}
        whole = 300 if name == "colorswap" else sum(parts.values())
        assert tasks[name].whole_size(tasks[name].headline) == whole
        assert {s.measure.n for s in published_scores() if s.measure.task == name} == {whole}
    assert sizes["valse::existence"] == 505  # of 534
    assert sizes["whatsup::WhatsUp_A"] == 412


def test_open_clips_own_recalls_are_near_those_of_vl_compo() -> None:
    """Their tolerance is that of nineteen of twenty models that both have, and no larger."""
    published: dict[tuple[str, ...], dict[object, float]] = {}
    for s in published_scores():
        if s.source.name in ("open_clip", "vl_compo") and s.measure.task.endswith("-karpathy"):
            published.setdefault((s.source.name, *s.measure.key), {})[s.model] = s.value
    tolerances = {
        (s.source.name, *s.measure.key): s.measure.tolerance
        for s in published_scores()
        if s.measure.tolerance is not None
    }
    assert tolerances.keys() == published.keys()
    assert len(published) == 2 * 2 * 7
    for (source, *key), theirs in published.items():
        if source == "vl_compo":
            continue
        others = published["vl_compo", *key]
        apart = [abs(theirs[model] - others[model]) for model in theirs.keys() & others.keys()]
        assert len(theirs) == 118
        assert len(apart) == 84
        tolerance = tolerances[(source, *key)]
        assert tolerance == tolerances["vl_compo", *key]
        assert tolerance is not None
        near = [sum(a <= t + 1e-9 for a in apart) for t in (tolerance, tolerance - 1e-4)]
        assert near[0] >= 0.95 * len(apart) > near[1]
        assert statistics.median(apart) < 0.00021
        assert max(apart) < 0.0065


def test_open_clips_table_is_whole_and_to_four_decimals() -> None:
    scores = of_source("open_clip")
    assert len(scores) == len({(s.model, s.measure.key) for s in scores}) == 118 * 12
    assert all(round(s.value, 4) == s.value for s in scores)
    assert {s.model.family for s in scores} == {"OpenCLIP"}
    values = {(s.model.name, s.measure.task, s.measure.score): s.value for s in scores}
    # As its lines have them: the first, and that of the baseline.
    name = "ViT-SO400M-14-SigLIP-384/webli"
    assert values[name, "flickr30k-karpathy", "text-to-image/recall@1"] == 0.8296
    assert values[name, "coco-karpathy", "image-to-text/recall@10"] == 0.9448


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
    real: Callable[[str], Path], columns: list[dict[str, str]]
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
    for row in columns:
        model = (row["arch"], row["pretrained"], row["family"])
        for task in ("valse", "whatsup"):
            each = [float(value) for name, value in row.items() if name.startswith(f"{task}::")]
            assert len(each) == FOILS[task]
            theirs[(*model, task, "accuracy")] = sum(each) / len(each) / 100
    derived = [score for score in published_scores() if score.measure.mean_of]
    vl_compo = [score for score in derived if score.source.name == "vl_compo"]
    ours = {key_of(s): s.value for s in vl_compo}
    assert len(vl_compo) == len(ours) == 202 * 5
    assert ours == pytest.approx(theirs, abs=5e-6)  # parts of five decimals
    assert len(derived) == 202 * 5 + 118 * 2
    assert all(score.measure.remark.startswith("derived: ") for score in derived)


def test_a_model_without_all_parts_has_no_mean() -> None:
    file = read_file(reference_folder() / "vl_compo.json")
    whole = file.models[0]
    part = "sugarcrepe/accuracy/add_att"
    rest = {key: value for key, value in whole.values.items() if key != part}
    cut = file.model_copy(update={"models": [whole.model_copy(update={"values": rest})]})
    derived = {score.measure.task for score in cut.scores() if score.measure.mean_of}
    assert derived == {"coco-karpathy", "flickr30k-karpathy", "valse", "whatsup"}


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
