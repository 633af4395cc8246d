"""One side alone: the same bits as with both, and of the other tower not a byte."""

import copy
import json
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.data.images import ImageRef
from paraclip_bench.demo.suite import base_folder
from paraclip_bench.errors import ModelError
from paraclip_bench.models.open_clip import OpenCLIP, autotune, build, network, weights
from paraclip_bench.models.open_clip.model_files import model_files_of
from paraclip_bench.models.open_clip.network import Network, open_clip, torch

TEXTS = ["a cat", "two dogs that run after a red ball in the old park", ""]
SIDES = {"text", "image"}


def config_of(kind):
    config = copy.deepcopy(tiny_clip.CONFIG)
    text, vision = config["text_cfg"], config["vision_cfg"]
    if kind in ("siglip", "custom", "coca"):
        config["custom_text"] = True
    if kind == "siglip":
        config["init_logit_bias"] = -10.0
        text |= {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
        vision |= {"no_ln_pre": True, "pool_type": "avg"}
    if kind == "resnet":
        config["vision_cfg"] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    if kind == "coca":
        text |= {"embed_cls": True, "output_tokens": True}
        vision |= {"attentional_pool": True, "output_tokens": True, "attn_pooler_heads": 4}
        config["multimodal_cfg"] = {"width": 32, "heads": 2, "layers": 1, "context_length": 16}
    return config


def random_state(config):
    torch.manual_seed(3)
    config = copy.deepcopy(config)
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    model = (kind if config.pop("custom_text", False) else open_clip.CLIP)(**config)
    for buffer in model.visual.buffers():  # a batch norm that has seen something
        buffer.add_(1) if buffer.dim() == 0 else buffer.uniform_(0.5, 2)
    return model.state_dict()


@pytest.fixture
def argument(tmp_path, monkeypatch):
    """An OpenCLIP argument of a new model, by what it is and how it is written down."""
    from open_clip import factory
    from safetensors.torch import save_file

    def make(kind="clip", form="safetensors", config=None, state=None):
        config = config or config_of(kind)
        state = random_state(config) if state is None else state
        folder = tmp_path / f"{kind}-{form}"
        folder.mkdir()
        written = {"model_cfg": config, "preprocess_cfg": tiny_clip.PREPROCESS}
        (folder / "open_clip_config.json").write_text(json.dumps(written))
        if "pth" in form:
            torch.save(state, folder / "any.pth")
        elif form == "bin":
            wrapped = {"state_dict": {f"module.{n}": t for n, t in state.items()}, "epoch": 3}
            torch.save(wrapped, folder / "open_clip_pytorch_model.bin")
        else:
            half = form == "half"
            tensors = {
                n: t.half() if half and t.is_floating_point() else t.clone()
                for n, t in state.items()
            }
            save_file(tensors, folder / "open_clip_model.safetensors")
        if form != "pth@":
            return f"local-dir:{folder}"
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-test", config)
        return f"tiny-test@{folder / 'any.pth'}"

    return make


@pytest.fixture
def wholes(monkeypatch):
    """The plans of the networks that were built whole."""
    real, built = build.whole, []
    monkeypatch.setattr(build, "whole", lambda plan: built.append(plan) or real(plan))
    return built


def encode(adapter, side, pictures):
    if side == "text":
        return adapter.text.encode([adapter.text.prepare(text)[0] for text in TEXTS])
    return adapter.image.encode(
        [adapter.image.prepare(ImageRef(id="a", path=p))[0] for p in pictures]
    )


def weights_of(model, side):
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("visual.") == (side == "image") and not name.startswith("logit")
    }


