"""What a model may offer, all of it: `Adapter`, whose defaults are those of a model without it.

A model is one of these three, and each becomes an `Adapter` once, in `as_adapter`:

- simple form: a class with `encode_texts(list[str])` and/or `encode_images(list[PIL.Image])`, each
  -> [n, d];
- full form: a class with attributes `text` and `image`, each an `Encoder` or None;
- a subclass of `Adapter`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from paraclip_bench.errors import BenchError, ModelError, UsageError, reason_of
from paraclip_bench.models.training_digests import TrainingDigests
from paraclip_bench.safe_text import is_torn

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}
SIDES = frozenset(("text", "image"))

T = TypeVar("T")


def lazy_attribute(make: Callable[[Any], T]) -> T:
    """A property that stands for a plain attribute of the contract, computed when it is read."""
    return property(make)  # type: ignore[return-value]


class Encoder(ABC):
    """One side of a model.

    fingerprint: which vectors these are; without one nothing of them is stored or skipped.
    dtype: what this side runs in, where that is not what the model was asked for.
    shares_prefixes: whether texts that begin alike are cheaper together than texts of like length.
    """

    fingerprint: str | None = None
    dtype: str | None = None
    shares_prefixes: bool = False

    @abstractmethod
    def prepare(self, item: Any) -> tuple[Any, int]:
        """Turn a text or an `ImageRef` into (data, size in tokens or patches), on the CPU.

        Worker processes may call it, so an image encoder pickles without its weights.
        """

    @abstractmethod
    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d] (torch or numpy, any float dtype) of prepared data."""


class CannotMove(Exception):
    """A model runs on the CPU in float32 alone."""


class Adapter:
    """One model. The complete list of what it may offer; nothing else is ever asked for.

    name: what results and boards call it; its spec without one.
    text, image: its encoders; None for a side that it lacks, whose tasks are skipped.
    fingerprint: which vectors the whole model gives; that of its encoders without one.
    activation: "gelu" or "quick_gelu", where that is known; results record it.
    base: the spec that a checkpoint was fine-tuned from.
    method, seed: a digest of all that it was trained with but the seed, and the seed. A board takes
    checkpoints of one method for one.
    trained_on: digests of the texts and images that it was fine-tuned on, where they are known.
    suite: the suite that it belongs to, which a run takes where none is asked for.
    device: where it is, for a model that was made elsewhere and put there.
    context_length: how many tokens of a text it reads at most, where that is known.
    """

    name: str | None = None
    text: Encoder | None = None
    image: Encoder | None = None
    fingerprint: str | None = None
    activation: str | None = None
    base: str | None = None
    method: str | None = None
    seed: int | None = None
    trained_on: TrainingDigests | None = None
    suite: str | None = None
    device: str = "cpu"
    context_length: int | None = None

    def check(self) -> None:
        """Find or fetch what it needs, before anything is computed; raise where that is missing."""

    def to(self, device: str, dtype: str) -> None:
        """Move to a device and cast to float32, bfloat16 or float16, before anything is encoded.

        Raises `CannotMove` where it cannot: --device and --dtype are then refused.
        """
        if device != "cpu" or dtype != "float32":
            raise CannotMove

    def need(self, sides: Collection[str]) -> None:
        """Told which of "text" and "image" will be encoded: only their weights have to load."""

    def release(self) -> None:
        """Let go of the weights; they load again when they are needed."""

    def cut_texts(self, texts: Sequence[str]) -> Sequence[bool] | None:
        """Which of the texts are longer than what it reads of them; None where it cannot say.

        Asked for the distinct texts of a task, also of those whose vectors were stored: it should
        not load weights for it.
        """
        return None

    def describe(self) -> str:
        """How it computes, one line for the user, once it has encoded something."""
        return ""

    def is_identified(self) -> bool:
        """Whether its fingerprint is known without loading weights; a dry run loads none."""
        return True


class Alias(ABC):
    """A name for another model's spec, such as `clip`; `label` is what results call the model."""

    label: str | None = None

    @classmethod
    @abstractmethod
    def resolve(cls, argument: str | None, context: Context) -> str:
        """The spec that the alias stands for; `UsageError` for an argument that it cannot take."""

    @classmethod
    def resolve_all(cls, argument: str | None, context: Context) -> list[str]:
        """The specs of all models that it stands for; more than one where there are seeds."""
        return [cls.resolve(argument, context)]


