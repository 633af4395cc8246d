"""open_clip's models: `open_clip:ARCH/TAG`, `hf-hub:ID`, `local-dir:DIR` and `ARCH@FILE`.

Constructing one is cheap: weights load when a vector, or a fingerprint that is not remembered,
is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench.data import digest_cache
from paraclip_bench.data.images import ImageRef
from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.files import parse_json, parse_toml, regular
from paraclip_bench.models.adapter import SIDES, Adapter, Encoder, lazy_attribute
from paraclip_bench.models.open_clip.pixels import Pixels
from paraclip_bench.models.training_digests import TrainingDigests

if TYPE_CHECKING:
    from paraclip_bench.models.open_clip.network import Network


PROVENANCE = "provenance.json"
# The folder of one of several checkpoints that `finetune --seeds` makes.
SEED = re.compile(r"seed-\d+")
# Raised when what a fingerprint covers changes, so that remembered ones are not used.
_SCHEME = 2
_LOADING = threading.RLock()


class OpenCLIP(Adapter):
    """An adapter around one open_clip model.

    `argument` is `ARCH/TAG`, `hf-hub:ID`, `local-dir:DIR` or `ARCH@FILE` (a bare checkpoint).
    """

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.device = "cpu"
        self.dtype = "float32"
        self._needed = SIDES
        self._network: Network | None = None
        self._pixels: Pixels | None = None
        self._dtypes: dict[str, str] = {}
        self._stamp: str | None = None
        self._suite: str | None = None
        # A folder's own name, or what follows `open_clip:`.
        self.name = self.folder.resolve().name if self.folder else argument
        self.text = TextEncoder(self)
        self.image = ImageEncoder(self)
        if folder := self.folder:
            if not folder.is_dir():
                raise UsageError(f"the model folder {folder} does not exist")
            # What finetune wrote about a checkpoint of ours.
            provenance = _read_provenance(folder)
            self._suite = provenance.get("suite")
            self.base = provenance.get("base", {}).get("spec")
            self.method, self.seed = _training(folder, provenance)
            if SEED.fullmatch(self.folder.resolve().name):
                # One of several beside each other: its folder alone says nothing.
                self.name = "/".join(self.folder.resolve().parts[-2:])
        elif not argument.startswith("hf-hub:"):
            architecture, at, file = argument.partition("@")
            if at and not regular(Path(file)).is_file():
                raise UsageError(f"the checkpoint file {file} does not exist")
            if not at and Path(argument).is_file():
                raise UsageError(
                    f"{argument} is a bare checkpoint and does not name its architecture; "
                    f"write open_clip:ARCH@{argument}, such as open_clip:ViT-B-32@{argument}"
                )
            if not at and "/" not in architecture:
                raise UsageError(
                    f"the open_clip model {argument!r} is not ARCH/TAG, hf-hub:ID, local-dir:DIR "
                    "or ARCH@FILE; for instance open_clip:ViT-B-32/laion400m_e32"
                )

    @lazy_attribute
    def suite(self) -> str | None:
        """What finetune wrote into a checkpoint of ours."""
        return self._suite

    @lazy_attribute
    def trained_on(self) -> TrainingDigests | None:
        """What finetune wrote beside a checkpoint of ours."""
        return TrainingDigests.read(self.folder)

    @property
    def folder(self) -> Path | None:
        """The folder of a `local-dir:` model."""
        prefix = "local-dir:"
        return (
            Path(self.argument.removeprefix(prefix)) if self.argument.startswith(prefix) else None
        )

    def check(self) -> None:
        """Find (or fetch) the files; `ModelError` names what is missing."""
        from paraclip_bench.models.open_clip import model_files, network

        network.check_device(self.device)
        model_files.check_files(self.argument)

    @lazy_attribute
    def activation(self) -> str | None:
        """Read off the network that was built: "quick_gelu" or "gelu"."""
        activation: str | None = self.identity["activation"]
        return activation

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Both fingerprints and the activation; remembered by the files' size and time."""
        key = self._cache_key()
        known = digest_cache.get(key)
        if isinstance(known, dict):
            return known
        found = self._identify()
        self._checked_stamp()
        digest_cache.put(key, found)
        return found

    def _identify(self) -> dict[str, Any]:
        """The identity, without loading weights where the file alone tells it."""
        from paraclip_bench.models.open_clip.network import Network, streamed

        # The fingerprint is of the float32 values, whatever precision they run in.
        network = self._network
        if self.dtype == "float32" and network is not None and network.sides == SIDES:
            return network.identity()
        if (found := streamed(self.argument)) is not None:
            return found
        if self.dtype == "float32" and self._needed == SIDES:
            return self.network().identity()
        return Network.load(self.argument).identity()

    def is_identified(self) -> bool:
        """Whether the fingerprint is known without loading the weights."""
        return isinstance(digest_cache.get(self._cache_key()), dict)

    def _cache_key(self) -> str:
        from paraclip_bench.models.open_clip import network

        version = f"{_SCHEME}:{network.version()}"
        return f"open_clip:{version}:{self.argument}:{self._checked_stamp()}"

    def _checked_stamp(self) -> str:
        """The files' stamp; `ModelError` where it is not what it was when first asked for.

        Vectors of new weights must not get the name of the old ones.
        """
        from paraclip_bench.models.open_clip import model_files

        stamp = digest_cache.stamp(model_files.files_of(self.argument))
        if self._stamp not in (None, stamp):
            raise ModelError(
                f"the files of {self.argument} changed while they were in use; "
                "run the command again, or load the model again"
            )
        self._stamp = stamp
        return stamp

    def to(self, device: str, dtype: str) -> None:
        """Say where and in which precision the towers run, before they are loaded."""
        self.device, self.dtype = device, dtype
        self._dtypes = {}
        self.release()

    def need(self, sides: Collection[str]) -> None:
        """Say which of "text" and "image" will be encoded; only their weights load.

        Both are needed until this is called. A side that is encoded all the same is loaded then.
        Raises `ValueError` for another word.
        """
        if unknown := set(sides) - SIDES:
            raise ValueError(f"{min(unknown)!r} is not a side of a model; say text, image or both")
        self._needed = frozenset(sides)

    @property
    def loaded(self) -> str | None:
        """What is in memory now: "text tower alone", "image tower alone", "both towers", None."""
        if self._network is None:
            return None
        sides = self._network.sides
        return "both towers" if sides == SIDES else f"{next(iter(sides))} tower alone"

    def describe(self) -> str:
        """Which towers are in memory and how they compute, and of a bare file the activation."""
        said = []
        if self._network is not None:
            path = f", {self._network.text_path}" if "text" in self._network.sides else ""
            said.append(f"{self.loaded}{path}")
        if remark := self.activation_remark():
            said.append(remark)
        return "; ".join(said)

    @lazy_attribute
    def context_length(self) -> int | None:
        """Tokens of a text, those that begin and end it included."""
        return int(self._tokenizer.context_length)

    def cut_texts(self, texts: Sequence[str]) -> Sequence[bool]:
        """Which texts have more tokens than the context; needs the tokenizer alone."""
        from paraclip_bench.models.open_clip.network import texts_cut

        return texts_cut(self._tokenizer, texts)

    @cached_property
    def _tokenizer(self) -> Any:
        from paraclip_bench.models.open_clip import build, model_files

        network = self._network
        if network is not None and network.tokenizer is not None:
            return network.tokenizer
        return build.tokenizer_of(model_files.model_files_of(self.argument))

    def activation_remark(self) -> str:
        """Which activation a bare checkpoint runs with, and how to choose the other; else ""."""
        from paraclip_bench.models.open_clip.model_files import activation_remark

        return activation_remark(self.argument)

    def dtype_of(self, side: str) -> str:
        """The dtype that a side runs in, where `to` asked for another than it is good at."""
        if side not in self._dtypes:
            from paraclip_bench.models.open_clip.autotune import side_dtype

            self._dtypes[side] = side_dtype(side, self.device, self.dtype)
        return self._dtypes[side]

    def network(self, sides: Collection[str] = SIDES) -> Network:
        """The network, holding at least `sides` ("text", "image"), with what was needed besides.

        One that is loaded but lacks one of them is loaded again.
        """
        wanted = frozenset(sides)
        network = self._network
        if network is None or not wanted <= network.sides:
            # Several threads encode at once; one of them loads.
            with _LOADING:
                network = self._network
                if network is None or not wanted <= network.sides:
                    from paraclip_bench.models.open_clip.network import Network

                    # First let go of what is loaded, so that it is not in memory twice.
                    network = self._network = None
                    self._needed = self._needed | wanted
                    self._checked_stamp()
                    loaded = Network.load(
                        self.argument, device=self.device, dtype=self.dtype, sides=self._needed
                    )
                    self._checked_stamp()
                    network = self._network = loaded
        return network

    def pixels(self) -> Pixels:
        """The image preprocessing, found without the weights where it can be."""
        if self._pixels is None:
            with _LOADING:
                if self._pixels is None:
                    from paraclip_bench.models.open_clip.network import pixels_of

                    found = None if self._network else pixels_of(self.argument)
                    self._pixels = found or self._any_network().pixels
        return self._pixels

    def _any_network(self) -> Network:
        return self._network or self.network(self._needed or SIDES)

    def release(self) -> None:
        """Drop the weights; they load again when needed."""
        self._network = None


