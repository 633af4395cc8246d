"""QuickGELU by construction: used if the tag or the built-in config says so."""

import json
import shutil

import pytest
import tiny_clip

from paraclip_bench.errors import ModelError
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import model_files
from paraclip_bench.models.open_clip.network import QuickGELU, open_clip

PRETRAINED = open_clip.list_pretrained()


@pytest.fixture
def no_download(monkeypatch, tmp_path):
    """Every tag's weights are one file that is there already."""
    file = tmp_path / "weights.bin"
    file.write_bytes(b"")
    monkeypatch.setattr(model_files, "download_pretrained", lambda config: str(file))
    monkeypatch.setattr(model_files, "once_reachable", lambda: True)


@pytest.mark.usefixtures("no_download")
def test_every_tag_is_planned_with_the_activation_of_its_tag_or_config():
    quick, corrected = set(), set()
    for architecture, tag in PRETRAINED:
        config = open_clip.get_model_config(architecture) or {}
        published = open_clip.get_pretrained_cfg(architecture, tag)
        expected = bool(config.get("quick_gelu")) or bool(published.get("quick_gelu"))
        planned = model_files.model_files_of(f"{architecture}/{tag}").quick_gelu
        assert planned is expected, (architecture, tag)
        if planned:
            quick.add((architecture, tag))
            if not config.get("quick_gelu"):
                corrected.add((architecture, tag))
    assert {("ViT-B-32", "laion400m_e32"), ("ViT-B-32", "openai")} <= corrected
    assert ("ViT-B-32-quickgelu", "laion400m_e32") in quick - corrected
    assert ("ViT-B-16", "laion400m_e32") not in quick
    assert ("ViT-B-32", "laion2b_s34b_b79k") not in quick


@pytest.mark.parametrize("quick", [False, True])
def test_the_recorded_activation_is_read_off_the_network(tmp_path, context, quick):
    folder = tiny_clip.save(tmp_path / "model", tiny_clip.build(quick_gelu=quick))
    written = json.loads((folder / "open_clip_config.json").read_text())
    assert written["model_cfg"]["quick_gelu"] is quick
    model = load_model(f"local-dir:{folder}", context)
    assert model.adapter.activation == ("quick_gelu" if quick else "gelu")
    modules = model.adapter.network().model.modules()
    assert any(isinstance(module, QuickGELU) for module in modules) is quick


@pytest.mark.parametrize(
    ("name", "config_says", "refused"),
    [
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", True, True),
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", False, False),
        ("my-own.pth", True, False),
    ],
)
def test_a_folder_that_contradicts_a_known_file_is_refused(
    tmp_path, context, name, config_says, refused
):
    from paraclip_bench.models.open_clip.network import torch

    network = tiny_clip.build(quick_gelu=config_says)
    folder = tiny_clip.save(tmp_path / "model", network)
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(network.state_dict(), folder / name)
    model = load_model(f"local-dir:{folder}", context)
    if not refused:
        assert model.adapter.activation == ("quick_gelu" if config_says else "gelu")
        return
    with pytest.raises(ModelError, match=r"network with GELU, but .* says QuickGELU") as error:
        model.adapter.check()
    assert "set quick_gelu to false" in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "name", "quick"),
    [
        ("ViT-B-32", "vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("ViT-B-32-quickgelu", "vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("ViT-B-32", "vit_b_32-laion2b_e16-af8dbd0c.pth", False),
        ("ViT-B-32-quickgelu", "vit_b_32-laion2b_e16-af8dbd0c.pth", None),
        ("ViT-B-32", "epoch_30.pt", False),
        ("ViT-B-32-quickgelu", "epoch_30.pt", True),
    ],
)
def test_a_bare_file_of_a_known_name_gets_its_activation(tmp_path, architecture, name, quick):
    (tmp_path / name).write_bytes(b"")
    argument = f"{architecture}@{tmp_path / name}"
    if quick is None:
        with pytest.raises(ModelError, match="the architecture ViT-B-32-quickgelu says QuickGELU"):
            model_files.files_of(argument)
    else:
        assert model_files.model_files_of(argument).quick_gelu is quick


def test_a_moved_folder_has_the_same_activation_and_fingerprint(tmp_path, context, tiny):
    moved = shutil.copytree(tiny, tmp_path / "elsewhere")
    here, there = (load_model(f"local-dir:{folder}", context) for folder in (tiny, moved))
    assert here.fingerprint == there.fingerprint
    assert here.adapter.activation == there.adapter.activation == "gelu"


@pytest.mark.parametrize(
    ("name", "config_says", "planned"),
    [
        ("timm/vit_base_patch32_clip_224.laion400m_e32", False, True),
        ("timm/vit_base_patch32_clip_224.laion400m_e32", True, True),
        ("somebody/their-own", True, True),
        ("somebody/their-own", False, False),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", False, False),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", True, None),
    ],
)
def test_a_hub_repository_that_open_clip_knows(tmp_path, monkeypatch, name, config_says, planned):
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": {"quick_gelu": config_says}}))
    monkeypatch.setattr(model_files, "download_pretrained_from_hf", lambda *a, **k: str(config))
    monkeypatch.setattr(model_files, "once_reachable", lambda: False)
    if planned is None:
        with pytest.raises(ModelError, match=r"network with GELU, but .* says QuickGELU"):
            model_files.model_files_of(f"hf-hub:{name}")
    else:
        assert model_files.model_files_of(f"hf-hub:{name}").quick_gelu is planned
