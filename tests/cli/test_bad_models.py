"""Models that cannot be loaded, or give vectors that cannot be used: exit 1 and the reason."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import tiny_clip

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture
def fails(cli, data):
    """Run a spec on one text task; the run fails with one sentence that has these parts."""

    def check(spec, *parts, code=1):
        cli("run", "-m", spec, "-t", "STS12", "--data-dir", data).fails(code, *parts)

    return check


def test_no_config(folder, fails):
    (folder / CONFIG).unlink()
    fails(f"local-dir:{folder}", f"{folder} has no {CONFIG}")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[]", "has no model_cfg"),
        ("{}", "has no model_cfg"),
        ('{"model_cfg": 3}', "has no model_cfg"),
    ],
)
def test_a_config_that_is_none(folder, fails, content, part):
    (folder / CONFIG).write_bytes(content.encode("latin-1"))
    fails(f"local-dir:{folder}", f"{folder / CONFIG} {part}")


def test_a_config_with_an_unknown_key(folder, fails):
    written = json.loads((folder / CONFIG).read_text())
    written["model_cfg"]["colour"] = "blue"
    (folder / CONFIG).write_text(json.dumps(written))
    fails(f"local-dir:{folder}", str(folder), "colour")


def test_no_weights(folder, fails):
    (folder / WEIGHTS).unlink()
    fails(f"local-dir:{folder}", f"{folder} has no weights", ".safetensors")


def test_only_a_pt(folder, fails):
    (folder / WEIGHTS).rename(folder / "open_clip_model.pt")
    fails(f"local-dir:{folder}", "open_clip_model.pt is of a kind that open_clip does not load")


@pytest.mark.parametrize("kept", [0, 7, 1000, 100_000])
def test_truncated_safetensors(folder, fails, kept):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    fails(f"local-dir:{folder}", f"{path} is damaged or cut off", "copy it again")


@pytest.mark.parametrize("key", ["embed_dim", "layers"])
def test_weights_of_another_architecture(folder, fails, key):
    written = json.loads((folder / CONFIG).read_text())
    section = written["model_cfg"] if key == "embed_dim" else written["model_cfg"]["text_cfg"]
    section[key] = 48 if key == "embed_dim" else 3
    (folder / CONFIG).write_text(json.dumps(written))
    fails(f"local-dir:{folder}", str(folder / WEIGHTS), "another architecture")


def test_a_file_of_another_architecture(tiny, fails):
    fails(f"open_clip:ViT-S-32@{tiny / WEIGHTS}", str(tiny / WEIGHTS), "another architecture")


def test_a_bare_file_must_name_its_architecture(tiny, fails):
    fails(f"open_clip:{tiny / WEIGHTS}", "bare checkpoint", "open_clip:ARCH@", code=2)


class Opens:
    """What a pickle may do when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_unpickling_is_refused(folder, fails, tmp_path, kind):
    (folder / WEIGHTS).unlink()
    path, trap = folder / "open_clip_pytorch_model.bin", tmp_path / "trap"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Opens(trap)}))
    else:
        import torch

        torch.save({"state_dict": Opens(trap)}, path)
    said = "is a plain pickle, which is not read" if kind == "pickle" else "would need unpickling"
    fails(f"local-dir:{folder}", f"{path} {said}", "safetensors")
    assert not trap.exists()


def test_a_bin_file_that_is_cut_off(folder, fails):
    import torch

    path = folder / "open_clip_pytorch_model.bin"
    torch.save(tiny_clip.build().state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])
    (folder / WEIGHTS).unlink()
    fails(f"local-dir:{folder}", f"{path} is damaged or cut off")


def test_weights_that_are_not_tensors(folder, fails):
    import torch

    (folder / WEIGHTS).unlink()
    path = folder / "open_clip_pytorch_model.bin"
    torch.save([1, 2], path)
    fails(f"local-dir:{folder}", str(path))