def check_alone(argument, side, pictures, both):
    """Vectors, weights, buffers and what is not there of one side alone."""
    adapter = OpenCLIP(argument)
    assert adapter.loaded is None
    adapter.need({side})
    vectors = encode(adapter, side, pictures)
    assert adapter.loaded == f"{side} tower alone"
    assert torch.equal(vectors, encode(both, side, pictures))
    model = adapter.network({side}).model
    other = {"text": "image", "image": "text"}[side]
    assert not weights_of(model, other)
    full = weights_of(both.network().model, side)
    assert {n: (t.shape, t.dtype) for n, t in weights_of(model, side).items()} == {
        n: (t.shape, t.dtype) for n, t in full.items()
    }
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.device.type == "cpu" for tensor in tensors)
    grown = dict(both.network().model.named_parameters())
    assert all(p.requires_grad == grown[n].requires_grad for n, p in model.named_parameters())
    assert not any(module.training for module in model.modules())
    assert adapter.network({side}).activation == both.network().activation
    assert (adapter.network({side}).text is None) == (side == "image")
    return adapter


@pytest.mark.parametrize("side", ["text", "image"])
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *(("clip", form) for form in ("safetensors", "pth", "bin", "half", "pth@")),
        ("siglip", "safetensors"),
        ("siglip", "bin"),
        ("custom", "pth@"),
        ("resnet", "safetensors"),
    ],
)
def test_one_side_gives_the_bits_of_both(argument, pictures, wholes, kind, form, side):
    made = argument(kind, form)
    both = OpenCLIP(made)
    both.network()
    assert both.loaded == "both towers"
    wholes.clear()
    check_alone(made, side, pictures, both)
    assert not wholes


def test_a_file_of_the_old_names_fits_a_custom_text_network(argument, pictures, wholes):
    config = config_of("custom")
    state = random_state(config_of("clip"))
    made = argument("custom", "safetensors", config, state)
    assert "token_embedding.weight" in state
    both = OpenCLIP(made)
    both.network()
    wholes.clear()
    adapter = check_alone(made, "text", pictures, both)
    assert "text.token_embedding.weight" in adapter.network({"text"}).model.state_dict()
    assert not wholes


@pytest.mark.parametrize(("side", "prefix"), [("text", ""), ("image", "visual.")])
def test_of_the_other_tower_nothing_is_read(argument, monkeypatch, side, prefix):
    class Recorder:
        def __init__(self, *arguments, **keywords):
            self.file = real(*arguments, **keywords)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *reason):
            return self.file.__exit__(*reason)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, name):
            read.add(name)
            return self.file.get_tensor(name)

    real, read = weights.safe_open, set()
    made = argument()
    monkeypatch.setattr(weights, "safe_open", Recorder)
    if side == "image":  # which needs no tokenizer
        monkeypatch.setattr(build, "tokenizer_of", None)
    model = Network.load(made, sides={side}).model
    assert read == set(model.state_dict())
    towers = {name for name in read if not name.startswith("logit")}
    assert towers
    assert all(name.startswith("visual.") == (side == "image") for name in towers)


@pytest.mark.parametrize("side", ["text", "image"])
@pytest.mark.parametrize("unusual", ["resized", "renamed", "legacy", "no skeleton"])
def test_an_unusual_file_is_loaded_whole_and_halved(
    argument, pictures, wholes, monkeypatch, tmp_path, unusual, side
):
    config = config_of("clip")
    if unusual == "resized":
        state = random_state(config)
        config["vision_cfg"]["image_size"] = 48
        made = argument("clip", "pth", config, state)
    elif unusual == "renamed":  # torch loads it, and the buffer of some Hugging Face towers goes
        state = random_state(config) | {"text.transformer.embeddings.position_ids": torch.zeros(1)}
        made = argument("clip", "safetensors", config, state)
    else:
        made = argument("clip", "pth")
    if unusual == "legacy":  # a .pth of before the zip format, which cannot be mapped
        file = tmp_path / "clip-pth" / "any.pth"
        torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=False)
    if unusual == "no skeleton":
        monkeypatch.setattr(build, "skeleton", lambda plan: None)
    both = OpenCLIP(made)
    both.network()
    wholes.clear()
    check_alone(made, side, pictures, both)
    assert len(wholes) == 1


