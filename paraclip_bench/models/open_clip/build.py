"""Builds open_clip networks: whole, as a skeleton without memory, or one side alone.

A whole one is open_clip's own. One side alone is a skeleton of which that side is filled from the
weights file, tensor by tensor; the other tower is neither read nor allocated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_checkpoint
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from open_clip.transformer import QuickGELU, TextTransformer

from paraclip_bench.errors import BenchError, ModelError
from paraclip_bench.files import ending
from paraclip_bench.models.open_clip.model_files import ModelFiles, load_error
from paraclip_bench.models.open_clip.pixels import Pixels
from paraclip_bench.models.open_clip.weights import POSITION_IDS, Weights, open_weights


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


@dataclasses.dataclass(frozen=True)
class BuiltNetwork:
    """A network on the CPU in float32, and what only a network with both towers tells."""

    model: Any
    pixels: Pixels
    activation: str | None


def whole(plan: ModelFiles) -> BuiltNetwork:
    """Build and load as open_clip does, and verify; `ModelError` says what is wrong."""
    if plan.pretrained is None:
        _refuse_giant(plan)
    with _quietly():
        try:
            model = _create(plan, load_weights=False, pretrained_text=False)
            if ending(plan.weights) in (".npz", ".npy"):
                load_checkpoint(model, str(plan.weights))
            else:
                model.load_state_dict(_stored(model, plan, resized=True), strict=True)
                _verify_whole(model, plan)
        except BenchError:
            raise
        except Exception as error:
            raise load_error(plan, error) from error
    return _described(model)


# Position embeddings are resized, and a file may have its numbers packed: so far a network may be
# larger than its file.
_ROOM = 1 << 24


def _refuse_giant(plan: ModelFiles) -> None:
    """`ModelError`, before any memory is taken, where a config's network cannot be its file's."""
    built = skeleton(plan)
    files = [f for f in plan.files if f.suffix != ".json"]
    numbers = sum(weight.numel() for weight in built.model.parameters()) if built else 0
    if numbers > sum(file.stat().st_size for file in files) + _ROOM:
        raise ModelError(
            f"{plan.files[0]} describes a network of {numbers:,} weights, and the weights files "
            f"({plan.weights}) are too small for it; copy the config that belongs to them"
        )


def _stored(model: Any, plan: ModelFiles, *, resized: bool) -> dict[str, torch.Tensor]:
    """The file's tensors as open_clip would load them: foreign names are the network's.

    `resized`: position embeddings too, and scalars have the network's shape.
    """
    state = convert_state_dict(model, open_weights(plan.weights, model).state())
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if not resized:
        return dict(state)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if own is not None and name in state:
            state[name] = state[name].reshape(own.shape)
        elif own is not None and name == "logit_bias":
            state[name] = torch.zeros_like(own)
    if POSITION_IDS not in model.state_dict():
        state.pop(POSITION_IDS, None)
    resize_pos_embed(state, model)
    resize_text_pos_embed(state, model)
    return dict(state)


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
    if built is None or ending(plan.weights) in (".npz", ".npy"):
        return None
    try:
        weights = open_weights(plan.weights, built.model)
    # What is wrong with the file is said by the full load, in one place.
    except Exception:
        return None
    return (built, weights) if weights.is_lazy and weights.fits(built.model) else None


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
    state = model.state_dict()
    stored = _stored(model, plan, resized=False)
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