class LocalFolder(OpenCLIP):
    """`local-dir:DIR`, short for `open_clip:local-dir:DIR`."""

    def __init__(self, argument: str) -> None:
        super().__init__(f"local-dir:{argument}")


class HubFolder(OpenCLIP):
    """`hf-hub:ID`, short for `open_clip:hf-hub:ID`."""

    def __init__(self, argument: str) -> None:
        super().__init__(f"hf-hub:{argument}")


class TextEncoder(Encoder):
    """The text side: tokens of open_clip's own tokenizer, vectors of its `encode_text`."""

    def __init__(self, adapter: OpenCLIP) -> None:
        self._adapter = adapter

    @lazy_attribute
    def fingerprint(self) -> str:
        """Which vectors these are."""
        return str(self._adapter.identity["text"])

    @lazy_attribute
    def dtype(self) -> str:
        """The dtype that the tower runs in: "float32", "bfloat16" or "float16"."""
        return self._adapter.dtype_of("text")

    @lazy_attribute
    def shares_prefixes(self) -> bool:
        """Whether texts that begin alike are cheaper together than texts of like length."""
        packed = self._adapter.network(("text",)).packed
        return packed is not None and packed.shares_prefixes

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Tokens [context] of a text, and how many of them are not padding."""
        return self._adapter.network(("text",)).tokenize(item)

    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d], not normalised."""
        return self._adapter.network(("text",)).encode_tokens(batch)