@dataclasses.dataclass(frozen=True)
class Context:
    """What an alias such as `clip` or `paraclip` needs to know to name a model."""

    suite: str
    checkpoints: Path


def as_adapter(
    made: Any, spec: str, *, argument: str | None = None, is_object: bool = False
) -> Adapter:
    """What was made of a spec, as an `Adapter`.

    `argument` is what its class was made with; `is_object` says that nobody knows, because the
    object was made elsewhere. Raises `ModelError` for an object with neither form.
    """
    adapter: Adapter = made
    if not isinstance(made, Adapter) or not _is_whole(made):
        adapter = _Wrapped(made, spec, argument, is_object=is_object)
    # Both sides are looked at here, so that a wrong one is named before anything is run.
    sides = (adapter.text, adapter.image)
    if sides == (None, None) and not _has_side(made):
        raise ModelError(
            f"model {spec!r} ({type(made).__name__}) has neither encode_texts, encode_images, text "
            "nor image; give it one of them (docs/models.md)"
        )
    return adapter


def is_alias(cls: Any) -> bool:
    """Whether a class is an `Alias`, or has its `resolve` as one has."""
    return isinstance(cls, type) and callable(getattr(cls, "resolve", None))


def may_name_suite(cls: Any) -> bool:
    """Whether a model of this class may say which suite it belongs to."""
    return is_alias(cls) or inspect.getattr_static(cls, "suite", None) is not None


class Model:
    """An adapter under the name that a user typed, on a device and in a dtype.

    pieces: into how many parts a batch had to be cut for lack of memory, by side. checked: the
    sides whose vectors were found not to depend on their batch.
    """

    def __init__(
        self,
        spec: str,
        made: Any,
        *,
        name: str | None = None,
        argument: str | None = None,
        is_object: bool = False,
    ) -> None:
        """`made` and the last two are as `as_adapter` takes them."""
        self.spec = spec
        self.adapter = as_adapter(made, spec, argument=argument, is_object=is_object)
        self.argument = argument
        self._is_object = is_object
        given = name or self.adapter.name
        self.name: str = str(given) if given and str(given).strip() else spec
        if is_torn(self.name):
            raise ModelError(
                f"the model's name {self.name!r} has a half of a character (a lone surrogate), "
                "which no result can hold; name it otherwise"
            )
        self.dtype = "float32"
        self.device = "cpu"
        self.pieces: dict[str, int] = {}
        self.checked: set[str] = set()

    def __str__(self) -> str:
        return self.spec

    @property
    def text(self) -> Encoder | None:
        """The text encoder, or None for a model without one."""
        return self.adapter.text

    @property
    def image(self) -> Encoder | None:
        """The image encoder, or None for a model without one."""
        return self.adapter.image

    def encoder(self, side: str) -> Encoder | None:
        """The encoder of a side, "text" or "image"."""
        return self.text if side == "text" else self.image

    @property
    def fingerprint(self) -> str | None:
        """The whole model's, or both sides' as one; None if a side that exists has none."""
        own = _own_fingerprint(self.adapter, self.argument, is_object=self._is_object)
        if own is not None:
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
            self.device = str(self.adapter.device or "cpu")
            return
        self.device = device or "cpu"
        try:
            self.adapter.to(self.device, wanted)
        except BenchError:
            raise
        except CannotMove as error:
            raise UsageError(
                f"model {self.spec!r} has no to(device, dtype), so --device and --dtype "
                "cannot be obeyed; leave them out"
            ) from error
        # An adapter is foreign code: whatever it raises becomes its own reason.
        except Exception as error:
            raise ModelError(
                f"model {self.spec!r} cannot run on {self.device} in {wanted} "
                f"({reason_of(error)}); choose another --device or --dtype"
            ) from error
        self.dtype = wanted


