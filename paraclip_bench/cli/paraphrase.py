"""`paraclip-bench paraphrase`: captions become pairs T, T', T''."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paraclip_bench.cli.options import (
    CaptionFieldOption,
    DeviceOption,
    ImageFieldOption,
    JsonOption,
)

OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write, .jsonl or .parquet."),
]


def make(
    captions: Annotated[
        Path,
        typer.Argument(
            help="A .txt (a caption a line), .jsonl, .csv, .tsv, .parquet or WebDataset .tar file, "
            "a folder of them, or a pattern."
        ),
    ],
    output: OutputOption = None,
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
        typer.Option("--prompt", help="1=FILE or 2=FILE: that step's prompt, with {text} in it."),
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
    from paraclip_bench.cli.show_pairs import finish_run, show_batches, show_plan, show_read
    from paraclip_bench.errors import UsageError
    from paraclip_bench.paraphrase.asking import Manners
    from paraclip_bench.paraphrase.job import Access
    from paraclip_bench.paraphrase.make import make_job
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
    )
    progress = Progress()
    if batch not in (None, "write", "read"):
        raise UsageError(f"--batch {batch!r} is neither of write and read")
    if (batch == "read") != bool(answers):
        raise UsageError("--batch read and --answers FILE belong together; give both")
    if batch is not None and job.is_demo:
        raise UsageError("--llm demo is embedded and needs no batches; leave --batch out")
    if dry_run:
        show_plan(job, progress, as_json=as_json)
    elif batch == "write":
        show_batches(job, progress, batch_size, as_json=as_json)
    elif batch == "read":
        show_read(job, progress, answers or [], as_json=as_json)
    else:
        manners = Manners(concurrency, requests_a_minute, tokens_a_minute, retries, patience)
        access = Access(base_url, key_variable, timeout, manners)
        finish_run(job, access, progress, ask_rejected=ask_rejected, as_json=as_json)


def report(
    pairs: Annotated[Path, typer.Argument(help="Pairs, .jsonl or .parquet.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page (.html) with plots too.")
    ] = None,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option("--price", help="Prices of a million tokens: of prompts, of answers."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Counts, lengths, words in common, tokens, cost and examples of a file of pairs."""
    from paraclip_bench.cli.show_pairs import show_report
    from paraclip_bench.errors import UsageError
    from paraclip_bench.progress import Progress

    if output is not None and output.suffix != ".html":
        raise UsageError(f"-o {output} must end in .html, for it is a page")
    show_report(pairs, output, price, Progress(), as_json=as_json)


def convert(
    pairs: Annotated[Path, typer.Argument(help="Pairs, .jsonl or .parquet.")],
    output: OutputOption = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="How a row's image is called, from its {id} and {image}."),
    ] = None,
) -> None:
    """Write pairs in another format; `image_id` of the ParaCLIP authors' rows becomes `image`."""
    from paraclip_bench.errors import UsageError
    from paraclip_bench.paraphrase.convert import convert as convert_pairs
    from paraclip_bench.progress import Progress

    if output is None:
        raise UsageError("name the file to write with -o, such as -o pairs.parquet")
    count = convert_pairs(pairs, output, image=image)
    Progress().say(f"{count} rows")
    typer.echo(str(output))


def add_to(app: Any) -> None:
    """Make these the commands of a typer group."""
    app.command("make", short_help="The default: paraphrase captions.")(make)
    app.command("report", short_help="What a file of pairs is like.")(report)
    app.command("convert", short_help="From one format of pairs to another.")(convert)
