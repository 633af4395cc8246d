"""The text tower as it trains: which weights do, and the fast exact way through it.

A batch's distinct texts go through it once each, in an order in which they are cheap together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from paraclip_bench.encoding.batching import Budget, batches
from paraclip_bench.errors import UsageError
from paraclip_bench.models.open_clip.build import is_image_tensor
from paraclip_bench.models.open_clip.linear import TRAINED, Trained, fastest_to_train
from paraclip_bench.models.open_clip.network import Network
from paraclip_bench.models.open_clip.packed import PackedText
from paraclip_bench.training.recipe import Recipe
from paraclip_bench.training.table import Table


@dataclass(frozen=True)
class DistinctTexts:
    """Distinct texts as tokens [u, context], how many are computed [u], and which stand where.

    places [n, views]: the row of tokens that a pair has as a view.
    """

    tokens: torch.Tensor
    lengths: npt.NDArray[np.int64]
    places: torch.Tensor

    def chunks(self, most_tokens: int) -> Iterator[slice]:
        """Runs of texts that have at most so many tokens together, at least one text each."""
        whole = range(len(self.lengths))
        for run in batches(whole, self.lengths, Budget(most_tokens, len(whole))):
            yield slice(run[0], run[-1] + 1)


def distinct_texts(
    table: Table,
    texts: npt.NDArray[np.int64],
    context: int,
    *,
    by_prefix: bool,
    full_context: bool = False,
) -> DistinctTexts:
    """The texts [n, views] of a table, padded to a context.

    `by_prefix`: neighbours begin alike; else they are of like length. `full_context`: the padding
    counts as what is computed.
    """
    found: dict[bytes, int] = {}
    rows: list[npt.NDArray[np.int32]] = []
    places = np.empty(texts.size, dtype=np.int64)
    for index, text in enumerate(texts.reshape(-1).tolist()):
        tokens = table.tokens(text)
        key = tokens.tobytes()
        if key not in found:
            found[key] = len(rows)
            rows.append(tokens)
        places[index] = found[key]
    order = sorted(
        range(len(rows)), key=lambda i: (0 if by_prefix else len(rows[i]), rows[i].tolist())
    )
    padded = np.empty((len(rows), context), dtype=np.int64)
    for place, index in enumerate(order):
        padded[place, : len(rows[index])] = rows[index]
        padded[place, len(rows[index]) :] = rows[index][-1]
    inverse = np.empty(len(rows), dtype=np.int64)
    inverse[order] = np.arange(len(rows))
    return DistinctTexts(
        torch.from_numpy(padded),
        np.array([context if full_context else len(rows[index]) for index in order]),
        torch.from_numpy(inverse[places].reshape(texts.shape)),
    )


# CLIP clips its logit scale here (Radford et al. 2021).
MAX_LOGIT_SCALE = math.log(100)
# Of a token's activations with their graph, in float32, for each block: what its layers keep.
_KEPT_WIDTHS = 20
# Texts that are cut together are at most so much longer than the shortest, unless they are few.
_PADDING, _SHORTEST_RUN = 1.25, 16


class TrainableText:
    """The text tower and logit_scale of a network, trained in place.

    parameters has what trains, by name; dimensions is a vector's. Packed where that is exact, else
    cut behind the padding where that is, else at full context.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self.model = network.model
        self.context = int(network.tokenize("a")[0].shape[0])
        self.dimensions = int(network.config["embed_dim"])
        # Asked for in eval mode, where both ways can be compared.
        self._packs = network.packed is not None
        self.by_prefix = network.packed is not None and network.packed.shares_prefixes
        # It has a copy of the weights as they are before the training.
        network.__dict__.pop("packed", None)
        self._tower = network.text
        self.bytes_a_token = _bytes_a_token(self.model)
        if isinstance(recipe.temperature, float):
            with torch.no_grad():
                self.model.logit_scale.fill_(math.log(1 / recipe.temperature))
        weight = self.model.logit_scale
        # Decided once a run: another kind of layer would not give the same bits.
        self.layer: type[Trained] = (
            Trained
            if recipe.dtype == "bfloat16" or not self._packs
            else fastest_to_train(weight.device, weight.dtype)
        )
        self.parameters = _thaw(self.model, recipe)
        self.model.train()

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context], with their graph."""
        if self._packs:
            return PackedText(self.model, trains=True, layer=self.layer)(tokens)
        return torch.cat([self._tower.encode(part) for part in self._like_lengths(tokens)])

    def _like_lengths(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Texts [n, context], sorted by length, in runs that have little padding once cut."""
        if not self._tower.cuts:
            return [tokens]
        lengths = (tokens != tokens[:, -1:]).sum(dim=1).tolist()
        starts = [0]
        for index, length in enumerate(lengths):
            run = index - starts[-1]
            if run >= _SHORTEST_RUN and length > _PADDING * lengths[starts[-1]]:
                starts.append(index)
        return list(torch.tensor_split(tokens, starts[1:]))

    def use(self, layer: str) -> None:
        """Compute with that kind of layer (`Trained.__name__`), whatever is fastest here."""
        self.layer = TRAINED.get(layer, self.layer)

    def distinct(self, table: Table, texts: npt.NDArray[np.int64]) -> DistinctTexts:
        """The distinct ones of texts [n, views] of a table, as this tower takes them."""
        return distinct_texts(
            table,
            texts,
            self.context,
            by_prefix=self.by_prefix,
            # A tower that sees its padding computes it.
            full_context=not (self.by_prefix or self._tower.cuts),
        )

    @property
    def logit_scale(self) -> torch.nn.Parameter:
        """log(1 / temperature), a scalar."""
        scale: torch.nn.Parameter = self.model.logit_scale
        return scale

    def state(self) -> dict[str, torch.Tensor]:
        """A copy on the CPU of the weights that a checkpoint has other than its base."""
        return {
            name: parameter.detach().cpu().clone()
            for name, parameter in self.model.named_parameters()
            if name in self.parameters or name == "logit_scale"
        }


