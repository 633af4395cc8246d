"""Builds open_clip networks: whole, as a skeleton without memory, or one side alone.

A whole one is open_clip's own. One side alone is a skeleton of which that side is filled from the
weights file, tensor by tensor; the other tower is neither read nor allocated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import QuickGELU, TextTransformer
from safetensors import safe_open

from paraclip_bench.errors import ModelError
from paraclip_bench.models.open_clip.model_files import ModelFiles, load_error
from paraclip_bench.models.open_clip.pixels import Pixels


def is_image_tensor(name: str) -> bool:
    """Whether a weight belongs to the image tower."""
    return name.startswith("visual.")


def is_text_tensor(name: str) -> bool:
    """Whether a weight belongs to the text tower (the logit scale and bias belong to neither)."""
    return not is_image_tensor(name) and name not in ("logit_scale", "logit_bias")


def keep_only(model: Any, side: str) -> None:
    """Delete the other side's modules, parameters and buffers from a network, in place.

    What is left runs `encode_text` or `encode_image` as before.
    """
    if side == "text":
        del model.visual
        return
    parts = [name for name, _ in model.named_children() if name != "visual"]
    for tensors in (model.named_parameters(recurse=False), model.named_buffers(recurse=False)):
        parts += [name for name, _ in tensors if is_text_tensor(name)]
    for name in parts:
        delattr(model, name)


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
        # Opened again each time: while it is open, what was read before stays mapped.
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


@dataclasses.dataclass(frozen=True)
class BuiltNetwork:
    """A network on the CPU in float32, and what only a network with both towers tells."""

    model: Any
    pixels: Pixels
    activation: str | None


def whole(plan: ModelFiles) -> BuiltNetwork:
    """Build and load as open_clip does, and verify; `ModelError` says what is wrong."""
    with _quietly():
        try:
            model = _create(plan, require_pretrained=True, weights_only=True)
        except Exception as error:
            raise load_error(plan, error) from error
    _verify_whole(model, plan)
    return _described(model)


def skeleton(plan: ModelFiles) -> BuiltNetwork | None:
    """The network on the meta device, which holds shapes and no values.

    None where it cannot be built there; then only building the whole one tells why.
    """
    with _quietly(), torch.device("meta"):
        try:
            model = _create(plan, load_weights=False, device="meta", pretrained_text=False)
        # timm's and transformers' code too: whatever it raises, a whole network may still do.
        except Exception:
            return None
    return _described(model)


def plain(plan: ModelFiles) -> tuple[BuiltNetwork, Weights] | None:
    """The skeleton and its file, where the file's names and shapes are exactly the skeleton's.

    None where anything is unusual: position embeddings to be resized, a foreign state_dict, numpy
    or TorchScript files, files that are damaged.
    """
    built = skeleton(plan)
    if built is None or plan.weights.suffix in (".npz", ".npy"):
        return None
    try:
        weights = open_weights(plan.weights, built.model)
    # What is wrong with the file is said by the full load, in one place.
    except Exception:
        return None
    return (built, weights) if weights.fits(built.model) else None


def alone(plan: ModelFiles, side: str) -> BuiltNetwork | None:
    """One side ("text" or "image"), the other neither read nor allocated; None if unusual.

    Unusual is what `plain` says, and a side that keeps more than its file does: Hugging Face text
    towers, multimodal decoders, rotary embeddings.
    """
    found = plain(plan)
    if found is None:
        return None
    built, weights = found
    keep_only(built.model, side)
    masks = _causal_masks(built.model)
    if masks is None or (side == "text" and plan.config.get("text_cfg", {}).get("hf_model_name")):
        return None
    try:
        values = {n: weights.read(n, like) for n, like in built.model.state_dict().items()}
        built.model.load_state_dict(values, assign=True)
    except Exception as error:
        raise load_error(plan, error) from error
    for owner in masks:
        # As open_clip builds them: they are not in the file.
        owner.attn_mask = torch.full(owner.attn_mask.shape, float("-inf")).triu_(1)
    state = built.model.state_dict()
    _refuse_difference(plan, ((n, t, weights.read(n, t)) for n, t in state.items()))
    return built


def tokenizer_of(plan: ModelFiles) -> Any:
    """open_clip's tokenizer of a model; `ModelError` where its files are missing."""
    with _quietly():
        try:
            return open_clip.get_tokenizer(plan.name)
        except Exception as error:
            raise load_error(plan, error) from error


