"""The texts of a batch: each distinct one once, in an order in which they are cheap together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from paraclip_bench.encoding.batches import Budget, batches
from paraclip_bench.finetune.table import Table


@dataclass(frozen=True)
class Texts:
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
) -> Texts:
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
    return Texts(
        torch.from_numpy(padded),
        np.array([context if full_context else len(rows[index]) for index in order]),
        torch.from_numpy(inverse[places].reshape(texts.shape)),
    )
