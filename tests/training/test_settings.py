"""What a recipe's settings do: which weights train, the temperature, what is held out."""

import html
import json
import re
from pathlib import Path
from typing import Any

import fine_tuning
import numpy as np
import pytest
import torch
from fine_tuning import WEIGHTS
from markdown_it import MarkdownIt
from safetensors.torch import load_file

from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.training import loop
from paraclip_bench.training.describe import model_card
from paraclip_bench.training.recipe import Validation
from paraclip_bench.training.validation import BestWeights

RECIPE = "batch_size = 8\nsteps = 6\nwarmup_steps = 1\nlearning_rate = 1e-2\nsave_every = 2\n"
ALL = ("image", "caption", "paraphrase_1", "paraphrase_2")


def run(base: Path, pairs: tuple[Path, Path], more: str, out: Path, **options: Any) -> Path:
    return fine_tuning.run(base, pairs, RECIPE + more, out, **options)


def changed(base: Path, folder: Path) -> set[str]:
    before, after = load_file(base / WEIGHTS), load_file(folder / WEIGHTS)
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_unlocked_layers(base: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    behind = {"ln_final.weight", "ln_final.bias", "text_projection", "logit_scale"}
    nothing = run(base, pairs, "unlocked_text_layers = 0", tmp_path / "none")
    assert changed(base, nothing) == behind
    last = changed(base, run(base, pairs, "unlocked_text_layers = 1", tmp_path / "last"))
    assert behind < last
    assert {n.split(".")[2] for n in last if n.startswith("transformer.resblocks")} == {"1"}
    assert not any("embed" in name for name in last)
    whole = changed(base, run(base, pairs, "", tmp_path / "whole"))
    assert {"token_embedding.weight", "positional_embedding"} < whole
    with pytest.raises(UsageError, match="unlocked_text_layers is 9 and the text tower has 2"):
        run(base, pairs, "unlocked_text_layers = 9", tmp_path / "nine")


def test_temperatures(base: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    before = load_file(base / WEIGHTS)["logit_scale"]

    def scale(setting: str) -> torch.Tensor:
        folder = run(base, pairs, f"temperature = {setting}", tmp_path / setting.strip('"'))
        return load_file(folder / WEIGHTS)["logit_scale"]

    assert scale('"learned"') != before
    assert scale('"frozen"') == before
    assert float(scale("0.05").exp()) == pytest.approx(20, rel=1e-6)


def test_a_loss_without_images_needs_none(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in pairs[0].read_text().splitlines()]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps({**row, "image": None}) for row in rows))
    terms = '[[loss]]\nviews = ["caption", "paraphrase_1"]'
    folder = run(base, (texts, pairs[1]), terms, tmp_path / "out")
    assert set(json.loads((folder / "losses.jsonl").read_text().splitlines()[0])) == {
        "step", "loss", "caption:paraphrase_1", "learning_rate", "logit_scale",
    }  # fmt: skip
    with pytest.raises(DataError, match="24 rows cannot be trained on"):
        run(base, (texts, pairs[1]), "", tmp_path / "other")


def test_half_precision_trains(base: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    full = run(base, pairs, "", tmp_path / "full")
    half = run(base, pairs, 'dtype = "bfloat16"', tmp_path / "half")
    one, two = (load_file(folder / WEIGHTS)["text_projection"] for folder in (full, half))
    assert two.dtype == torch.float32
    assert 0 < float((one - two).abs().max()) < float(one.abs().max())


VALIDATION = '[validation]\nshare = 0.5\nevery = 2\nscore = "js@10"\n'


@pytest.fixture
def many(tmp_path: Path, pairs: tuple[Path, Path]) -> tuple[Path, Path]:
    """Pairs on 24 images, so that 12 can be held out."""
    rng = np.random.default_rng(1)
    rows = [json.loads(line) for line in pairs[0].read_text().splitlines()]
    from PIL import Image

    for index, row in enumerate(rows):
        row["image"] = f"v{index}.png"
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pairs[1] / row["image"])
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, pairs[1]


