"""What encoders give: any finite scale, and nothing that depends on the batch."""

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from paraclip_bench.api import evaluate
from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.encoding.vectors import UnusableVectors, as_float32, unit
from paraclip_bench.errors import ModelError
from paraclip_bench.models.adapter import Model
from paraclip_bench.progress import Progress

TEXTS = [f"{'a ' * (1 + number % 9)}text {number}" for number in range(40)]


def embed(made, texts=TEXTS, images=None):
    """Vectors of a model in the simple form, named "mine.py:Mine"."""
    embedder = Embedder(Model("mine.py:Mine", made), Spaces(print), Progress(quiet=True))
    return embedder.images(images) if images else embedder.texts(texts)


def bag(texts, width=16):
    """A vector a text: its letters."""
    rows = np.ones((len(texts), width), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for place, letter in enumerate(text):
            row[(ord(letter) + place) % width] += 1
    return rows


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e38, 1e-37, 1.0])
def test_vectors_of_any_scale_have_their_direction(kind, scale):
    rows = np.array([[3.0, 4.0], [-1.0, 1.0]]) / 4 * scale
    raw = torch.tensor(rows, dtype=kind) if isinstance(kind, torch.dtype) else rows.astype(kind)
    found = unit(as_float32(raw), ["a", "b"])
    assert found == pytest.approx(np.array([[0.6, 0.8], [-(0.5**0.5), 0.5**0.5]]), abs=1e-6)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_float64_beyond_float32_too(scale):
    assert unit(as_float32([[3 * scale, 4 * scale]]), ["a"])[0] == pytest.approx([0.6, 0.8])


