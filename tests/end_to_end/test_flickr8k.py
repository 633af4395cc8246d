"""Real photographs: the docs' few lines make pairs and queries, finetune and run use them.

Their five captions each are a zero-shot retrieval set as they stand.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import tiny_clip
import torch
from PIL import Image
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


@pytest.mark.slow
def test_captions_of_photographs_are_ranked_as_open_clip_alone_ranks_them(
    real: Callable[[str], Path], tmp_path: Path, own_store: Path
) -> None:
    flickr = real("flickr8k")
    captions: dict[str, list[str]] = defaultdict(list)
    with (flickr / "captions.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            captions[row["image"]].append(row["caption"])
    chosen = dict(list(captions.items())[:60])
    folder = tmp_path / "data/flickr30k-karpathy"
    folder.mkdir(parents=True)
    (folder / "images").symlink_to(flickr / "images")
    lines = (json.dumps({"image": name, "captions": own}) for name, own in chosen.items())
    (folder / "captions.jsonl").write_text("\n".join(lines))
    spec = f"local-dir:{tiny_clip.save(tmp_path / 'tiny')}"
    report = evaluate(
        spec, "flickr30k-karpathy", data_dir=tmp_path / "data", workspace=tmp_path, quiet=True
    )
    ((_, result),) = report.results
    assert (result.n, result.data.notes["captions"]) == (60, 300)

    model, _, preprocess = open_clip.create_model_and_transforms(spec)
    tokenizer = open_clip.get_tokenizer(spec)
    model.eval()
    texts = [text for own in chosen.values() for text in own]
    owner = np.repeat(np.arange(60), 5)
    with torch.no_grad():
        pixels = [preprocess(Image.open(flickr / "images" / name)) for name in chosen]
        images = model.encode_image(torch.stack(pixels), normalize=True).numpy()
        vectors = model.encode_text(tokenizer(texts), normalize=True).numpy()
    similarities = images @ vectors.T
    for k in (1, 5, 10):
        first = np.argsort(-similarities, axis=0, kind="stable")[:k]
        to_image = (first == owner).any(axis=0).mean()
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        to_text = (owner[best] == np.arange(60)[:, None]).any(axis=1).mean()
        for name, expected in (("text-to-image", to_image), ("image-to-text", to_text)):
            score = result.scores[f"{name}/recall@{k}"]
            assert score.value == pytest.approx(expected, abs=1e-9)
            assert score.low <= score.value <= score.high
    assert 0 < result.scores["mean_recall"].value < 1
