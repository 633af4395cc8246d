"""What an open_clip model is made of: its config and its files, and the activation they need.

28 tags of open_clip 3.3 disagree with their architecture's built-in activation, and a wrong one
costs a model some points without a word. So QuickGELU is used if the tag or the config says so.
"""

from __future__ import annotations

import copy
import dataclasses
import errno
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

from paraclip_bench import registry
from paraclip_bench.data.hub import once_reachable, unreachable, without_unusable_variables
from paraclip_bench.errors import BenchError, ModelError
from paraclip_bench.files import ending, parse_json, regular
from paraclip_bench.models.open_clip.model_config import check_tower_config, read_config
from paraclip_bench.models.open_clip.weights import (
    INDEX,
    check_weights,
    damaged,
    index_of,
    parts_of,
)

CONFIG = "open_clip_config.json"
_LOCAL = "a folder, as local-dir:DIR"
_LOADABLE = (".safetensors", ".bin", ".pth")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """What is to be built: open_clip's own arguments, the config and the weights file."""

    argument: str
    name: str
    pretrained: str | None
    config: dict[str, Any]
    weights: Path
    files: tuple[Path, ...]

    @property
    def quick_gelu(self) -> bool:
        """Whether the network is built with QuickGELU."""
        return bool(self.config.get("quick_gelu", False))

    @property
    def is_sharded(self) -> bool:
        """Whether `weights` is the index of several files."""
        return self.weights.name.endswith(INDEX)


def check_files(argument: str) -> None:
    """Find (or fetch) a model's files; `ModelError` where one is missing, cut off or no weights.

    Of safetensors the header is read, which says how long the file must be.
    """
    plan = model_files_of(argument)
    parts = set(parts_of(plan.weights).values()) if plan.is_sharded else {plan.weights}
    for file in sorted(parts):
        try:
            check_weights(file)
        except OSError as error:
            raise ModelError(f"{file} cannot be read ({error.strerror or error})") from error


def files_of(argument: str) -> tuple[Path, ...]:
    """The files that a model is made of, fetched where they come from a hub."""
    return model_files_of(argument).files


