"""What the commands of `paraphrase` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from paraclip_bench.errors import BenchError, DataError
from paraclip_bench.files import write_text
from paraclip_bench.paraphrase.batch_files import read_answers, write_requests
from paraclip_bench.paraphrase.export import report_file
from paraclip_bench.paraphrase.job import Access, Job
from paraclip_bench.paraphrase.prompts import STEPS
from paraclip_bench.paraphrase.run import begun, finished, paraphrase, text_model_of
from paraclip_bench.progress import Progress


def finish_run(
    job: Job, access: Access, progress: Progress, *, ask_rejected: bool, as_json: bool
) -> None:
    """Run, and say what came of it; an incomplete output is an error."""
    report = paraphrase(job, access, progress, ask_rejected=ask_rejected)
    _tell(job, report, progress, as_json=as_json)
    if (gave_up := report.get("gave_up")) is not None:
        raise BenchError(
            f"questions given up after all retries: {gave_up['questions']} (the first: "
            f"{gave_up['first']}); run the same command again to ask them"
        )
    if not report["rows"]["written"]:
        raise DataError(_nothing(report))


def _tell(job: Job, report: dict[str, Any], progress: Progress, *, as_json: bool) -> None:
    rows = report["rows"]
    if job.is_demo:
        from paraclip_bench.demo.store import NOTICE

        progress.say(f"paraphrased by the demo world's grammar, not by an LLM. {NOTICE}")
    for sentence in report["first_dropped"]:
        progress.say(f"dropped: {sentence}")
    for reason, count in report["unfit_answers"].items():
        progress.say(f"note: unfit answers, {reason}: {count}")
    progress.say(
        f"{job.output}: {rows['written']} rows; {rows['dropped']} dropped, "
        f"{rows['unfinished']} not finished ({report_file(job.output)})"
    )
    typer.echo(json.dumps(report, ensure_ascii=False) if as_json else str(job.output))


def _nothing(report: dict[str, Any]) -> str:
    first = next(iter(report["unfit_answers"]), "no answer came")
    return (
        f"{report['output']} has no rows, for no answer could be taken ({first}); "
        f"{report['output']}.work/dropped.jsonl names each"
    )


def show_plan(job: Job, progress: Progress, *, as_json: bool) -> None:
    """How many captions are kept and why the others are not, without asking anything."""
    import tempfile

    from paraclip_bench.paraphrase.journal import Journal
    from paraclip_bench.paraphrase.output import check_format

    check_format(job.output)
    # A journal of its own, so that looking leaves no trace.
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        selected = journal.take_in(job.captions(), job.selection, job.digest())
        characters = sum(
            len(job.settings.prompts[step].fill(row.caption))
            for row in journal.rows()
            for step in STEPS
        )
        journal.close()
    plan = {
        "rows": selected.rows,
        "kept": selected.kept,
        "left_out": dict(selected.left_out),
        "named": selected.named,
        "questions": selected.kept * job.settings.n * len(STEPS),
        # Four characters a token is the usual guess for English.
        "prompt_tokens_about": round(characters * job.settings.n / 4),
    }
    if as_json:
        typer.echo(json.dumps(plan, ensure_ascii=False))
        return
    lines = [("rows", plan["rows"]), ("kept", plan["kept"])]
    lines += [(f"left out: {name}", count) for name, count in selected.left_out.most_common()]
    lines += [
        ("questions", plan["questions"]),
        ("prompt tokens, about", plan["prompt_tokens_about"]),
    ]
    for name, value in lines:
        typer.echo(f"{name:28} {value:>12,}")


def show_batches(job: Job, progress: Progress, batch_size: int, *, as_json: bool) -> None:
    """Write the open questions to files, and name them."""
    with begun(job, progress) as work:
        files = write_requests(
            work.journal, job.settings, job.chains, job.output, max_requests=batch_size
        )
        if not files:
            finished(work, progress, text_model_of(job))
    if as_json:
        typer.echo(json.dumps([{"file": str(f), "requests": n} for f, n in files]))
        return
    for file, count in files:
        progress.say(f"{count} requests: {file}")
        typer.echo(str(file))
    if not files:
        progress.say(f"nothing is left to ask; {job.output} is written")
    else:
        progress.say("send these files, then take what comes with --batch read --answers FILE")


def show_read(job: Job, progress: Progress, files: Sequence[Path], *, as_json: bool) -> None:
    """Take answers in, and say what is still to be sent."""
    with begun(job, progress) as work:
        read = read_answers(work.journal, job.chains, files)
        report = finished(work, progress, text_model_of(job))
        open_questions = dict.fromkeys(STEPS, 0)
        for row in work.journal.rows():
            for chain in range(job.settings.n):
                question = job.chains.next(row, chain)
                if question is not None:
                    open_questions[question.step] += 1
    failed = sum(read.failed.values())
    progress.say(
        f"answers: {read.kept} new, {read.known} known before, {failed} failed, "
        f"{read.foreign} to no open question of this output"
    )
    for what, count in read.failed.most_common():
        progress.say(f"note: {count} failed: {what}")
    for sentence in read.unreadable:
        progress.say(f"note: {sentence}")
    for step, count in open_questions.items():
        if count:
            progress.say(f"step {step}: {count} questions to send; --batch write makes their files")
    report["batch"] = {
        "new": read.kept,
        "known": read.known,
        "foreign": read.foreign,
        "failed": dict(read.failed),
        "to_send": {str(step): count for step, count in open_questions.items()},
    }
    _tell(job, report, progress, as_json=as_json)


def show_report(
    pairs: Path,
    page_file: Path | None,
    prices: tuple[float, float] | None,
    progress: Progress,
    *,
    as_json: bool,
) -> None:
    """Tables on stdout, and a page where one is asked for."""
    from rich.console import Console
    from rich.table import Table

    from paraclip_bench.paraphrase.page import page
    from paraclip_bench.paraphrase.report import as_json as figures
    from paraclip_bench.paraphrase.report import tables
    from paraclip_bench.paraphrase.statistics import VIEWS, statistics

    found = statistics(pairs)
    told = tables(found, prices=prices)
    if page_file is not None:
        write_text(page_file, page(f"Pairs: {pairs.name}", told, found))
        progress.say(f"page: {page_file}")
    if as_json:
        typer.echo(json.dumps(figures(found), ensure_ascii=False))
        return
    console = Console(soft_wrap=True, highlight=False)
    for heading, rows in told:
        table = Table(title=heading, title_justify="left", show_header=False, box=None)
        table.add_column()
        table.add_column(justify="right")
        for name, value in rows:
            table.add_row(name, value)
        console.print(table)
        console.print()
    console.print("Examples", style="italic")
    for texts in found.examples:
        for view, text in zip(VIEWS, texts, strict=True):
            console.print(f"{view:4} {text}", markup=False)
        console.print()
