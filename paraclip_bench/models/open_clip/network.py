"""A loaded open_clip network: one side or both, on one device, and its fingerprints.

A fingerprint is over float32 weights, config, activation and tokenizer or preprocessing. It is the
same whether the weights come from a loaded network or one after the other from a file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU

from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.files import atomic, write_tensors
from paraclip_bench.models.adapter import SIDES, exact_products
from paraclip_bench.models.open_clip import build
from paraclip_bench.models.open_clip.autotune import side_dtype
from paraclip_bench.models.open_clip.build import (
    is_image_tensor,
    is_text_tensor,
    keep_only,
    plain,
    tokenizer_of,
)
from paraclip_bench.models.open_clip.model_files import CONFIG, load_error, model_files_of
from paraclip_bench.models.open_clip.packed import PackedText, packed_text
from paraclip_bench.models.open_clip.pixels import Pixels
from paraclip_bench.models.open_clip.text_tower import TextTower


def streamed(argument: str) -> dict[str, Any] | None:
    """The identity by reading the file tensor by tensor, so that no tower is ever held whole.

    None where the file is not plain (`build.plain`); then the network must be loaded.
    """
    plan = model_files_of(argument)
    found = plain(plan)
    if found is None:
        return None
    built, weights = found
    state = built.model.state_dict()
    tokenizer = tokenizer_of(plan)
    try:
        return identity(
            names=state,
            tensor=lambda name: weights.read(name, state[name]),
            config=plan.config,
            tokenizer=tokenizer,
            pixels=built.pixels,
            activation=built.activation,
        )
    except Exception as error:
        raise load_error(plan, error) from error


def identity(
    *,
    names: Iterable[str],
    tensor: Callable[[str], torch.Tensor],
    config: dict[str, Any],
    tokenizer: Any,
    pixels: Pixels,
    activation: str | None,
) -> dict[str, Any]:
    """Both fingerprints and the activation; `tensor` gives each weight of `names` in float32."""
    names = list(names)
    # The activation is read off the modules; what a config says of it may be left out.
    apart = ("text_cfg", "vision_cfg", "quick_gelu")
    rest = {k: v for k, v in config.items() if k not in apart}
    # Where a Hugging Face tower's files lie, or whether a config names them, changes nothing.
    text = {
        key: value
        for key, value in config.get("text_cfg", {}).items()
        if key not in ("hf_model_name", "hf_tokenizer_name")
    }
    common = [json.dumps(rest, sort_keys=True), str(activation)]
    return {
        "text": _fingerprint(
            filter(is_text_tensor, names),
            tensor,
            [*common, json.dumps(text, sort_keys=True), _tokens_of(tokenizer)],
        ),
        "image": _fingerprint(
            filter(is_image_tensor, names),
            tensor,
            [
                *common,
                json.dumps(config.get("vision_cfg"), sort_keys=True),
                json.dumps(pixels.settings, sort_keys=True, default=list),
            ],
        ),
        "activation": activation,
    }


def _tokens_of(tokenizer: Any) -> str:
    """The tokenizer by what it does to a sentence that has a bit of everything."""
    probe = "A photo of Zoë's 2 naïve cats, running left-of the dog!"
    return f"{type(tokenizer).__name__}:{tokenizer([probe])[0].tolist()}"


def _fingerprint(
    names: Iterable[str], tensor: Callable[[str], torch.Tensor], parts: list[str]
) -> str:
    hasher = hashlib.sha256("\n".join(parts).encode())
    for name in sorted(names):
        found = tensor(name).detach().cpu()
        values = found.float() if found.is_floating_point() else found
        hasher.update(f"\n{name}{tuple(found.shape)}".encode())
        hasher.update(values.contiguous().numpy().data)
    return hasher.hexdigest()


# Short, long, and two that begin alike: what a fast way to the vectors is checked with.
_PROBE = ["a photo", "two small dogs in the snow", "two small dogs run in the snow, and a cat"]
WEIGHTS = "open_clip_model.safetensors"


def version() -> str:
    """open_clip's version, part of what a remembered fingerprint depends on."""
    return str(open_clip.__version__)


def texts_cut(tokenizer: Any, texts: Sequence[str]) -> list[bool]:
    """Whether each text has more tokens than a tokenizer of open_clip's gives of it."""
    context = int(tokenizer.context_length)
    if type(tokenizer) is SimpleTokenizer:
        # A token is a byte at least; what `&` begins may become longer.
        return [
            not (len(text) + 2 <= context and text.isascii() and "&" not in text)
            and len(tokenizer.encode(text)) + 2 > context
            for text in texts
        ]
    padding = int(tokenizer(["a"])[0, -1])
    cut: list[bool] = []
    for start in range(0, len(texts), _TOKENIZED):
        some = list(texts[start : start + _TOKENIZED])
        # With one place more, a text that was cut has one token more.
        longer, own = tokenizer(some, context_length=context + 1), tokenizer(some)
        cut += ((longer != padding).sum(dim=1) > (own != padding).sum(dim=1)).tolist()
    return cut


# So many texts are tokenized at once, where only their number of tokens is asked for.
_TOKENIZED = 512


