"""The engine: order, each distinct item once, batches of like size, unit vectors, sharing."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding import engine
from paraclip_bench.encoding.batching import Budget
from paraclip_bench.encoding.database import StoreUnavailable
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import MemoryFallback, Spaces
from paraclip_bench.encoding.vector_store import VectorStore
from paraclip_bench.errors import DataError, ModelError
from paraclip_bench.models.adapter import SIDES, Model
from paraclip_bench.progress import Progress


class Side:
    """An encoder in the full form whose vectors can be told; keeps its batches."""

    def __init__(self, fingerprint: str | None = "f") -> None:
        self.fingerprint = fingerprint
        self.batches: list[list[Any]] = []

    def prepare(self, item: Any) -> tuple[Any, int]:
        data = item if isinstance(item, str) else item.open().getpixel((0, 0))
        return data, len(item) if isinstance(item, str) else 64

    def encode(self, batch: list[Any]) -> np.ndarray:
        self.batches.append(batch)
        return np.array([self.vector(data) for data in batch])

    def vector(self, data: Any) -> list[float]:
        if isinstance(data, str):
            return [len(data) + 1, sum(map(ord, data)), 3]
        return [float(v) + 1 for v in data]


class Adapter:
    def __init__(self, text: Any = None, image: Any = None) -> None:
        self.text, self.image = text, image


def new_store() -> Spaces:
    """A store of its own, in the session's cache folder."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["PARACLIP_CACHE"]))
    return Spaces(print, VectorStore(folder))


def embedder(
    text: Any = None, image: Any = None, store: Spaces | None = None, **options: Any
) -> Embedder:
    model = Model("spec", Adapter(text, image))
    model.checked |= SIDES  # so that a test knows each call of an encoder
    return Embedder(model, store or new_store(), Progress(quiet=True), **options)


def unit(rows: Sequence[Sequence[float]]) -> np.ndarray:
    raw = np.array(rows, dtype=np.float64)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=40))
def test_texts_come_in_order_each_encoded_once(texts: list[str]) -> None:
    side = Side()
    vectors = embedder(side).texts(texts)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(unit([side.vector(text) for text in texts]), abs=1e-6)
    encoded = [text for batch in side.batches for text in batch]
    assert sorted(encoded) == sorted(set(texts))
    assert encoded == sorted(encoded, key=lambda text: (len(text), text))


def test_batches_keep_to_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "budget", lambda side, device: Budget(30, 8))
    texts = [f"{i:02}" + "x" * (i % 20) for i in range(60)] + ["y" * 99, "z" * 31]
    side = Side()
    embedder(side).texts(texts)
    assert sorted(map(len, side.batches))[-1] == 8
    for batch in side.batches:
        assert len(batch) == 1 or sum(map(len, batch)) <= 30
    assert ["y" * 99] in side.batches
    # No batch could take its successor's first item: the plan wastes no call.
    for batch, after in zip(side.batches, side.batches[1:], strict=False):
        assert len(batch) == 8 or sum(map(len, [*batch, after[0]])) > 30


def pictures(root: Path) -> list[ImageRef]:
    refs = []
    for index, colour in enumerate([(9, 0, 0), (0, 9, 0), (9, 0, 0), (0, 0, 9)]):
        path = root / f"{index}.png"
        image = Image.new("RGB", (4, 4), colour)
        image.putpixel((2, 2), (7, 7, 7))
        image.save(path)
        refs.append(ImageRef(path.name, path=path))
    return refs


def test_images_of_one_content_are_encoded_once(tmp_path: Path) -> None:
    refs = pictures(tmp_path)
    refs.append(ImageRef("boxed", path=refs[0].path, box=(2, 2, 4, 4)))
    refs.append(ImageRef("bytes", data=refs[1].path.read_bytes()))
    side = Side()
    embed = embedder(image=side)
    vectors = embed.images(refs)
    colours = [(9, 0, 0), (0, 9, 0), (9, 0, 0), (0, 0, 9), (7, 7, 7), (0, 9, 0)]
    assert vectors == pytest.approx(unit([side.vector(colour) for colour in colours]), abs=1e-6)
    assert sum(map(len, side.batches)) == embed.requested == 4
    assert np.array_equal(vectors[0], vectors[2])


