"""What a user sees of a run while it trains: a bar, lines, and TensorBoard where it is wanted."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from paraclip_bench.finetune.recipe import Recipe
from paraclip_bench.progress import Progress

# So many lines a run, evenly; those with a validation come besides.
_LINES = 10


class Show:
    """Takes the loop's lines; steps_done is the last step that was told of."""

    def __init__(
        self, progress: Progress, folder: Path, recipe: Recipe, steps: int, *, tensorboard: bool
    ) -> None:
        self._progress, self._steps = progress, steps
        self._terms = [term.name for term in recipe.loss]
        self._stack = contextlib.ExitStack()
        self._every = max(1, steps // _LINES)
        self._start, self._first = time.perf_counter(), 0
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))
        self.steps_done = 0

    def __enter__(self) -> Show:
        self._advance = self._stack.enter_context(self._progress.track("finetune", self._steps))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._board is not None:
            self._board.close()

    def resumed(self, done: int) -> None:
        """So many steps are done already."""
        self._start, self._first, self.steps_done = time.perf_counter(), done, done
        self._advance(done)
        if done:
            self._progress.say(f"going on after step {done}, the last one saved")

    def line(self, line: dict[str, Any]) -> None:
        """One step's line."""
        step = self.steps_done = int(line["step"])
        self._advance(1)
        if self._board is not None:
            for name in ("loss", *self._terms, "learning_rate", "logit_scale", "pairs_per_second"):
                self._board.add_scalar(name, line[name], step)
            for name, value in line.get("validation", {}).items():
                self._board.add_scalar(f"validation/{name}", value, step)
        if step == 1 or step % self._every == 0 or step == self._steps:
            terms = ", ".join(f"{name} {line[name]:.3f}" for name in self._terms)
            left = (time.perf_counter() - self._start) / (step - self._first)
            self._progress.say(
                f"step {step}/{self._steps}: loss {line['loss']:.3f} ({terms}), "
                f"learning rate {line['learning_rate']:.1e}, {line['pairs_per_second']:.0f} pairs/s"
                f", {_duration(left * (self._steps - step))} left"
            )
        if found := line.get("validation"):
            scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items())
            self._progress.say(f"step {step}: held out, {scores}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
