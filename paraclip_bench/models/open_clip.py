"""open_clip's models: `open_clip:ARCH/TAG`, `hf-hub:ID`, `local-dir:DIR` and `ARCH@FILE`.

Constructing one is cheap: weights load when a vector, or a fingerprint that is not remembered,
is asked for.
"""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench.data import memo
from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.models.base import image_item

if TYPE_CHECKING:
    from paraclip_bench.models.open_clip_network import Network

PROVENANCE = "provenance.json"
# Raised when what a fingerprint covers changes, so that remembered ones are not used.
_SCHEME = 2
_LOADING = threading.Lock()


class OpenCLIP:
    """An adapter around one open_clip model.

    `argument` is `ARCH/TAG`, `hf-hub:ID`, `local-dir:DIR` or `ARCH@FILE` (a bare checkpoint).
    """

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.device = "cpu"
        self.dtype = "float32"
        self._network: Network | None = None
        self.text = TextEncoder(self)
        self.image = ImageEncoder(self)
        if folder := self.folder:
            if not folder.is_dir():
                raise UsageError(f"the model folder {folder} does not exist")
        elif not argument.startswith("hf-hub:"):
            architecture, at, file = argument.partition("@")
            if at and not Path(file).is_file():
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

    @property
    def folder(self) -> Path | None:
        """The folder of a `local-dir:` model."""
        prefix = "local-dir:"
        return (
            Path(self.argument.removeprefix(prefix)) if self.argument.startswith(prefix) else None
        )

    @property
    def name(self) -> str:
        """A folder's own name, or what follows `open_clip:`."""
        return self.folder.resolve().name if self.folder else self.argument

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """What finetune wrote about a checkpoint of ours; empty for other models."""
        if self.folder is None or not (self.folder / PROVENANCE).is_file():
            return {}
        try:
            written: dict[str, Any] = json.loads(
                (self.folder / PROVENANCE).read_text(encoding="utf-8")
            )
        except ValueError as error:
            raise ModelError(
                f"{self.folder / PROVENANCE} is damaged ({error}); run finetune again"
            ) from error
        return written

    @property
    def base(self) -> str | None:
        """The spec that a checkpoint of ours was fine-tuned from."""
        base = self._provenance.get("base", {}).get("spec")
        return None if base is None else str(base)

    @property
    def suite(self) -> str | None:
        """The suite that a checkpoint of ours belongs to."""
        return self._provenance.get("suite")

    def check(self) -> None:
        """Find (or fetch) the files; `ModelError` names what is missing."""
        from paraclip_bench.models import open_clip_network

        open_clip_network.check_device(self.device)
        open_clip_network.check_files(self.argument)

    @property
    def activation(self) -> str | None:
        """Read off the network that was built: "quick_gelu" or "gelu"."""
        activation: str | None = self.identity["activation"]
        return activation

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Both fingerprints and the activation; remembered by the files' size and time."""
        key = self._memo_key()
        known = memo.get(key)
        if isinstance(known, dict):
            return known
        network = self.network()
        if self.dtype != "float32":
            # The fingerprint is of the float32 values, whatever precision they run in.
            from paraclip_bench.models.open_clip_network import Network

            network = Network.load(self.argument)
        found = network.identity()
        memo.put(key, found)
        return found

    def remembered(self) -> bool:
        """Whether the fingerprint is known without loading the weights."""
        return isinstance(memo.get(self._memo_key()), dict)

    def _memo_key(self) -> str:
        from paraclip_bench.models import open_clip_network

        files = open_clip_network.files_of(self.argument)
        version = f"{_SCHEME}:{open_clip_network.version()}"
        return f"open_clip:{version}:{self.argument}:{memo.stamp(files)}"

    def to(self, device: str, dtype: str) -> None:
        """Say where and in which precision the towers run, before they are loaded."""
        self.device, self.dtype = device, dtype
        self.release()

    def network(self) -> Network:
        """The loaded towers, tokenizer and preprocessing."""
        network = self._network
        if network is None:
            # Several threads prepare images at once; one of them loads.
            with _LOADING:
                network = self._network
                if network is None:
                    from paraclip_bench.models.open_clip_network import Network

                    network = Network.load(self.argument, device=self.device, dtype=self.dtype)
                    self._network = network
        return network

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


class TextEncoder:
    """The text side: tokens of open_clip's own tokenizer, vectors of its `encode_text`."""

    def __init__(self, adapter: OpenCLIP) -> None:
        self._adapter = adapter

    @property
    def fingerprint(self) -> str:
        """Which vectors these are."""
        return str(self._adapter.identity["text"])

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Tokens [context] of a text, and how many of them are not padding."""
        return self._adapter.network().tokenize(item)

    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d], not normalised."""
        return self._adapter.network().encode_tokens(batch)


class ImageEncoder:
    """The image side: open_clip's own evaluation transform, `encode_image`."""

    def __init__(self, adapter: OpenCLIP) -> None:
        self._adapter = adapter

    @property
    def fingerprint(self) -> str:
        """Which vectors these are."""
        return str(self._adapter.identity["image"])

    def prepare(self, item: Any) -> tuple[Any, int]:
        """Pixels [3, h, w] of an `ImageRef`, and its size in 16x16 patches."""
        return self._adapter.network().preprocess(image_item(item).open())

    def encode(self, batch: list[Any]) -> Any:
        """Vectors [n, d], not normalised."""
        return self._adapter.network().encode_pixels(batch)
