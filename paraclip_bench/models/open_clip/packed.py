"""Exact text vectors of an open_clip transformer, computing only what they depend on.

A causal tower that is pooled at its end-of-text token does not see what follows that token, and
texts that begin alike have equal states as far as they are alike. So the tokens of a batch become
nodes of a prefix tree: every distinct (prefix, token) once, no padding, all nodes as one matrix
through norms, projections and MLPs. Attention runs on groups of like length; the last block
computes keys and values of all nodes, but queries and MLP of the pooled ones alone. A tower that
sees its padding (SigLIP, MobileCLIP) keeps its full context and gains the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from open_clip.transformer import LayerScale, ResidualAttentionBlock

from paraclip_bench.models.open_clip.linear import Linear, fastest, fastest_to_train, scale_after
from paraclip_bench.models.open_clip.text_tower import (
    TextTower,
    agrees,
    ends,
    is_causal,
    native_tower,
    pool_type,
)

# A group of texts is padded to its longest as long as that adds at most this share of tokens:
# fewer groups against a little more attention.
_PADDING = 1.15


class PackedText:
    """The text tower of a model as it is now; later changes of its weights are not seen.

    With `trains`, gradients flow back to the weights. `layer` is the kind of linear layer to use
    instead of the fastest one here. Raises `UnsupportedTower` where the tower is
    not of a kind that this computes exactly.
    """

    def __init__(
        self, model: Any, *, trains: bool = False, layer: type[Linear] | None = None
    ) -> None:
        self._tower = _packable(model)
        *blocks, last = self._tower.transformer.resblocks
        with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
            kind = functools.partial(_Block, trains=trains, layer=layer)
            self._blocks = [kind(block, is_last=False) for block in blocks]
            self._last = kind(last, is_last=True)
        self.shares_prefixes = self._tower.attn_mask is not None

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d], not normalised, of tokens [n, context] int64 on any device."""
        tower = self._tower
        table = tower.positional_embedding
        dtype = tower.transformer.get_cast_dtype()
        tree = _grow(tokens, ends(tower, tokens), causal=self.shares_prefixes).to(table.device)
        x: torch.Tensor = tower.token_embedding(tree.tokens).to(dtype)
        # index_select, since the gradient of plain indexing is summed in no fixed order.
        x = x + table.index_select(0, tree.positions).to(dtype)
        for block in self._blocks:
            x = block(x, tree)
        x = self._last.pooled(x, tree)
        x = tower.ln_final(x)
        projection = tower.text_projection
        if isinstance(projection, torch.nn.Linear):
            x = projection(x)
        elif projection is not None:
            x = x @ projection
        return x


def packed_text(model: Any, tower: TextTower, probe: torch.Tensor) -> PackedText | None:
    """The packed tower, where it gives what `tower` gives for probe tokens [n, context]."""
    try:
        packed = PackedText(model)
        return packed if agrees(tower, packed, probe) else None
    # oneDNN's operators are private to torch: another version may want other arguments.
    except (UnsupportedTower, RuntimeError, AttributeError, TypeError) as error:
        if "out of memory" in str(error):
            raise
        return None


