"""Which published model a measured one is. Only what is certainly the same weights counts.

A name in open_clip is an architecture and a tag. `ViT-B-32-quickgelu` is `ViT-B-32` with QuickGELU,
so a network here is (architecture without that ending, tag, QuickGELU or not): `laion400m_e32` was
published with either activation, and only one of the two is the network that was trained.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

from paraclip_bench.models.adapter import Context
from paraclip_bench.models.aliases import Baseline
from paraclip_bench.reference.published_numbers import PublishedModel
from paraclip_bench.results.schema import ModelInfo

_SUFFIX = "-quickgelu"
_ACTIVATIONS = ("gelu", "quick_gelu")  # by PretrainedNetwork.quick_gelu, as our adapter names them
_OPEN_CLIP_FAMILIES = ("OpenCLIP", "Scaling")

# OpenAI's repositories hold its three networks in transformers' format; open_clip names others.
_OPENAI = {
    "openai/clip-vit-base-patch32": ("ViT-B-32", "openai"),
    "openai/clip-vit-base-patch16": ("ViT-B-16", "openai"),
    "openai/clip-vit-large-patch14": ("ViT-L-14", "openai"),
}


class PretrainedNetwork(NamedTuple):
    """A network of open_clip with published weights."""

    architecture: str
    tag: str
    quick_gelu: bool


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a spec certainly is: a repository of the hub, open_clip's network, both or neither."""

    hub_id: str | None = None
    network: PretrainedNetwork | None = None


def identity_of(model: ModelInfo, suite: str) -> Identity:
    """The identity of a model that was measured in a suite.

    A folder, a file, a checkpoint or a class of the user's has none, whatever it is called. Our
    adapter of open_clip always says which activation it ran: who does not is an object of the
    user's under such a name, and one that ran another than the network's is another network.
    """
    spec = model.spec
    if spec == "clip":
        spec = Baseline.resolve(None, Context(suite, Path()))
    family, _, argument = spec.partition(":")
    if family == "open_clip" and argument.startswith("hf-hub:"):
        family, _, argument = argument.partition(":")
    if family == "hf-hub":
        known = _hub_networks().get(argument)
        runs = model.activation in _ACTIVATIONS if known is None else _runs(known, model)
        return Identity(argument, known) if runs else Identity()
    if family == "sentence-transformers" and model.name == argument and "/" in argument:
        # The plugin names a model of a folder by the folder's last part alone.
        return Identity(argument)
    if family == "open_clip":
        architecture, _, tag = argument.rpartition("/")
        trained = _trained(architecture, tag)
        if trained is not None and _runs(trained, model):
            return Identity(network=trained)
    return Identity()


def is_same(measured: Identity, published: PublishedModel) -> bool:
    """Whether a published model is the one that was measured."""
    if measured.hub_id is not None and measured.hub_id == published.hub_id:
        return True
    return measured.network is not None and measured.network == _published_network(published)


def _runs(network: PretrainedNetwork, model: ModelInfo) -> bool:
    """Whether a model says that it ran the network's activation; None says nothing."""
    return model.activation == _ACTIVATIONS[network.quick_gelu]


@functools.cache
def _published_network(model: PublishedModel) -> PretrainedNetwork | None:
    """The network that a published number is of, as far as open_clip knows it.

    It ran the architecture's own activation: where both names of one tag are published the numbers
    differ, but for `openai`, which open_clip always builds with QuickGELU.
    """
    if model.hub_id is not None:
        return _hub_networks().get(model.hub_id)
    if model.family not in _OPEN_CLIP_FAMILIES or not model.architecture or not model.pretrained:
        return None
    trained = _trained(model.architecture, model.pretrained)
    if trained is None:
        return None
    quick = _has_quick_gelu(model.architecture) or trained.tag == "openai"
    return trained._replace(quick_gelu=quick)


def _trained(architecture: str, tag: str) -> PretrainedNetwork | None:
    """The network as our adapter builds it: QuickGELU if the tag or the config says so."""
    import open_clip

    published = open_clip.get_pretrained_cfg(architecture, tag)
    if not published:
        return None
    quick = bool(published.get("quick_gelu")) or _has_quick_gelu(architecture)
    return PretrainedNetwork(_plain(architecture), tag.lower().replace("-", "_"), quick)


def _has_quick_gelu(architecture: str) -> bool:
    import open_clip

    return bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu"))


def _plain(architecture: str) -> str:
    """The name without "-quickgelu", where open_clip's configs differ in that alone."""
    import open_clip

    plain = architecture.removesuffix(_SUFFIX)
    configs = [dict(open_clip.get_model_config(a) or {}) for a in (architecture, plain)]
    for config in configs:
        config.pop("quick_gelu", None)
    return plain if configs[0] == configs[1] else architecture


@functools.cache
def _hub_networks() -> dict[str, PretrainedNetwork]:
    """The networks of repositories of the hub, by open_clip's own list and OpenAI's three.

    A repository that several networks name, or by one of its files, is left out.
    """
    import open_clip

    found: dict[str, set[PretrainedNetwork | None]] = {}
    names = [
        (str(open_clip.get_pretrained_cfg(*name).get("hf_hub") or "").rstrip("/"), name)
        for name in open_clip.list_pretrained()
    ]
    for hub_id, (architecture, tag) in [*names, *_OPENAI.items()]:
        if hub_id.count("/") == 1:
            found.setdefault(hub_id, set()).add(_trained(architecture, tag))
    return {
        hub_id: network
        for hub_id, networks in found.items()
        if len(networks) == 1
        for network in networks
        if network is not None
    }
