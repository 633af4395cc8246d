"""What a user sees of a run: bar and lines while it trains, then the picture and the model card."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from paraclip_bench import safe_text
from paraclip_bench.files import atomic
from paraclip_bench.progress import Progress, duration
from paraclip_bench.training.recipe import Recipe

# So many lines a run, evenly; those with a validation come besides.
_LINES = 10


class TrainingProgress:
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

    def __enter__(self) -> TrainingProgress:
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
                f", {duration(left * (self._steps - step))} left"
            )
        if found := line.get("validation"):
            scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items())
            self._progress.say(f"step {step}: held out, {scores}")


_NO_TERMS = {"step", "learning_rate", "logit_scale", "validation"}


def plot_run(losses: Path, out: Path) -> None:
    """Draw losses.jsonl as an SVG."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in losses.read_text(encoding="utf-8").splitlines()]
    steps = [line["step"] for line in lines]
    validated = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(8, 7.5 if validated else 5.5), layout="constrained")
    heights = [3, 1, 2] if validated else [3, 1]
    axes: Any = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    names = [name for name in lines[0] if name not in _NO_TERMS]
    for name in names:
        is_sum = name == "loss"
        label = "loss (weighted sum)" if is_sum else name.replace(":", " \N{LEFT RIGHT ARROW} ")
        values = [line[name] for line in lines]
        axes[0].plot(steps, values, label=label, color="black" if is_sum else None, linewidth=1.2)
    axes[0].set_ylabel("loss")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    axes[1].plot(steps, [line["learning_rate"] for line in lines], color="tab:gray")
    axes[1].set_ylabel("learning rate")
    axes[1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    if validated:
        for name in validated[0]["validation"]:
            values = [100 * line["validation"][name] for line in validated]
            axes[2].plot([v["step"] for v in validated], values, marker=".", label=name)
        axes[2].set_ylabel("held out, x 100")
        axes[2].legend(frameon=False)
    axes[-1].set_xlabel("step")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="svg")


_CARD = """\
---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags:
- clip
- paraphrase-retrieval
- paraclip-bench
---
# {name}

An open_clip model whose text tower was fine-tuned on paraphrases, its image tower being that of the
base, by [paraclip-bench](https://pypi.org/project/paraclip-bench) in the manner of ParaCLIP (Kim et
al., Findings of EACL 2024, arXiv 2402.15120). It is not a checkpoint of that paper's authors.

- **Base**: {base} (fingerprint `{fingerprint}`), activation {activation}
- **Data**: {data}, {pairs}, sha256 `{sha256}`
- **Recipe**: {recipe}, {steps}, global batch {batch}, seed {seed}; all of it in `recipe.toml`
- **Loss**: {loss}
{validation}
```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH OF THIS FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:PATH OF THIS FOLDER")
```

`paraclip-bench run --model paraclip:PATH --task all` measures it; fine-tuning on paraphrases may
cost some recall of plain captions and zero-shot accuracy, which `paraclip-bench merge` weighs.

## Licence

The base's licence holds for these weights. Texts that a provider's model wrote, and models trained
on them, may be restricted by that provider's terms, and the images and captions by their own; who
shares this folder is to see to both.
"""


def model_card(name: str, provenance: Mapping[str, Any], loss: str, batch: int) -> str:
    """The card (Markdown with the hub's header) of a checkpoint with this provenance."""
    base, data = provenance["base"], provenance["data"]
    found = provenance.get("validation")
    validation = ""
    if found:
        scores = ", ".join(f"{key} {100 * value:.1f}" for key, value in found["scores"].items())
        pairs = safe_text.counted(found["pairs"], "pair")
        validation = f"- **Held out** ({pairs}, x 100, step {found['step']}): {scores}\n"
    return _CARD.format(
        name=safe_text.markdown(name),
        base=safe_text.code_span(base["spec"]),
        fingerprint=str(base["fingerprint"])[:12],
        activation=base["activation"] or "unknown",
        data=safe_text.markdown(data["id"]),
        pairs=safe_text.counted(data["n"], "pair"),
        sha256=data["sha256"][:12],
        recipe=safe_text.markdown(json.dumps(provenance["recipe"])),
        steps=safe_text.counted(provenance["steps"], "step"),
        batch=batch,
        seed=provenance["seed"],
        loss=loss,
        validation=validation,
    )
