"""What a weights file holds: tensors by a network's names, wherever in the file they are.

People save a state under another key, with the prefix of a wrapper, or in several files. Such a
state is taken where exactly one reading of it fits the network. What is no weights file at all is
known by its first bytes.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError, safe_open

from paraclip_bench.errors import ModelError
from paraclip_bench.files import ending, parse_json, regular

Read = Callable[[str], torch.Tensor]
INDEX = ".index.json"
"""End of the name of a file that says which part of a checkpoint holds which tensor."""
# Wrappers put their names into those of the weights, at the front or at one tower.
_WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What a whole network has once; each shows under which prefix a state lies.
_ANCHORS = ("logit_scale", "visual.conv1.weight", "token_embedding.weight", "positional_embedding")
# OpenAI's own states have these.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
POSITION_IDS = "text.transformer.embeddings.position_ids"
"""Old versions of transformers wrote it; new ones do without."""
_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}\.(?P<kind>safetensors|bin)")


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Tensors of one file, by the file's own names: shapes, dtypes, and how each is read.

    dtypes are "float32" and the like, or in words what keeps a tensor from holding weights.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    read: Read
    is_lazy: bool = True


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file that is open, of which nothing but the names and shapes has been read.

    `names` maps the network's names to the file's. Not `is_lazy`: all of it has been read, because
    the file is of a format that cannot be mapped.
    """

    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    _stored: Read
    is_lazy: bool = True

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

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors by the network's names, as they are stored."""
        return {name: self._stored(own) for name, own in self.names.items()}

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[self.names[name]]

    def _is_single(self, name: str) -> bool:
        return self._shape(name) in ((), (1,))


def open_weights(path: Path, model: Any) -> Weights:
    """Open a weights file, or the index of its parts, for a network of this class.

    Raises `ModelError` where the file holds several states that fit, or numbers that are no
    weights, and whatever safetensors or torch do for a file that is none of theirs; nothing is
    unpickled but tensors.
    """
    own_state = model.state_dict()
    expected = frozenset(own_state)
    stored = _sharded(path) if path.name.endswith(INDEX) else _opened(path)
    states = stored if isinstance(stored, dict) else {"": stored}
    named = {key: _network_names(path, s.shapes, model, expected) for key, s in states.items()}
    fitting = [key for key, names in named.items() if _is_whole(names, expected)]
    # What open_clip takes itself comes first; else there must be one, and no choice.
    own = [key for key in ("state_dict", "") if key in states]
    chosen = [key for key in own if key in fitting][:1] or fitting or own[:1]
    if len(chosen) > 1:
        raise ModelError(
            f"{path} holds several states of this network ({', '.join(map(repr, chosen))}); "
            "save the one that you mean alone"
        )
    if not chosen:
        raise ModelError(
            f"{path} holds no state of this network"
            + (f" (it has {', '.join(map(repr, states))})" if states else "")
            + "; save the network's state_dict alone, best as safetensors"
        )
    key = chosen[0]
    for name, own_name in named[key].items():
        is_weight = name in own_state and own_state[name].is_floating_point()
        if is_weight and (found := states[key].dtypes[own_name]) not in _DTYPES:
            raise ModelError(
                f"{path} holds {own_name!r} as {found}, which is no weight of a network; save the "
                "state_dict in float32, bfloat16 or float16"
            )
    return Weights(named[key], states[key].shapes, states[key].read, states[key].is_lazy)


def _network_names(
    path: Path, shapes: Mapping[str, Any], model: Any, expected: frozenset[str]
) -> dict[str, str]:
    """The network's names of a state's tensors, each with the file's own.

    A prefix is taken away where exactly one makes all names fit; otherwise names stay as open_clip
    would have them. Raises `ModelError` where several copies lie side by side, each of which fits
    under a prefix of its own.
    """
    plain = {_WRAPPERS.sub("", name): name for name in shapes}
    if len(plain) < len(shapes):  # two copies, one of them wrapped
        plain = {name: name for name in shapes}
    found = []
    for prefix in _prefixes(plain):
        names = _as_custom(
            {name[len(prefix) :]: own for name, own in plain.items() if name.startswith(prefix)},
            model,
        )
        if len(names) == len(plain) and _is_whole(names, expected):
            found.append(names)
    if len(found) != 1:
        copies = _copies(plain, model, expected)
        if len(copies) > 1:
            under = ", ".join(repr(copy) if copy else "without a prefix" for copy in copies)
            raise ModelError(
                f"{path} holds several states of this network side by side ({under}), such as the "
                "trained weights and their moving average (EMA); save the one that you mean alone"
            )
        if next(iter(plain), "").startswith("module."):  # as open_clip does, whatever is in it
            plain = {name.removeprefix("module."): own for name, own in plain.items()}
        found = [_as_custom(plain, model)]
    names = found[0]
    passed_over = {*_NO_WEIGHTS, "logit_bias"} - expected
    return {name: own for name, own in names.items() if name not in passed_over}


