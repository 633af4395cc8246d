"""What people have as weights: read where one reading fits, else named in one sentence."""

import argparse
import gzip
import json
import os
import pickle
import random
import re
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import tiny_clip
import torch
from safetensors.torch import save_file

from paraclip_bench.errors import BenchError, DataError, ModelError
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import weights
from paraclip_bench.models.open_clip.model_files import model_files_of

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="session")
def state():
    """The tiny network's state, names and tensors."""
    return tiny_clip.build().state_dict()


@pytest.fixture
def folder(tmp_path):
    """A tiny CLIP's folder without its weights."""
    made = tiny_clip.save(tmp_path / "model")
    (made / WEIGHTS).unlink()
    return made


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def wrapped_towers(state):
    """torch.compile of one tower alone, and activation checkpointing of a block."""
    return {
        name.replace("visual.", "visual._orig_mod.").replace(
            "resblocks.0.", "resblocks.0._checkpoint_wrapped_module."
        ): value
        for name, value in state.items()
    }


def cast(state, dtype):
    return {name: value.to(dtype) for name, value in state.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
LOADED = {
    "plain": lambda s: s,
    "open_clip's own": lambda s: {"epoch": 3, "state_dict": s, "optimizer": OPTIMIZER},
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "torch.compile of a tower": wrapped_towers,
    "DDP": lambda s: prefixed(s, "module."),
    "DDP of a compiled one": lambda s: prefixed(s, "module._orig_mod."),
    "a compiled one of DDP": lambda s: prefixed(s, "_orig_mod.module."),
    "beside a loss": lambda s: {"state_dict": s, "epoch": 3, "loss": torch.tensor(0.3)},
    "beside a random state": lambda s: {"state_dict": s, "rng_state": torch.get_rng_state()},
    "PyTorch's tutorial": lambda s: {"model_state_dict": s, "loss": torch.tensor(0.3)},
    "DDP within open_clip's own": lambda s: {"state_dict": prefixed(s, "module.")},
    "Lightning, model": lambda s: {"state_dict": prefixed(s, "model."), "global_step": 7},
    "Lightning, net": lambda s: {"state_dict": prefixed(s, "net."), "callbacks": {}},
    "Lightning, clip": lambda s: {"state_dict": prefixed(s, "clip.")},
    "Lightning, nested": lambda s: {"state_dict": prefixed(s, "model.clip_model.")},
    "model": lambda s: {"model": s, "epoch": 1, "optimizer": OPTIMIZER},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": OPTIMIZER},
    "ema": lambda s: {"ema": s},
    "ema, deeper": lambda s: {"ema": {"module": prefixed(s, "module."), "decay": 0.999}},
    "an ordered one": lambda s: OrderedDict(model=OrderedDict(s)),
    "logit_bias": lambda s: {**s, "logit_bias": torch.tensor(-10.0)},
    "a logit_scale [1]": lambda s: {**s, "logit_scale": s["logit_scale"].reshape(1)},
    "OpenAI's sizes": lambda s: {
        **s,
        **{name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")},
    },
}


@pytest.mark.parametrize("kind", LOADED)
def test_a_state_is_found_wherever_it_lies(folder, tiny, context, state, kind):
    file = folder / "open_clip_pytorch_model.bin"
    is_old = kind in ("DDP", "ema")  # as torch wrote before 1.6
    torch.save(LOADED[kind](dict(state)), file, _use_new_zipfile_serialization=not is_old)
    found, expected = (load_model(f"local-dir:{f}", context) for f in (folder, tiny))
    assert found.fingerprint == expected.fingerprint
    network = found.adapter.network()
    assert torch.equal(network.model.visual.conv1.weight, state["visual.conv1.weight"])
    assert torch.equal(network.model.token_embedding.weight, state["token_embedding.weight"])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", WEIGHTS])
def test_weights_of_any_precision_load(folder, context, state, kind, name):
    write = save_file if name == WEIGHTS else torch.save
    write(cast(state, kind), folder / name)
    network = loaded(folder, context)
    expected = state["visual.conv1.weight"].to(kind).float()
    assert torch.equal(network.model.visual.conv1.weight, expected)


def test_safetensors_of_whole_numbers_are_no_weights(folder, context, state):
    save_file(cast(state, torch.int8), folder / WEIGHTS)
    with pytest.raises(ModelError, match="as I8, which is no weight"):
        loaded(folder, context)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod."])
@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_model.pth"])
def test_safetensors_under_any_prefix_and_name(folder, tiny, context, state, prefix, name):
    save_file(prefixed(state, prefix), folder / name)
    found, expected = (load_model(f"local-dir:{f}", context) for f in (folder, tiny))
    found.adapter.check()
    assert found.fingerprint == expected.fingerprint
    found.adapter.need({"text"})
    assert found.adapter.network(("text",)).model.ln_final.weight.shape == (32,)


def test_a_zip_of_torch_that_is_called_safetensors(folder, tiny, context, state):
    torch.save(state, folder / WEIGHTS)
    found, expected = (load_model(f"local-dir:{f}", context) for f in (folder, tiny))
    found.adapter.check()
    assert found.fingerprint == expected.fingerprint


def sharded(folder, state, *, parts=2, ending="safetensors"):
    """Write a state as transformers shards it; the index file."""
    stem = "model" if ending == "safetensors" else "pytorch_model"
    names = sorted(state)
    places = {}
    for part in range(parts):
        own = {name: state[name].contiguous() for name in names[part::parts]}
        file = f"{stem}-{part + 1:05}-of-{parts:05}.{ending}"
        save_file(own, folder / file) if ending == "safetensors" else torch.save(own, folder / file)
        places.update(dict.fromkeys(own, file))
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_shards_are_joined(folder, tiny, context, state, ending, prefix):
    sharded(folder, prefixed(state, prefix), ending=ending)
    found, expected = (load_model(f"local-dir:{f}", context) for f in (folder, tiny))
    found.adapter.check()
    assert found.fingerprint == expected.fingerprint


def rewritten(index, change):
    written = json.loads(index.read_text())
    change(written["weight_map"])
    index.write_text(json.dumps(written))


SHARDS = {
    "outside": (lambda m: m.update(logit_scale="../model/x"), "is not the name of a file"),
    "absolute": (lambda m: m.update(logit_scale="/etc/hostname"), "is not the name of a file"),
    "a number": (lambda m: m.update(logit_scale=3), "is not the name of a file"),
    "up": (lambda m: m.update(logit_scale=".."), ".. is missing"),
    "missing": (lambda m: m.update(logit_scale="model-3.safetensors"), "is missing"),
    "empty": (dict.clear, "names no tensors"),
    "moved": (
        lambda m: m.update(logit_scale=(set(m.values()) - {m["logit_scale"]}).pop()),
        "do not agree on the tensor",
    ),
    "unknown": (lambda m: m.pop("logit_scale"), "do not agree on the tensor"),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_an_index_that_is_wrong(folder, context, state, kind):
    change, said = SHARDS[kind]
    rewritten(sharded(folder, state), change)
    with pytest.raises(ModelError, match=said):
        loaded(folder, context)


def test_an_index_that_cannot_be_read_and_one_that_is_missing(folder, context, state):
    index = sharded(folder, state)
    index.write_text("[" * 100_000)
    with pytest.raises(ModelError, match="is not the index of a sharded checkpoint"):
        loaded(folder, context)
    index.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json is not beside it"):
        loaded(folder, context)


def loaded(folder, context):
    """Do what a run does before it encodes."""
    model = load_model(f"local-dir:{folder}", context)
    model.adapter.check()
    assert model.fingerprint
    return model.adapter.network()


def archive(path, state, kind):
    inner = path.with_name("inner.safetensors")
    save_file(dict(state), inner)
    if kind == "gzip":
        path.write_bytes(gzip.compress(inner.read_bytes()[:5000]))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.write(inner, "model.safetensors")
    else:
        with tarfile.open(path, "w") as file:
            file.add(inner, "model.safetensors")
    inner.unlink()


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 605143316\n"
HTML = "\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>" + " " * 600
REFUSED = {
    "Git LFS": (lambda p, s: p.write_text(LFS), "is a Git LFS pointer .*git lfs pull"),
    "HTML": (lambda p, s: p.write_text(HTML), "is a web page .* /resolve/"),
    "an S3 error": (lambda p, s: p.write_text("<?xml version='1'?><Error/>"), "is a web page"),
    "text": (lambda p, s: p.write_text("Invalid username or password."), "is text and not weights"),
    "JSON": (lambda p, s: p.write_text('{"error": "gated"}'), "is text and not weights"),
    "empty": (lambda p, s: p.write_bytes(b""), r"is damaged or cut off \(it is empty\)"),
    "zeros": (lambda p, s: p.write_bytes(bytes(5000)), "is damaged or cut off"),
    "noise": (lambda p, s: p.write_bytes(random.Random(0).randbytes(5000)), ""),
    "gzip": (lambda p, s: archive(p, s, "gzip"), "is a gzip archive; unpack it"),
    "zip": (lambda p, s: archive(p, s, "zip"), "is a zip archive; unpack it"),
    "tar": (lambda p, s: archive(p, s, "tar"), "is a tar archive; unpack it"),
    "HDF5": (lambda p, s: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "two states": (
        lambda p, s: torch.save({"model": dict(s), "ema": dict(s)}, p),
        r"holds several states of this network \('model', 'ema'\)",
    ),
    "no state": (lambda p, s: torch.save({"epoch": 3, "args": {}}, p), "holds no state"),
    "a list": (lambda p, s: torch.save([1, 2], p), "holds no state"),
    "an optimizer": (lambda p, s: torch.save({"optimizer": OPTIMIZER}, p), "holds no state"),
    "LoRA": (
        lambda p, s: torch.save({"base.visual.conv1.lora_A": torch.ones(2)}, p),
        "another architecture",
    ),
    "two prefixes": (
        lambda p, s: torch.save({**prefixed(s, "student."), **prefixed(s, "teacher.")}, p),
        r"several states of this network side by side \('student\.', 'teacher\.'\)",
    ),
    "EMA beside the plain one": (
        lambda p, s: torch.save({**s, **prefixed(s, "ema.")}, p),
        r"side by side \(without a prefix, 'ema\.'\).*save the one that you mean",
    ),
    "complex": (
        lambda p, s: torch.save(cast(s, torch.complex64), p),
        "as complex64, which is no weight",
    ),
    "whole numbers": (lambda p, s: torch.save(cast(s, torch.int8), p), "as int8, which"),
    "bits": (lambda p, s: torch.save(cast(s, torch.bool), p), "as bool, which"),
    "a sparse tensor": (
        lambda p, s: torch.save({**s, "text_projection": s["text_projection"].to_sparse()}, p),
        "'text_projection' as a sparse tensor",
    ),
    "without values": (
        lambda p, s: torch.save({**s, "text_projection": s["text_projection"].to("meta")}, p),
        "'text_projection' as a tensor without values",
    ),
    **{
        f"a pickle of arrays, protocol {protocol}": (
            lambda p, s, protocol=protocol: p.write_bytes(
                pickle.dumps({n: t.numpy() for n, t in s.items()}, protocol)
            ),
            "is a plain pickle, which is not read.*save_file",
        )
        for protocol in (2, 4, 5)
    },
    "a pipe": (lambda p, s: os.mkfifo(p), "is a pipe and not a file; write its content"),
    "transformers' names": (
        lambda p, s: torch.save(
            {"text_model.embeddings.token_embedding.weight": s["ln_final.bias"]}, p
        ),
        "has the names of transformers",
    ),
    "arguments": (
        lambda p, s: torch.save({"model": dict(s), "args": argparse.Namespace(lr=1)}, p),
        r"would need unpickling \(argparse\.Namespace\)",
    ),
    "a module": (lambda p, s: torch.save(torch.nn.Linear(2, 2), p), "would need unpickling"),
    "TorchScript": (
        lambda p, s: torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), str(p)),
        "is a TorchScript archive",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", WEIGHTS])
def test_what_cannot_be_loaded_is_named(folder, context, state, kind, name):
    write, said = REFUSED[kind]
    write(folder / name, state)
    with pytest.raises((ModelError, DataError), match=said) as error:
        loaded(folder, context)
    assert str(folder / name) in str(error.value)
    assert ";" in str(error.value)


OTHER_FOLDERS = {
    "transformers": ({"config.json": '{"model_type": "clip"}'}, r"transformers .*'clip'"),
    "SigLIP": ({"config.json": '{"model_type": "siglip"}'}, "model_type 'siglip'"),
    "sentence-transformers": (
        {"config.json": '{"model_type": "bert"}', "modules.json": "[]"},
        "name it as sentence-transformers:",
    ),
    "PEFT": ({"adapter_config.json": "{}"}, "adapter of PEFT's"),
    "a config that is none": ({"config.json": "["}, "an open_clip folder needs it"),
    "nothing": ({}, "an open_clip folder needs it"),
    "an LFS config": ({"open_clip_config.json": LFS}, "is a Git LFS pointer"),
}


@pytest.mark.parametrize("kind", OTHER_FOLDERS)
def test_folders_of_others(tmp_path, context, kind):
    files, said = OTHER_FOLDERS[kind]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=said):
        loaded(tmp_path, context)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "before torch 1.6", "index"])
def test_whatever_is_cut_or_flipped_is_named_or_loads(tmp_path, context, kind):
    """Nothing but a sentence comes out; what loads has tensors of the right shapes."""
    small = tiny_clip.build()
    folder = tiny_clip.save(tmp_path / "model", small)
    (folder / WEIGHTS).unlink()
    path = folder / (WEIGHTS if kind == "safetensors" else "open_clip_pytorch_model.bin")
    if kind == "index":
        path = sharded(folder, small.state_dict())
    elif kind == "safetensors":
        save_file(small.state_dict(), path)
    else:
        torch.save(small.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    whole, chance = path.read_bytes(), random.Random(0)
    # Of a large file, the parts that say what it holds.
    ends = [*range(min(4000, len(whole))), *range(max(0, len(whole) - 4000), len(whole))]
    for number in range(24):
        content = bytearray(whole)
        if number % 3 == 0:
            del content[chance.choice([chance.randrange(len(whole)), chance.choice(ends)]) :]
        else:
            for _ in range(1 + number % 4):
                content[chance.choice(ends)] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            network = loaded(folder, context)
        except BenchError:
            continue
        assert network.model.ln_final.weight.shape == (32,)


BARE = [
    ("ViT-B-32", False, "GELU, .* if it was trained with QuickGELU.*open_clip:ViT-B-32-quickgelu@"),
    ("ViT-B-32-quickgelu", True, "QuickGELU, .* trained with GELU, name it open_clip:ViT-B-32@"),
    ("ViT-S-32", False, "GELU, .* open_clip:ViT-S-32-quickgelu@"),
    ("ViT-S-32-quickgelu", True, "QuickGELU, .* open_clip:ViT-S-32@"),
    ("RN50", False, "open_clip:RN50-quickgelu@"),
]


@pytest.mark.parametrize(("architecture", "quick", "said"), BARE)
def test_a_bare_file_says_its_activation_and_how_to_choose(
    tmp_path, context, architecture, quick, said
):
    file = tmp_path / "epoch_30.pt"
    file.write_bytes(b"x")
    adapter = load_model(f"open_clip:{architecture}@{file}", context).adapter
    assert re.search(said + re.escape(str(file)), adapter.describe())
    assert model_files_of(f"{architecture}@{file}").quick_gelu is quick


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("ViT-B-32", "vit_b_32-laion2b_e16-af8dbd0c.pth"),  # a published file, which is known
        ("ViT-B-16-SigLIP", "epoch_30.pt"),  # timm's tower, which has its own
    ],
)
def test_where_the_activation_is_no_choice_nothing_is_said(tmp_path, context, architecture, name):
    (tmp_path / name).write_bytes(b"x")
    adapter = load_model(f"open_clip:{architecture}@{tmp_path / name}", context).adapter
    assert adapter.describe() == ""


def test_the_activation_that_is_chosen_runs(tmp_path, context, monkeypatch):
    import open_clip

    config = dict(tiny_clip.CONFIG)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    file = tmp_path / "epoch_1.pt"
    torch.save({"state_dict": tiny_clip.build().state_dict()}, file)
    plain, quick = (
        load_model(f"open_clip:tiny{ending}@{file}", context) for ending in ("", "-quickgelu")
    )
    assert (plain.adapter.activation, quick.adapter.activation) == ("gelu", "quick_gelu")
    assert plain.fingerprint != quick.fingerprint


def test_parts_are_files_of_the_folder_alone(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("")
    for name in ("a/b", "a\\b", "../x", "", "/x", str(Path(tmp_path / "a" / "b"))):
        index.write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(ModelError):
            weights.parts_of(index)