def test_the_best_weights_on_what_is_held_out_are_kept(
    base: Path, many: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = run(base, many, VALIDATION, tmp_path / "out")
    lines = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    found = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert list(found) == [2, 4, 6]
    provenance = json.loads((folder / "provenance.json").read_text())["validation"]
    best = max(found, key=lambda step: (found[step]["js@10"], -step))
    assert provenance == {"pairs": 12, "step": best, "scores": found[best]}
    # The checkpoint has that step's weights: a run that ends there gives the same.
    text = OpenCLIP(f"local-dir:{folder}").text
    assert np.isfinite(text.encode([text.prepare("red ball")[0]]).numpy()).all()
    assert f"step {best}" in (folder / "README.md").read_text()
    assert not (folder / "best_weights.safetensors").exists()


def test_what_is_held_out_is_measured_as_the_task_does(
    base: Path, many: tuple[Path, Path], tmp_path: Path
) -> None:
    """Paraphrased retrieval on the checkpoint of the last step gives its last validation."""
    from paraclip_bench.api import evaluate
    from paraclip_bench.data.training_rows import TrainingRow, read_rows

    recipe = VALIDATION.replace("every = 2", "every = 6")
    folder = run(base, many, recipe, tmp_path / "out")
    validation = json.loads((folder / "provenance.json").read_text())["validation"]
    rows = [r for r in read_rows([many[0]], many[1], ALL) if isinstance(r, TrainingRow)]
    held = np.random.default_rng([0, 0x5F1]).permutation(24)[:12]
    data = tmp_path / "data" / "paraphrased-retrieval"
    (data / "images").mkdir(parents=True)
    queries = []
    for index in sorted(held):
        row = rows[index]
        assert isinstance(row.image, ImageRef)
        assert row.image.path is not None
        (data / "images" / row.image.id).write_bytes(row.image.path.read_bytes())
        queries.append(
            {"query": row.texts[0][0], "paraphrase": row.texts[2][0], "image_id": row.image.id}
        )
    (data / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    report = evaluate(
        f"local-dir:{folder}",
        "paraphrased-retrieval",
        suite="paper",
        data_dir=data.parent,
        workspace=tmp_path,
        quiet=True,
    )
    scores = report.results[0][1].scores
    wanted = {"recall@1": "recall@1/query", "recall@1/paraphrase": "recall@1/paraphrase"}
    for name, value in validation["scores"].items():
        assert scores[wanted.get(name, name)].value == pytest.approx(value, abs=1e-6)


def test_a_run_with_validation_goes_on_to_the_same_bits(
    base: Path, many: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    real = loop.batch_rows

    def dying(pairs: int, batch: int, step: int, seed: int) -> Any:
        if step == 5:
            raise Killed
        return real(pairs, batch, step, seed)

    whole = run(base, many, VALIDATION, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "batch_rows", dying)
        with pytest.raises(Killed):
            run(base, many, VALIDATION, tmp_path / "cut")
    cut = run(base, many, VALIDATION, tmp_path / "cut", resume=True)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert (cut / "losses.jsonl").read_text() == (whole / "losses.jsonl").read_text()


def test_patience() -> None:
    best = BestWeights(Validation(patience=2))
    assert best.take(1, {"ao@10": 0.5})
    assert not best.take(2, {"ao@10": 0.5})
    assert not best.is_over
    again = BestWeights(Validation(patience=2), json.loads(best.dump()))
    for each in (best, again):
        assert not each.take(3, {"ao@10": 0.4})
        assert each.is_over
        assert each.found is not None
        assert each.found["step"] == 1


def test_too_few_images_to_hold_out(base: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validation holds out 6 of 12 images"):
        run(base, pairs, VALIDATION, tmp_path / "out")


def test_a_card_shows_foreign_names_literally() -> None:
    marked = "_e_ __s__ my_set ~a~ ~~b~~ $x$ *i* [l](u) | `c` #"
    provenance = {
        "base": {"spec": "clip", "fingerprint": "ab" * 32, "activation": "gelu"},
        "data": {"id": marked, "n": 8, "sha256": "cd" * 32},
        "recipe": {"batch_size": 8, "note": marked},
        "steps": 6,
        "seed": 0,
    }
    card = model_card(marked, provenance, "InfoNCE(caption, paraphrase_1)", 8)
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(card)
    shown = html.unescape(page.replace("<span>$</span>", "$"))
    assert f"<h1>{marked}</h1>" in shown
    assert f": {marked}, 8 pairs" in shown
    assert json.dumps(provenance["recipe"]) in shown
    # The card's own words in bold, a link of ours, and nothing else.
    assert page.count("<strong>") == 4
    assert page.count("<a ") == 1
    assert not set(re.findall("<(em|s|table)>", page))
    assert "batch_size" in card
