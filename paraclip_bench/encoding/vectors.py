"""What an encoder gives, as vectors that can be compared: checked, float32, of length 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import ModelError, reason_of
from paraclip_bench.safe_text import counted

Vectors = npt.NDArray[np.float32]


class UnusableVectors(ModelError):
    """What is wrong with an encoder's answer, said of "it": whoever knows the model names it."""


# The square of what lies outside may leave float32's range. Rows within keep their bits.
_SMALLEST, _LARGEST = 1e-15, 1e15
# How far the cosine of two encodings of one item may lie below 1. Rounding in half precision, in
# every layer of a large tower, stays far below the second; a batch's statistics or unmasked
# padding do not.
_SINGLE, _HALF = 5e-5, 5e-3
# How far apart two encodings of one item may lie, of length 1 each, before it is said: what float32
# rounds is a hundred times less, and a cosine below 1 - _SINGLE is a hundred times more.
NOTED = 1e-4
# So many items of the first batch are encoded a second time.
PROBED = 4


def as_float32(raw: Any) -> Vectors:
    """An encoder's answer, torch or numpy, as float32; rows of any scale keep their direction.

    Whole numbers may stand, such as counts or quantised vectors: they have a direction. Raises
    `UnusableVectors` for complex numbers, for values that are masked or left out (sparse), and for
    what is no array of numbers.
    """
    try:
        if hasattr(raw, "detach"):
            raw = _of_torch(raw)
        elif hasattr(raw, "toarray"):
            raise UnusableVectors("it gave a sparse matrix; give a plain array, as toarray() does")
        if _is_masked(raw):
            raise UnusableVectors("it gave an array with masked values; fill them (np.ma.filled)")
        values = np.asarray(raw)
        if np.iscomplexobj(values):
            raise UnusableVectors(
                "it gave complex numbers, of which no cosine is defined; give real ones"
            )
        if values.dtype.kind not in "fiu":
            found = _KINDS.get(values.dtype.kind, str(values.dtype))
            raise UnusableVectors(f"it gave {found}, not numbers; give an array of floats [n, d]")
        if values.dtype.kind == "f" and values.dtype.itemsize > 4 and values.ndim == 2:
            values = _within_range(values)
        return np.asarray(values, dtype=np.float32)
    # Of a tensor torch raises RuntimeError: one that needs a gradient within a list, for instance.
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnusableVectors(
            f"it gave no array of numbers ({reason_of(error)}); give [n, d]"
        ) from error


_KINDS = {
    "b": "truth values",
    "U": "text",
    "S": "bytes",
    "O": "Python objects",
    "M": "dates",
    "m": "times",
    "V": "records",
}


def _of_torch(raw: Any) -> Any:
    """A tensor of any device as numpy's array; `UnusableVectors` for one without plain values."""
    if getattr(raw, "is_meta", False):
        raise UnusableVectors("it gave a tensor of the meta device, which has no values")
    if str(getattr(raw, "layout", "torch.strided")) != "torch.strided":
        raise UnusableVectors("it gave a sparse tensor; give a plain one, as to_dense() does")
    if getattr(raw, "is_quantized", False):
        raise UnusableVectors("it gave a quantized tensor; give a plain one, as dequantize() does")
    raw = raw.detach()
    if raw.is_floating_point() and raw.element_size() < 8:
        raw = raw.float()
    return raw.cpu().numpy()


def _is_masked(raw: Any) -> bool:
    """Whether values are masked, in an array or in the rows of a list."""
    rows = raw if isinstance(raw, list | tuple) else [raw]
    return any(isinstance(row, np.ma.MaskedArray) and np.ma.is_masked(row) for row in rows)


