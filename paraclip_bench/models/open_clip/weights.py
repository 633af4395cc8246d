"""The tensors of a weights file, each read when it is asked for, under a network's names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import safe_open

_Shapes = dict[str, tuple[int, ...]]
_Read = Callable[[str], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file that is open, of which nothing but the names and shapes has been read.

    `names` maps the network's names to the file's, as open_clip would.
    """

    names: dict[str, str]
    shapes: _Shapes
    _stored: _Read

    def fits(self, model: Any) -> bool:
        """Whether names and shapes are exactly the network's, so that nothing is converted."""
        state = model.state_dict()
        return state.keys() == self.names.keys() and all(
            self._shape(name) == tuple(tensor.shape)
            # open_clip reshapes these two: some files keep [] and others [1].
            or (name in ("logit_scale", "logit_bias") and self._is_single(name))
            for name, tensor in state.items()
        )

    def read(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A new CPU tensor of the file's values, in the shape and dtype of `like`.

        As loading into a network does: the file's values are copied, and cast, into fresh memory.
        """
        with torch.no_grad():
            stored = self._stored(self.names[name]).reshape(like.shape)
            return torch.empty(like.shape, dtype=like.dtype, device="cpu").copy_(stored)

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[self.names[name]]

    def _is_single(self, name: str) -> bool:
        return self._shape(name) in ((), (1,))


def open_weights(path: Path, model: Any) -> Weights:
    """Open a .safetensors, or a .bin or .pth that torch can map, for a network of this class.

    Raises whatever safetensors or torch do for a file that is none of these; nothing is unpickled
    but tensors.
    """
    shapes, read = _safetensors(path) if path.suffix == ".safetensors" else _mapped(path)
    # Both renamings are open_clip's own, in its order.
    names = {name: name for name in shapes}
    if next(iter(names), "").startswith("module"):
        names = {name[len("module.") :]: name for name in names}
    if "positional_embedding" in names and not hasattr(model, "positional_embedding"):
        names = convert_to_custom_text_state_dict(names)
    return Weights(names, shapes, read)


def _safetensors(path: Path) -> tuple[_Shapes, _Read]:
    def read(name: str) -> torch.Tensor:
        # Opened anew each time: while it is open, what was read before stays mapped.
        with safe_open(str(path), framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    with safe_open(str(path), framework="pt") as file:
        names = file.keys()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return shapes, read


def _mapped(path: Path) -> tuple[_Shapes, _Read]:
    loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    tensors: dict[str, torch.Tensor] = loaded.get("state_dict", loaded)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__
