"""Interpolates a base and its checkpoint, weight by weight (WiSE-FT, Wortsman et al. 2022).

theta = (1 - alpha) theta_base + alpha theta_checkpoint, over all weights (arXiv 2109.01903).
`sweep` measures the curve: agreement on paraphrases against recall of captions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench import safe_text
from paraclip_bench.errors import BenchError, ModelError, UsageError
from paraclip_bench.evaluation.run import Options, execute, plan_run
from paraclip_bench.files import atomic, only_process, parse_json, slug, write_text
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip import PROVENANCE, OpenCLIP
from paraclip_bench.models.training_digests import TrainingDigests
from paraclip_bench.progress import Progress
from paraclip_bench.results.provenance import versions
from paraclip_bench.training.checkpoint import copy_companions
from paraclip_bench.workspace import Workspace

if TYPE_CHECKING:
    from paraclip_bench.models.adapter import Model
    from paraclip_bench.models.open_clip.network import Network

# Seconds to wait for another process that merges into the same folder.
_WAIT = 600.0


def merge(
    base: str,
    checkpoint: str,
    alpha: float,
    workspace: Workspace,
    *,
    suite: str = "paper",
    out: Path | None = None,
) -> Path:
    """Write the open_clip folder between a base (alpha 0) and a checkpoint (1); returns it.

    Its provenance names the base, for `run` and the leaderboard; `paraclip` stays the newest
    checkpoint that was trained. Raises `UsageError` for models that are not open_clip models or a
    folder in the way, `ModelError` where the two have other weights.
    """
    from paraclip_bench.models.open_clip.network import save_folder

    if not 0 <= alpha <= 1:
        raise UsageError(f"--alpha {alpha:g} is not between 0 (the base) and 1 (the checkpoint)")
    (one, left_adapter), (two, right_adapter) = (
        _loaded(spec, workspace, suite) for spec in (base, checkpoint)
    )
    folder = out or default_folder(two.name, alpha, workspace)
    origin = {
        "merged": {
            "alpha": alpha,
            "base": one.fingerprint,
            "checkpoint": two.fingerprint,
        }
    }
    # Whoever waits finds the folder finished.
    with only_process(
        folder.with_name(f".{folder.name}.lock"), f"another process writes {folder}", wait=_WAIT
    ):
        if folder.exists() and any(folder.iterdir()):
            if _merged(folder) != origin["merged"]:
                raise UsageError(
                    f"{folder} is there and is another model; choose another folder with -o"
                )
            return folder
        left, right = left_adapter.network(), right_adapter.network()
        _interpolate(left, right, alpha, base, checkpoint)
        provenance = {
            "suite": right_adapter.suite or suite,
            **origin,
            "base": {
                "spec": base,
                "name": one.name,
                "fingerprint": one.fingerprint,
                "activation": left.activation,
            },
            "checkpoint": {"spec": checkpoint, "name": two.name, "fingerprint": two.fingerprint},
            "versions": versions(),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        # Made aside and renamed, so that a kill leaves no half of it.
        made = folder.with_name(f".{folder.name}.merging")
        shutil.rmtree(made, ignore_errors=True)
        save_folder(made, right.model, right.config)
        copy_companions(right_adapter.folder, made)
        known = [each.trained_on for each in (left_adapter, right_adapter)]
        if any(known):
            TrainingDigests.of_all(known).write(made)
        write_text(made / "README.md", _card(folder.name, one, two, alpha))
        write_text(made / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    for adapter in (left_adapter, right_adapter):
        adapter.release()
    return folder


def _interpolate(left: Network, right: Network, alpha: float, base: str, checkpoint: str) -> None:
    """Move the weights of `right` to where they are at alpha between `left`'s and its own."""
    import torch

    weights, others = left.model.state_dict(), right.model.state_dict()
    if weights.keys() != others.keys() or any(
        weights[name].shape != others[name].shape for name in weights
    ):
        raise ModelError(
            f"{base} and {checkpoint} have not the same weights; merge a checkpoint with its base"
        )
    if left.activation != right.activation:
        raise ModelError(f"{base} has {left.activation} and {checkpoint} {right.activation}")
    with torch.no_grad():
        for name, value in others.items():
            if value.is_floating_point() and not torch.equal(value, weights[name]):
                # In double precision, so that both ends are met exactly.
                between = torch.lerp(weights[name].double(), value.double(), alpha)
                value.copy_(between)


def default_folder(name: str, alpha: float, workspace: Workspace) -> Path:
    """Where a merge goes: `checkpoints/NAME-alpha-0.5`."""
    return workspace.checkpoints / f"{slug(name)}-alpha-{alpha:g}"


def _loaded(spec: str, workspace: Workspace, suite: str) -> tuple[Model, OpenCLIP]:
    model = load_model(spec, Context(suite=suite, checkpoints=workspace.checkpoints))
    adapter = model.adapter
    if not isinstance(adapter, OpenCLIP):
        raise UsageError(f"{spec!r} is not an open_clip model, so it cannot be merged")
    adapter.check()
    return model, adapter


def _merged(folder: Path) -> Any:
    try:
        return parse_json((folder / PROVENANCE).read_text(encoding="utf-8")).get("merged")
    except (OSError, ValueError, AttributeError):
        return None


def _card(name: str, base: Model, checkpoint: Model, alpha: float) -> str:
    return (
        "---\nlibrary_name: open_clip\ntags:\n- clip\n- paraclip-bench\n---\n"
        f"# {safe_text.markdown(name)}\n\n"
        f"Between {safe_text.code_span(base.spec)} and its fine-tuned "
        f"{safe_text.code_span(checkpoint.name)}: "
        f"(1 - {alpha:g}) of the first and {alpha:g} of the second, weight by weight (WiSE-FT, "
        "Wortsman et al. 2022), by paraclip-bench. The licences of both hold for these weights.\n"
    )


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
    specs: dict[float, str] = {}
    with progress.track("merging", len(set(alphas))) as advance:
        for alpha in sorted(set(alphas)):
            specs[alpha] = ends.get(alpha) or "local-dir:" + str(
                merge(base, checkpoint, alpha, workspace, suite=options.suite or "paper")
            )
            advance(1)
    with progress.track("reading data", None):
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
