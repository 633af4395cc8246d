"""From the journal to the output: rows that are done, rows that were dropped, and the report."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from paraclip_bench.files import write_text
from paraclip_bench.paraphrasing.answers import Chains, place
from paraclip_bench.paraphrasing.job import Settings
from paraclip_bench.paraphrasing.journal import CaptionCounts, CaptionRow, Journal
from paraclip_bench.paraphrasing.pairs_file import rows_to
from paraclip_bench.paraphrasing.prompts import NEGATION, STEPS, step_key
from paraclip_bench.paraphrasing.service import RequestCounts, kind_of

# What a row with a negation has more.
_NEGATION = ("negation", "prompt_negation")
# So many dropped rows are named where a run ends.
_NAMED = 3


def work_folder(output: Path) -> Path:
    """The folder beside an output that has its journal, its dropped rows and its report."""
    return output.with_name(f"{output.name}.work")


def journal_file(output: Path) -> Path:
    """The journal of an output."""
    return work_folder(output) / "journal.sqlite"


def dropped_file(output: Path) -> Path:
    """Rows without a chain left, each with its reasons."""
    return work_folder(output) / "dropped.jsonl"


def report_file(output: Path) -> Path:
    """Counts and settings of an output."""
    return work_folder(output) / "report.json"


def export(
    journal: Journal,
    output: Path,
    settings: Settings,
    chains: Chains,
    selected: CaptionCounts,
    requests: RequestCounts | None = None,
) -> dict[str, Any]:
    """Write the rows in the input's order, whatever the order of the answers; returns the report.

    Each file is written whole. requests: what this run asked, for the report. A row with chains
    that are not at their end is counted, not written. One whose negation is unfit has none.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    models: Counter[str] = Counter()
    first_dropped: list[str] = []
    repeated = journal.repeats_ids()
    more = _NEGATION if chains.negates else ()
    with rows_to(output, texts=more) as add, rows_to(dropped_file(output)) as drop:
        for row in journal.rows():
            for answer in chains.answers(row):
                counts["answers"] += 1
                models[answer.model or "unknown"] += 1
                tokens["prompt"] += answer.prompt_tokens or 0
                tokens["completion"] += answer.completion_tokens or 0
            unfit = chains.reasons(row)
            for where, reason in unfit.items():
                step = where.partition(".")[0]
                name = f"step {step}" if step.isdigit() else step
                reasons[f"{name}: {kind_of(reason)}"] += 1
            id = _id(row, repeated=repeated)
            if any(True for _ in chains.open(row)):
                counts["unfinished"] += 1
            elif found := _row(row, id, settings, chains):
                counts["written"] += 1
                counts["negations"] += "negation" in found
                add({**found, "flags": unfit} if chains.marks else found)
            else:
                counts["dropped"] += 1
                if len(first_dropped) < _NAMED:
                    first_dropped.append(f"{row.caption!r}: {next(iter(unfit.values()), '')}")
                drop(_dropped(row, id, unfit, chains))
    report = {
        "output": output.name,
        "made_with": {
            "llm": settings.llm,
            "answered_by": dict(models),
            "prompts": {step_key(s): prompt.template for s, prompt in settings.prompts.items()},
            "prompt_hashes": {step_key(s): prompt.hash for s, prompt in settings.prompts.items()},
            "sampling": dict(settings.sampling),
            "n": settings.n,
            "unfit_answers": "marked" if chains.marks else "dropped",
        },
        "input": {
            "rows": selected.rows,
            "kept": selected.kept,
            "left_out": dict(selected.left_out),
            "named": selected.named,
        },
        "rows": {name: counts[name] for name in ("written", "dropped", "unfinished")},
        **({"rows_with_a_negation": counts["negations"]} if chains.negates else {}),
        "answers": counts["answers"],
        "first_dropped": first_dropped,
        "unfit_answers": dict(reasons.most_common()),
        "tokens": dict(tokens),
    }
    if requests is not None:
        report["requests"] = requests.as_json()
    write_text(report_file(output), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def _id(row: CaptionRow, *, repeated: bool) -> str:
    """The row's own id, made distinct where some come twice, or one from its content."""
    key = row.key.hex()
    if row.id is None:
        return key
    return f"{row.id}-{key[:8]}" if repeated else row.id


def _row(row: CaptionRow, id: str, settings: Settings, chains: Chains) -> dict[str, Any] | None:
    """A row of the output; None where no chain of it is good."""
    finished = chains.finished(row)
    if not finished:
        return None
    one, negation = settings.n == 1, chains.negation(row)
    texts = {
        f"paraphrase_{step}": [answers[step - 1].text for answers in finished] for step in STEPS
    }
    found: dict[str, Any] = {
        "id": id,
        **({} if row.image is None else {"image": row.image}),
        "caption": row.caption,
        **{name: several[0] if one else several for name, several in texts.items()},
        **({} if negation is None else {"negation": negation.text}),
        **{f"prompt_{step}": settings.prompts[step].hash for step in STEPS},
        **({} if negation is None else {"prompt_negation": settings.prompts[NEGATION].hash}),
        "llm": finished[0][0].model or settings.llm,
        "sampling": dict(settings.sampling),
        "usage": {
            f"{name}_tokens": sum(getattr(a, f"{name}_tokens") or 0 for a in chains.answers(row))
            for name in ("prompt", "completion")
        },
    }
    return found


def _dropped(row: CaptionRow, id: str, reasons: dict[str, str], chains: Chains) -> dict[str, Any]:
    answers = sorted(chains.answers(row), key=lambda a: (a.step, a.chain))
    return {
        "id": id,
        "image": row.image,
        "caption": row.caption,
        "answers": {place(answer): answer.text for answer in answers},
        "reasons": reasons,
    }
