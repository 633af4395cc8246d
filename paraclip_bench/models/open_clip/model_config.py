"""open_clip_config.json, checked before anything is built of it.

open_clip believes what it says: a text is a true switch, and a network of any size is begun.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from paraclip_bench.errors import ModelError
from paraclip_bench.files import parse_json, regular
from paraclip_bench.models.open_clip.weights import refuse_placeholder

# The largest network that is published has 56 layers, a width of 1,792 and 901,629 tokens.
_MOST_LAYERS, _MOST_WIDTH, _MOST_TOKENS, _MOST_PIXELS = 512, 65_536, 16_777_216, 8192
_RANGES = {
    **dict.fromkeys(("layers", "num_hidden_layers", "num_layers"), (1, _MOST_LAYERS)),
    **dict.fromkeys(
        (
            *("embed_dim", "width", "head_width", "heads", "dim_head", "attn_pooler_heads"),
            *("attn_pooler_queries", "n_queries", "context_length", "hidden_size"),
            *("intermediate_size", "max_position_embeddings", "d_model", "d_ff"),
        ),
        (1, _MOST_WIDTH),
    ),
    "vocab_size": (1, _MOST_TOKENS),
    **dict.fromkeys(("pad_id", "eos_id"), (-_MOST_TOKENS, _MOST_TOKENS)),
    **dict.fromkeys(("image_size", "patch_size", "size"), (1, _MOST_PIXELS)),
    "mlp_ratio": (0, 1024),
    "patch_dropout": (0, 1),
    "fill_color": (0, 255),
}
_CHOICES = {
    "mode": ("RGB",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def read_config(path: Path) -> dict[str, Any]:
    """The model_cfg of an open_clip_config.json, as it is written.

    Raises `ModelError` for a file that is none, and for a value of another type than open_clip
    declares or out of range, the preprocessing's among them.
    """
    try:
        refuse_placeholder(path)
        written = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not JSON ({error}); it must be open_clip's own config"
        ) from error
    config = written.get("model_cfg") if isinstance(written, dict) else None
    if not isinstance(config, dict):
        raise ModelError(f"{path} has no model_cfg; it must be open_clip's own config")
    pixels = written.get("preprocess_cfg")
    for part, values in (("model_cfg", config), ("preprocess_cfg", pixels or {})):
        wrong = next(_wrong(part, values), "")
        if wrong:
            raise ModelError(f"{path}: {wrong}; correct it, or copy the file again")
    return dict(config)


def check_tower_config(path: Path) -> None:
    """`ModelError` where a Hugging Face tower's config.json asks for too large a network."""
    try:
        written = parse_json(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # transformers says what is wrong with it
        return
    for name, value in written.items() if isinstance(written, dict) else ():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if is_number and (wrong := _out_of_range(name, value, least=-math.inf)):
            raise ModelError(f"{path}: {name} {wrong}; correct it, or copy the file again")


def _wrong(place: str, values: Any) -> Iterator[str]:
    """What is wrong with a part of a config and the parts within it."""
    if not isinstance(values, Mapping):
        yield f"{place} must be an object, not {_shown(values)}"
        return
    types = _types(place.rpartition(".")[2])
    for name, value in values.items():
        where = f"{place}.{name}"
        if name in ("vision_cfg", "text_cfg", "multimodal_cfg"):
            yield from _wrong(where, value)
        elif (
            name in types and value is not None and (said := _wrong_value(name, value, types[name]))
        ):
            yield f"{where} {said}"


def _wrong_value(name: str, value: Any, declared: Any) -> str:
    """What is wrong with one value, as the end of a sentence; nothing where it may stand."""
    if declared is bool and type(value) is int and value in (0, 1):
        return ""
    try:
        TypeAdapter(declared).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return f"must be {_kind(declared)}, not {_shown(value)}"
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"must be {' or '.join(_CHOICES[name])}, not {_shown(value)}"
    if name in ("mean", "std") and len(value) != 3:
        return f"must be three numbers, one a channel, not {_shown(value)}"
    if name == "std" and not all(number > 0 for number in value):
        return f"must be three numbers above 0, not {_shown(value)}"
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int | float) and (wrong := _out_of_range(name, number)):
            return wrong
    return ""


def _out_of_range(name: str, number: float, least: float | None = None) -> str:
    bounds = _RANGES.get(name)
    if bounds is None:
        return "" if math.isfinite(number) else "must be finite"
    low, high = bounds
    if (low if least is None else least) <= number <= high:
        return ""
    return f"is {number:,} and must be within {low:,} to {high:,}"


@functools.cache
def _types(part: str) -> dict[str, Any]:
    """The types that open_clip declares of a part's values, by name."""
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import PreprocessCfg

    if part == "model_cfg":
        plain = (bool, int, float, float | None)
        hints = typing.get_type_hints(CLIP.__init__)
        return {"custom_text": bool} | {k: v for k, v in hints.items() if _is_one_of(v, plain)}
    owners = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "preprocess_cfg": PreprocessCfg}
    return typing.get_type_hints(owners.get(part, MultimodalCfg))


def _is_one_of(declared: Any, kinds: tuple[Any, ...]) -> bool:
    return any(declared == kind for kind in kinds)


def _kind(declared: Any) -> str:
    """A declared type in words."""
    if (simple := _KINDS.get(declared)) is not None:
        return simple
    kinds = [kind for kind in typing.get_args(declared) if kind is not type(None)]
    if typing.get_origin(declared) is tuple:
        return f"a list of {_KINDS.get(kinds[0], 'a number').removeprefix('a ')}s"
    if kinds:
        return " or ".join(dict.fromkeys(sorted(map(_kind, kinds), reverse=True)))
    return "an object"


def _shown(value: Any) -> str:
    return f"{json.dumps(value):.60}"