def _copies(plain: dict[str, str], model: Any, expected: frozenset[str]) -> list[str]:
    """The prefixes, "" among them, under which some of the names are a whole network's."""
    found: list[str] = []
    for prefix in sorted(_prefixes(plain), key=len, reverse=True):
        names = {
            name[len(prefix) :]: own
            for name, own in plain.items()
            if name.startswith(prefix) and not name.startswith(tuple(found))
        }
        if _is_whole(_as_custom(names, model), expected):
            found.append(prefix)
    return sorted(found)


def _prefixes(names: Iterable[str]) -> set[str]:
    """What stands before a whole network's names, "" among them."""
    ends = (*_ANCHORS, *(f"text.{anchor}" for anchor in _ANCHORS[2:]))
    return {""} | {name[: -len(end)] for name in names for end in ends if name.endswith("." + end)}


def _as_custom(names: dict[str, str], model: Any) -> dict[str, str]:
    """Names of a plain CLIP as a network with a text tower of its own has them."""
    if "positional_embedding" in names and not hasattr(model, "positional_embedding"):
        renamed: dict[str, str] = convert_to_custom_text_state_dict(names)
        return renamed
    return names


def _is_whole(names: Iterable[str], expected: frozenset[str]) -> bool:
    """Whether these are a network's names; a bias of the logits changes no vector."""
    optional = {*_NO_WEIGHTS, POSITION_IDS, "logit_bias"}
    return set(names) - optional == expected - optional


def _opened(path: Path) -> _Stored | dict[str, _Stored]:
    """What one file holds, by its content: a name may say another format."""
    with regular(path).open("rb") as file:
        head = file.read(64)
    _refuse_pickle(path, head)
    is_torch = head[:2] in (b"PK", b"\x80\x02")
    if head[8:9] == b"{" or (ending(path) == ".safetensors" and not is_torch):
        return _safetensors(path)
    return _of_torch(path)


