"""A picture of a run: the loss and its terms, the learning rate, and what was held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paraclip_bench.files import atomic

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
    axes[0].set_ylabel("InfoNCE, nats")
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