def test_many_images_are_opened_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "budget", lambda side, device: Budget(8192, 3))
    refs = pictures(tmp_path)
    many = [ImageRef(f"{i}", path=ref.path, box=(0, 0, 1, 1 + i)) for i in range(3) for ref in refs]
    side = Side()
    vectors = embedder(image=side).images(many)
    assert max(map(len, side.batches)) <= 3
    assert vectors == pytest.approx(
        unit([side.vector(ref.open().getpixel((0, 0))) for ref in many]), abs=1e-6
    )


def test_a_run_shares_vectors_by_fingerprint_and_precision() -> None:
    store, one, two = new_store(), Side("same"), Side("same")
    embedder(one, store=store).texts(["a", "b"])
    embed = embedder(two, store=store)
    again = embed.texts(["b", "a"])
    assert two.batches == []
    assert (embed.requested, embed.found) == (2, 2)
    assert again == pytest.approx(unit([one.vector("b"), one.vector("a")]), abs=1e-6)
    for side, dtype in ((Side("other"), "float32"), (Side("same"), "bfloat16")):
        model = Model("spec", Adapter(side))
        model.dtype, model.checked = dtype, {"text"}
        Embedder(model, store, Progress(quiet=True)).texts(["a", "b"])
        assert side.batches == [["a", "b"]]


def test_without_a_fingerprint_nothing_is_shared() -> None:
    store, side = new_store(), Side(None)
    for _ in range(2):
        embed = embedder(side, store=store)
        embed.texts(["a", "a"])
        assert (embed.requested, embed.found) == (1, 0)
    assert side.batches == [["a"], ["a"]]


def test_what_an_earlier_request_stored_is_not_encoded_again() -> None:
    store, side = new_store(), Side()
    first = embedder(side, store=store).texts(["a", "c"])
    second = embedder(side, store=store).texts(["a", "b", "c"])
    assert side.batches == [["a", "c"], ["b"]]
    assert np.array_equal(second[[0, 2]], first)


def test_a_batch_that_is_all_stored_is_skipped_and_the_plan_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "budget", lambda side, device: Budget(4096, 2))
    store, side = new_store(), Side()
    embedder(side, store=store).texts(["a", "b", "d"])
    side.batches.clear()
    embed = embedder(side, store=store)
    vectors = embed.texts(["e", "d", "c", "b", "a"])
    # Planned as ab, cd, e whatever is stored.
    assert side.batches == [["c"], ["e"]]
    assert (embed.requested, embed.found) == (5, 3)
    assert vectors == pytest.approx(unit([side.vector(text) for text in "edcba"]), abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n: np.ones((n + 1, 3)), r"shape \(3, 3\) for 2 items"),
        (lambda n: np.ones(n), r"shape \(2,\) for 2 items"),
        (lambda n: np.ones((n, 1, 3)), r"shape \(2, 1, 3\) for 2 items"),
        (lambda n: np.array([[1.0, 2.0], [0.0, 0.0]]), "zero or not finite for 'bb'"),
        (lambda n: np.array([[1.0, np.nan], [1.0, 0.0]]), "zero or not finite for 'a'"),
        (lambda n: np.array([[np.inf, 1.0], [1.0, 0.0]]), "zero or not finite for 'a'"),
    ],
)
def test_vectors_that_cannot_be_used(answer: Any, said: str) -> None:
    side = Side()
    side.encode = lambda batch: answer(len(batch))
    with pytest.raises(ModelError, match=said):
        embedder(side).texts(["a", "bb"])


def test_torch_vectors_of_any_precision() -> None:
    import torch

    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        side = Side()
        side.encode = lambda batch, dtype=dtype: torch.tensor(
            [[3.0, 4.0]] * len(batch), dtype=dtype, requires_grad=True
        )
        vectors = embedder(side).texts(["a", "b"])
        assert vectors.dtype == np.float32
        assert vectors == pytest.approx(np.array([[0.6, 0.8]] * 2), abs=1e-6)


def test_nothing_asked_and_no_such_side() -> None:
    with pytest.raises(ModelError, match="no texts were asked for"):
        embedder(Side()).texts([])
    with pytest.raises(ModelError, match="'spec' has no image encoder"):
        embedder(Side()).images([ImageRef("x", data=b"")])