def _within_range(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows whose squares leave float32's range are divided by their largest value."""
    if not values.size:
        return values
    largest = np.abs(values).max(axis=1, keepdims=True)
    odd = np.isfinite(largest) & (largest > 0) & ((largest < _SMALLEST) | (largest > _LARGEST))
    return np.where(odd, values / np.where(odd, largest, 1), values) if odd.any() else values


def unit(vectors: Vectors, items: Sequence[Any]) -> Vectors:
    """float32 unit rows [n, d] for n items.

    Raises `UnusableVectors` for another shape, and for a row that is zero or not finite.
    """
    if vectors.ndim != 2 or len(vectors) != len(items):
        raise UnusableVectors(
            f"it gave an array of shape {vectors.shape} for "
            f"{counted(len(items), 'item')}; it must be [n, d]"
        )
    vectors = _within_range(vectors)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        raise UnusableVectors(
            f"it gave a vector that is zero or not finite for {_shown(items[bad[0]])}; "
            "such a vector has no direction"
        )
    return np.asarray(vectors / norms, dtype=np.float32)


def check_alike(
    encode: Callable[[list[Any]], Vectors],
    data: Sequence[Any],
    sizes: Sequence[int],
    given: Vectors,
    items: Sequence[Any],
    *,
    beside: Sequence[Any] = (),
    is_half: bool = False,
) -> float:
    """`UnusableVectors` where some items of a batch have other vectors in another batch.

    Else the largest distance of two unit vectors of one item, where it is more than `NOTED` and the
    network does not run in half precision as far as one can see; else 0.

    Up to `PROBED` of its prepared `data`, the smallest by `sizes`, are encoded again: in another
    order, without the rest, and with what is `beside` the batch. `given` are their vectors [n, d],
    not normalised, in the batch.
    """
    most = min(PROBED, max(1, len(data) - 1))
    probed = sorted(range(len(data)), key=lambda index: sizes[index])[:most][::-1]
    try:
        again = encode([*(data[index] for index in probed), *beside])[: len(probed)]
    except Exception as error:
        raise UnusableVectors(
            f"it fails for {_shown(items[probed[0]])} in a batch of {len(probed)} "
            f"({reason_of(error)}), and did not in one of {len(data)}; {_ADVICE}"
        ) from error
    items = [items[index] for index in probed]
    before, after = unit(given[probed], items), _unit_or_zero(again)
    tolerance = _HALF if is_half or _is_rounded(given) else _SINGLE
    is_alike = before.shape == after.shape
    cosines = np.sum(before * after, axis=1) if is_alike else np.zeros(1)
    worst = int(cosines.argmin())
    if not cosines[worst] >= 1 - tolerance:
        raise UnusableVectors(
            f"it gave {_shown(items[worst])} another vector in another batch (cosine "
            f"{cosines[worst]:.3f}), so its vectors depend on the batch or on chance; {_ADVICE}"
        )

    # A cosine is blind to what is small: a distance of 0.0001 is 1 - 0.000000005.
    distance = float(np.linalg.norm(before.astype(np.float64) - after, axis=1).max())
    return distance if distance > NOTED and tolerance == _SINGLE else 0.0


_ADVICE = (
    "put the network into eval mode, use no statistics of the batch, and mask the padding (or say "
    "dtype bfloat16, if it is only that coarse)"
)


def _unit_or_zero(vectors: Vectors) -> Vectors:
    """Unit rows; zero where there is no direction."""
    vectors = _within_range(vectors)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    good = np.isfinite(norms) & (norms > 0)
    return np.where(good, vectors / np.where(good, norms, 1), 0)


def _is_rounded(vectors: Vectors) -> bool:
    """Whether all values are float16's or bfloat16's, so that the network ran in one of these."""
    is_bfloat16 = not (np.ascontiguousarray(vectors).view(np.uint32) & 0xFFFF).any()
    with np.errstate(over="ignore"):
        return is_bfloat16 or bool((vectors.astype(np.float16) == vectors).all())


def _shown(item: Any) -> str:
    return f"the image {item.id!r}" if isinstance(item, ImageRef) else repr(item)
