"""A loaded open_clip network, built with the right activation and checked to hold its weights.

28 tags of open_clip 3.3 disagree with their architecture's built-in activation, and a wrong one
costs a model some points without a word. So QuickGELU is used if the tag or the config says so.
"""

from __future__ import annotations

import copy
import dataclasses
import errno
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU
from safetensors import SafetensorError, safe_open

from paraclip_bench import registry
from paraclip_bench.data.hub import once_reachable, unreachable
from paraclip_bench.errors import BenchError, ModelError, UsageError
from paraclip_bench.files import atomic
from paraclip_bench.models.open_clip_text import TextTower

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
_LOCAL = "a folder, as local-dir:DIR"
_LOADABLE = (".safetensors", ".bin", ".pth")


def version() -> str:
    """open_clip's version, part of what a remembered fingerprint depends on."""
    return str(open_clip.__version__)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is to be built: open_clip's own arguments, the config and the weights file."""

    name: str
    pretrained: str | None
    config: dict[str, Any]
    weights: Path
    files: tuple[Path, ...]

    @property
    def quick_gelu(self) -> bool:
        return bool(self.config.get("quick_gelu", False))


def check_files(argument: str) -> None:
    """Find (or fetch) a model's files; `ModelError` where one is missing or cut off.

    Reads the header of safetensors alone, which says how long the file must be.
    """
    for file in files_of(argument):
        if file.suffix == ".safetensors":
            try:
                with safe_open(str(file), framework="numpy"):
                    pass
            except (OSError, SafetensorError) as error:
                raise ModelError(
                    f"{file} is damaged or cut off ({error}); copy it again"
                ) from error


