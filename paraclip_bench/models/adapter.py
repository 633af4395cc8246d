"""What an adapter and an encoder are, and how the simple form becomes the full one.

Simple form: a class with `encode_texts(list[str])` and/or `encode_images(list[PIL.Image])`, each
-> [n, d]. Full form: attributes `text` and `image`, each an `Encoder` or None.


float32 on a GPU means float32.

Which weights of an open_clip network belong to which side."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import BenchError, ModelError, UsageError, reason_of

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}


class Encoder(Protocol):
    """One side of a model.

    `fingerprint` says which vectors these are; None means that nothing may be stored or skipped.
    """

    fingerprint: str | None

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Turn a text or an `ImageRef` into (data, size in tokens or patches), on CPU."""
        ...

    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d] (torch or numpy, any float dtype) of prepared data."""
        ...


@dataclasses.dataclass(frozen=True)
class Context:
    """What an alias such as `clip` or `paraclip` needs to know to name a model."""

    suite: str
    checkpoints: Path


@dataclasses.dataclass
class _Lifted:
    """The simple form as an encoder."""

    fingerprint: str | None
    function: Callable[[list[Any]], Any]
    is_text: bool

    def prepare(self, item: Any) -> tuple[Any, int]:
        """A text with its length in characters, or a decoded image that counts one."""
        return (item, len(item)) if self.is_text else (item.open(), 1)

    def encode(self, batch: list[Any]) -> Any:
        """Call the user's own function."""
        return self.function(batch)


class Model:
    """An adapter under the name a user typed, with both forms made one.

    `argument` is what its class was made with; `is_object` says that nobody knows, for the object
    was made elsewhere.

    Raises `ModelError` where the object has neither form.
    """

    def __init__(
        self,
        spec: str,
        adapter: Any,
        *,
        name: str | None = None,
        argument: str | None = None,
        is_object: bool = False,
    ) -> None:
        self.spec = spec
        self.adapter = adapter
        self.argument = argument
        self._is_object = is_object
        self.name: str = name or getattr(adapter, "name", None) or spec
        self.dtype = "float32"
        self.device = "cpu"
        # Into how many parts a batch had to be cut for lack of memory, by side.
        self.pieces: dict[str, int] = {}
        if not any(hasattr(adapter, a) for a in ("text", "image", "encode_texts", "encode_images")):
            raise ModelError(
                f"model {spec!r} ({type(adapter).__name__}) has neither encode_texts, "
                "encode_images, text nor image; give it one of them (docs/models.md)"
            )
        # Both sides are looked at here, so that a wrong one is named before anything is run.
        self._side("text", "encode_texts")
        self._side("image", "encode_images")

    def __str__(self) -> str:
        return self.spec

    @property
    def text(self) -> Encoder | None:
        """The text encoder, or None for a model without one."""
        return self._side("text", "encode_texts")

    @property
    def image(self) -> Encoder | None:
        """The image encoder, or None for a model without one."""
        return self._side("image", "encode_images")

    @property
    def activation(self) -> str | None:
        """What the adapter says, where it knows: "gelu" or "quick_gelu"."""
        return getattr(self.adapter, "activation", None)

    @property
    def base(self) -> str | None:
        """The spec that a checkpoint was fine-tuned from."""
        return getattr(self.adapter, "base", None)

    @property
    def fingerprint(self) -> str | None:
        """Both sides' fingerprints as one; None if a side that exists has none."""
        if (own := self._own_fingerprint()) is not None:
            return own
        parts = [side.fingerprint for side in (self.text, self.image) if side is not None]
        if not parts or any(part is None for part in parts):
            return None
        return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()

    def to(self, device: str | None, dtype: str | None) -> None:
        """Move and cast the adapter; `UsageError` where it cannot and a flag asks for it."""
        wanted = DTYPES.get(dtype or "float32")
        if wanted is None:
            raise UsageError(f"--dtype {dtype!r} is none of float32, bfloat16, float16")
        if device is None and dtype is None:
            # As it was made: a module that somebody put on a GPU stays there.
            self.device = str(getattr(self.adapter, "device", None) or "cpu")
        elif hasattr(self.adapter, "to"):
            self.device = device or "cpu"
            try:
                self.adapter.to(self.device, wanted)
            except BenchError:
                raise
            # An adapter is foreign code: whatever it raises becomes its own reason.
            except Exception as error:
                raise ModelError(
                    f"model {self.spec!r} cannot run on {self.device} in {wanted} "
                    f"({reason_of(error)}); choose another --device or --dtype"
                ) from error
            self.dtype = wanted
        elif device not in (None, "cpu") or wanted != "float32":
            raise UsageError(
                f"model {self.spec!r} has no to(device, dtype), so --device and --dtype "
                "cannot be obeyed; leave them out"
            )

    def release(self) -> None:
        """Let go of the weights, where the adapter can."""
        if hasattr(self.adapter, "release"):
            self.adapter.release()

    def _side(self, attribute: str, simple: str) -> Encoder | None:
        if hasattr(self.adapter, attribute):
            side = getattr(self.adapter, attribute)
            if _is_encoder(side):
                return side
            raise ModelError(
                f"model {self.spec!r}: its {attribute} encoder lacks fingerprint, prepare or "
                "encode; docs/models.md shows the full form"
            )
        function = getattr(self.adapter, simple, None)
        if function is None:
            return None
        own = self._own_fingerprint()
        fingerprint = None if own is None else f"{attribute}:{own}"
        return _Lifted(fingerprint, function, is_text=attribute == "text")

    def _own_fingerprint(self) -> str | None:
        """The adapter's own; one that stands on the class is made the source's and argument's.

        A class cannot tell its instances apart, so of an object made elsewhere it says nothing.
        """
        own = getattr(self.adapter, "fingerprint", None)
        if not isinstance(own, str):
            return None
        cls = type(self.adapter)
        if not isinstance(inspect.getattr_static(cls, "fingerprint", None), str):
            return own
        if self._is_object:
            return None
        parts = [cls.__qualname__, self.argument or "", own, _source(cls)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source(cls: type) -> str:
    """Digest of the file that a class is written in, or nothing where there is none."""
    with contextlib.suppress(OSError, TypeError):
        if file := inspect.getsourcefile(cls):
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return ""


def _is_encoder(side: Any) -> TypeGuard[Encoder | None]:
    # Not isinstance(side, Encoder): up to Python 3.11 that reads a lazy fingerprint, and with it
    # loads the weights.
    own = getattr(side, "__dict__", {})
    return side is None or all(
        name in own or hasattr(type(side), name) for name in ("fingerprint", "prepare", "encode")
    )


def image_item(item: Any) -> ImageRef:
    """The `ImageRef` that an image encoder's `prepare` is given; `TypeError` for another thing."""
    if not isinstance(item, ImageRef):
        raise TypeError(f"an image encoder prepares ImageRef, not {type(item).__name__}")
    return item


def missing_sides(model: Model, needs: Sequence[str]) -> list[str]:
    """The sides of `needs` that the model lacks."""
    return [side for side in needs if getattr(model, side) is None]


def exact_products(device: str, dtype: str) -> None:
    """Turn TF32 off, cuDNN's too, where a model runs in float32 on a GPU.

    Results are compared across devices, and by default torch rounds convolutions to 10 bits there.
    """
    torch = sys.modules.get("torch")
    if torch is not None and dtype == "float32" and not device.startswith("cpu"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


SIDES = frozenset(("text", "image"))