def _safetensors(path: Path) -> _Stored:
    def read(name: str) -> torch.Tensor:
        # Opened again each time: while it is open, what was read before stays mapped.
        with safe_open(str(path), framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    with safe_open(str(path), framework="pt") as file:
        names = file.keys()
        slices = {name: file.get_slice(name) for name in names}
        shapes = {name: tuple(found.get_shape()) for name, found in slices.items()}
        dtypes = {name: found.get_dtype() for name, found in slices.items()}
    return _Stored(shapes, {n: _DTYPE_OF.get(d, d) for n, d in dtypes.items()}, read)


def _of_torch(path: Path) -> dict[str, _Stored]:
    """The states that a file of torch.save's holds, by the keys that lead to them."""
    # Files from before torch 1.6 are no zip archive and cannot be mapped; and torch reads a path of
    # that name as safetensors, whatever is in it.
    can_map = zipfile.is_zipfile(path) and ending(path) != ".safetensors"
    if can_map:
        loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    else:
        with path.open("rb") as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    return {
        key: _Stored(
            {name: tuple(tensor.shape) for name, tensor in state.items()},
            {name: _dtype_of(tensor) for name, tensor in state.items()},
            state.__getitem__,
            can_map,
        )
        for key, state in _states(loaded, "", 3)
    }


# As safetensors writes them, and as torch does; what is named otherwise holds no weights.
_DTYPE_OF = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DTYPES = frozenset(_DTYPE_OF.values())


def _dtype_of(tensor: torch.Tensor) -> str:
    """A tensor's dtype, or in words why it holds no weights."""
    if tensor.is_meta:
        return "a tensor without values"
    if tensor.layout != torch.strided:
        return "a sparse tensor"
    return str(tensor.dtype).removeprefix("torch.")


def _states(found: Any, key: str, depth: int) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Mappings of names to tensors within what was saved, with the keys that lead to them."""
    if not isinstance(found, Mapping):
        return
    tensors = {k: v for k, v in found.items() if isinstance(k, str) and torch.is_tensor(v)}
    if tensors:
        yield key, tensors
    if depth:  # beside a state there may be tensors of the training: a loss, a random state
        for name, inner in found.items():
            if isinstance(name, str):
                yield from _states(inner, f"{key}.{name}" if key else name, depth - 1)


def parts_of(index: Path) -> dict[str, Path]:
    """Which file of its folder holds each tensor, by the index of a sharded checkpoint.

    Raises `ModelError` for an index that cannot be read, a name that is not a plain file name, and
    a part that is not there.
    """
    try:
        written = parse_json(index.read_text(encoding="utf-8"))
        places = dict(written["weight_map"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{index} is not the index of a sharded checkpoint ({type(error).__name__}: {error}); "
            "copy it again"
        ) from error
    found = {}
    for tensor, name in places.items():
        if not isinstance(name, str) or not name or Path(name).name != name or "\\" in name:
            raise ModelError(
                f"{index}: {name!r} is not the name of a file in its folder; write names alone"
            )
        found[str(tensor)] = index.parent / name
    if not found:
        raise ModelError(f"{index} names no tensors; copy it again")
    for path in sorted(set(found.values())):
        if not path.is_file():
            raise ModelError(f"{path} is missing, and {index.name} names it; copy it there too")
    return found


def index_of(path: Path) -> Path | None:
    """The index that a part of a sharded checkpoint belongs to; None for another file."""
    part = _PART.fullmatch(path.name)
    return None if part is None else path.with_name(f"{part['stem']}.{part['kind']}{INDEX}")


def _sharded(index: Path) -> _Stored:
    places = parts_of(index)
    parts: dict[Path, _Stored] = {}
    for path in sorted(set(places.values())):
        opened = _opened(path)
        if isinstance(opened, dict):
            if list(opened) != [""]:
                raise ModelError(f"{path} is not a part of a checkpoint; copy it again")
            opened = opened[""]
        named = {tensor for tensor, place in places.items() if place == path}
        if other := sorted(named ^ opened.shapes.keys()):
            raise ModelError(
                f"{path} and {index.name} do not agree on the tensor {other[0]!r}; "
                "copy all files of the checkpoint again"
            )
        parts[path] = opened
    shapes = {tensor: parts[place].shapes[tensor] for tensor, place in places.items()}
    dtypes = {tensor: parts[place].dtypes[tensor] for tensor, place in places.items()}
    is_lazy = all(part.is_lazy for part in parts.values())
    return _Stored(shapes, dtypes, lambda name: parts[places[name]].read(name), is_lazy)


_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}
_OTHERS = {b"\x89HDF": "HDF5 (Keras)", b"GGUF": "GGUF", b"\x93NUMPY": "NumPy"}


def check_weights(path: Path) -> None:
    """`ModelError` where a file is no weights by its first bytes, or cut off by its header.

    Only the beginning is read, and of a zip its list.
    """
    refuse_placeholder(path)
    if ending(path) in (".npz", ".npy", ".json"):
        return
    with path.open("rb") as file:
        head = file.read(512)
    for start, what in _ARCHIVES.items():
        if head.startswith(start):
            raise ModelError(f"{path} is {what}; unpack it and name the weights in it")
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise ModelError(
                f"{path} is a file of {what}, which open_clip does not load; "
                "name weights of PyTorch or safetensors"
            )
    _refuse_pickle(path, head)
    if head[257:262] == b"ustar":
        raise ModelError(f"{path} is a tar archive; unpack it and name the weights in it")
    if head.startswith(b"PK") and zipfile.is_zipfile(path) and not _is_torch_zip(path):
        raise ModelError(f"{path} is a zip archive; unpack it and name the weights in it")
    if not head.strip(b"\0"):
        raise damaged(path, "it begins with zeros" if head else "it is empty")
    if head[8:9] == b"{" or (ending(path) == ".safetensors" and not head.startswith(b"PK")):
        try:
            with safe_open(str(path), framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise damaged(path, str(error)) from error


def refuse_placeholder(path: Path) -> None:
    """`ModelError` where a file stands for another that was not fetched: a pointer, a web page."""
    with regular(path).open("rb") as file:
        head = file.read(512)
    if head.startswith((b"version https://git-lfs", b"version http://git-media")):
        raise ModelError(
            f"{path} is a Git LFS pointer and not the file itself; run `git lfs pull` in its "
            "folder, or download the file"
        )
    if b"/annex/objects/" in head and head.startswith((b"/annex", b"../", b".git")):
        raise ModelError(
            f"{path} is a git-annex pointer and not the file itself; run `git annex get` on it"
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        raise ModelError(
            f"{path} is a web page and not the file itself; download the file (on the hub its "
            "address has /resolve/, not /blob/)"
        )
    if ending(path) != ".json" and (text := _as_text(head)):
        first = text.strip().splitlines()[0][:60] if text.strip() else text[:60]
        raise ModelError(
            f"{path} is text and not weights (it begins with {first!r}); download the file again"
        )


# What torch.save wrote before 1.6 begins with, in any protocol of pickle.
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _refuse_pickle(path: Path, head: bytes) -> None:
    """`ModelError` where a file is a pickle that torch.save did not write."""
    is_pickle = len(head) > 2 and head[0] == 0x80 and 1 <= head[1] <= 5
    if is_pickle and _TORCH_MAGIC not in head[:32]:
        raise ModelError(
            f"{path} is a plain pickle, which is not read, because it can run foreign code; where "
            "you trust it, unpickle it in Python and save its arrays by name with "
            "safetensors.numpy.save_file"
        )


def _as_text(head: bytes) -> str:
    """What a file begins with where that is text, else nothing."""
    try:
        text = head.decode("utf-8") if len(head) < 512 else head[:508].decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return ""
    return text if all(c.isprintable() or c in "\t\r\n" for c in text) else ""


def _is_torch_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return True  # torch says what is wrong with it
    return any(name.endswith(("data.pkl", "constants.pkl")) for name in names)


def damaged(path: Path, why: str) -> ModelError:
    """The error of a file that is there and cannot be read to its end."""
    return ModelError(f"{path} is damaged or cut off ({why}); copy it again")
