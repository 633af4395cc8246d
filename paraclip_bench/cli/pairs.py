"""`paraclip-bench paraphrase report` and `convert`: what a file of pairs is like; its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench import safe_text
from paraclip_bench.cli.shared import JsonOption, PairsOption
from paraclip_bench.errors import UsageError
from paraclip_bench.files import ending


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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from paraclip_bench.files import write_text
    from paraclip_bench.paraphrasing.pairs_report import as_json as figures
    from paraclip_bench.paraphrasing.pairs_report import page, statistics, tables
    from paraclip_bench.progress import Progress

    if output is not None and ending(output) != ".html":
        raise UsageError(f"-o {output} must end in .html, because it is a page")
    found = statistics(pairs)
    told = tables(found, prices=price)
    if output is not None:
        write_text(output, page(f"Pairs: {pairs.name}", told, found))
        Progress().say(f"page: {output}")
    if as_json:
        typer.echo(json.dumps(figures(found)))
        return
    console = Console(soft_wrap=True, highlight=False)
    for heading, rows in told:
        table = Table(title=Text(heading), title_justify="left", show_header=False, box=None)
        table.add_column()
        table.add_column(justify="right")
        for name, value in rows:
            table.add_row(Text(safe_text.line(name)), Text(safe_text.line(value)))
        console.print(table)
        console.print()
    console.print("Examples", style="italic")
    width = max(4, *map(len, found.views))
    for texts in found.examples:
        for view, text in zip(found.views, texts, strict=True):
            console.print(f"{view:{width}} {safe_text.line(text)}", markup=False)
        console.print()


def convert(
    pairs: Annotated[Path, typer.Argument(help="Pairs, .jsonl or .parquet.")],
    output: PairsOption = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="How a row's image is called, from its {id} and {image}."),
    ] = None,
) -> None:
    """Write pairs in another format; `image_id` of the ParaCLIP authors' rows becomes `image`."""
    from paraclip_bench.paraphrasing.pairs_file import convert as convert_pairs
    from paraclip_bench.progress import Progress

    if output is None:
        raise UsageError("name the file to write with -o, such as -o pairs.parquet")
    count = convert_pairs(pairs, output, image=image)
    Progress().say(safe_text.counted(count, "row"))
    typer.echo(str(output))