class UnsupportedTower(Exception):
    """Why a text tower cannot be packed."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """Texts of like length: which they are [n], their nodes [n, longest], where they end [n].

    `is_even`: all are as long as the longest.
    """

    texts: torch.Tensor
    nodes: torch.Tensor
    ends: torch.Tensor
    is_even: bool


@dataclasses.dataclass(frozen=True)
class _Tree:
    """The nodes of a batch of n texts, m of them, in groups for attention.

    tokens, positions [m]: what a node embeds. pooled [n]: each text's last node. place [m] and
    order [n]: where a node, and a text, stands in the outputs of all groups one after the other.
    """

    groups: list[_Group]
    tokens: torch.Tensor
    positions: torch.Tensor
    pooled: torch.Tensor
    place: torch.Tensor
    order: torch.Tensor
    causal: bool

    def to(self, device: torch.device) -> _Tree:
        """The same tree on another device."""
        if device.type == "cpu":
            return self
        groups = [
            _Group(g.texts.to(device), g.nodes.to(device), g.ends.to(device), g.is_even)
            for g in self.groups
        ]
        names = ("tokens", "positions", "pooled", "place", "order")
        moved = {name: getattr(self, name).to(device) for name in names}
        return dataclasses.replace(self, groups=groups, **moved)


def _grow(tokens: torch.Tensor, last: torch.Tensor, *, causal: bool) -> _Tree:
    """The tree of tokens [n, context] that are pooled at position last [n]."""
    rows, end = tokens.cpu().numpy().astype(np.int64), last.cpu().numpy().astype(np.int64)
    n, context = rows.shape
    lengths = end + 1 if causal else np.full(n, context)
    # Sorted, texts that begin alike are neighbours, and a prefix is shared with the text before.
    sort = np.lexsort(rows.T[::-1]) if causal else np.arange(n)
    is_new = is_used = np.arange(context) < lengths[sort][:, None]
    if causal:
        alike = (rows[sort][1:] == rows[sort][:-1]) & is_used[:-1]
        is_new = is_used.copy()
        is_new[1:] &= ~np.logical_and.accumulate(alike, axis=1)
    numbers = np.cumsum(is_new).reshape(n, context) - 1
    # A shared position has the newest node above it, and numbers grow downwards.
    nodes = np.empty((n, context), dtype=np.int64)
    nodes[sort] = np.maximum.accumulate(np.where(is_new, numbers, 0), axis=0)
    groups, start, filled = [], np.empty(n, dtype=np.int64), 0
    for texts in _like_lengths(lengths):
        longest = int(lengths[texts[0]])
        # What pads a shorter text comes after its end, where causal attention does not look.
        padded = np.where(np.arange(longest) < lengths[texts][:, None], nodes[texts, :longest], 0)
        t, p, e = (torch.from_numpy(array) for array in (texts, padded, end[texts]))
        groups.append(_Group(t, p, e, is_even=bool(lengths[texts[-1]] == longest)))
        start[texts] = filled + longest * np.arange(len(texts))
        filled += longest * len(texts)
    text, position = np.nonzero(is_new)
    return _Tree(
        groups,
        tokens=torch.from_numpy(rows[sort][is_new]),
        positions=torch.from_numpy(position),
        pooled=torch.from_numpy(nodes[np.arange(n), end]),
        place=torch.from_numpy(start[sort[text]] + position),
        order=torch.argsort(torch.cat([group.texts for group in groups])),
        causal=causal,
    )


def _like_lengths(lengths: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Texts by falling length, cut where padding to the longest would add too much."""
    falling = np.argsort(-lengths, kind="stable")
    groups, start, tokens = [], 0, 0
    for index, length in enumerate(lengths[falling]):
        padded = lengths[falling[start]] * (index - start + 1)
        if padded > _PADDING * (tokens + length):
            groups.append(falling[start:index])
            start, tokens = index, 0
        tokens += int(length)
    return [*groups, falling[start:]]