def test_a_multimodal_decoder_falls_back_on_the_text_side_alone(argument, pictures, wholes):
    pytest.importorskip("transformers")
    made = argument("coca")
    both = OpenCLIP(made)
    both.network()
    for side, built in (("image", 0), ("text", 1)):
        wholes.clear()
        check_alone(made, side, pictures, both)
        assert len(wholes) == built


def test_a_hugging_face_text_tower_falls_back_on_the_text_side_alone(
    tmp_path, pictures, wholes, monkeypatch
):
    pytest.importorskip("transformers")
    from safetensors.torch import save_file

    tower = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 49408}
    tower |= {"num_attention_heads": 2, "intermediate_size": 32}
    text = {"hf_model_name": str(tmp_path), "hf_proj_type": "linear", "context_length": 16}
    config = {**tiny_clip.CONFIG, "text_cfg": text}
    written = {"model_cfg": config, "preprocess_cfg": tiny_clip.PREPROCESS}
    (tmp_path / "config.json").write_text(json.dumps(tower))
    (tmp_path / "open_clip_config.json").write_text(json.dumps(written))
    made = f"local-dir:{tmp_path}"
    random = open_clip.create_model(made, load_weights=False, pretrained_text=False)
    save_file(random.state_dict(), tmp_path / "open_clip_model.safetensors")
    both = OpenCLIP(made)
    assert network.streamed(made) == both.network().identity()
    for side, built in (("image", 0), ("text", 1)):
        wholes.clear()
        check_alone(made, side, pictures, both)
        assert len(wholes) == built
    # Whatever buffers the tower has: some tie their weights.
    monkeypatch.setattr(build, "_causal_masks", lambda model: [])
    assert build.alone(model_files_of(made), "text") is None


@pytest.mark.parametrize("side", ["text", "image"])
@pytest.mark.parametrize("is_buffer", [True, False])
def test_a_network_that_keeps_tensors_of_its_own_falls_back(
    argument, pictures, wholes, monkeypatch, is_buffer, side
):
    """As rotary embeddings do: they are in no file, and only building the network makes them."""
    made = argument()
    real = build._create

    def create(plan, **arguments):
        model = real(plan, **arguments)
        part = model.visual if side == "image" else model.transformer
        if is_buffer:
            part.register_buffer("bands", torch.ones(2), persistent=False)
        else:
            part.bands = torch.ones(2)
        return model

    monkeypatch.setattr(build, "_create", create)
    both = OpenCLIP(made)
    both.network()
    for name in ("text", "image"):
        wholes.clear()
        check_alone(made, name, pictures, both)
        assert len(wholes) == (name == side)


@pytest.mark.parametrize("side", ["text", "image"])
def test_a_tensor_that_is_missing_or_of_another_shape_is_an_error(argument, side):
    state = random_state(config_of("clip"))
    del state["ln_final.bias"]
    adapter = OpenCLIP(argument("clip", "pth", None, state))
    adapter.need({side})
    with pytest.raises(ModelError, match=r"another architecture .*ln_final\.bias"):
        adapter.network({side})
    state = random_state(config_of("clip"))
    state["visual.proj"] = state["visual.proj"][:, :5]
    adapter = OpenCLIP(argument("clip", "safetensors", None, state))
    adapter.need({side})
    with pytest.raises(ModelError, match=r"another architecture .*size mismatch"):
        adapter.network({side})


def test_weights_that_did_not_arrive_are_an_error(argument, monkeypatch):
    made = argument()
    monkeypatch.setattr(open_clip.CLIP, "load_state_dict", lambda *a, **k: None)
    with pytest.raises(ModelError, match="after loading, the network does not hold the file's"):
        Network.load(made, sides={"text"})