def _create(plan: ModelFiles, **arguments: Any) -> Any:
    text_config = plan.config.get("text_cfg", {})
    folder = plan.weights.parent
    is_hf = plan.argument.startswith("local-dir:") and text_config.get("hf_model_name")
    if is_hf and (folder / "config.json").is_file():
        # A folder that was moved still names its old place; its own files are here. The tower's
        # weights are in the network's own file.
        here = {"hf_model_name": str(folder), "hf_model_pretrained": False}
        arguments["text_cfg"] = {**text_config, **here}
    return open_clip.create_model(
        plan.name, pretrained=plan.pretrained, force_quick_gelu=plan.quick_gelu, **arguments
    ).eval()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        # open_clip warns of an activation that the plan has already put right.
        warnings.filterwarnings("ignore", message="QuickGELU mismatch")
        warnings.filterwarnings("ignore", category=FutureWarning)
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _described(model: Any) -> BuiltNetwork:
    return BuiltNetwork(model, Pixels(dict(model.visual.preprocess_cfg)), _activation_of(model))


def _activation_of(model: Any) -> str | None:
    """The activation of the modules themselves."""
    modules = list(model.modules())
    if any(isinstance(module, QuickGELU) for module in modules):
        return "quick_gelu"
    return "gelu" if any(isinstance(module, torch.nn.GELU) for module in modules) else None


def _causal_masks(model: Any) -> list[Any] | None:
    """The modules whose causal mask is to be made; None if more than that is not in the state."""
    state, owners = model.state_dict(), []
    for name, _ in model.named_buffers():
        if name not in state:
            path, _, own_name = name.rpartition(".")
            owner = model.get_submodule(path)
            known = own_name == "attn_mask" and type(owner) in (open_clip.CLIP, TextTransformer)
            if not known:
                return None
            owners.append(owner)
    # A tensor that is a mere attribute would stay without values.
    loose = (value for module in model.modules() for value in vars(module).values())
    return None if any(isinstance(value, torch.Tensor) for value in loose) else owners


def _verify_whole(model: Any, plan: ModelFiles) -> None:
    """Compare the network's tensors with the file's; a network left random is an error."""
    if plan.weights.suffix in (".npz", ".npy"):
        return
    state = model.state_dict()
    # The names and shapes that open_clip itself would load the file under.
    stored = convert_state_dict(model, load_state_dict(str(plan.weights)))
    if "positional_embedding" in stored and not hasattr(model, "positional_embedding"):
        stored = convert_to_custom_text_state_dict(stored)
    same = [n for n, v in stored.items() if n in state and state[n].shape == v.shape]
    _refuse_difference(plan, ((n, state[n], stored[n]) for n in same))


def _refuse_difference(
    plan: ModelFiles, pairs: Iterable[tuple[str, torch.Tensor, torch.Tensor]]
) -> None:
    """`ModelError` unless there are (name, loaded, stored) and all of them are equal."""
    wrong = "tensors"
    for name, loaded, stored in pairs:
        wrong = ""
        if loaded.is_meta or not _same(loaded.float(), stored.float()):
            wrong = name
            break
    if wrong:
        raise ModelError(
            f"{plan.weights}: after loading, the network does not hold the file's {wrong}; "
            "config and weights do not belong together"
        )


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit; a NaN (an unused weight that was never initialised) equals itself."""
    return torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
