"""The first losses of the demo recipe: a refactoring of the loop must not move them."""

import json
from pathlib import Path

import pytest

from paraclip_bench.api import finetune
from paraclip_bench.training.recipe import find_recipe

# `paraclip-bench finetune`, seed 0, torch 2.14 on two Intel cores; processors differ by 1e-6.
LOSSES = [
    21.45171,
    23.36215,
    21.8954,
    21.46954,
    18.94577,
    19.53918,
    17.96144,
    15.57011,
    15.64106,
    13.62192,
    13.5143,
    12.50927,
    10.64603,
    10.00824,
    9.47772,
    9.11032,
    8.54956,
    8.29768,
    7.93481,
    7.69067,
]


def test_the_first_losses_of_the_demo(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    # The schedule is that of all 200 steps while it warms up, which these 20 do.
    text = find_recipe("paraclip-demo").read_text()
    recipe.write_text(text.replace("steps = 200", "steps = 20", 1))
    folder = finetune(recipe=recipe, workspace=tmp_path, quiet=True)
    lines = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == pytest.approx(LOSSES, abs=1e-4)