@pytest.mark.parametrize(
    "spec",
    [
        "open_clip:ViT-B-32/openai",
        "hf-hub:nobody/nothing",
        "open_clip:hf-hub:nobody/nothing",
    ],
)
def test_weights_that_are_not_in_the_cache(cli, data, spec, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    ended = cli("run", "-m", spec, "-t", "STS12", "--data-dir", data, "--offline")
    ended.fails(1, "not in the local cache", "--offline")


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("def (", ["custom.py cannot be imported", "SyntaxError"]),
        ("1 / 0", ["custom.py cannot be imported", "ZeroDivisionError: division by zero"]),
        ("import sys; sys.exit()", ["custom.py cannot be imported", "SystemExit"]),
        ("class Model: pass", ["has neither encode_texts", "docs/models.md"]),
        ("class Model:\n def __init__(self): raise KeyError('k')", ["cannot be made", "'k'"]),
        ("class Model:\n text = 3", ["text encoder lacks prepare or encode", "docs/models.md"]),
        (
            "class Model:\n def encode_texts(self, t): raise ValueError('no way')",
            ["ValueError: no way"],
        ),
        ("class Model:\n def encode_texts(self, t): return [1.0]", ["(1,)", "[n, d]"]),
        ("class Model:\n def encode_texts(self, t): return [[1.0]] * 99", ["(99, 1)"]),
        ("class Model:\n def encode_texts(self, t): return [[float('nan')]] * len(t)", ["finite"]),
        ("class Model:\n def encode_texts(self, t): return [[0.0]] * len(t)", ["zero"]),
        ("class Model:\n def encode_texts(self, t): return None", []),
        ("class Model:\n def encode_texts(self, t): return [['a']] * len(t)", []),
        ("class Model:\n def encode_texts(self): pass", ["TypeError"]),
    ],
)
def test_a_custom_file_that_is_wrong(cli, fails, code, parts):
    Path("custom.py").write_text(code)
    fails("custom.py:Model", *parts)


def test_a_class_that_is_not_in_the_file(cli, fails):
    Path("custom.py").write_text("class Model: pass")
    fails("custom.py:Modle", "no class 'Modle' in custom.py; did you mean Model?", code=2)


@pytest.mark.parametrize(("option", "value"), [("--dtype", "bfloat16"), ("--device", "cuda")])
def test_a_class_without_to_takes_no_device_and_dtype(cli, data, option, value):
    Path("custom.py").write_text(
        "class Model:\n def encode_texts(self, t): return [[1.0]] * len(t)"
    )
    ended = cli("run", "-m", "custom.py:Model", "-t", "STS12", "--data-dir", data, option, value)
    ended.fails(2, "no to(device, dtype)", "leave them out")


def test_a_git_lfs_pointer_is_named_before_anything_is_computed(folder, cli, data):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (folder / WEIGHTS).write_text(pointer)
    spec = f"local-dir:{folder}"
    ended = cli("run", "-m", spec, "-t", "STS12", "--data-dir", data, "--dry-run")
    assert ended.code == 1
    assert f"{folder / WEIGHTS} is a Git LFS pointer" in ended.out


def test_a_folder_that_is_named_without_its_kind(cli, tiny):
    kind = f"local-dir:{tiny}"
    cli("run", "-m", tiny, "-t", "STS12").fails(2, "there is a folder of that name", kind)


def test_the_folder_above_or_below_is_meant(cli, tiny, data):
    line = ("run", "-m", f"local-dir:{tiny}", "-t", "STS12", "--data-dir")
    for wrong in (data / "sts", data.parent):
        ended = cli(*line, wrong)
        assert ended.code == 1
        if wrong.name == "sts":
            assert f"there is one for --data-dir {data}" in ended.err


def test_the_demo_s_recipe_is_not_taken_for_the_default(cli):
    own = cli("finetune", "--print-recipe", "--recipe", "paraclip").out
    demo = cli("finetune", "--print-recipe").out
    assert demo.startswith("# The demo world's recipe. For your own data: --recipe paraclip")
    assert not own.startswith("#")
