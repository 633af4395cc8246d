"""The shipped checkpoint is small, and plain open_clip loads it offline."""

import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import paraclip_bench.demo as demo
from paraclip_bench.training.recipe import shipped

FOLDER = Path(demo.__file__).parent / "base_clip"


def test_it_is_small_and_holds_only_config_and_safetensors() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20_000_000


def test_plain_open_clip_loads_it_and_finds_a_picture_by_its_caption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        # What open_clip or its dependencies warn of is not what is tested here.
        warnings.simplefilter("ignore")
        import open_clip
        import torch

        model, _, preprocess = open_clip.create_model_and_transforms(
            f"local-dir:{FOLDER}", require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    from paraclip_bench.demo import base_model, grammar
    from paraclip_bench.demo.render import render
    from paraclip_bench.demo.scenes import sample

    assert not any(isinstance(m, open_clip.transformer.QuickGELU) for m in model.modules())
    assert model.context_length == base_model.MODEL_CFG["text_cfg"]["context_length"]
    scenes = sample("test", 40, seed=6)
    with torch.inference_mode():
        pixels = torch.stack([preprocess(render(scene).image) for scene in scenes])
        texts = tokenizer([grammar.caption(scene, 0, full=True) for scene in scenes])
        assert texts.shape[1] == model.context_length
        image = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
        text = torch.nn.functional.normalize(model.encode_text(texts), dim=-1)
    found = (text @ image.T).argmax(dim=1) == torch.arange(len(scenes))
    assert found.float().mean() > 0.7


def test_the_recipe_is_flat() -> None:
    recipe = tomllib.loads(shipped()["paraclip-demo"].read_text(encoding="utf-8"))
    assert recipe["name"] == "paraclip-demo"
    assert recipe["seed"] == 0
    assert all(isinstance(value, str | int | float) for value in recipe.values())


def test_building_the_world_needs_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; import paraclip_bench.demo.world, paraclip_bench.demo.grammar;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'open_clip')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