class ImageEncoder(Encoder):
    """The image side: open_clip's own evaluation transform, `encode_image`.

    It pickles as its preprocessing alone: in another process it can `prepare`, without weights,
    and nothing else.
    """

    def __init__(self, adapter: OpenCLIP) -> None:
        self._adapter: OpenCLIP | None = adapter
        self._pixels: Pixels | None = None

    @lazy_attribute
    def fingerprint(self) -> str:
        """Which vectors these are."""
        return str(self._owner().identity["image"])

    @lazy_attribute
    def dtype(self) -> str:
        """The dtype that the tower runs in; on a CPU float32, unless half precision is faster."""
        return self._owner().dtype_of("image")

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Pixels [3, h, w] of an `ImageRef`, and its size in 16x16 patches."""
        pixels = self._pixels or self._owner().pixels()
        if not isinstance(item, ImageRef):
            raise TypeError(f"an image encoder prepares ImageRef, not {type(item).__name__}")
        return pixels(item.open())

    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d], not normalised."""
        return self._owner().network(("image",)).encode_pixels(batch)

    def _owner(self) -> OpenCLIP:
        if self._adapter is None:
            raise ModelError(
                "an image encoder that came from another process can only prepare; "
                "encode where the model was made"
            )
        return self._adapter

    def __getstate__(self) -> dict[str, Any]:
        return {"_adapter": None, "_pixels": self._pixels or self._owner().pixels()}


def _training(folder: Path, provenance: dict[str, Any]) -> tuple[str | None, int | None]:
    """A digest of all that a checkpoint was trained with but its seed, and the seed."""
    try:
        recipe = parse_toml((folder / "recipe.toml").read_text(encoding="utf-8"))
        seed = int(recipe.pop("seed", 0))
        about = [recipe, provenance["base"]["fingerprint"], provenance["data"]["sha256"]]
        about.append(provenance.get("world_size", 1))
        about += ["exif"] if provenance["data"].get("exif") else []
    except (OSError, ValueError, TypeError, KeyError):
        return None, None
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest(), seed


def _read_provenance(folder: Path) -> dict[str, Any]:
    """What finetune wrote about a checkpoint of ours; empty for another folder."""
    path = folder / PROVENANCE
    if not path.is_file():
        return {}
    try:
        written = dict(parse_json(path.read_text(encoding="utf-8")))
        written["base"] = dict(written.get("base", {}))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); run finetune again") from error
    return written