@given(arrays.arrays(np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_rows_of_a_usual_scale_keep_their_bits(rows):
    rows[np.abs(rows).max(axis=1) < 1e-6] = 1
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.array_equal(unit(as_float32(rows), "abc"), expected)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_zero_and_what_is_not_finite_are_refused(bad, kind):
    rows = np.array([[1, 2], [bad, 0]], dtype=kind)
    with pytest.raises(UnusableVectors, match="zero or not finite for 'b'"):
        unit(as_float32(rows), ["a", "b"])


TENSOR = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
NO_NUMBERS = {
    "texts of numbers": ([["1", "2"], ["3", "4"]], "it gave text, not numbers"),
    "an array of texts": (np.array([["1", "2"]]), "it gave text"),
    "bytes": (np.array([[b"1", b"2"]]), "it gave bytes"),
    "objects": (np.array([[1.0, 2.0]], dtype=object), "it gave Python objects"),
    "Decimals": ([[Decimal(1), Decimal(2)]], "it gave Python objects"),
    "nothing": (None, "it gave Python objects"),
    "truth values": (np.array([[True, False]]), "it gave truth values"),
    "truth values of torch": (TENSOR > 2, "it gave truth values"),
    "dates": (np.array([["2020-01-01"]], dtype="datetime64[D]"), "it gave dates"),
    "records": (np.zeros((1, 2), dtype="f4,f4"), "it gave records"),
    "masked": (np.ma.masked_greater(np.ones((2, 2)) * [1, 9], 5), "with masked values"),
    "masked rows": ([np.ma.masked_equal([1.0, 2.0], 2), [3.0, 4.0]], "with masked values"),
    "sparse": (scipy.sparse.csr_array(np.eye(2)), "it gave a sparse matrix"),
    "sparse of torch": (TENSOR.to_sparse(), "it gave a sparse tensor"),
    "meta": (TENSOR.to("meta"), "it gave a tensor of the meta device"),
    "a list with a gradient": (
        [torch.nn.Parameter(TENSOR[0]), torch.nn.Parameter(TENSOR[1])],
        "it gave no array of numbers",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_array_of_numbers_is_named(kind):
    raw, said = NO_NUMBERS[kind]
    with pytest.raises(UnusableVectors, match=said):
        as_float32(raw)


@pytest.mark.parametrize(
    "raw",
    [
        np.array([[3, 4]], dtype=np.int8),
        torch.tensor([[3, 4]]),
        [[3, 4]],
        np.ma.array([[3.0, 4.0]]),
        [torch.tensor([3.0, 4.0])],
        torch.nn.Parameter(torch.tensor([[3.0, 4.0]])),
    ],
)
def test_whole_numbers_and_lists_have_a_direction(raw):
    assert unit(as_float32(raw), ["a"])[0] == pytest.approx([0.6, 0.8])


class Complex:
    def encode_texts(self, texts):
        return bag(texts).astype(np.complex64)


class ComplexTorch:
    def encode_texts(self, texts):
        return torch.tensor(bag(texts)).to(torch.complex64)


class Ragged:
    """Vectors as long as the longest text of the batch."""

    def encode_texts(self, texts):
        return np.ones((len(texts), max(map(len, texts))))


class Centred:
    """Statistics of the batch."""

    def encode_texts(self, texts):
        rows = bag(texts)
        return rows - rows.mean(axis=0) + 0.1


class TrainingMode:
    """BatchNorm that was left in training mode."""

    def __init__(self):
        self.norm = torch.nn.BatchNorm1d(16)

    def encode_texts(self, texts):
        return self.norm(torch.tensor(bag(texts)))


class Padded:
    """The mean over a batch's padding too."""

    def encode_texts(self, texts):
        longest = max(map(len, texts))
        return np.array([[len(t) / longest, t.count("a") / longest, 1.0] for t in texts])


class Dropout:
    def encode_texts(self, texts):
        return torch.nn.functional.dropout(torch.tensor(bag(texts)), 0.3)


class Places:
    """What stands first in a batch is another."""

    def encode_texts(self, texts):
        return bag(texts) + 5 * np.eye(len(texts), 16)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Complex, "it gave complex numbers"),
        (ComplexTorch, "it gave complex numbers"),
        (Ragged, "fails for|another vector in another batch|numbers and then of"),
        (Centred, "another vector in another batch"),
        (TrainingMode, "another vector in another batch"),
        (Padded, "another vector in another batch"),
        (Dropout, "another vector in another batch"),
        (Places, "another vector in another batch"),
    ],
)
@pytest.mark.parametrize("count", [40, 3])
def test_what_depends_on_its_batch_is_named_and_not_stored(kind, said, count, own_store):
    made = kind()
    made.fingerprint = "f"
    model = Model("mine.py:Mine", made, is_object=True)
    for _ in range(2):  # the second finds nothing that the first stored
        embedder = Embedder(model, Spaces(print), Progress(quiet=True))
        with pytest.raises(ModelError, match=said) as error:
            embedder.texts(TEXTS[:count])
        assert re.match(r"the text encoder of mine\.py:Mine: it ", str(error.value))
        assert embedder.found == 0


def test_unmasked_padding_is_seen_though_a_batch_is_of_one_length():
    texts = [f"{number:04}" for number in range(300)] + ["a much longer text " * 9]
    with pytest.raises(ModelError, match="another vector in another batch"):
        embed(Padded(), texts)


def test_a_batch_of_one_is_checked_for_chance():
    with pytest.raises(ModelError, match="or on chance"):
        embed(Dropout(), ["one text"])


class Half:
    """A deep network in half precision; its rounding depends on the shape of the batch."""

    def __init__(self, dtype, *, normalises):
        torch.manual_seed(0)
        layers = [torch.nn.Linear(64, 64) for _ in range(12)]
        self.layers = torch.nn.Sequential(
            *(m for layer in layers for m in (layer, torch.nn.GELU()))
        )
        self.layers.to(dtype)
        self.dtype, self.normalises = dtype, normalises

    def encode_texts(self, texts):
        rows = torch.tensor(bag(texts, 64)).to(self.dtype)
        # Another order of the sum, as other kernels have: rows round otherwise.
        noise = 1 + (torch.arange(64) % 3 - 1) * torch.finfo(self.dtype).eps / 2 * (len(texts) % 5)
        with torch.inference_mode():
            found = self.layers(rows * noise.to(self.dtype))
        found = found.float()
        return torch.nn.functional.normalize(found) if self.normalises else found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("normalises", [False, True])
def test_rounding_in_half_precision_is_no_dependence(dtype, normalises):
    assert embed(Half(dtype, normalises=normalises)).shape == (40, 64)


class Slightly:
    """A little of the batch's length in every vector, as padding that is nearly masked gives."""

    def __init__(self, share):
        self.share = share

    def encode_texts(self, texts):
        rows = bag(texts)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[:, 0] += self.share * (len(texts) % 7)
        return rows


@pytest.mark.parametrize(
    ("share", "is_said"), [(0, False), (1e-6, False), (3e-4, True), (1e-3, True)]
)
def test_a_small_dependence_on_the_batch_is_said_and_is_no_error(share, is_said, capsys):
    model = Model("mine.py:Mine", Slightly(share))
    Embedder(model, Spaces(print), Progress()).texts(TEXTS)
    said = "the text encoder of mine.py:Mine gives an item vectors that lie 0.0"
    assert (said in capsys.readouterr().err.replace("\n", " ")) is is_said


def test_a_model_is_checked_once_a_run_and_side():
    calls = []

    class Counts:
        def encode_texts(self, texts):
            calls.append(len(texts))
            return bag(texts)

    model = Model("mine.py:Mine", Counts())
    for _ in range(2):
        Embedder(model, Spaces(print), Progress(quiet=True)).texts(TEXTS)
    assert calls == [40, 4, 40]


def images_of(folder: Path, count: int) -> list[ImageRef]:
    refs = []
    for index in range(count):
        refs.append(ImageRef(f"{index}.png", path=folder / f"{index}.png"))
        Image.new("RGB", (4, 4), (index * 20, 255 - index, 7)).save(refs[-1].path)
    return refs


def test_images_are_checked_too(tmp_path):
    class Batchwise:
        def encode_images(self, images):
            rows = np.array([image.getpixel((0, 0)) for image in images], np.float32)
            return rows - rows.mean(axis=0)

    with pytest.raises(ModelError, match=r"the image encoder of mine.py:Mine: .* the image '\d"):
        embed(Batchwise(), images=images_of(tmp_path, 9))


def test_sides_of_different_lengths_are_named(tmp_path):
    class Two:
        def encode_texts(self, texts):
            return bag(texts, 8)

        def encode_images(self, images):
            return np.ones((len(images), 12))

    embedder = Embedder(Model("mine.py:Mine", Two()), Spaces(print), Progress(quiet=True))
    embedder.texts(TEXTS)
    with pytest.raises(ModelError, match=r"mine.py:Mine: its vectors have 12 .*text encoder 8"):
        embedder.images(images_of(tmp_path, 3))


def test_a_run_names_the_model_and_goes_on(tmp_path):
    (tmp_path / "sts").mkdir()
    rows = "score\tsentence1\tsentence2\n5\ta cat\ta cat\n3\ta dog\tthe hound\n0\ta car\train\n"
    (tmp_path / "sts" / "STS12.tsv").write_text(rows)

    class Good:
        def encode_texts(self, texts):
            return 1e30 * bag(texts)

    found = evaluate(
        [Centred(), Good()], "STS12", data_dir=tmp_path, workspace=tmp_path, quiet=True
    )
    assert len(found.results) == 1
    (failure,) = found.failures
    assert failure.startswith("Centred on STS12 failed: the text encoder of Centred: it gave ")


def test_a_batch_of_one_does_not_stand_for_others():
    class Centred:
        """Vectors less the mean of their batch."""

        def encode_texts(self, texts):
            found = np.array([[len(text), text.count("a"), 1.0] for text in texts])
            return found - 0.5 * found.mean(axis=0)

    model = Model("mine.py:Mine", Centred())
    embedder = Embedder(model, Spaces(print), Progress(quiet=True))
    embedder.texts(["only one"])
    with pytest.raises(ModelError, match="another vector in another batch"):
        embedder.texts([f"{'a' * i} text" for i in range(40)])