def exact_products(device: str, dtype: str) -> None:
    """Turn TF32 off, cuDNN's too, where a model runs in float32 on a GPU.

    Results are compared across devices, and by default torch rounds convolutions to 10 bits there.
    """
    torch = sys.modules.get("torch")
    if torch is not None and dtype == "float32" and not device.startswith("cpu"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


_SIMPLE = {"text": "encode_texts", "image": "encode_images"}


class _Simple(Encoder):
    """A function of the simple form as an encoder: texts by their characters, images one each."""

    def __init__(self, fingerprint: str | None, function: Callable[[Any], Any], side: str) -> None:
        self.fingerprint = fingerprint
        self._function = function
        self._side = side

    def prepare(self, item: Any) -> tuple[Any, int]:
        return (item, len(item)) if self._side == "text" else (item.open(), 1)

    def encode(self, batch: list[Any]) -> Any:
        return self._function(batch)


class _WrappedEncoder(Encoder):
    """An encoder of the full form that is not an `Encoder`: what it lacks has the default."""

    def __init__(self, made: Any) -> None:
        self._made = made

    @lazy_attribute
    def fingerprint(self) -> str | None:
        return getattr(self._made, "fingerprint", None)

    @lazy_attribute
    def dtype(self) -> str | None:
        return getattr(self._made, "dtype", None)

    @lazy_attribute
    def shares_prefixes(self) -> bool:
        return bool(getattr(self._made, "shares_prefixes", False))

    def prepare(self, item: Any) -> tuple[Any, int]:
        prepared: tuple[Any, int] = self._made.prepare(item)
        return prepared

    def encode(self, batch: list[Any]) -> Any:
        return self._made.encode(batch)


def _of_made(name: str, default: str | None = None) -> Any:
    """An attribute of the wrapped object, read when it is asked for."""
    return property(lambda self: getattr(self._made, name, None) or default)


_METHODS = ("check", "to", "need", "release", "cut_texts", "describe", "is_identified")


class _Wrapped(Adapter):
    """An object of either form: what it has, and the defaults of `Adapter` for the rest."""

    def __init__(self, made: Any, spec: str, argument: str | None, *, is_object: bool) -> None:
        self._made, self._spec = made, spec
        self._argument, self._is_object = argument, is_object
        for method in _METHODS:
            if callable(own := getattr(made, method, None)):
                setattr(self, method, own)

    name, activation = _of_made("name"), _of_made("activation")
    base, suite, device = _of_made("base"), _of_made("suite"), _of_made("device", "cpu")
    method, seed = _of_made("method"), _of_made("seed")
    trained_on = _of_made("trained_on")
    context_length = _of_made("context_length")

    @lazy_attribute
    def text(self) -> Encoder | None:
        return self._encoder("text")

    @lazy_attribute
    def image(self) -> Encoder | None:
        return self._encoder("image")

    @lazy_attribute
    def fingerprint(self) -> str | None:
        return _own_fingerprint(self._made, self._argument, is_object=self._is_object)

    def _encoder(self, side: str) -> Encoder | None:
        made = getattr(self._made, side, None)
        if isinstance(made, Encoder):
            return made
        if made is not None:
            if not all(callable(getattr(made, name, None)) for name in ("prepare", "encode")):
                raise ModelError(
                    f"model {self._spec!r}: its {side} encoder lacks prepare or encode; "
                    "docs/models.md shows the full form"
                )
            return _WrappedEncoder(made)
        if _says(self._made, side):
            return None
        function = getattr(self._made, _SIMPLE[side], None)
        if function is None:
            return None
        own = self.fingerprint
        return _Simple(None if own is None else f"{side}:{own}", function, side)


def _is_whole(made: Adapter) -> bool:
    """Whether nothing of an adapter has to be wrapped: no simple form, and encoders of ours."""
    return not any(hasattr(made, name) for name in _SIMPLE.values()) and all(
        side is None or isinstance(side, Encoder) for side in (made.text, made.image)
    )


def _says(made: Any, side: str) -> bool:
    """Whether an object says itself that it lacks a side; the default of `Adapter` does not."""
    classes = [cls for cls in type(made).__mro__ if cls is not Adapter]
    return any(side in vars(owner) for owner in [made, *classes] if hasattr(owner, "__dict__"))


def _has_side(made: Any) -> bool:
    return not isinstance(made, Adapter) and any(hasattr(made, side) for side in SIDES)


def _own_fingerprint(made: Any, argument: str | None, *, is_object: bool) -> str | None:
    """An object's own; one that stands on the class is made the source's and argument's.

    A class cannot tell its instances apart, so of an object made elsewhere it says nothing.
    """
    own = getattr(made, "fingerprint", None)
    if not isinstance(own, str):
        return None
    cls = type(made)
    if not isinstance(inspect.getattr_static(cls, "fingerprint", None), str):
        return own
    if is_object:
        return None
    parts = [cls.__qualname__, argument or "", own, _source(cls)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source(cls: type) -> str:
    """Digest of the file that a class is written in, or nothing where there is none."""
    with contextlib.suppress(OSError, TypeError):
        if file := inspect.getsourcefile(cls):
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return ""