def model_files_of(argument: str) -> ModelFiles:
    """Find (or fetch) the config and the files; `ModelError` or `UsageError` says what is wrong."""
    if argument.startswith("local-dir:"):
        return _folder_plan(argument, Path(argument.removeprefix("local-dir:")))
    if argument.startswith("hf-hub:"):
        return _hub_plan(argument)
    architecture, at, file = argument.partition("@")
    if at:
        return _file_plan(argument, architecture, Path(file))
    architecture, _, tag = argument.rpartition("/")
    config = _built_in(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise registry.unknown("weights tag", tag, tags, f"of {architecture}")
    tag_config = open_clip.get_pretrained_cfg(architecture, tag)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or bool(tag_config.get("quick_gelu"))
    once_reachable()
    try:
        with without_unusable_variables():
            weights = Path(download_pretrained(tag_config))
    except Exception as error:
        raise unreachable(f"weights {argument}", error, ModelError, local=_LOCAL) from error
    return ModelFiles(argument, architecture, tag, config, weights, (weights,))


def _built_in(architecture: str) -> dict[str, Any]:
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise registry.unknown("open_clip architecture", architecture, open_clip.list_models())
    return dict(copy.deepcopy(config))


def _folder_plan(argument: str, folder: Path) -> ModelFiles:
    path = folder / CONFIG
    if not regular(path).is_file():
        raise ModelError(f"{folder} has no {CONFIG}{_of_others(folder)}")
    config = read_config(path)
    found = sorted(f for f in folder.iterdir() if f.suffix in _LOADABLE)  # its own case
    # open_clip's own order of preference, so that the file that is checked is the one it loads.
    # It logs a warning for every name that is not one of its own.
    logging.disable(logging.ERROR)
    try:
        chosen = open_clip.factory._find_checkpoint_in_dir(folder) if found else None
    finally:
        logging.disable(logging.NOTSET)
    if chosen is None:
        others = sorted(
            f.name for f in folder.iterdir() if ending(f) in (*_LOADABLE, ".pt", ".ckpt")
        )
        hint = f" ({others[0]} is of a kind that open_clip does not load)" if others else ""
        raise ModelError(
            f"{folder} has no weights{hint}; it needs a .safetensors, .bin or .pth file"
        )
    weights = _index_where_sharded(Path(chosen))
    known = _known_activation(lambda published: _file_name(published) == weights.name)
    _refuse_mismatch(weights.name, known, bool(config.get("quick_gelu")), str(path))
    texts = [f for f in folder.glob("*") if ending(f) in (".json", ".txt") and f != path]
    tokens = [f for f in texts if "token" in f.name or "vocab" in f.name or f.name == "config.json"]
    parts = _parts(weights)
    tokens = [token for token in tokens if token not in parts]
    files = (path, *parts, *sorted(tokens))
    for file in files:
        regular(file)
    if (tower := folder / "config.json").is_file():
        check_tower_config(tower)
    return ModelFiles(argument, argument, None, config, weights, files)


def _parts(weights: Path) -> list[Path]:
    """A weights file, or an index and the files that it names."""
    if not weights.name.endswith(INDEX):
        return [weights]
    return [weights, *sorted(set(parts_of(weights).values()))]


def _index_where_sharded(weights: Path) -> Path:
    """A weights file itself, or the index that it is one part of."""
    index = index_of(weights)
    if index is None:
        return weights
    if not index.is_file():
        raise ModelError(
            f"{weights} is a part of a sharded checkpoint and {index.name} is not beside it; "
            "copy all of its files"
        )
    return index


def _of_others(folder: Path) -> str:
    """Whose a folder without a config of open_clip's is, and what to do with it."""
    if (folder / "modules.json").is_file():
        return (
            ", and is a folder of sentence-transformers; name it as "
            f"sentence-transformers:{folder} (plugins/ has that plugin)"
        )
    if (folder / "adapter_config.json").is_file():
        return (
            ", and is an adapter of PEFT's (LoRA); merge it into its base and save that with "
            "open_clip"
        )
    if (folder / "config.json").is_file():
        try:
            written = parse_json((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            written = None
        if isinstance(written, dict) and isinstance(kind := written.get("model_type"), str):
            return (
                f", and is a folder of transformers (model_type {kind!r}), whose weights have "
                "other names; take the same model's open_clip weights, or write an adapter "
                "around it (docs/models.md)"
            )
    return "; an open_clip folder needs it, with its model_cfg"


def _hub_plan(argument: str) -> ModelFiles:
    name = argument.removeprefix("hf-hub:")
    once_reachable()
    try:
        with without_unusable_variables():
            config_path = Path(download_pretrained_from_hf(name, filename=CONFIG))
            weights = Path(download_pretrained_from_hf(name))
    except Exception as error:
        raise unreachable(f"model {argument}", error, ModelError, local=_LOCAL) from error
    config = read_config(config_path)
    known = _known_activation(lambda published: _hub_repository(published) == name)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or known is True
    _refuse_mismatch(argument, known, config["quick_gelu"], str(config_path))
    return ModelFiles(argument, argument, None, config, weights, (config_path, weights))


def _file_plan(argument: str, architecture: str, weights: Path) -> ModelFiles:
    name, config = _bare_architecture(architecture)
    weights = _index_where_sharded(weights)
    known = _known_activation(lambda published: _file_name(published) == weights.name)
    config["quick_gelu"] = bool(config.get("quick_gelu")) or known is True
    where = f"the architecture {architecture}"
    _refuse_mismatch(weights.name, known, config["quick_gelu"], where)
    files = tuple(_parts(weights))
    return ModelFiles(argument, name, str(weights), config, weights, files)


_QUICK = "-quickgelu"


def _bare_architecture(architecture: str) -> tuple[str, dict[str, Any]]:
    """open_clip's name and the config; ARCH-quickgelu is there for every plain ARCH."""
    plain = architecture.removesuffix(_QUICK)
    if plain != architecture and open_clip.get_model_config(architecture) is None:
        config = open_clip.get_model_config(plain)
        if config is not None and _has_choice(config):
            return plain, {**copy.deepcopy(config), "quick_gelu": True}
    return architecture, _built_in(architecture)


def _has_choice(config: dict[str, Any]) -> bool:
    """Whether both towers are open_clip's own, whose activation `quick_gelu` chooses."""
    others = {"timm_model_name", "hf_model_name"}
    return not others & {*config.get("text_cfg", {}), *config.get("vision_cfg", {})}


def activation_remark(argument: str) -> str:
    """Which activation a bare checkpoint runs with, and how to choose; "" where that is known.

    A file does not say it, and both load.
    """
    architecture, at, file = argument.partition("@")
    if not at or ":" in architecture:
        return ""
    plan = model_files_of(argument)
    known = _known_activation(lambda published: _file_name(published) == plan.weights.name)
    if known is not None or not _has_choice(plan.config):
        return ""
    names = {True: "QuickGELU", False: "GELU"}
    plain = architecture.removesuffix(_QUICK)
    other = plain if plan.quick_gelu else plain + _QUICK
    # Of some architectures both names mean QuickGELU.
    if bool(_bare_architecture(other)[1].get("quick_gelu")) == plan.quick_gelu:
        return ""
    origin = "" if plan.quick_gelu else ", as OpenAI's weights and what was tuned from them were"
    return (
        f"runs with {names[plan.quick_gelu]}, as {architecture} says and the file does not; if it "
        f"was trained with {names[not plan.quick_gelu]}{origin}, name it open_clip:{other}@{file}"
    )


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
_TRANSFORMERS = ("text_model.", "vision_model.")
# torch.save writes protocol 2; what has another was written by pickle itself.
_UNPICKLING = ("Unsupported global", "unrecognized function", "Detected pickle protocol")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+) was not an allowed global")


def load_error(plan: ModelFiles, error: Exception) -> BenchError:
    """What open_clip raised while it built or loaded a network, as one sentence."""
    text, kind = str(error), type(error).__name__
    first = text.strip().splitlines()[0][:160] if text.strip() else kind
    if any(mark in text for mark in _OTHER_ARCHITECTURE):
        if any(f'"{mark}' in text for mark in _TRANSFORMERS):
            return ModelError(
                f"{plan.weights} has the names of transformers, not open_clip's; take the same "
                "model's open_clip weights, or write an adapter around it (docs/models.md)"
            )
        return ModelError(
            f"{plan.weights} holds the weights of another architecture than {plan.argument} says "
            f"({' '.join(text.split())[:160]}); name the right architecture or file"
        )
    if "TorchScript" in text:
        return ModelError(
            f"{plan.weights} is a TorchScript archive, which holds code; "
            "save its state_dict as safetensors and load that"
        )
    needed = _GLOBAL.search(text)
    if needed or any(mark in text for mark in _UNPICKLING):
        what = f" ({needed[1]})" if needed else ""
        return ModelError(
            f"{plan.weights} would need unpickling{what}, which can run foreign code; "
            "save its state_dict as safetensors and load that"
        )
    # torch answers some cut files with "[Errno 22] Invalid argument"; a hub's OSError has no errno.
    is_cut = isinstance(error, OSError) and error.errno == errno.EINVAL
    if is_cut or kind in _DAMAGE or "PytorchStreamReader" in text or "weights_only" in text:
        return damaged(plan.weights, first)
    if kind in ("OSError", "LocalEntryNotFoundError", "ConnectionError", "OfflineModeIsEnabled"):
        return unreachable(f"a part of model {plan.argument}", error, ModelError, local=_LOCAL)
    return ModelError(
        f"model {plan.argument} cannot be loaded ({kind}: {first}); "
        f"check its config and that {plan.weights} holds an open_clip state_dict"
    )


_DAMAGE = ("SafetensorError", "EOFError", "UnpicklingError", "BadZipFile")