def test_a_side_that_was_not_needed_is_loaded_when_it_is_asked_for(argument, pictures):
    made = argument()
    both = OpenCLIP(made)
    adapter = OpenCLIP(made)
    adapter.need({"text"})
    encode(adapter, "text", pictures)
    adapter.image.prepare(ImageRef(id="a", path=pictures[0]))
    assert adapter.loaded == "text tower alone"
    image = encode(adapter, "image", pictures)
    assert adapter.loaded == "both towers"
    assert torch.equal(image, encode(both, "image", pictures))
    network = adapter.network()
    encode(adapter, "text", pictures)
    assert adapter.network() is network
    adapter.release()
    adapter.need({"image"})
    assert adapter.network({"image"}).sides == {"image"}
    assert adapter.network().sides == SIDES  # unless a side is named, both are meant
    with pytest.raises(ValueError, match="'audio' is not a side"):
        adapter.need({"audio"})


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *(("clip", form) for form in ("safetensors", "pth", "bin", "half", "pth@")),
        ("siglip", "safetensors"),
        ("custom", "pth"),
        ("resnet", "half"),
        ("coca", "pth"),
    ],
)
def test_fingerprints_off_the_file_are_those_of_the_loaded_network(
    argument, wholes, monkeypatch, kind, form
):
    made = argument(kind, form)
    found = network.streamed(made)
    assert not wholes
    loaded = Network.load(made)
    assert found == loaded.identity()
    monkeypatch.setattr(Network, "load", None)
    adapter = OpenCLIP(made)
    adapter.need({"text"})
    assert adapter.identity == found
    assert adapter.loaded is None


def test_fingerprints_are_of_the_float32_values_whatever_is_loaded(argument):
    made = argument()
    expected = Network.load(made).identity()
    for dtype, sides in (("bfloat16", SIDES), ("float32", SIDES), ("float32", {"text"})):
        adapter = OpenCLIP(made)
        adapter.to("cpu", dtype)
        adapter.need(sides)
        adapter.network(sides)
        assert adapter._identify() == expected


def test_fingerprints_of_an_unusual_file_come_from_the_loaded_network(argument, wholes):
    config = config_of("clip")
    state = random_state(config)
    config["vision_cfg"]["image_size"] = 48
    made = argument("clip", "pth", config, state)
    assert network.streamed(made) is None
    adapter = OpenCLIP(made)
    adapter.need({"text"})
    assert adapter.identity == Network.load(made).identity()
    assert adapter.loaded is None  # the whole one that was hashed is not kept


def test_fingerprints_are_what_they_were():
    """Users' stores and results are filed by these: another value must raise `_SCHEME`."""
    made = f"local-dir:{base_folder()}"
    assert network.streamed(made) == {
        "text": "5f0e515da872b98bb1bc1f5db92a87a8c567790aacf75b08f1352cfe7fde59c4",
        "image": "958fce09bf48fc1148dc98742cb9a166fed59be2ace1b99a09f9ae5c8f778712",
        "activation": "gelu",
    }


@pytest.fixture
def sent(argument, pictures):
    """A pickled `prepare`, of a model whose files are gone, and the pixels that it must give."""
    made = argument()
    adapter = OpenCLIP(made)
    adapter.need({"text"})
    sent = pickle.dumps(adapter.image.prepare)
    assert adapter.loaded is None
    transform = open_clip.create_model_and_transforms(made)[2]
    shutil.rmtree(made.removeprefix("local-dir:"))
    refs = [ImageRef(id=path.name, path=path) for path in pictures]
    return sent, [(ref, transform(Image.open(ref.path))) for ref in refs]


def test_preparing_images_is_a_small_thing_to_send(sent):
    pickled, expected = sent
    assert len(pickled) < 2000
    prepare = pickle.loads(pickled)
    for ref, pixels in expected:
        found, size = prepare(ref)
        assert torch.equal(found, pixels)
        assert size == 4
    assert len(pickle.dumps(prepare)) == len(pickled)  # the transform that it made stays here
    with pytest.raises(ModelError, match="can only prepare"):
        prepare.__self__.encode([pixels for _, pixels in expected])


