"""The curve from a base to its checkpoint: agreement on paraphrases against recall of captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraclip_bench.errors import BenchError
from paraclip_bench.evaluation.run import Options, execute, plan_run
from paraclip_bench.files import atomic, slug, write_text
from paraclip_bench.finetune.merge import merge
from paraclip_bench.models.base import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.progress import Progress
from paraclip_bench.workspace import Workspace

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
TASK = "paraphrased-retrieval"
SCORES = (
    "ao@10",
    "js@10",
    "recall@1/query",
    "recall@1/paraphrase",
    "recall@10/query",
    "recall@10/paraphrase",
)


def sweep(
    base: str,
    checkpoint: str,
    alphas: Sequence[float],
    options: Options,
    workspace: Workspace,
    progress: Progress,
    out: Path,
) -> list[dict[str, Any]]:
    """Measure paraphrased retrieval at each alpha; writes OUT.json and OUT.svg.

    Returns a row an alpha: "alpha" and each score as {"value", "low", "high"}. What lies between
    the ends is merged into the workspace's checkpoints. Raises `BenchError` where a point cannot be
    measured.
    """
    ends = {0.0: base, 1.0: checkpoint}
    specs = {
        alpha: ends.get(alpha)
        or f"local-dir:{merge(base, checkpoint, alpha, workspace, suite=options.suite or 'paper')}"
        for alpha in sorted(set(alphas))
    }
    plan = plan_run(list(specs.values()), [TASK], options, workspace)
    if plan.problems:
        raise BenchError(plan.problems[0])
    report = execute(plan, options, workspace, progress)
    if report.failures:
        raise BenchError(report.failures[0])
    by_model = {result.model.fingerprint: result for _, result in report.results}
    context = Context(suite=plan.suite, checkpoints=workspace.checkpoints)
    rows = []
    for alpha, spec in specs.items():
        scores = by_model[load_model(spec, context).fingerprint].scores
        shown = {name: scores[name].model_dump() for name in SCORES if name in scores}
        rows.append({"alpha": alpha, "model": spec, **shown})
    write_text(file_of(out, "json"), json.dumps(rows, indent=1) + "\n")
    plot_curve(rows, file_of(out, "svg"), f"{base} to {checkpoint}")
    return rows


def default_out(checkpoint_name: str, workspace: Workspace) -> Path:
    """Where a curve goes: `checkpoints/NAME-sweep`."""
    return workspace.checkpoints / f"{slug(checkpoint_name)}-sweep"


def file_of(out: Path, ending: str) -> Path:
    """OUT.json or OUT.svg; a name may have dots of its own."""
    return out.with_name(f"{out.name}.{ending}")


def plot_curve(rows: Sequence[dict[str, Any]], out: Path, title: str) -> None:
    """Agreement against recall of the original captions, with intervals, as an SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes: Any = figure.subplots()
    x, y = ([row[name] for row in rows] for name in ("recall@1/query", "js@10"))
    axes.errorbar(
        [100 * point["value"] for point in x],
        [100 * point["value"] for point in y],
        xerr=_errors(x),
        yerr=_errors(y),
        marker="o",
        linewidth=1.2,
        elinewidth=0.7,
        capsize=2,
    )
    for row in rows:
        place = (100 * row["recall@1/query"]["value"], 100 * row["js@10"]["value"])
        axes.annotate(
            f"\N{GREEK SMALL LETTER ALPHA} = {row['alpha']:g}",
            place,
            textcoords="offset points",
            xytext=(7, 7),
        )
    axes.set_xlabel("recall@1 of the original captions, x 100 (95% interval)")
    axes.set_ylabel("JS@10 of captions and paraphrases, x 100 (95% interval)")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="svg")


def _errors(points: Sequence[dict[str, Any]]) -> list[list[float]]:
    """Distances down to low and up to high; none where there is no interval."""
    low, high = [], []
    for point in points:
        known = point["low"] is not None and point["high"] is not None
        low.append(100 * (point["value"] - point["low"]) if known else 0.0)
        high.append(100 * (point["high"] - point["value"]) if known else 0.0)
    return [low, high]
