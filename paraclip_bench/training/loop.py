"""The one training loop: a frozen image tower, a text tower that learns, AdamW.

    paraclip-bench finetune --data pairs.jsonl --images photos/                    one process
    torchrun --nproc-per-node 8 -m paraclip_bench finetune --data …                one machine
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29400 -m paraclip_bench finetune …

Everything random is a function of the seed and the step, so a run that was killed goes on to the
same weights, to the bit on a CPU.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from paraclip_bench import interrupts
from paraclip_bench.distributed import ProcessGroup
from paraclip_bench.errors import DataError
from paraclip_bench.files import write_tensors, write_text
from paraclip_bench.training.checkpoint import BEST, LOSSES, STATE, restore_state, save_state
from paraclip_bench.training.losses import loss_parameters
from paraclip_bench.training.recipe import Recipe
from paraclip_bench.training.step import Objective, gradients, sum_over_ranks
from paraclip_bench.training.table import Table
from paraclip_bench.training.trainable import MAX_LOGIT_SCALE, TrainableText
from paraclip_bench.training.validation import BestWeights, HeldOut

Line = dict[str, Any]


@dataclass(frozen=True)
class TrainingData:
    """What is trained on: rows of a table, and features [images, d] where the loss has images."""

    table: Table
    rows: npt.NDArray[np.intp]
    features: npt.NDArray[np.float32] | None
    held_out: HeldOut | None = None


@contextlib.contextmanager
def train(
    text: TrainableText,
    data: TrainingData,
    recipe: Recipe,
    folder: Path,
    *,
    chunk_tokens: int,
    group: ProcessGroup,
    on_resume: Callable[[int], None],
    on_line: Callable[[Line], None],
) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, Any] | None]]:
    """Train the text tower and logit_scale in place; gives the checkpoint's weights, by name.

    They are the last step's, or those that did best on what is held out, with that validation: its
    step and scores, None where nothing is held out. Rank 0 writes
    losses.jsonl, a line a step, and every `save_every` steps a training state, into `folder`; goes
    on from a state that is there. on_resume(steps already done) comes once, on_line with each line:
    step, loss, each term, learning_rate, pairs_per_second, and what validation found.
    A stop saves a state too, of the last step that is whole; also one that comes while the weights
    are written, within the block.
    Raises `DataError` where the loss stops being a number.
    """
    extra = _loss_parameters(text, recipe)
    learned = {name: each for name, each in extra.items() if each.requires_grad}
    trained = {**text.parameters, **learned}
    optimizer = torch.optim.AdamW(
        _groups(text.parameters, learned, recipe.weight_decay),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        fused=True,
    )
    notes = restore_state(folder / STATE, trained, optimizer)
    done, chunk_tokens = int(notes.get("step", 0)), int(notes.get("chunk_tokens", chunk_tokens))
    text.use(notes.get("layer", ""))
    best = BestWeights(recipe.validation, json.loads(notes.get("best", "null")))
    on_resume(done)
    steps = recipe.total_steps(len(data.rows), group.size)
    objective = Objective(recipe.loss, recipe.texts, extra)
    columns = [data.table.views.index(view) for view in recipe.texts]

    def keep(step: int) -> None:
        written = {
            "step": step,
            "chunk_tokens": chunk_tokens,
            "layer": text.layer.__name__,
            "best": best.dump(),
        }
        save_state(folder / STATE, {k: str(v) for k, v in written.items()}, trained, optimizer)

    log = _Log(folder / LOSSES, done, on_line) if group.is_first else None
    with _States(keep, done, group) as states, log or contextlib.nullcontext():
        for step in range(done, steps):
            start = time.perf_counter()
            if best.is_over:
                break
            # The global batch is the ranks' slices in order.
            batch = batch_rows(len(data.rows), group.size * recipe.batch_size, step, recipe.seed)
            rows = data.rows[batch]
            own = slice(group.rank * recipe.batch_size, (group.rank + 1) * recipe.batch_size)
            chosen = data.table.choose(rows, [recipe.seed, step])[own][:, columns]
            texts = text.distinct(data.table, chosen)
            optimizer.zero_grad(set_to_none=True)
            try:
                values = gradients(
                    text,
                    text.logit_scale,
                    objective,
                    texts,
                    _features(data, rows) if recipe.needs_images else None,
                    chunk_tokens=chunk_tokens,
                    seed=dropout_seed(recipe.seed, step, group.rank),
                    group=group,
                    autocast=torch.bfloat16 if recipe.dtype == "bfloat16" else None,
                )
            except DataError as error:
                raise _too_fast(str(error), step, recipe) from error
            sum_over_ranks(trained.values(), [text.logit_scale, *learned.values()], group)
            norm = torch.nn.utils.clip_grad_norm_(
                list(trained.values()), recipe.max_grad_norm or float("inf")
            )
            if not torch.isfinite(norm):
                # After this update no weight would be a number, and neither would the next state.
                raise _too_fast("the gradients are not finite", step, recipe)
            # Half an update is none: a stop comes after it.
            with states.step(step):
                rate = learning_rate(step, steps, recipe)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = rate
                optimizer.step()
                if recipe.temperature == "learned":
                    with torch.no_grad():
                        text.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
                line: Line = {"step": step + 1, **values, "learning_rate": rate}
                line["logit_scale"] = text.logit_scale.exp().item()
                line["pairs_per_second"] = len(rows) / (time.perf_counter() - start)
                if (
                    data.held_out
                    and recipe.validation
                    and _is_due(step, steps, recipe.validation.every)
                ):
                    # It may take longer than a stop waits for the end of a step.
                    with interrupts.keeping("the training state"):
                        found = data.held_out.measure(text, group, chunk_tokens)
                    line["validation"] = found
                    if best.take(step + 1, found) and group.is_first:
                        write_tensors(folder / BEST, text.state())
                if log:
                    log.add(line)
            if (step + 1) % recipe.save_every == 0 and step + 1 < steps:
                states.save()
        group.barrier()
        yield text.state() if best.found is None else load_file(folder / BEST), best.found


def _too_fast(what: str, step: int, recipe: Recipe) -> DataError:
    return DataError(
        f"{what} at step {step + 1}; lower learning_rate ({recipe.learning_rate:g}) in the recipe"
    )


def _features(data: TrainingData, rows: npt.NDArray[np.intp]) -> torch.Tensor:
    assert data.features is not None
    return torch.from_numpy(np.asarray(data.features[data.table.image[rows]]))


def _is_due(step: int, steps: int, every: int) -> bool:
    return (step + 1) % every == 0 or step + 1 == steps


def _loss_parameters(text: TrainableText, recipe: Recipe) -> dict[str, torch.nn.Parameter]:
    """What the terms of the loss need beside the views, where the tower is; names as in states."""
    made = loss_parameters(recipe.loss, text.dimensions, recipe.seed)
    device = text.logit_scale.device
    return {
        name: torch.nn.Parameter(tensor.detach().to(device), requires_grad=tensor.requires_grad)
        for name, tensor in made.items()
    }


def _groups(
    trained: dict[str, torch.nn.Parameter], learned: dict[str, torch.nn.Parameter], decay: float
) -> list[dict[str, Any]]:
    # Norms, biases and the temperature are scales, not directions: decay does not suit them. Nor
    # does it suit what a loss learns beside the tower.
    flat = [p for p in trained.values() if p.ndim < 2] + list(learned.values())
    deep = [p for p in trained.values() if p.ndim >= 2]
    groups = [{"params": deep, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class _States:
    """The training states of a run: saved when the loop says so, and at a stop.

    done is how many steps the weights have behind them, saved those of the last state.
    """

    def __init__(self, keep: Callable[[int], None], done: int, group: ProcessGroup) -> None:
        self._keep, self._group = keep, group
        self._done, self._saved, self._is_whole = done, done, True
        self._note()

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """The part of step `number` that changes weights, which a stop does not break."""
        with interrupts.deferred():
            self._is_whole = False
            yield
            self._done, self._is_whole = number + 1, True

    def save(self) -> None:
        """Save the state of now."""
        if self._group.is_first:
            self._keep(self._done)
        self._saved = self._done
        self._note()

    def _note(self) -> None:
        interrupts.note(
            f"and training goes on at step {self._saved + 1}, after the last state that was saved"
            if self._saved
            else "and training starts at step 1"
        )

    def __enter__(self) -> _States:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Under torchrun a stop may come as a lost connection to another rank; called from Python,
        # as the interpreter's own KeyboardInterrupt, which `interrupts` knows nothing of.
        is_stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        is_new = self._is_whole and self._done > self._saved
        if (interrupts.requested() or is_stopped) and is_new and self._group.is_first:
            with interrupts.keeping("the training state"):
                self.save()


class _Log:
    """losses.jsonl: the lines of the steps that a training state holds, then one a step."""

    def __init__(self, path: Path, done: int, on_line: Callable[[Line], None]) -> None:
        old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        write_text(path, "".join(old[:done]))
        self._file = path.open("a", encoding="utf-8")
        self._on_line = on_line

    def add(self, line: Line) -> None:
        """Write a line and hand it on."""
        kept = {key: value for key, value in line.items() if key != "pairs_per_second"}
        self._file.write(json.dumps(kept) + "\n")
        self._file.flush()
        self._on_line(line)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def batch_rows(pairs: int, batch: int, step: int, seed: int) -> npt.NDArray[np.intp]:
    """Rows of a step's batch: every epoch is a fresh permutation, its ragged end left out."""
    epoch, place = divmod(step, pairs // batch)
    return _order(pairs, epoch, seed)[place * batch : (place + 1) * batch]


@functools.lru_cache(maxsize=1)
def _order(pairs: int, epoch: int, seed: int) -> npt.NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(pairs)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up to the peak, then down to 0 along a half cosine (Loshchilov and Hutter 2017).

    Or along a line, or not at all, as the recipe's schedule says.
    """
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    share = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return recipe.learning_rate * share[recipe.schedule]


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """What a rank's dropout of a step starts from."""
    return int(np.random.default_rng([seed, step, rank]).integers(2**31))
