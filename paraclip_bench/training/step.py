"""One step's gradients: of any batch in little memory, and of several processes' as of one.

Gradient caching (Gao et al. 2021, arXiv 2101.06983): embed the texts in chunks without a graph,
take the loss of everything, and go back through the tower chunk by chunk with the embeddings'
gradients. What one chunk holds needs no second forward pass. Ranks exchange embeddings, each
computes the whole loss, goes back through its own slice, and the parameters' gradients are summed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.errors import DataError
from paraclip_bench.training.losses import LossTerm, loss_terms, weighted_sum
from paraclip_bench.training.trainable import DistinctTexts

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimised: terms of the loss, and the text views that they compare, in order.

    parameters: what terms need beside the views, where the tower is (`loss_parameters`).
    """

    terms: Sequence[LossTerm]
    texts: Sequence[str]
    parameters: Mapping[str, torch.Tensor] = field(default_factory=dict)


def gradients(
    encode: Encode,
    logit_scale: torch.Tensor,
    objective: Objective,
    texts: DistinctTexts,
    images: torch.Tensor | None,
    *,
    chunk_tokens: int,
    seed: int,
    group: ProcessGroup,
    autocast: torch.dtype | None = None,
) -> dict[str, float]:
    """Add the gradients of the loss to the parameters of `encode` and to logit_scale, log units.

    texts are this rank's pairs; images [global batch, d] unit rows of all ranks', in their order,
    or None where no term has them. Returns the loss and each term by name. seed decides what
    dropout drops. Raises `DataError` where the loss is not a number.
    """
    device = logit_scale.device
    chunks = list(texts.chunks(chunk_tokens))

    def embed(number: int) -> torch.Tensor:
        torch.manual_seed(seed + number)  # both passes through a chunk drop the same
        half = (
            contextlib.nullcontext() if autocast is None else torch.autocast(device.type, autocast)
        )
        with half:
            vectors = encode(texts.tokens[chunks[number]].to(device))
        return F.normalize(vectors.float(), dim=-1)

    if len(chunks) == 1:
        parts = [embed(0)]
    else:
        with torch.no_grad():
            parts = [embed(number) for number in range(len(chunks))]
    cached = torch.cat([part.detach() for part in parts]).requires_grad_()
    # [pairs, views, d] of this rank, then of all.
    # index_select, since the gradient of plain indexing is summed in no fixed order.
    places = texts.places.to(device)
    own = cached.index_select(0, places.reshape(-1)).view(*places.shape, -1)
    everything = _of_all_ranks(own, group)
    views = {name: everything[:, column] for column, name in enumerate(objective.texts)}
    if images is not None:
        views["image"] = images.to(device)
    values = loss_terms(views, objective.terms, logit_scale.exp(), objective.parameters)
    loss = weighted_sum(values, objective.terms)
    if not torch.isfinite(loss):
        raise DataError("the loss is not a number")
    torch.autograd.backward(loss)
    assert cached.grad is not None
    for number, chunk in enumerate(chunks):
        part = parts[0] if len(chunks) == 1 else embed(number)
        torch.autograd.backward(part, cached.grad[chunk])
    return {"loss": loss.item(), **{name: value.item() for name, value in values.items()}}


def sum_over_ranks(
    parameters: Iterable[torch.nn.Parameter],
    whole: Iterable[torch.Tensor],
    group: ProcessGroup,
) -> None:
    """Sum the parameters' gradients over the ranks.

    Those of `whole` (logit_scale, the parameters of the loss) are the same on each, so rank 0's are
    taken.
    """
    if group.size == 1:
        return
    distributed = group.torch_group()
    for parameter in whole:
        if parameter.grad is not None and not group.is_first:
            parameter.grad.zero_()
    work = [
        distributed.all_reduce(parameter.grad, async_op=True)
        for parameter in parameters
        if parameter.grad is not None
    ]
    for each in work:
        each.wait()


def _of_all_ranks(own: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Rows [ranks x n, …] of all ranks in their order; gradients flow to this one's alone."""
    if group.size == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(group.size)]
    group.torch_group().all_gather(parts, own.detach().contiguous())
    parts[group.rank] = own
    return torch.cat(parts)
