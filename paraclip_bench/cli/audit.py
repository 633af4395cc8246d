"""`paraclip-bench audit`: how stable a search of one's own is when queries are reworded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.shared import DeviceOption, JsonOption, WorkspaceOption, table
from paraclip_bench.errors import UsageError


def audit(
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Model spec; may be given several times.")
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder of the images to search.")],
    queries: Annotated[Path, typer.Option("--queries", help="Text file with a query a line.")],
    paraphrases: Annotated[
        Path | None, typer.Option("--paraphrases", help="File of the queries' paraphrases.")
    ] = None,
    perturb: Annotated[
        str | None,
        typer.Option("--perturb", metavar="NAME|FILE", help="As in run.", show_default="edits"),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="So many first images are compared.")] = 10,
    show: Annotated[
        int, typer.Option("--show", min=0, help="So many of the least stable queries.")
    ] = 20,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page with the images, .html.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    device: DeviceOption = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, bfloat16 or float16.", show_default="float32"),
    ] = None,
    suite: Annotated[
        str, typer.Option("--suite", help="Of which suite `clip` is the baseline.")
    ] = "paper",
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say how stable the first images of your queries are when these are worded otherwise.

    Without labels: agreement says nothing about being right. Least stable queries first.
    """
    from paraclip_bench.boards.audit_page import as_data, as_page, least_stable, summary_rows
    from paraclip_bench.data.hub import go_offline
    from paraclip_bench.distributed import local_device
    from paraclip_bench.evaluation.audit import audit as audit_model
    from paraclip_bench.evaluation.audit import images_below, read_queries
    from paraclip_bench.files import write_text
    from paraclip_bench.models.adapter import Context
    from paraclip_bench.models.load import load_models
    from paraclip_bench.progress import Progress
    from paraclip_bench.tasks.perturbation import ParaphraseFile, find_perturbation
    from paraclip_bench.workspace import Workspace

    if paraphrases is not None and perturb is not None:
        raise UsageError("--paraphrases and --perturb both say how to reword; give one of them")
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {output}: a page is an .html file; name it so, or use --json > FILE")
    if offline:
        go_offline()
    perturbation = (
        ParaphraseFile(paraphrases)
        if paraphrases is not None
        else find_perturbation(perturb or "edits")
    )
    asked, gallery = read_queries(queries), images_below(images, k)
    context = Context(suite=suite, checkpoints=Workspace(workspace).checkpoints)
    progress, audits = Progress(), []
    for spec in dict.fromkeys(model):
        for each in load_models(spec, context):
            each.to(local_device(device), dtype)
            each.adapter.check()
            audits.append(audit_model(each, gallery, asked, perturbation, progress, k=k))
            each.adapter.release()
    if output is not None:
        write_text(output, as_page(audits, show))
        progress.say(f"{output} written")
    if as_json:
        typer.echo(json.dumps(as_data(audits), indent=1))
    else:
        blocks = [table(rows) for rows in summary_rows(audits)]
        blocks += [least_stable(each, show) for each in audits if show]
        typer.echo("\n\n".join(blocks))