def test_a_tower_that_shares_prefixes_gets_texts_in_their_own_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "budget", lambda side, device: Budget(4096, 2))
    side = Side()
    side.shares_prefixes = True
    embedder(side).texts(["b", "aaaa", "aab", "aaab"])
    assert side.batches == [["aaaa", "aaab"], ["aab", "b"]]


def test_a_side_in_another_precision_is_kept_under_that() -> None:
    store, side = new_store(), Side()
    side.dtype = "float32"
    model = Model("spec", Adapter(side))
    model.dtype, model.checked = "bfloat16", {"text"}
    Embedder(model, store, Progress(quiet=True)).texts(["a"])
    embedder(side, store=store).texts(["a"])  # the same side of a float32 model
    assert side.batches == [["a"]]


def test_another_process_would_find_what_is_stored(tmp_path: Path) -> None:
    first = embedder(Side(), store=Spaces(print, VectorStore(tmp_path))).texts(["a", "b"])
    side = Side()
    again = embedder(side, store=Spaces(print, VectorStore(tmp_path))).texts(["b", "a"])
    assert side.batches == []
    assert np.array_equal(again, first[::-1])


def cut_off(root: Path) -> list[ImageRef]:
    """Two photographs, one of which ends in its middle."""
    refs = []
    for name in ("whole.jpg", "cut.jpg"):
        Image.effect_noise((64, 64), 90).convert("RGB").save(root / name)
        refs.append(ImageRef(name, path=root / name))
    cut = root / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    return refs


def test_a_cut_off_image_is_named_and_only_taken_where_that_is_allowed(tmp_path: Path) -> None:
    store, refs = new_store(), cut_off(tmp_path)
    with pytest.raises(DataError, match=r"cut\.jpg is damaged"):
        embedder(image=Side(), store=store).images(refs)
    allowed = embedder(image=Side(), store=store, lenient=True)
    assert allowed.images(refs).shape == (2, 3)
    assert allowed.cut_off == ["cut.jpg"]
    # Stored vectors do not hide it.
    again = embedder(image=Side(), store=store, lenient=True)
    again.images(refs)
    assert (again.found, again.cut_off) == (2, ["cut.jpg"])
    with pytest.raises(DataError, match=r"image 'cut\.jpg' is cut off.*--allow-truncated"):
        embedder(image=Side(), store=store).images(refs)
    embedder(image=Side(), store=store).images(refs[:1])


def test_a_batch_that_is_too_much_goes_in_parts() -> None:
    side = Side()
    encode = side.encode

    def small(batch: list[Any]) -> np.ndarray:
        if len(batch) > 2:
            raise MemoryError
        return encode(batch)

    side.encode = small
    vectors = embedder(side).texts(["a", "b", "c", "d", "e"])
    assert vectors == pytest.approx(unit([side.vector(text) for text in "abcde"]), abs=1e-6)
    assert max(map(len, side.batches)) == 2


def test_a_damaged_vector_is_computed_again(tmp_path: Path) -> None:
    import sqlite3

    first = embedder(Side(), store=Spaces(print, VectorStore(tmp_path))).texts(["a", "b"])
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as connection:
        connection.execute("UPDATE vectors SET value = zeroblob(length(value)) WHERE id = 1")
    connection.close()
    said: list[str] = []
    side = Side()
    again = embedder(side, store=Spaces(said.append, VectorStore(tmp_path))).texts(["a", "b"])
    assert np.array_equal(again, first)
    assert side.batches == [["a"]]
    assert len(said) == 1
    assert "damaged vectors" in said[0]


def test_vectors_that_the_store_lost_are_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the processes of torchrun do not share one store, or another one reset it."""
    side, texts = Side(), ["one", "three"]
    real, lost = MemoryFallback.write, []

    def write(self: MemoryFallback, keys: Sequence[str], *rest: Any) -> None:
        if lost:
            return real(self, keys, *rest)
        return lost.extend(keys)

    monkeypatch.setattr(MemoryFallback, "write", write)
    vectors = embedder(side).texts(texts)
    assert lost
    assert vectors == pytest.approx(unit([side.vector(text) for text in texts]), abs=1e-6)
    monkeypatch.setattr(MemoryFallback, "write", lambda *_: None)
    with pytest.raises(StoreUnavailable, match="loses what is written"):
        embedder(side).texts(["another"])
