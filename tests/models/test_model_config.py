"""open_clip_config.json: what is of a wrong type or size is named before anything is built."""

import json
import os
import time

import open_clip
import pytest
import tiny_clip
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.errors import BenchError, ModelError
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip.model_config import read_config

CONFIG = "open_clip_config.json"


def part(name, **values):
    """A change of one part of a config: model_cfg, or a part within it."""

    def change(written):
        own = written if name == "preprocess_cfg" else written["model_cfg"]
        (own if name == "model_cfg" else own[name]).update(values)

    return change


WRONG = {
    "a text for a switch": (
        part("model_cfg", quick_gelu="no"),
        "model_cfg.quick_gelu must be true or false, not .no.",
    ),
    "custom_text": (part("model_cfg", custom_text="false"), "custom_text must be true or false"),
    "a deeper switch": (part("vision_cfg", no_ln_pre="no"), "vision_cfg.no_ln_pre must be true"),
    "layers": (part("vision_cfg", layers=10**9), "layers is 1,000,000,000 .* within 1 to 512"),
    "width": (part("text_cfg", width=10**9), "text_cfg.width is 1,000,000,000"),
    "both at their limit": (
        part("text_cfg", width=65536, layers=48),
        "describes a network of [0-9,]{15,} weights",
    ),
    "tokens": (part("text_cfg", vocab_size=10**7), "describes a network of"),
    "below zero": (part("text_cfg", heads=-2), "text_cfg.heads is -2"),
    "a fraction": (part("text_cfg", width=32.5), "width must be a whole number, not 32.5"),
    "a text": (part("model_cfg", embed_dim="32"), "embed_dim must be a whole number"),
    "a list": (part("model_cfg", vision_cfg=[1]), "vision_cfg must be an object"),
    "infinite": (part("model_cfg", init_logit_scale=float("inf")), "must be finite"),
    "size": (part("preprocess_cfg", size="abc"), "preprocess_cfg.size must be a whole number or"),
    "large": (part("preprocess_cfg", size=10**9), "preprocess_cfg.size is 1,000,000,000"),
    "mean": (part("preprocess_cfg", mean=[0.5, 0.5]), "mean must be three numbers"),
    "std": (part("preprocess_cfg", std=[0.5, 0, 0.5]), "std must be three numbers above 0"),
    "interpolation": (
        part("preprocess_cfg", interpolation="nearly"),
        "interpolation must be bicubic or bilinear or random",
    ),
    "resize_mode": (part("preprocess_cfg", resize_mode="x"), "resize_mode must be shortest or"),
    "mode": (part("preprocess_cfg", mode="L"), "mode must be RGB"),
    "no object": (lambda w: w.update(preprocess_cfg=[1]), "preprocess_cfg must be an object"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_clip.save(tmp_path_factory.mktemp("config") / "model")


@pytest.fixture
def rewritten(folder):
    """Change the folder's config; it is put back afterwards."""
    path = folder / CONFIG
    whole = path.read_text()

    def change(how):
        written = json.loads(whole)
        how(written)
        path.write_text(json.dumps(written))
        return path

    yield change
    path.write_text(whole)


def loaded(folder, context):
    model = load_model(f"local-dir:{folder}", context)
    model.adapter.check()
    assert model.fingerprint
    return model.adapter.network()


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_in_a_config_is_named_before_it_is_built(rewritten, folder, context, kind):
    change, said = WRONG[kind]
    path = rewritten(change)
    start = time.monotonic()
    with pytest.raises(ModelError, match=said) as error:
        loaded(folder, context)
    assert str(path) in str(error.value)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("quick", [None, 0, False, 1, True])
def test_a_switch_may_be_a_number_or_left_open(rewritten, folder, context, quick):
    rewritten(part("model_cfg", quick_gelu=quick))
    loaded(folder, context)
    expected = "quick_gelu" if quick else "gelu"
    assert load_model(f"local-dir:{folder}", context).adapter.activation == expected


def test_every_architecture_of_open_clip_passes(tmp_path):
    path = tmp_path / CONFIG
    for architecture in open_clip.list_models():
        config = open_clip.get_model_config(architecture)
        path.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
        assert read_config(path) == config


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = ("quick_gelu", "embed_dim", "vision_cfg", "text_cfg", "custom_text", "layers", "size")


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), VALUES)
def test_any_config_passes_or_is_one_sentence(tmp_path_factory, config, pixels):
    path = tmp_path_factory.mktemp("any") / CONFIG
    path.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": pixels}))
    try:
        found = read_config(path)
    except BenchError as error:
        found = str(error)
    assert found == config or str(path) in found


def test_a_tower_of_transformers_has_limits_too(folder, context):
    tower = folder / "config.json"
    tower.write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 10**9}))
    try:
        with pytest.raises(ModelError, match="num_hidden_layers is 1,000,000,000"):
            loaded(folder, context)
    finally:
        tower.unlink()


@pytest.mark.parametrize("name", [CONFIG, "tokenizer.json", "config.json"])
def test_a_pipe_in_a_model_folder_is_named(tmp_path, context, name):
    folder = tiny_clip.save(tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BenchError, match=f"{name} is a pipe and not a file"):
        loaded(folder, context)
