"""mteb evaluates our models, and finds what `run` finds."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.api import evaluate

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mteb_evaluate.py"
pytestmark = pytest.mark.slow  # importing mteb takes five seconds


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return f"local-dir:{tiny_clip.save(tmp_path / 'clip')}"


def mteb_score(spec: str, task: Any) -> dict[str, float]:
    import mteb

    from paraclip_bench.bridges.mteb import MtebEncoder

    encoder = MtebEncoder(spec)
    assert isinstance(encoder, mteb.EncoderProtocol)
    found = mteb.evaluate(encoder, task, co2_tracker=False, cache=None, show_progress_bar=False)
    (result,) = found.task_results
    assert found.model_revision == encoder.model.fingerprint
    ((scores,),) = result.scores.values()
    return scores


@pytest.mark.filterwarnings("ignore")
def test_sts_of_real_pairs(
    real: Callable[[str], Path],
    spec: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import mteb
    from datasets import Dataset

    from paraclip_bench.data.source import FolderSource
    from paraclip_bench.tasks.sts import STS13

    pairs = list(STS13().load(FolderSource(real("sts").parent), "all"))
    task = mteb.get_task("STS13")
    columns = ("sentence1", "sentence2", "score")
    rows = Dataset.from_dict({key: [getattr(pair, key) for pair in pairs] for key in columns})
    task.dataset, task.data_loaded = {"test": rows}, True
    task.load_data = lambda **_: None
    theirs = mteb_score(spec, task)
    report = evaluate(spec, "STS13", data_dir=real("sts").parent, workspace=tmp_path, quiet=True)
    ((_, ours),) = report.results
    assert ours.n == 1500
    assert ours.scores["spearman"].value == pytest.approx(theirs["cosine_spearman"], abs=1e-6)
    assert ours.scores["pearson"].value == pytest.approx(theirs["cosine_pearson"], abs=1e-6)
    # mteb's second way, through our own `similarity_pairwise`.
    assert theirs["spearman"] == pytest.approx(theirs["cosine_spearman"], abs=1e-5)
    # The script of the docs, on the same task.
    monkeypatch.setattr(mteb, "get_tasks", lambda names: [task])
    monkeypatch.setattr(sys, "argv", ["mteb_evaluate.py", spec, "STS13"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert f"STS13            {theirs['cosine_spearman']:.4f}" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_compositionality_on_a_generated_set(spec: str, tmp_path: Path) -> None:
    import datasets
    import mteb

    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "vg-relation"
    (folder / "images").mkdir(parents=True)
    words = ["dog", "cat", "ball", "box"]
    cases = []
    for number in range(60):
        mode = ("RGB", "L", "RGBA")[number % 3]
        shape = {"RGB": (40, 30, 3), "L": (40, 30), "RGBA": (40, 30, 4)}[mode]
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels, mode).save(folder / "images" / f"{number % 20}.png")
        # No ties: of two equal captions mteb's product gives now and then unequal scores.
        one, two = rng.choice(words, 2, replace=False)
        cases.append(
            {
                "image_path": f"{number % 20}.png",
                "true_caption": f"the {one} is behind the {two}",
                "false_caption": f"the {two} is behind the {one}",
                "relation_name": "behind",
            }
        )
    (folder / "visual_genome_relation.json").write_text(json.dumps(cases))
    report = evaluate(
        spec,
        "vg-relation",
        protocols="mteb",
        data_dir=tmp_path / "data",
        workspace=tmp_path,
        quiet=True,
    )
    ((_, ours),) = report.results
    rows = datasets.Dataset.from_dict(
        {
            "image": [str(folder / "images" / case["image_path"]) for case in cases],
            "true_caption": [case["true_caption"] for case in cases],
            "false_caption": [case["false_caption"] for case in cases],
        }
    ).cast_column("image", datasets.Image())
    task = mteb.get_task("AROVisualRelation")
    task.dataset, task.data_loaded = {"test": rows}, True
    task.load_data = lambda **_: None
    theirs = mteb_score(spec, task)
    assert ours.scores["accuracy"].value == pytest.approx(theirs["text_acc"], abs=1e-6)


MTEB_NAMES = {
    "sugarcrepe": "SugarCrepe",
    "winoground": "Winoground",
    "coco-order": "AROCocoOrder",
    "flickr30k-order": "AROFlickrOrder",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MTEB_NAMES)
def test_siblings_on_generated_sets(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import datasets
    import mteb
    from data_sets import PINS

    root, rng = tmp_path / "data", np.random.default_rng(5)
    if name == "sugarcrepe":
        columns = compositional.sugarcrepe_columns(
            root, compositional.sugarcrepe(root, rng, ties=False)
        )
    elif name == "winoground":
        columns = compositional.winoground_columns(
            root, compositional.winoground(root, rng, 60, ties=False)
        )
    else:
        columns = compositional.order_columns(
            root, name, compositional.order(root, name, rng, 60, ties=False)
        )
    report = evaluate(spec, name, protocols="mteb", data_dir=root, workspace=tmp_path, quiet=True)
    ((_, ours),) = report.results
    rows = datasets.Dataset.from_dict(columns)
    for column in columns.keys() & {"images", "image_0", "image_1"}:
        rows = rows.cast_column(column, datasets.Image())
    pin = PINS[name]
    asked = []

    def load_dataset(path: str, *, revision: str, **_: Any) -> datasets.DatasetDict:
        asked.append((path, revision))
        return datasets.DatasetDict({pin.split: rows})

    # mteb reads its copies as it always does: the split and the revision must be the pin's.
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", load_dataset, raising=False)
    theirs = mteb_score(spec, mteb.get_task(MTEB_NAMES[name]))
    assert asked == [(pin.id, pin.revision)]
    assert ours.n == len(rows)
    same = {"accuracy": "text_acc"}
    if name == "winoground":
        same = {"group": "accuracy", "text": "text_acc", "image": "image_acc"}
    for our_name, their_name in same.items():
        assert ours.scores[our_name].value == pytest.approx(theirs[their_name], abs=1e-6)
    assert ours.scores["tie_rate"].value == 0


def test_what_does_not_fit_is_named(spec: str) -> None:
    from paraclip_bench.bridges.mteb import MtebEncoder
    from paraclip_bench.errors import ModelError

    with pytest.raises(ModelError, match=r"is of revision .*, not other"):
        MtebEncoder(spec, "other")
    encoder = MtebEncoder(spec)
    nothing = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
    with pytest.raises(ModelError, match="neither texts nor images"):
        encoder.encode([{"audio": [1]}], **nothing)
    both = [{"text": ["a", "b"], "image": [Image.new("RGB", (32, 32), c) for c in ("red", "blue")]}]
    fused = encoder.encode(both, **nothing)
    text = encoder.encode([{"text": ["a", "b"]}], **nothing)
    image = encoder.encode([{"image": both[0]["image"]}], **nothing)
    wanted = (text + image) / np.linalg.norm(text + image, axis=1, keepdims=True)
    assert np.allclose(fused, wanted, atol=1e-7)
