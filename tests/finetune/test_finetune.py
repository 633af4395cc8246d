"""Fine-tuning end to end on a tiny network: what changes, what does not, and going on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from paraclip_bench.api import finetune
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.finetune import loop
from paraclip_bench.models.open_clip import OpenCLIP

RECIPE = """
name = "tiny"
batch_size = 8
steps = 12
learning_rate = 1e-2
warmup_steps = 2
save_every = 5
"""
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def run(base: Path, pairs: tuple[Path, Path], recipe: Path, out: Path, **options: object) -> Path:
    return finetune(
        base=f"local-dir:{base}",
        data=pairs[0],
        images=pairs[1],
        recipe=recipe,
        out=out,
        quiet=True,
        **options,  # type: ignore[arg-type]
    )


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_only_text_weights_and_the_logit_scale_change(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    before, after = load_file(base / WEIGHTS), load_file(folder / WEIGHTS)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name])
        assert same == name.startswith("visual."), name
    first, last = losses(folder)[0], losses(folder)[-1]
    assert len(losses(folder)) == 12
    assert last["loss"] < 0.8 * first["loss"]
    assert first["loss"] == pytest.approx(sum(first[name] for name in loop.TERMS), abs=1e-5)


def test_plain_open_clip_loads_the_checkpoint(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _, _ = open_clip.create_model_and_transforms(
            f"local-dir:{folder}", require_pretrained=True
        )
    stored = load_file(folder / WEIGHTS)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["base"]["spec"] == f"local-dir:{base}"
    assert provenance["data"]["n"] == 24
    assert provenance["suite"] == "paper"


def test_a_checkpoint_shares_its_base_s_image_side(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    old, new = OpenCLIP(f"local-dir:{base}"), OpenCLIP(f"local-dir:{folder}")
    assert old.image.fingerprint == new.image.fingerprint
    assert old.text.fingerprint != new.text.fingerprint
    assert new.base == f"local-dir:{base}"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folders = [
        run(base, pairs, recipe, tmp_path / f"out{i}", seed=s) for i, s in enumerate((1, 1, 2))
    ]
    bits = [(folder / WEIGHTS).read_bytes() for folder in folders]
    assert bits[0] == bits[1] != bits[2]
    assert losses(folders[0]) == losses(folders[1])


class Killed(BaseException):
    """Stands for a kill: no handler of the product catches it."""


def test_a_killed_run_resumes_to_the_same_bits(
    base: Path,
    pairs: tuple[Path, Path],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(base, pairs, recipe, tmp_path / "whole")
    real = loop.batch_rows

    def dying(pairs: int, batch: int, step: int, seed: int) -> object:
        if step == 8:
            raise Killed
        return real(pairs, batch, step, seed)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "batch_rows", dying)
        with pytest.raises(Killed):
            run(base, pairs, recipe, tmp_path / "cut")
    with pytest.raises(UsageError, match="--resume"):
        run(base, pairs, recipe, tmp_path / "cut")
    cut = run(base, pairs, recipe, tmp_path / "cut", resume=True)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(cut) == losses(whole)
    assert not (cut / "training_state.safetensors").exists()


def test_a_finished_run_is_not_repeated_and_not_overwritten(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    stamp = (folder / WEIGHTS).stat().st_mtime_ns
    run(base, pairs, recipe, tmp_path / "out")
    assert (folder / WEIGHTS).stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="another base, data or recipe"):
        run(base, pairs, recipe, tmp_path / "out", seed=9)


def test_a_folder_of_something_else_is_left_alone(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="choose another folder"):
        run(base, pairs, recipe, tmp_path / "out")
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_batch_larger_than_the_data_is_named(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE.replace("batch_size = 8", "batch_size = 99"))
    with pytest.raises(DataError, match="24 pairs and a batch takes 99"):
        run(base, pairs, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
