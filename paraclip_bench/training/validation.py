"""Held-out images: paraphrased retrieval among them, and the weights that do best."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.agreement import average_overlap, jaccard, overlaps
from paraclip_bench.metrics.ranking import retrieve
from paraclip_bench.safe_text import counted
from paraclip_bench.training.recipe import Recipe, Validation
from paraclip_bench.training.table import Table
from paraclip_bench.training.trainable import TrainableText

_K = 10
# More queries do not tell checkpoints apart any better, and cost time.
_MOST_QUERIES = 2000
_SPLIT = 0x5F1  # told from the other uses of the seed


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not trained on: rows of the table, and the features [images, d]."""

    table: Table
    rows: npt.NDArray[np.intp]
    features: npt.NDArray[np.float32]

    def measure(
        self, text: TrainableText, group: ProcessGroup, chunk_tokens: int
    ) -> dict[str, float]:
        """Agreement of captions' and paraphrases' rankings, and recall of both, as fractions."""
        # Each rank has the same weights; one of them measures.
        found = self._measure(text, chunk_tokens) if group.is_first else None
        return dict(group.broadcast(found))

    def _measure(self, text: TrainableText, chunk_tokens: int) -> dict[str, float]:
        rows = self.rows[:_MOST_QUERIES]
        images, targets = np.unique(self.table.image[rows], return_inverse=True)
        gallery = np.asarray(self.features[images])
        # The caption and its last paraphrase, the first of each.
        chosen = self.table.first[rows][:, [0, 2]]
        texts = text.distinct(self.table, chosen)
        text.model.eval()
        with torch.no_grad():
            parts = [
                F.normalize(text(texts.tokens[chunk].to(text.logit_scale.device)).float(), dim=-1)
                for chunk in texts.chunks(chunk_tokens)
            ]
        text.model.train()
        vectors = torch.cat(parts).cpu()[texts.places].numpy()
        first, _, ranks = zip(
            *(retrieve(vectors[:, view], gallery, targets, _K) for view in (0, 1)),
            strict=True,
        )
        shared = overlaps(*first)
        return {
            f"ao@{_K}": float(average_overlap(shared, _K).mean()),
            f"js@{_K}": float(jaccard(shared, _K).mean()),
            "recall@1": float((ranks[0] == 1).mean()),
            "recall@1/paraphrase": float((ranks[1] == 1).mean()),
        }


def split(
    table: Table, recipe: Recipe, damaged: Collection[int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows to train on and rows to hold out; an image is wholly on one side.

    Rows of `damaged` images are on neither. Raises `DataError` where a side would be too small to
    be of use.
    """
    rows = np.flatnonzero(~np.isin(table.image, list(damaged)))
    if recipe.validation is None:
        return rows, rows[:0]
    images = int(table.image.max()) + 1
    held = np.random.default_rng([recipe.seed, _SPLIT]).permutation(images)
    is_held = np.zeros(images, dtype=bool)
    is_held[held[: round(images * recipe.validation.share)]] = True
    if is_held.sum() <= _K:
        raise DataError(
            f"validation holds out {is_held.sum()} of {counted(images, 'image')} and compares "
            f"rankings of {_K}; raise validation.share in the recipe"
        )
    held_rows = is_held[table.image[rows]]
    return rows[~held_rows], rows[held_rows]


@dataclass
class BestWeights:
    """The best validation so far, and whether the run has gone on for too long without a better."""

    settings: Validation | None
    _kept: dict[str, Any] | None = None
    since: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.since = 0 if self._kept is None else int(self._kept["since"])

    @property
    def found(self) -> dict[str, Any] | None:
        """The best validation: "step" and "scores"."""
        return self._kept

    @property
    def is_over(self) -> bool:
        """Whether patience ran out."""
        patience = self.settings.patience if self.settings else None
        return patience is not None and self.since >= patience

    def take(self, step: int, found: dict[str, float]) -> bool:
        """Note a validation; whether it is the best one."""
        assert self.settings is not None
        score = self.settings.score
        if self._kept is None or found[score] > self._kept["scores"][score]:
            self._kept, self.since = {"step": step, "scores": found}, 0
            return True
        self.since += 1
        return False

    def dump(self) -> str:
        """As JSON, for a training state."""
        return json.dumps(None if self._kept is None else {**self._kept, "since": self.since})
