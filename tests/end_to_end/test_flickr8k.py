"""Real photographs: the docs' few lines make pairs and queries, finetune and run use them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paraclip_bench.api import evaluate, finetune

EXAMPLE = Path(__file__).parents[2] / "docs/examples/flickr8k_pairs.py"
WEIGHTS = "open_clip_model.safetensors"


@pytest.mark.slow
def test_photographs_train_and_are_retrieved(
    real: Callable[[str], Path], vit_b_32: Path, tmp_path: Path
) -> None:
    flickr = real("flickr8k")
    data = tmp_path / "data"
    subprocess.run([sys.executable, EXAMPLE, flickr, data], check=True)
    assert len((data / "pairs.jsonl").read_text().splitlines()) == 400
    rows = (data / "pairs.jsonl").read_text().splitlines()[:32]
    (data / "few.jsonl").write_text("\n".join(rows) + "\n")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name="few"\nbatch_size=16\nsteps=6\nlearning_rate=1e-4\nwarmup_steps=1\n')
    folders = [
        finetune(
            base=f"local-dir:{vit_b_32}",
            data=data / "few.jsonl",
            images=flickr / "images",
            recipe=recipe,
            out=tmp_path / name,
            quiet=True,
        )
        for name in ("first", "second")
    ]
    before, after, again = (load_file(f / WEIGHTS) for f in (vit_b_32, *folders))
    for name, tensor in before.items():
        assert torch.equal(after[name], again[name]), name
        assert torch.equal(tensor, after[name]) == name.startswith("visual."), name
    losses = [
        json.loads(line)["loss"] for line in (folders[0] / "losses.jsonl").read_text().splitlines()
    ]
    # Two batches make an epoch of the 32 rows.
    assert sum(losses[-2:]) < sum(losses[:2])
    report = evaluate(
        [f"local-dir:{vit_b_32}", f"paraclip:{folders[0]}"],
        ["paraphrased-retrieval"],
        data_dir=data,
        workspace=tmp_path,
        offline=True,
        quiet=True,
    )
    assert report.failures == []
    assert [result.model.name for _, result in report.results] == ["vit-b-32", "first"]
    for _, result in report.results:
        assert result.n == 100
        assert 0 < (result.scores["ao@10"].value or 0) < 1
        assert result.scores["recall@10/paraphrase"].value is not None
