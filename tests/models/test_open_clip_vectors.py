"""The adapter gives the vectors that open_clip itself gives."""

import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.data.images import ImageRef
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip.network import open_clip, torch

TEXTS = ["a cat", "two dogs that run after a red ball in the old park", ""]


@pytest.fixture
def architecture(monkeypatch):
    """The tiny network as one of open_clip's own architectures, for ARCH@FILE."""
    from open_clip import factory

    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-test", tiny_clip.CONFIG)
    return "tiny-test"


@pytest.mark.parametrize("form", ["local-dir:{0}", "open_clip:local-dir:{0}", "open_clip:{1}@{2}"])
def test_vectors_equal_open_clips_own(form, tiny, pictures, architecture, context):
    weights = tiny / "open_clip_model.safetensors"
    model = load_model(form.format(tiny, architecture, weights), context)

    reference, _, transform = open_clip.create_model_and_transforms(
        f"local-dir:{tiny}", require_pretrained=True
    )
    tokens = open_clip.get_tokenizer(f"local-dir:{tiny}")(TEXTS)
    with torch.inference_mode():
        text = reference.eval().encode_text(tokens)
    prepared = [model.text.prepare(item) for item in TEXTS]
    assert torch.equal(torch.stack([data for data, _ in prepared]), tokens)
    used = (tokens != 0).sum(dim=1).tolist()
    assert used == [4, 14, 2]
    assert all(n <= size <= n + 1 for n, (_, size) in zip(used, prepared, strict=True))
    # The adapter leaves the padding out, which moves the last bits.
    torch.testing.assert_close(
        model.text.encode([data for data, _ in prepared]), text, rtol=1e-5, atol=1e-6
    )

    if "@" in form:  # a bare file has no preprocessing of its own
        return
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path)) for path in pictures])
        image = reference.encode_image(pixels)
    refs = [ImageRef(id=path.name, path=path) for path in pictures]
    batch, sizes = zip(*(model.image.prepare(ref) for ref in refs), strict=True)
    assert torch.equal(torch.stack(batch), pixels)
    assert sizes == (4, 4, 4)
    assert torch.equal(model.image.encode(list(batch)), image)


def test_a_box_is_cropped_before_the_preprocessing(tiny, pictures, context, tmp_path):
    model = load_model(f"local-dir:{tiny}", context)
    box = (2, 4, 30, 40)
    Image.open(pictures[2]).crop(box).save(tmp_path / "crop.png")
    boxed, _ = model.image.prepare(ImageRef(id="a", path=pictures[2], box=box))
    cropped, _ = model.image.prepare(ImageRef(id="b", path=tmp_path / "crop.png"))
    assert torch.equal(boxed, cropped)


def test_bfloat16_runs_and_is_near(tiny, pictures, context):
    vectors = {}
    for dtype in ("float32", "bf16"):
        model = load_model(f"local-dir:{tiny}", context)
        model.to(None, dtype)
        texts = model.text.encode([model.text.prepare(t)[0] for t in TEXTS])
        image, _ = model.image.prepare(ImageRef(id="a", path=pictures[0]))
        vectors[model.dtype] = [texts, model.image.encode([image])]
        assert texts.dtype == getattr(torch, model.dtype)
    for full, half in zip(*vectors.values(), strict=True):
        cosine = torch.nn.functional.cosine_similarity(full, half.float())
        assert float(cosine.min()) > 0.99


def test_many_threads_load_one_network(tiny, pictures, context, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from paraclip_bench.models.open_clip.network import Network

    real, calls = Network.load, []
    monkeypatch.setattr(Network, "load", lambda *a, **k: calls.append(a) or real(*a, **k))
    model = load_model(f"local-dir:{tiny}", context)
    with ThreadPoolExecutor(8) as pool:
        refs = [ImageRef(id="a", path=pictures[0])] * 8
        pixels = [data for data, _ in pool.map(model.image.prepare, refs)]
        assert not calls
        vectors = list(pool.map(lambda data: np.asarray(model.image.encode([data])), pixels))
    assert len(calls) == 1
    assert all(torch.equal(pixels[0], other) for other in pixels)
    assert all(np.array_equal(vectors[0], other) for other in vectors)
