"""The terms of a loss: InfoNCE, distance, hinge, hard negatives, and what plugins add.

ParaCLIP's loss is L1(X_I, X_T'') + L2(X_T, X_T') + L3(X_T', X_T'') (Kim et al., Findings of EACL
2024, arXiv 2402.15120), each an InfoNCE of two views of a pair; a recipe lists its terms. A kind of
term is a `LossTerm` class and an entry point of group `paraclip_bench.losses`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paraclip_bench import registry
from paraclip_bench.data.tar_files import TEXT_VIEW
from paraclip_bench.errors import BenchError

if TYPE_CHECKING:
    import torch

_VIEW = re.compile(f"image|{TEXT_VIEW}")
# Told from the other uses of the seed.
_DIRECTIONS = 0xD1


class Settings(BaseModel):
    """Frozen, and an unknown key is an error that names a known one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(str(registry.unknown("recipe key", key, cls.model_fields)))
        return values


class LossTerm(Settings):
    """One term of a loss, `weight` times what `value` makes of some views of each pair.

    A view is "image", "caption", "paraphrase_1", "paraphrase_2" and so on, or "negation". kind is
    the name of the entry point. A field of a subclass is a key of the recipe's `[[loss]]`.
    view_count: how many views a term of this kind takes.
    """

    view_count: ClassVar[int] = 2

    kind: str
    views: tuple[str, ...]
    weight: Annotated[float, Field(gt=0)] = 1.0

    @property
    def name(self) -> str:
        """As it is called in losses.jsonl: "distance caption:paraphrase_1"."""
        return f"{self.kind} {':'.join(self.views)}"

    @model_validator(mode="after")
    def _different_views(self) -> LossTerm:
        for view in self.views:
            if not _VIEW.fullmatch(view):
                raise ValueError(
                    f"there is no view {view!r}; known: image, caption, paraphrase_1, "
                    "paraphrase_2, …, negation"
                )
        if len(self.views) != self.view_count or len({*self.views}) != len(self.views):
            raise ValueError(
                f"a term of {self.kind} compares {self.view_count} different views, not "
                f"{', '.join(map(repr, self.views)) or 'none'}"
            )
        return self

    def parameters(self, dimensions: int, seed: int) -> Mapping[str, torch.Tensor]:
        """Tensors that the term needs beside the views, by name; none by default.

        Made once a run, on the CPU. Those that require a gradient train with the text tower and
        are kept in its training states. Terms that give one name share the tensor.
        """
        del dimensions, seed
        return {}

    @abstractmethod
    def value(
        self,
        views: Sequence[torch.Tensor],
        scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """A scalar of the views' unit rows [n, d], in the order of `self.views`.

        n counts the pairs of the whole batch, of all processes. scale is the inverse temperature, a
        scalar; parameters holds those of all terms.
        """


class InfoNCE(LossTerm):
    """Symmetric InfoNCE of two views (`info_nce`)."""

    kind: str = "info_nce"

    @property
    def name(self) -> str:
        """The views alone: "image:paraphrase_2"."""
        return ":".join(self.views)

    def value(
        self,
        views: Sequence[torch.Tensor],
        scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """In nats."""
        del parameters
        return info_nce(views[0], views[1], scale)


class _Projected(LossTerm):
    """A term that may compare views by their projection on a few orthonormal directions.

    projection: on how many; all of the vector without it. learned: whether the directions train
    too, or stay as they are drawn. Terms with the same two settings share the directions.
    """

    projection: Annotated[int, Field(ge=2)] | None = None
    learned: bool = False

    @property
    def _key(self) -> str:
        return f"directions/{self.projection}{'/learned' if self.learned else ''}"

    @model_validator(mode="after")
    def _learns_something(self) -> _Projected:
        if self.learned and self.projection is None:
            raise ValueError("learned directions need their number; give projection")
        return self

    def parameters(self, dimensions: int, seed: int) -> Mapping[str, torch.Tensor]:
        """Directions [d, projection], orthonormal, drawn evenly from the seed."""
        if self.projection is None:
            return {}
        if self.projection > dimensions:
            raise BenchError(
                f"projection is {self.projection} and the model's vectors have {dimensions} "
                "dimensions; lower it in the recipe"
            )
        import numpy as np
        import torch

        drawn = np.random.default_rng([seed, _DIRECTIONS]).normal(
            size=(dimensions, self.projection)
        )
        directions = torch.from_numpy(np.linalg.qr(drawn)[0].astype(np.float32))
        return {self._key: directions.requires_grad_(self.learned)}

    def cosines(
        self, views: Sequence[torch.Tensor], parameters: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Cosines [n] of the two views of each pair, projected where the settings say so."""
        import torch
        import torch.nn.functional as F

        a, b = views
        if self.projection is not None:
            directions = parameters[self._key]
            if self.learned:
                # A step leaves them less than orthonormal.
                directions = torch.linalg.qr(directions)[0]
            a, b = F.normalize(a @ directions, dim=-1), F.normalize(b @ directions, dim=-1)
        return (a * b).sum(dim=-1)


class Distance(_Projected):
    """How far apart the two views of a pair are: the mean of 1 - cosine."""

    kind: str = "distance"

    def value(
        self,
        views: Sequence[torch.Tensor],
        scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Between 0 and 2."""
        del scale
        return 1 - self.cosines(views, parameters).mean()


class Hinge(_Projected):
    """How much nearer than `margin` a negative view is: the mean of max(0, cosine - margin)."""

    kind: str = "hinge"
    margin: Annotated[float, Field(ge=-1, lt=1)] = 0.0

    def value(
        self,
        views: Sequence[torch.Tensor],
        scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Between 0 and 1 - margin."""
        del scale
        return (self.cosines(views, parameters) - self.margin).clamp(min=0).mean()


class HardNegatives(LossTerm):
    """InfoNCE of an anchor and its positive, with a negative of each pair.

    views: anchor, positive, negative. negatives = "batch": the negatives of all pairs stand beside
    the positives of all pairs as what an anchor chooses among, and the other direction is plain (as
    NegCLIP trains, Yuksekgonul et al. 2023, arXiv 2210.01936). "own": an anchor chooses between its
    positive and its own negative alone.
    """

    view_count: ClassVar[int] = 3

    kind: str = "hard_negatives"
    negatives: Literal["batch", "own"] = "batch"

    def value(
        self,
        views: Sequence[torch.Tensor],
        scale: torch.Tensor,
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """In nats."""
        del parameters
        import torch.nn.functional as F

        anchor, positive, negative = views
        if self.negatives == "own":
            return F.softplus(scale * (anchor * (negative - positive)).sum(dim=-1)).mean()
        return info_nce(anchor, positive, scale, negative)


def info_nce(
    a: torch.Tensor,
    b: torch.Tensor,
    scale: torch.Tensor,
    negatives: torch.Tensor | None = None,
) -> torch.Tensor:
    """Symmetric InfoNCE of unit rows a, b [n, d]: row i of one belongs to row i of the other.

    `scale` multiplies the cosines (the inverse temperature). A row of a also chooses among
    `negatives` [m, d], where there are any. Returns a scalar, in nats.
    """
    import torch
    import torch.nn.functional as F

    logits = scale * a @ b.T
    target = torch.arange(len(a), device=a.device)
    among = logits if negatives is None else torch.cat([logits, scale * a @ negatives.T], dim=1)
    return (F.cross_entropy(among, target) + F.cross_entropy(logits.T, target)) / 2


def loss_parameters(
    terms: Sequence[LossTerm], dimensions: int, seed: int
) -> dict[str, torch.Tensor]:
    """The tensors that the terms need beside the views, by name."""
    found: dict[str, torch.Tensor] = {}
    for term in terms:
        for name, tensor in term.parameters(dimensions, seed).items():
            found.setdefault(name, tensor)
    return found


def loss_terms(
    views: Mapping[str, torch.Tensor],
    terms: Sequence[LossTerm],
    scale: torch.Tensor,
    parameters: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Each term's value by its name, not yet weighted; views are unit rows [n, d] by name.

    Raises `BenchError` for a term whose value is not a scalar.
    """
    values = {}
    for term in terms:
        value = term.value([views[view] for view in term.views], scale, parameters or {})
        if value.shape != ():
            raise BenchError(
                f"the loss {term.kind!r} gives a tensor of shape {tuple(value.shape)} and not a "
                "scalar; fix its value()"
            )
        values[term.name] = value
    return values


def weighted_sum(values: Mapping[str, torch.Tensor], terms: Sequence[LossTerm]) -> torch.Tensor:
    """The loss of terms' values by name."""
    import torch

    return torch.stack([term.weight * values[term.name] for term in terms]).sum()


def find_kind(name: str) -> type[LossTerm]:
    """The class of a kind of term.

    Raises `BenchError` for a name that is not known, and for a plugin that is not a `LossTerm`.
    """
    if name == "info_nce":
        return InfoNCE
    plugin = registry.find("loss", name)
    made = plugin.load()
    if not (isinstance(made, type) and issubclass(made, LossTerm)):
        raise BenchError(
            f"the loss {name!r} of {plugin.origin} is not a subclass of LossTerm; fix that package"
        )
    return made


def made_term(settings: Mapping[str, Any]) -> LossTerm:
    """A term of a recipe's settings; kind "info_nce" where they name none.

    Raises what `find_kind` raises, and pydantic's ValidationError for settings that the kind does
    not take.
    """
    return find_kind(str(settings.get("kind", "info_nce")))(**settings)