@pytest.mark.slow
def test_another_process_prepares_the_same_pixels(sent):
    pickled, expected = sent
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for ref, pixels in expected:
            found, _ = pool.submit(pickle.loads(pickled), ref).result()
            assert torch.equal(found, pixels)


def test_preparing_images_without_a_skeleton_asks_the_network(argument, pictures, monkeypatch):
    made = argument()
    pixels = OpenCLIP(made).image.prepare(ImageRef(id="a", path=pictures[0]))[0]
    monkeypatch.setattr(build, "skeleton", lambda plan: None)
    adapter = OpenCLIP(made)
    adapter.need({"text"})
    assert torch.equal(adapter.image.prepare(ImageRef(id="a", path=pictures[0]))[0], pixels)
    assert adapter.loaded == "text tower alone"


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Sets how long a layer takes, in a cache that remembers nothing yet."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    asked = []

    def say(**seconds):
        seconds["float32"] = 1.0
        monkeypatch.setattr(
            autotune, "_seconds", lambda dtype: asked.append(dtype) or seconds[dtype]
        )
        return asked

    return say


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("seconds", "kept"), [(1.3, True), (0.9, True), (0.8, False)])
def test_an_image_tower_stays_float32_on_a_cpu_unless_half_is_faster(
    argument, pictures, measured, dtype, seconds, kept
):
    asked = measured(**{dtype: seconds})
    made = argument()
    full = OpenCLIP(made)
    assert full.image.dtype == full.text.dtype == "float32"
    assert not asked
    adapter = OpenCLIP(made)
    adapter.to("cpu", dtype)
    assert (adapter.text.dtype, adapter.image.dtype) == (dtype, "float32" if kept else dtype)
    assert sorted(asked) == sorted(["float32", dtype])
    for sides in ({"image"}, {"text"}, SIDES):
        adapter.release()
        adapter.need(sides)
        for side in sides:
            vectors = encode(adapter, side, pictures)
            assert str(vectors.dtype) == f"torch.{getattr(adapter, side).dtype}"
            held = weights_of(adapter.network(sides).model, side)
            expected = weights_of(full.network().model, side)
            for name, tensor in expected.items():
                assert torch.equal(held[name], tensor.to(vectors.dtype))
        if kept and "image" in sides:
            image = encode(adapter, "image", pictures)
            assert torch.equal(image, encode(full, "image", pictures))
    adapter.to("cpu", "float32")
    assert adapter.image.dtype == "float32"
    adapter.to("cpu", dtype)
    # Remembered: another process on this machine does the same.
    asked.clear()
    measured(**{dtype: 0.1 if kept else 10.0})
    other = OpenCLIP(made)
    other.to("cpu", dtype)
    assert other.image.dtype == adapter.image.dtype
    assert not asked


def test_only_an_image_tower_on_a_cpu_is_measured(measured):
    asked = measured()
    assert autotune.side_dtype("image", "cuda:0", "float16") == "float16"
    assert autotune.side_dtype("text", "cpu", "bfloat16") == "bfloat16"
    assert not asked


def test_the_measurement_is_one():
    assert 0 < autotune._seconds("float32") < 60


@pytest.mark.parametrize("before", ["identity", "loading"])
def test_weights_that_changed_get_no_vectors_under_the_old_name(tmp_path, before):
    folder = tiny_clip.save(tmp_path / "tiny")
    adapter = OpenCLIP(f"local-dir:{folder}")
    if before == "identity":
        assert adapter.text.fingerprint
    else:
        adapter.network()
        adapter.release()
    tiny_clip.save(folder, tiny_clip.build(seed=1))
    with pytest.raises(ModelError, match="changed while they were in use"):
        adapter.text.encode([adapter.text.prepare("a dog")[0]])
    assert OpenCLIP(f"local-dir:{folder}").text.fingerprint