def _thaw(model: Any, recipe: Recipe) -> dict[str, torch.nn.Parameter]:
    """Let train what the recipe says; the rest is frozen."""
    locked = _locked(model, recipe.unlocked_text_layers)
    trained = {}
    for name, parameter in model.named_parameters():
        trains = not (is_image_tensor(name) or name == "logit_bias" or locked.search(name))
        if name == "logit_scale":
            trains = recipe.temperature == "learned"
        parameter.requires_grad_(trains)
        if trains:
            trained[name] = parameter
    return trained


def _locked(model: Any, unlocked: int | None) -> re.Pattern[str]:
    """Names of weights in front of the last `unlocked` blocks, embeddings included."""
    if unlocked is None:
        return re.compile("(?!)")
    path, blocks = _blocks(model)
    if unlocked > len(blocks):
        raise UsageError(
            f"unlocked_text_layers is {unlocked} and the text tower has {len(blocks)} blocks; "
            "lower it, or leave it out to train the whole tower"
        )
    numbers = "|".join(str(index) for index in range(len(blocks) - unlocked))
    front = rf"^{re.escape(path)}\.({numbers})\." if numbers else "(?!)"
    return re.compile(rf"{front}|embed")


def _blocks(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """The list of blocks of the text tower, and its path."""
    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList)
        and not path.startswith(("visual.", "text_decoder."))
    ]
    return max(lists, key=lambda found: len(found[1]))


def _bytes_a_token(model: Any) -> int:
    _, blocks = _blocks(model)
    width = max(
        parameter.shape[-1] for name, parameter in blocks.named_parameters() if parameter.ndim == 1
    )
    # The widest vector of a block is its MLP's inner one, or the three of attention's input.
    return 4 * len(blocks) * _KEPT_WIDTHS * max(1, width // 4)
