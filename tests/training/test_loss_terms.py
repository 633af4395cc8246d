"""Training with terms of other kinds: negations, further paraphrases, learned directions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_tuning import WEIGHTS, losses, run
from safetensors import safe_open
from safetensors.torch import load_file

from paraclip_bench.errors import DataError
from paraclip_bench.training import loop
from paraclip_bench.training.recipe import find_recipe, read_recipe
from paraclip_bench.training.table import open_table

RECIPE = """
batch_size = 8
steps = 12
learning_rate = 1e-2
warmup_steps = 2
save_every = 5
"""
LEARNED = """
[[loss]]
views = ["image", "caption"]
[[loss]]
kind = "distance"
views = ["caption", "paraphrase_1"]
projection = 4
learned = true
[[loss]]
kind = "hinge"
views = ["caption", "negation"]
projection = 4
learned = true
"""


@pytest.fixture
def negated(pairs: tuple[Path, Path]) -> tuple[Path, Path]:
    """The pairs, each with a negation and two more paraphrases."""
    rows = [json.loads(line) for line in pairs[0].read_text().splitlines()]
    for row in rows:
        row["negation"] = f"not {row['caption']}"
        row["paraphrase_3"] = f"{row['paraphrase_2']} small"
    pairs[0].write_text("\n".join(map(json.dumps, rows)) + "\n")
    return pairs


def shipped(name: str) -> str:
    """The terms of a shipped recipe with the settings of this test."""
    terms = find_recipe(name).read_text()
    return RECIPE + terms[terms.index("[[loss]]") :]


@pytest.mark.parametrize("name", ["semclip", "clic"])
def test_the_rivals_recipes_train(
    base: Path, negated: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    folder = run(base, negated, shipped(name), tmp_path / "out")
    first, last = losses(folder)[0], losses(folder)[-1]
    terms = read_recipe(folder / "recipe.toml").loss
    assert {term.name for term in terms} < first.keys()
    weighted = sum(term.weight * first[term.name] for term in terms)
    assert first["loss"] == pytest.approx(weighted, abs=1e-5)
    assert last["loss"] < first["loss"]
    card = (folder / "README.md").read_text()
    assert "distance(caption, paraphrase" in card
    assert load_file(folder / WEIGHTS).keys() == load_file(base / WEIGHTS).keys()


def test_a_row_without_the_negation_is_named(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"'negation' is not there; .* --also negation"):
        run(base, pairs, shipped("semclip"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_further_paraphrases_are_views(
    base: Path, negated: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = loop.gradients
    monkeypatch.setattr(
        loop, "gradients", lambda *a, **k: (seen.append(a[2].texts), real(*a, **k))[1]
    )
    terms = '[[loss]]\nviews = ["image", "paraphrase_3"]\n'
    terms += '[[loss]]\nviews = ["negation", "caption"]\nkind = "hinge"\n'
    folder = run(base, negated, RECIPE + terms, tmp_path / "out")
    assert set(seen) == {("caption", "negation", "paraphrase_3")}
    assert "image:paraphrase_3" in losses(folder)[0]


def test_learned_directions_train_and_a_killed_run_goes_on_to_the_same_bits(
    base: Path, negated: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for a kill: no handler of the product catches it."""

    kept: list[torch.Tensor] = []
    real_save, real_rows = loop.save_state, loop.batch_rows

    def watched(path, notes, trained, optimizer):  # type: ignore[no-untyped-def]
        real_save(path, notes, trained, optimizer)
        with safe_open(path, framework="pt") as state:
            kept.append(state.get_tensor("weight/directions/4/learned"))

    def dying(pairs: int, batch: int, step: int, seed: int) -> object:
        if step == 8:
            raise Killed
        return real_rows(pairs, batch, step, seed)

    monkeypatch.setattr(loop, "save_state", watched)
    whole = run(base, negated, RECIPE + LEARNED, tmp_path / "whole")
    assert [tensor.shape for tensor in kept] == [(32, 4), (32, 4)]
    assert not torch.equal(kept[0], kept[1])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "batch_rows", dying)
        with pytest.raises(Killed):
            run(base, negated, RECIPE + LEARNED, tmp_path / "cut")
    cut = run(base, negated, RECIPE + LEARNED, tmp_path / "cut", resume=True)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(cut) == losses(whole)


def test_a_negation_goes_with_its_caption(tmp_path: Path) -> None:
    """Of several captions and as many negations, both of one number are chosen."""
    from paraclip_bench.data.training_rows import TrainingRow, text_views
    from paraclip_bench.training.table import RowReport, make_table

    views = text_views({"negation", "paraphrase_10", "paraphrase_3"})
    assert views[3:] == ("negation", "paraphrase_3", "paraphrase_10")
    row = TrainingRow(None, tuple(tuple("abcd") for _ in views), "row")

    def tokenize(text: str) -> np.ndarray:
        return np.array([ord(text), 0], dtype=np.int32)

    made = make_table([row], tokenize, 0, tmp_path / "table", RowReport(), lambda _: None, views)
    assert open_table(tmp_path / "table").views == views
    chosen = np.concatenate([made.choose(np.array([0]), [0, step]) for step in range(60)])
    number = chosen - made.first[0]
    assert set(number[:, 0]) == {0, 1, 2, 3}
    together = [views.index(view) for view in ("caption", "paraphrase_2", "negation")]
    assert (number[:, together] == number[:, :1]).all()
    # Nothing here says of which paraphrase the tenth is made, so it goes with the caption.
    assert (number[:, 4] == number[:, 0]).all()
    assert (number[:, 5] == number[:, 0]).all()
