"""docs/examples/precomputed.py: a file of vectors as a model, in the full form."""

from pathlib import Path

import numpy as np
import pytest

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import ModelError
from paraclip_bench.models.load import load_model
from paraclip_bench.progress import Progress

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "precomputed.py"


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return {
        "texts": np.array(["a cat", "a dog"]),
        "text_vectors": rng.normal(size=(2, 4)).astype(np.float32),
        "image_ids": np.array(["0.png", "1.png", "2.png"]),
        "image_vectors": rng.normal(size=(3, 4)).astype(np.float32),
    }


@pytest.fixture
def load(tmp_path, context):
    def make(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return load_model(f"{EXAMPLE}:Precomputed:{tmp_path / 'mine.npz'}", context)

    return make


def test_vectors_are_looked_up(load, vectors, pictures):
    model = load(**vectors)
    assert model.name == "mine"
    embed = Embedder(model, Spaces(print), Progress(quiet=True))
    found = embed.texts(["a dog", "a cat", "a dog"])
    unit = vectors["text_vectors"] / np.linalg.norm(vectors["text_vectors"], axis=1)[:, None]
    np.testing.assert_allclose(found, unit[[1, 0, 1]], rtol=1e-6)
    refs = [ImageRef(id=path.name, path=path) for path in reversed(pictures)]
    unit = vectors["image_vectors"] / np.linalg.norm(vectors["image_vectors"], axis=1)[:, None]
    np.testing.assert_allclose(embed.images(refs), unit[::-1], rtol=1e-6)


def test_what_the_file_lacks_is_named(load, vectors, pictures):
    model = load(**vectors)
    with pytest.raises(ModelError, match=r"mine\.npz has no vector of 'a bird'"):
        model.text.prepare("a bird")
    with pytest.raises(ModelError, match="no vectors of crops"):
        model.image.prepare(ImageRef(id="0.png", path=pictures[0], box=(0, 0, 9, 9)))


def test_the_fingerprint_is_of_the_vectors(load, vectors):
    first = load(**vectors).fingerprint
    assert load(**vectors).fingerprint == first
    vectors["text_vectors"][0, 0] += 1
    assert load(**vectors).fingerprint != first


def test_a_file_of_texts_alone_is_a_text_model(load, vectors):
    model = load(**{key: value for key, value in vectors.items() if key.startswith("text")})
    assert model.text is not None
    assert model.image is None
