"""`paraclip-bench paraphrase`: captions become pairs T, T', T''."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench.cli.shared import (
    CaptionFieldOption,
    DeviceOption,
    ImageFieldOption,
    JsonOption,
    PairsOption,
)
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.safe_text import counted

if TYPE_CHECKING:
    from paraclip_bench.paraphrasing.job import ParaphraseJob
    from paraclip_bench.paraphrasing.service import Endpoint
    from paraclip_bench.progress import Progress


def make(
    captions: Annotated[
        Path,
        typer.Argument(
            help="A .txt (a caption a line), .jsonl, .json, .csv, .tsv, .parquet or WebDataset "
            ".tar file, a folder of them, or a pattern; Flickr's, COCO's, Karpathy's as they are."
        ),
    ],
    output: PairsOption = None,
    llm: Annotated[
        str | None,
        typer.Option("--llm", help="Model to ask; demo is the demo world's grammar, no LLM."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            help="OpenAI-compatible address, such as http://localhost:8000/v1.",
            show_default="OPENAI_BASE_URL, else OpenAI",
        ),
    ] = None,
    key_variable: Annotated[
        str, typer.Option("--key-variable", help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Questions in flight at once.")
    ] = 16,
    requests_a_minute: Annotated[
        float | None, typer.Option("--requests-per-minute", min=0.1, show_default="no limit")
    ] = None,
    tokens_a_minute: Annotated[
        float | None, typer.Option("--tokens-per-minute", min=1, show_default="no limit")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds for one answer.")
    ] = 60.0,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="Attempts after a question's first one.")
    ] = 8,
    patience: Annotated[
        float,
        typer.Option("--patience", min=0, help="Seconds to wait for a service that is down."),
    ] = 900.0,
    n: Annotated[int, typer.Option("--n", min=1, help="Paraphrases of a caption at a step.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0)] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", min=0, max=1)] = 0.1,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 512,
    extra_body: Annotated[
        str | None,
        typer.Option(
            "--extra-body",
            help="JSON object of more sampling parameters; null takes one away, and a seed is "
            "varied from row to row.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="1=FILE, 2=FILE or negation=FILE: that step's prompt, with {text} in it.",
        ),
    ] = None,
    also: Annotated[
        str | None,
        typer.Option("--also", help="negation: ask for a negated version of each caption too."),
    ] = None,
    caption_field: CaptionFieldOption = None,
    image_field: ImageFieldOption = None,
    min_words: Annotated[int, typer.Option("--min-words", min=1)] = 2,
    max_words: Annotated[int, typer.Option("--max-words", min=1)] = 15,
    unfit: Annotated[
        str, typer.Option("--unfit", help="Answers that fail a check: drop, or mark in the row.")
    ] = "drop",
    growth: Annotated[
        float,
        typer.Option("--max-growth", min=1, help="Words of an answer, times its input's."),
    ] = 2.5,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", help="Cosine to its caption that an answer must have."),
    ] = None,
    cosine_model: Annotated[
        str | None, typer.Option("--cosine-model", help="Model spec that gives that cosine.")
    ] = None,
    ask_rejected: Annotated[
        bool, typer.Option("--ask-rejected", help="Ask once more what the service rejected.")
    ] = False,
    ask_unfit: Annotated[
        bool,
        typer.Option("--ask-unfit", help="Ask once more, with another seed, what failed a check."),
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="The first rows alone.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Select captions, say what would be asked, and stop.")
    ] = False,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch", help="write: files for a batch service; read: take its --answers in."
        ),
    ] = None,
    answers: Annotated[
        list[Path] | None, typer.Option("--answers", help="A file that the batch service wrote.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Requests in a file for a batch service.")
    ] = 50_000,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Paraphrase captions in two steps; the same command goes on where it stopped."""
    from paraclip_bench.api import embedded_service
    from paraclip_bench.paraphrasing.job import make_job
    from paraclip_bench.paraphrasing.service import Endpoint, RequestPolicy
    from paraclip_bench.progress import Progress

    if output is None:
        raise UsageError("name the file to write with -o, such as -o pairs.jsonl")
    if llm is None:
        raise UsageError(
            "name the model to ask with --llm, and where with --base-url "
            "(--llm demo is the embedded grammar of the demo world)"
        )
    job = make_job(
        captions,
        output,
        llm=llm,
        sampling={"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens},
        extra_body=extra_body,
        prompt_files=prompt or (),
        n=n,
        caption_field=caption_field,
        image_field=image_field,
        min_words=min_words,
        max_words=max_words,
        unfit=unfit,
        growth=growth,
        min_cosine=min_cosine,
        cosine_model=cosine_model,
        device=device,
        limit=limit,
        also=also,
        service=embedded_service(llm),
    )
    progress = Progress()
    if batch not in (None, "write", "read"):
        raise UsageError(f"--batch {batch!r} is neither of write and read")
    if (batch == "read") != bool(answers):
        raise UsageError("--batch read and --answers FILE belong together; give both")
    if batch is not None and job.service is not None:
        raise UsageError(f"--llm {llm} is embedded and needs no batches; leave --batch out")
    if batch is not None and ask_unfit:
        raise UsageError(
            "--ask-unfit asks an endpoint, which --batch does not; leave --batch out for it, the "
            "journal is the same"
        )
    if dry_run:
        _show_plan(job, progress, as_json=as_json)
    elif batch == "write":
        _show_batches(job, progress, batch_size, as_json=as_json)
    elif batch == "read":
        _show_read(job, progress, answers or [], as_json=as_json)
    else:
        policy = RequestPolicy(concurrency, requests_a_minute, tokens_a_minute, retries, patience)
        endpoint = Endpoint(base_url, key_variable, timeout, policy)
        _run(
            job,
            endpoint,
            progress,
            ask_rejected=ask_rejected,
            ask_unfit=ask_unfit,
            as_json=as_json,
        )


def _run(
    job: ParaphraseJob,
    endpoint: Endpoint,
    progress: Progress,
    *,
    ask_rejected: bool,
    ask_unfit: bool,
    as_json: bool,
) -> None:
    """Run, and say what came of it; an incomplete output is an error."""
    from paraclip_bench.paraphrasing.paraphrase import paraphrase

    report = paraphrase(job, endpoint, progress, ask_rejected=ask_rejected, ask_unfit=ask_unfit)
    _tell(job, report, progress, as_json=as_json)
    if (gave_up := report.get("gave_up")) is not None:
        raise BenchError(
            f"questions given up after all retries: {gave_up['questions']} (the first: "
            f"{gave_up['first']}); run the same command again to ask them"
        )
    if not report["rows"]["written"]:
        raise DataError(_nothing(report))


def _tell(job: ParaphraseJob, report: dict[str, Any], progress: Progress, *, as_json: bool) -> None:
    from paraclip_bench.paraphrasing.export import report_file

    rows = report["rows"]
    if job.service is not None:
        progress.say(job.service.notice)
    for sentence in report["first_dropped"]:
        progress.say(f"dropped: {sentence}")
    for reason, count in report["unfit_answers"].items():
        progress.say(f"note: unfit answers, {reason}: {count}")
    asked, negations = report.get("requests"), report.get("rows_with_a_negation")
    negated = "" if negations is None else f", {negations} with a negation"
    progress.say(
        f"{job.output}: {counted(rows['written'], 'row')}; {rows['dropped']} dropped, "
        f"{rows['unfinished']} not finished{negated}{'' if asked is None else _requests(asked)} "
        f"({report_file(job.output)})"
    )
    typer.echo(json.dumps(report) if as_json else str(job.output))


def _requests(asked: dict[str, Any]) -> str:
    """What a run asked, for its last line."""
    failures = ", ".join(f"{kind}: {count}" for kind, count in asked["failures"].items())
    told = f"; {counted(asked['sent'], 'request')}, "
    told += counted(asked["retries"], "retry", "retries")
    told += f" (failures: {failures})" if failures else ""
    if asked["rejected"]:
        told += f", {asked['rejected']} rejected"
    if asked["given_up"]:
        told += f", {asked['given_up']} given up"
    if asked["unfit_asked_again"]:
        told += f"; {asked['unfit_asked_again']} unfit answers asked once more, "
        told += f"{asked['fit_now']} fit now"
    return told


def _nothing(report: dict[str, Any]) -> str:
    first = next(iter(report["unfit_answers"]), "no answer came")
    return (
        f"{report['output']} has no rows, because no answer could be taken ({first}); "
        f"{report['output']}.work/dropped.jsonl names each"
    )


def _show_plan(job: ParaphraseJob, progress: Progress, *, as_json: bool) -> None:
    """How many captions are kept and why the others are not, without asking anything."""
    import tempfile

    from paraclip_bench.paraphrasing.journal import Journal
    from paraclip_bench.paraphrasing.pairs_file import check_format

    check_format(job.output)
    # A journal of its own, so that looking leaves no trace.
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        selected = journal.take_in(job.captions(), job.caption_filter, job.digest())
        steps = [step for chain in job.chains.all for step in job.chains.steps(chain)]
        characters = sum(
            len(job.settings.prompts[step].fill(row.caption))
            for row in journal.rows()
            for step in steps
        )
        journal.close()
    plan = {
        "rows": selected.rows,
        "kept": selected.kept,
        "left_out": dict(selected.left_out),
        "named": selected.named,
        "questions": selected.kept * len(steps),
        # Four characters a token is the usual guess for English.
        "prompt_tokens_about": round(characters / 4),
    }
    if as_json:
        typer.echo(json.dumps(plan))
        return
    lines = [("rows", plan["rows"]), ("kept", plan["kept"])]
    lines += [(f"left out: {name}", count) for name, count in selected.left_out.most_common()]
    lines += [
        ("questions", plan["questions"]),
        ("prompt tokens, about", plan["prompt_tokens_about"]),
    ]
    for name, value in lines:
        typer.echo(f"{name:28} {value:>12,}")


def _show_batches(
    job: ParaphraseJob, progress: Progress, batch_size: int, *, as_json: bool
) -> None:
    """Write the open questions to files, and name them."""
    from paraclip_bench.paraphrasing.batch_files import write_requests
    from paraclip_bench.paraphrasing.paraphrase import (
        open_output,
        similarity_model,
        write_output,
    )

    with open_output(job, progress) as work:
        files = write_requests(
            work.journal, job.settings, job.chains, job.output, max_requests=batch_size
        )
        if not files:
            write_output(work, progress, similarity_model(job))
    if as_json:
        typer.echo(json.dumps([{"file": str(f), "requests": n} for f, n in files]))
        return
    for file, count in files:
        progress.say(f"{counted(count, 'request')}: {file}")
        typer.echo(str(file))
    if not files:
        progress.say(f"nothing is left to ask; {job.output} is written")
    else:
        progress.say("send these files, then take what comes with --batch read --answers FILE")


def _show_read(
    job: ParaphraseJob, progress: Progress, files: Sequence[Path], *, as_json: bool
) -> None:
    """Take answers in, and say what is still to be sent."""
    from paraclip_bench.paraphrasing.batch_files import read_answers
    from paraclip_bench.paraphrasing.paraphrase import (
        open_output,
        similarity_model,
        write_output,
    )
    from paraclip_bench.paraphrasing.prompts import step_key, step_name

    with open_output(job, progress) as work:
        read = read_answers(work.journal, job.chains, files)
        report = write_output(work, progress, similarity_model(job))
        open_questions, chains = dict.fromkeys(job.settings.prompts, 0), job.chains
        for row in work.journal.rows():
            for chain in chains.all:
                question = chains.next(row, chain)
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
            progress.say(
                f"{step_name(step)}: {counted(count, 'question')} to send; "
                "--batch write makes their files"
            )
    report["batch"] = {
        "new": read.kept,
        "known": read.known,
        "foreign": read.foreign,
        "failed": dict(read.failed),
        "to_send": {step_key(step): count for step, count in open_questions.items()},
    }
    _tell(job, report, progress, as_json=as_json)
