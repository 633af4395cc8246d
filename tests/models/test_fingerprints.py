"""Fingerprints: each side its own, changed by whatever changes its vectors, remembered."""

import copy
import json
import os

import pytest
import tiny_clip

from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip.network import Network, torch


@pytest.fixture
def sides(tmp_path, context):
    """The (text, image) fingerprints of a network, after a change to it or to its config."""
    numbers = iter(range(100))

    def find(change=None, configure=None, **build):
        network = tiny_clip.build(**build)
        if change:
            with torch.no_grad():
                change(network)
        folder = tiny_clip.save(tmp_path / str(next(numbers)), network)
        if configure:
            path = folder / "open_clip_config.json"
            written = json.loads(path.read_text())
            configure(written)
            path.write_text(json.dumps(written))
        model = load_model(f"local-dir:{folder}", context)
        return model.text.fingerprint, model.image.fingerprint

    return find


def test_sides_are_apart_and_the_model_hashes_both(tiny, context):
    model = load_model(f"local-dir:{tiny}", context)
    assert len({model.text.fingerprint, model.image.fingerprint, model.fingerprint}) == 3


def test_what_changes_which_side(sides):
    text, image = sides()
    assert sides() == (text, image)

    def one_text_weight(network):
        network.token_embedding.weight[123, 4] += 1e-6

    def one_image_weight(network):
        network.visual.conv1.weight[3, 2, 1, 0] += 1e-6

    def scale(network):
        network.logit_scale += 1

    changed_text, same_image = sides(one_text_weight)
    assert changed_text != text
    assert same_image == image
    same_text, changed_image = sides(one_image_weight)
    assert same_text == text
    assert changed_image != image
    assert sides(scale) == (text, image)

    quick = sides(quick_gelu=True)
    assert quick[0] != text
    assert quick[1] != image

    def mean(config):
        config["preprocess_cfg"]["mean"] = [0.4, 0.5, 0.5]

    assert sides(configure=mean)[0] == text
    assert sides(configure=mean)[1] != image

    def heads(config):
        config["model_cfg"]["text_cfg"]["heads"] = 4

    assert sides(configure=heads)[0] != text
    assert sides(configure=heads)[1] == image


@pytest.fixture
def loads(monkeypatch):
    """Counts the networks that are loaded."""
    real, calls = Network.load, []
    monkeypatch.setattr(Network, "load", lambda *a, **k: calls.append(a) or real(*a, **k))
    return calls


def test_a_fingerprint_is_remembered_until_a_file_changes(tmp_path, context, loads):
    folder = tiny_clip.save(tmp_path / "model")
    spec = f"local-dir:{folder}"
    first = load_model(spec, context)
    assert not first.adapter.is_identified()
    fingerprint = first.fingerprint

    again = load_model(spec, context)
    assert again.adapter.is_identified()
    assert again.fingerprint == fingerprint
    assert again.text is not None  # looking at a side loads nothing either
    assert not loads  # a plain file is read tensor by tensor

    network = copy.deepcopy(first.adapter.network().model)
    with torch.no_grad():
        network.positional_embedding[0, 0] += 1
    tiny_clip.save(folder, network)
    changed = load_model(spec, context)
    assert not changed.adapter.is_identified()
    assert changed.fingerprint != fingerprint
    assert len(loads) == 1

    weights = folder / "open_clip_model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert not load_model(spec, context).adapter.is_identified()


def test_constructing_and_looking_at_the_sides_loads_nothing(tiny, context, loads):
    model = load_model(f"local-dir:{tiny}", context)
    model.to("cpu", "bfloat16")
    assert model.text is not None
    assert model.image is not None
    assert not loads


def test_precision_does_not_change_what_a_model_is(tmp_path, context, monkeypatch):
    folder = tiny_clip.save(tmp_path / "model")
    found = set()
    for dtype in ("bfloat16", "float32", "float16"):
        # Each with a cache of its own, so that nothing is remembered.
        monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / dtype))
        model = load_model(f"local-dir:{folder}", context)
        model.to("cpu", dtype)
        found.add(model.fingerprint)
    assert len(found) == 1


def test_a_config_that_leaves_the_activation_out_changes_nothing(sides):
    def silent(config):
        del config["model_cfg"]["quick_gelu"]

    assert sides(configure=silent) == sides()