def check_device(device: str) -> None:
    """`UsageError` where this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].split(". ")[0][:100]
        raise UsageError(
            f"--device {device!r} cannot be used here ({first}); leave it out to run on the cpu"
        ) from error


def pixels_of(argument: str) -> Pixels | None:
    """A model's preprocessing without its weights; None where only loading it can tell."""
    built = build.skeleton(model_files_of(argument))
    return None if built is None else built.pixels


@dataclasses.dataclass
class Network:
    """Towers in eval mode on one device, with their tokenizer and preprocessing.

    Of a side that is not among `sides` the model has no weights. `text` is a `TextTower`; it and
    `tokenizer` are None without the text side. `packed` is the fast way to text vectors, made when
    first asked for: it has the weights of that moment.
    """

    model: Any
    text: Any
    config: dict[str, Any]
    tokenizer: Any
    pixels: Pixels
    activation: str | None
    device: str
    dtypes: dict[str, torch.dtype]

    @functools.cached_property
    def packed(self) -> PackedText | None:
        """The text tower packed; None where `text` alone computes it exactly."""
        return packed_text(self.model, self.text, self.tokenizer(_PROBE).to(self.device))

    @property
    def text_path(self) -> str:
        """How texts are encoded: packed, cut behind the last one's end, or at full context."""
        if self.packed is not None:
            return "texts packed"
        return "texts cut behind their padding" if self.text.cuts else "texts at full context"

    @classmethod
    def load(
        cls,
        argument: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        sides: Collection[str] = SIDES,
    ) -> Network:
        """Build and verify; `ModelError` says what is wrong with which file.

        Of one side alone, the other's weights are neither read nor allocated; where the file is
        unusual (`build.alone`) they are, and dropped before anything moves to `device`.
        """
        plan, sides = model_files_of(argument), frozenset(sides)
        side = next(iter(sides)) if len(sides) == 1 else None
        built = build.alone(plan, side) if side else None
        if built is None:
            built = build.whole(plan)
            if side:
                keep_only(built.model, side)
        model, text, tokenizer = built.model, None, None
        if "text" in sides:
            tokenizer = build.tokenizer_of(plan)
            text = TextTower(model, tokenizer(_PROBE))
        exact_products(device, dtype)
        dtypes = {side: getattr(torch, side_dtype(side, device, dtype)) for side in sides}
        try:
            _move(model, device, dtypes)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ModelError(f"the device {device!r} cannot be used ({first})") from error
        return cls(
            model, text, plan.config, tokenizer, built.pixels, built.activation, device, dtypes
        )

    @property
    def sides(self) -> frozenset[str]:
        """Which of "text" and "image" are loaded."""
        return frozenset(self.dtypes)

    def identity(self) -> dict[str, Any]:
        """Both fingerprints and the activation; the network must hold both sides in float32."""
        state = self.model.state_dict()
        return identity(
            names=state,
            tensor=state.__getitem__,
            config=self.config,
            tokenizer=self.tokenizer,
            pixels=self.pixels,
            activation=self.activation,
        )

    def tokenize(self, text: str) -> tuple[torch.Tensor, int]:
        """Tokens [context] and how many of them are computed, give or take one."""
        tokens = self.tokenizer([text])[0]
        if not self._leaves_padding_out:
            return tokens, len(tokens)
        return tokens, min(int((tokens != tokens[-1]).sum()) + 1, len(tokens))

    @functools.cached_property
    def _leaves_padding_out(self) -> bool:
        return self.text.cuts or (self.packed is not None and self.packed.shares_prefixes)

    def encode_tokens(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Text vectors [n, d] of token rows."""
        if self.text is None:
            raise ModelError("this network was loaded without its text tower; load both sides")
        with torch.inference_mode():
            encode = self.packed or self.text.encode
            vectors: torch.Tensor = encode(torch.stack(batch).to(self.device))
        return vectors

    def encode_pixels(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Image vectors [n, d] of pixels."""
        if "image" not in self.dtypes:
            raise ModelError("this network was loaded without its image tower; load both sides")
        with torch.inference_mode():
            pixels = torch.stack(batch).to(device=self.device, dtype=self.dtypes["image"])
            vectors: torch.Tensor = self.model.encode_image(pixels)
        return vectors


def save_folder(folder: Path, model: Any, config: dict[str, Any]) -> None:
    """Write an open_clip folder (config, then safetensors), each file whole.

    `config` is the model_cfg; quick_gelu is written out, because a reader believes the config.
    """
    quick = any(isinstance(module, QuickGELU) for module in model.modules())
    written = {
        "model_cfg": {**config, "quick_gelu": quick},
        "preprocess_cfg": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in model.visual.preprocess_cfg.items()
        },
    }
    with atomic(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})


def _move(model: Any, device: str, dtypes: dict[str, torch.dtype]) -> None:
    """Move a network and cast each side once."""
    if len(set(dtypes.values())) == 1:
        model.to(device=device, dtype=next(iter(dtypes.values())))
        return
    # Apart, so that the cast of the text side does not take digits from the image tower.
    visual = model.visual
    del model.visual
    model.to(device=device, dtype=dtypes["text"])
    model.visual = visual.to(device=device, dtype=dtypes["image"])
