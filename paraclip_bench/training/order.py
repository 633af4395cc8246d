"""Which pairs a step sees, and at which learning rate: functions of the seed and the step."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from paraclip_bench.training.recipe import Recipe


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