def check_device(device: str) -> None:
    """`UsageError` where this machine has no such device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].split(". ")[0][:100]
        raise UsageError(
            f"--device {device!r} cannot be used here ({first}); leave it out to run on the cpu"
        ) from error


def files_of(argument: str) -> tuple[Path, ...]:
    """The files that a model is made of, fetched where they come from a hub."""
    return _plan(argument).files


@dataclasses.dataclass
class Network:
    """Towers in eval mode on one device, with their tokenizer and preprocessing."""

    model: Any
    text: TextTower
    config: dict[str, Any]
    tokenizer: Any
    transform: Any
    device: str
    dtype: torch.dtype

    @classmethod
    def load(cls, argument: str, *, device: str = "cpu", dtype: str = "float32") -> Network:
        """Build and verify; `ModelError` says what is wrong with which file."""
        plan = _plan(argument)
        arguments: dict[str, Any] = {}
        text_config = plan.config.get("text_cfg", {})
        folder = plan.weights.parent
        is_hf = argument.startswith("local-dir:") and text_config.get("hf_model_name")
        if is_hf and (folder / "config.json").is_file():
            # A folder that was moved still names its old place; its own files are here.
            arguments["text_cfg"] = {**text_config, "hf_model_name": str(folder)}
        with warnings.catch_warnings():
            # open_clip warns of an activation that the plan has already put right.
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            warnings.filterwarnings("ignore", category=FutureWarning)
            logging.disable(logging.ERROR)
            try:
                model = open_clip.create_model(
                    plan.name,
                    pretrained=plan.pretrained,
                    force_quick_gelu=plan.quick_gelu,
                    require_pretrained=True,
                    weights_only=True,
                    **arguments,
                )
                tokenizer = open_clip.get_tokenizer(plan.name)
            except Exception as error:
                raise _load_error(argument, plan, error) from error
            finally:
                logging.disable(logging.NOTSET)
        _verify(model, plan)
        text = TextTower(model.eval(), tokenizer(["a photo", "two small dogs in the snow"]))
        if device != "cpu":
            # fp32 means fp32: the result is compared across devices.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        number = getattr(torch, dtype)
        try:
            model = model.to(device=device, dtype=number).eval()
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ModelError(f"the device {device!r} cannot be used ({first})") from error
        transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        return cls(model, text, plan.config, tokenizer, transform, device, number)

    @property
    def activation(self) -> str | None:
        """The activation of the modules themselves."""
        modules = list(self.model.modules())
        if any(isinstance(module, QuickGELU) for module in modules):
            return "quick_gelu"
        return "gelu" if any(isinstance(module, torch.nn.GELU) for module in modules) else None

    def identity(self) -> dict[str, Any]:
        """Fingerprints of both sides, over float32 weights, config and preprocessing."""
        # The activation is read off the modules; what a config says of it may be left out.
        apart = ("text_cfg", "vision_cfg", "quick_gelu")
        config = {k: v for k, v in self.config.items() if k not in apart}
        # Where a Hugging Face tower's files lie, or whether a config names them, changes nothing.
        text = {
            key: value
            for key, value in self.config.get("text_cfg", {}).items()
            if key not in ("hf_model_name", "hf_tokenizer_name")
        }
        state = self.model.state_dict()
        image_names = [name for name in state if is_image_tensor(name)]
        text_names = [name for name in state if is_text_tensor(name)]
        common = [json.dumps(config, sort_keys=True), str(self.activation)]
        return {
            "text": _fingerprint(
                state, text_names, [*common, json.dumps(text, sort_keys=True), self._tokens_of()]
            ),
            "image": _fingerprint(
                state,
                image_names,
                [
                    *common,
                    json.dumps(self.config.get("vision_cfg"), sort_keys=True),
                    json.dumps(self.model.visual.preprocess_cfg, sort_keys=True, default=list),
                ],
            ),
            "activation": self.activation,
        }

    def _tokens_of(self) -> str:
        """The tokenizer by what it does to a sentence that has a bit of everything."""
        probe = "A photo of Zoë's 2 naïve cats, running left-of the dog!"
        return f"{type(self.tokenizer).__name__}:{self.tokenizer([probe])[0].tolist()}"

    def tokenize(self, text: str) -> tuple[torch.Tensor, int]:
        """Tokens [context] and how many are before the padding (or one more)."""
        tokens = self.tokenizer([text])[0]
        return tokens, min(int((tokens != tokens[-1]).sum()) + 1, len(tokens))

    def preprocess(self, image: Any) -> tuple[torch.Tensor, int]:
        """Pixels [3, h, w] float32 and the size in 16x16 patches."""
        pixels = self.transform(image)
        return pixels, max(1, pixels.shape[-1] * pixels.shape[-2] // 256)

    def encode_tokens(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Text vectors [n, d] of token rows."""
        with torch.inference_mode():
            return self.text.encode(torch.stack(batch).to(self.device))

    def encode_pixels(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Image vectors [n, d] of pixels."""
        with torch.inference_mode():
            pixels = torch.stack(batch).to(device=self.device, dtype=self.dtype)
            vectors: torch.Tensor = self.model.encode_image(pixels)
        return vectors


def is_image_tensor(name: str) -> bool:
    """Whether a weight belongs to the image tower."""
    return name.startswith("visual.")


def is_text_tensor(name: str) -> bool:
    """Whether a weight belongs to the text tower (the logit scale and bias belong to neither)."""
    return not is_image_tensor(name) and name not in ("logit_scale", "logit_bias")


def save_folder(folder: Path, model: Any, config: dict[str, Any]) -> None:
    """Write an open_clip folder (config, then safetensors), each file whole.

    `config` is the model_cfg; quick_gelu is written out, for a reader believes the config.
    """
    from safetensors.torch import save_file

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
    with atomic(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def _plan(argument: str) -> _Plan:
    if argument.startswith("local-dir:"):
        return _folder_plan(argument, Path(argument.removeprefix("local-dir:")))
    if argument.startswith("hf-hub:"):
        return _hub_plan(argument)
    architecture, at, file = argument.partition("@")
    if at:
        return _file_plan(architecture, Path(file))
    architecture, _, tag = argument.rpartition("/")
    config = _built_in(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise registry.unknown("weights tag", tag, tags, f"of {architecture}")
    tag_config = open_clip.get_pretrained_cfg(architecture, tag)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or bool(tag_config.get("quick_gelu"))
    once_reachable()
    try:
        weights = Path(download_pretrained(tag_config))
    except Exception as error:
        raise unreachable(f"weights {argument}", error, ModelError, local=_LOCAL) from error
    return _Plan(architecture, tag, config, weights, (weights,))


def _built_in(architecture: str) -> dict[str, Any]:
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise registry.unknown("open_clip architecture", architecture, open_clip.list_models())
    return dict(copy.deepcopy(config))


def _folder_plan(argument: str, folder: Path) -> _Plan:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {CONFIG}; an open_clip folder needs it, with its model_cfg"
        )
    config = _read_config(path)
    found = sorted(f for f in folder.iterdir() if f.suffix in _LOADABLE)
    # open_clip's own order of preference, so that the file that is checked is the one it loads.
    # It logs a warning for every name that is not one of its own.
    logging.disable(logging.ERROR)
    try:
        chosen = open_clip.factory._find_checkpoint_in_dir(folder) if found else None
    finally:
        logging.disable(logging.NOTSET)
    if chosen is None:
        others = sorted(f.name for f in folder.iterdir() if f.suffix in (".pt", ".ckpt"))
        hint = f" ({others[0]} is of a kind that open_clip does not load)" if others else ""
        raise ModelError(
            f"{folder} has no weights{hint}; it needs a .safetensors, .bin or .pth file"
        )
    weights = Path(chosen)
    known = _known_activation(lambda published: _file_name(published) == weights.name)
    _refuse_mismatch(weights.name, known, bool(config.get("quick_gelu")), str(path))
    texts = [f for f in folder.glob("*") if f.suffix in (".json", ".txt") and f != path]
    tokens = [f for f in texts if "token" in f.name or "vocab" in f.name or f.name == "config.json"]
    return _Plan(argument, None, config, weights, (path, weights, *sorted(tokens)))


def _hub_plan(argument: str) -> _Plan:
    name = argument.removeprefix("hf-hub:")
    once_reachable()
    try:
        config_path = Path(download_pretrained_from_hf(name, filename=CONFIG))
        weights = Path(download_pretrained_from_hf(name))
    except Exception as error:
        raise unreachable(f"model {argument}", error, ModelError, local=_LOCAL) from error
    config = _read_config(config_path)
    known = _known_activation(lambda published: _hub_repository(published) == name)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or known is True
    _refuse_mismatch(argument, known, config["quick_gelu"], str(config_path))
    return _Plan(argument, None, config, weights, (config_path, weights))


def _file_plan(architecture: str, weights: Path) -> _Plan:
    config = _built_in(architecture)
    known = _known_activation(lambda published: _file_name(published) == weights.name)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or known is True
    where = f"the architecture {architecture}"
    _refuse_mismatch(weights.name, known, config["quick_gelu"], where)
    return _Plan(architecture, str(weights), config, weights, (weights,))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not JSON ({error}); it must be open_clip's own config"
        ) from error
    config = written.get("model_cfg") if isinstance(written, dict) else None
    if not isinstance(config, dict):
        raise ModelError(f"{path} has no model_cfg; it must be open_clip's own config")
    return dict(config)


def _known_activation(is_it: Callable[[dict[str, Any]], bool]) -> bool | None:
    """Whether what open_clip publishes, and `is_it` picks, was trained with QuickGELU.

    None where nothing is picked, or where what is picked does not agree.
    """
    known = set()
    for architecture, tag in open_clip.list_pretrained():
        published = open_clip.get_pretrained_cfg(architecture, tag)
        if is_it(published):
            config = open_clip.get_model_config(architecture) or {}
            known.add(bool(published.get("quick_gelu")) or bool(config.get("quick_gelu")))
    return known.pop() if len(known) == 1 else None


def _file_name(published: dict[str, Any]) -> str | None:
    url = str(published.get("url") or "")
    # OpenAI's own names (ViT-B-32.pt) are too common to prove anything.
    return None if "openaipublic" in url else url.rsplit("/", 1)[-1] or None


def _hub_repository(published: dict[str, Any]) -> str:
    return "/".join(str(published.get("hf_hub") or "").split("/")[:2])


def _refuse_mismatch(what: str, known: bool | None, quick_gelu: bool, where: str) -> None:
    if known is not None and known != quick_gelu:
        names = {True: "QuickGELU", False: "GELU"}
        raise ModelError(
            f"{what} is what open_clip publishes of a network with {names[known]}, but {where} "
            f"says {names[quick_gelu]}; set quick_gelu to {str(known).lower()}"
        )


_OTHER_ARCHITECTURE = ("size mismatch", "Missing key", "Unexpected key", "width changed")


def _load_error(argument: str, plan: _Plan, error: Exception) -> BenchError:
    text, kind = str(error), type(error).__name__
    first = text.strip().splitlines()[0][:160] if text.strip() else kind
    if any(mark in text for mark in _OTHER_ARCHITECTURE):
        return ModelError(
            f"{plan.weights} holds the weights of another architecture than {argument} says "
            f"({' '.join(text.split())[:160]}); name the right architecture or file"
        )
    if kind == "UnpicklingError" or "weights_only" in text or "TorchScript" in text:
        return ModelError(
            f"{plan.weights} would need unpickling, which can run foreign code; "
            "save its state_dict as safetensors and load that"
        )
    # torch answers some cut files with "[Errno 22] Invalid argument"; a hub's OSError has no errno.
    is_cut = isinstance(error, OSError) and error.errno == errno.EINVAL
    if is_cut or kind in ("SafetensorError", "EOFError") or "PytorchStreamReader" in text:
        return ModelError(f"{plan.weights} is damaged or cut off ({first}); copy it again")
    if kind in ("OSError", "LocalEntryNotFoundError", "ConnectionError", "OfflineModeIsEnabled"):
        return unreachable(f"a part of model {argument}", error, ModelError, local=_LOCAL)
    return ModelError(
        f"model {argument} cannot be loaded ({kind}: {first}); "
        f"check its config and that {plan.weights} holds an open_clip state_dict"
    )


def _verify(model: Any, plan: _Plan) -> None:
    """Compare the network's tensors with the file's; a network left random is an error."""
    if plan.weights.suffix in (".npz", ".npy"):
        return
    state = model.state_dict()
    # The names and shapes that open_clip itself would load the file under.
    stored = convert_state_dict(model, load_state_dict(str(plan.weights)))
    if "positional_embedding" in stored and not hasattr(model, "positional_embedding"):
        stored = convert_to_custom_text_state_dict(stored)
    same = [n for n, v in stored.items() if n in state and state[n].shape == v.shape]
    wrong = [n for n in same if not _same(state[n].float(), stored[n].float())]
    if wrong or not same:
        raise ModelError(
            f"{plan.weights}: after loading, the network does not hold the file's "
            f"{wrong[0] if wrong else 'tensors'}; config and weights do not belong together"
        )


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit; a NaN (an unused weight that was never initialised) equals itself."""
    return torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def _fingerprint(state: dict[str, torch.Tensor], names: list[str], parts: list[str]) -> str:
    hasher = hashlib.sha256("\n".join(parts).encode())
    for name in sorted(names):
        tensor = state[name].detach().cpu()
        values = tensor.float() if tensor.is_floating_point() else tensor
        hasher.update(f"\n{name}{tuple(tensor.shape)}".encode())
        hasher.update(values.contiguous().numpy().data)
    return hasher.hexdigest()