class _Block:
    """One residual block on nodes [m, width], with the weights of the moment it is made."""

    def __init__(
        self,
        block: ResidualAttentionBlock,
        *,
        is_last: bool,
        trains: bool,
        layer: type[Linear] | None,
    ) -> None:
        attention, mlp = block.attn, block.mlp
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        layer = layer or (fastest_to_train if trains else fastest)(weight.device, weight.dtype)
        self.heads, self.width = attention.num_heads, weight.shape[1]
        self.ln_1, self.ln_2 = block.ln_1, block.ln_2
        # The gradient of torch's bfloat16 attention takes six times as long on a CPU.
        self.attends_in_float32 = trains and weight.device.type == "cpu"
        # The last block asks only for the pooled nodes, so its queries are a layer of their own.
        cuts = (0, self.width, 3 * self.width) if is_last else (0, 3 * self.width)
        self.project = [
            layer(weight[a:b], None if bias is None else bias[a:b])
            for a, b in itertools.pairwise(cuts)
        ]
        self.out = _folded(layer, attention.out_proj, block.ls_1)
        self.up = layer(mlp.c_fc.weight, mlp.c_fc.bias, mlp.gelu)
        self.down = _folded(layer, mlp.c_proj, block.ls_2, scale_after(self.up))

    def __call__(self, x: torch.Tensor, tree: _Tree) -> torch.Tensor:
        """States [m, width] of all nodes after this block."""
        (project,) = self.project
        qkv = self._to_attend(project(self.ln_1(x)))
        parts = []
        for group in tree.groups:
            q, k, v = self._heads(qkv, group.nodes, 3)
            mixed = self._attend(q, k, v, is_causal=tree.causal)
            parts.append(mixed.transpose(1, 2).reshape(-1, self.width))
        return self._rest(torch.cat(parts).index_select(0, tree.place), x)

    def pooled(self, x: torch.Tensor, tree: _Tree) -> torch.Tensor:
        """States [n, width] of the pooled nodes after this, the last block."""
        query, key_value = self.project
        normed = self.ln_1(x)
        queries = self._to_attend(query(normed.index_select(0, tree.pooled)))
        both = self._to_attend(key_value(normed))
        parts = []
        for group in tree.groups:
            (q,) = self._heads(queries, group.texts[:, None], 1)
            k, v = self._heads(both, group.nodes, 2)
            mask = None if group.is_even else _until(group.ends, group.nodes.shape[1])
            mixed = self._attend(q, k, v, attn_mask=mask)
            parts.append(mixed.reshape(-1, self.width))
        return self._rest(
            torch.cat(parts).index_select(0, tree.order), x.index_select(0, tree.pooled)
        )

    def _to_attend(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.float() if self.attends_in_float32 else rows

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **how: Any
    ) -> torch.Tensor:
        """Attention [n, heads, length, width / heads] of queries to keys and values."""
        if not self.attends_in_float32:
            return F.scaled_dot_product_attention(q, k, v, **how)
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q, k, v, **how)

    def _heads(
        self, rows: torch.Tensor, nodes: torch.Tensor, parts: int
    ) -> tuple[torch.Tensor, ...]:
        """`parts` tensors [n, heads, length, width / heads] of the rows of nodes [n, length]."""
        picked = rows.index_select(0, nodes.reshape(-1))
        return tuple(picked.view(*nodes.shape, parts, self.heads, -1).permute(2, 0, 3, 1, 4))

    def _rest(self, mixed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        x = self.out.add(mixed, x)
        return self.down.add(self.up(self.ln_2(x)), x)


def _until(ends: torch.Tensor, length: int) -> torch.Tensor:
    """Mask [n, 1, 1, length]: keys up to each text's end."""
    return (torch.arange(length, device=ends.device) <= ends[:, None])[:, None, None]


def _folded(
    layer: type[Linear], linear: torch.nn.Linear, scale: torch.nn.Module, divisor: float = 1.0
) -> Linear:
    """A layer with the LayerScale behind it folded in, for an input that is `divisor` too large."""
    weight, bias = linear.weight / divisor, linear.bias
    if isinstance(scale, LayerScale):
        weight = weight * scale.gamma[:, None]
        bias = None if bias is None else bias * scale.gamma
    return layer(weight, bias)


def _packable(model: Any) -> Any:
    """The text tower of a model; `UnsupportedTower` where it is of another kind."""
    tower = native_tower(model)
    if tower is None:
        raise UnsupportedTower("its text tower is not a plain transformer of open_clip's own")
    if pool_type(tower) not in ("argmax", "eos", "last", "first"):
        raise UnsupportedTower(f"its pooling is {pool_type(tower)!r}")
    if tower.attn_mask is not None and not is_causal(tower):
        raise UnsupportedTower("its attention mask is not causal")
    if not all(_is_plain(block) for block in tower.transformer.resblocks):
        raise UnsupportedTower("its blocks are not open_clip's standard ones")
    return tower


def _is_plain(block: Any) -> bool:
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and type(block.attn) is torch.nn.MultiheadAttention
        and block.attn.in_proj_weight is not None
        and block.attn.bias_k is None
        and not block.attn.add_zero_attn
        and all(isinstance(ls, LayerScale | torch.nn.Identity) for ls in (block.ls_1, block.ls_2))
    )
