"""`paraclip-bench data`: the tasks' data sets, building one, and the embedding store."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench.cli.shared import (
    CaptionFieldOption,
    ImageFieldOption,
    JsonOption,
    folder_to_write,
    table,
)
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.safe_text import counted

if TYPE_CHECKING:
    from paraclip_bench.encoding.vector_store import StoreSummary
    from paraclip_bench.tasks.base import Task


NamesArgument = Annotated[
    list[str] | None, typer.Argument(help="Tasks or groups of tasks.", show_default="all")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="A folder of data in place of the hub's cache."),
]
PrefetchedOption = Annotated[
    Path | None, typer.Option("--data-dir", help="A folder that data prefetch --to wrote.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]


def list_(
    names: NamesArgument = None,
    data_dir: PrefetchedOption = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Ask the hub how large what is missing is.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List data sets: examples, size, licence, where from, here or missing. Nothing is fetched."""
    from paraclip_bench.data.snapshot import files_folder, folder_bytes

    _check_prefetched(data_dir)
    rows: list[dict[str, Any]] = []
    for task in _chosen(names):
        data = task.data_set
        if data is None:
            rows.append({"data set": task.name, "from": "its plugin says nothing of it"})
            continue
        folder = files_folder(data.pin, data_dir) if data.pin else None
        size = folder_bytes(folder) if folder else None
        if size is None and sizes and data.pin:
            from paraclip_bench.data.hub import size_on_hub

            size = size_on_hub(data.pin)
        examples = dict(data.examples)
        rows.append(
            {
                "data set": task.name,
                "examples": examples if as_json else _counts(examples),
                "bytes" if as_json else "size": size if as_json else _size(size),
                "licence": data.licence,
                "from": data.source,
                "hub": str(data.pin) if data.pin and not as_json else _pin(data.pin),
                "state": "here" if folder else "missing" if data.pin else "only with --data-dir",
            }
        )
    typer.echo(json.dumps(rows, indent=1) if as_json else table(rows))


def prefetch(
    names: NamesArgument = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Copy there, as a --data-dir for a machine without a network."),
    ] = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch data sets at their pinned revisions. Call it again to go on where it stopped."""
    from paraclip_bench.data.hub import go_offline
    from paraclip_bench.data.hub import prefetch as fetch
    from paraclip_bench.encoding.eviction import size_text
    from paraclip_bench.progress import Progress

    if offline:
        go_offline()
    if to is not None:
        folder_to_write(to)
    progress, rows, failed = Progress(), [], []
    for task in _chosen(names):
        data = task.data_set
        if data is None or data.pin is None:
            if names:
                where = data.source if data else "its plugin does not say where from"
                failed.append(f"{task.name} has no copy on the hub that can be used ({where})")
                progress.say(f"error: {failed[-1]}")
            continue
        try:
            folder, size = fetch(data.pin, to, progress)
        except BenchError as error:
            failed.append(str(error))
            progress.say(f"error: {error}")
            continue
        progress.say(f"{task.name}: {size_text(size)}, {data.pin}")
        rows.append({"data set": task.name, "bytes": size, "path": str(folder)})
    if as_json or rows:
        typer.echo(json.dumps(rows, indent=1) if as_json else table(rows))
    if to is not None and rows:
        progress.say(f"use it with: paraclip-bench run --data-dir {to} --offline …")
    if failed:
        raise typer.Exit(1)


def verify(
    names: NamesArgument = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file and count the examples of every task. Nothing is fetched.

    Exit 1 if something is wrong or not whole, or is missing that was asked for by name.
    """
    from paraclip_bench.data.hub import go_offline
    from paraclip_bench.data.source import HubSource, folder_source
    from paraclip_bench.progress import Progress
    from paraclip_bench.tasks.verify import verify as check

    go_offline("data verify fetches nothing")
    source = HubSource() if data_dir is None else folder_source(data_dir)
    progress, found = Progress(), []
    for task in _chosen(names):
        with progress.track(f"checking {task.name}", None):
            found += check(task, source)
        if found[-1].state != "missing":
            progress.say(f"{task.name}: {found[-1].state}")
    rows = [dataclasses.asdict(verdict) for verdict in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        wide = ("task", "protocol", "state", "n", "expected", "files", "hashed", "why")
        typer.echo(table([{name: row[name] for name in wide} for row in rows]))
    bad = {"wrong", "partial", "missing"} if names else {"wrong", "partial"}
    wrong = {(v.task, v.why): v for v in found if v.state in bad}
    for verdict in wrong.values():
        progress.say(f"error: {verdict.task} ({verdict.protocol}): {verdict.why}")
    if wrong:
        raise typer.Exit(1)


def path(
    name: Annotated[str, typer.Argument(help="A task.")],
    data_dir: PrefetchedOption = None,
) -> None:
    """Print the folder of a data set's files; exit 1 where they are not here."""
    from paraclip_bench.data.snapshot import files_folder

    _check_prefetched(data_dir)
    for task in _chosen([name]):
        pin = task.pin
        folder = files_folder(pin, data_dir) if pin else None
        if folder is None or not folder.is_dir():
            does = "data prefetch fetches it" if pin else "the hub has no copy of it"
            raise BenchError(f"the data of {task.name} is not in {data_dir or 'the cache'}; {does}")
        typer.echo(str(folder))


def _check_prefetched(data_dir: Path | None) -> None:
    from paraclip_bench.data.snapshot import read_manifest

    if data_dir is not None and read_manifest(data_dir) is None:
        raise UsageError(
            f"{data_dir} was not written by data prefetch --to; data verify --data-dir reads any"
        )


def _chosen(names: list[str] | None) -> list[Task]:
    """The tasks of these names; `BenchError` for one that was named and cannot be had."""
    from paraclip_bench.progress import Progress
    from paraclip_bench.tasks.catalog import choose_tasks

    choice = choose_tasks(names or ["all"], "paper")
    for note in choice.notes:
        Progress().say(f"note: {note}")
    if choice.problems:
        raise BenchError(choice.problems[0])
    return choice.tasks


def _pin(pin: Any) -> dict[str, Any] | None:
    return None if pin is None else dataclasses.asdict(pin)


def _counts(examples: dict[str, int]) -> str:
    if len(set(examples.values())) <= 1:
        return next((f"{count:,}" for count in examples.values()), "")
    return ", ".join(f"{count:,} ({protocol})" for protocol, count in examples.items())


def _size(size: int | None) -> str:
    from paraclip_bench.encoding.eviction import size_text

    return "" if size is None else size_text(size)


def paraphrased_retrieval(
    captions: Annotated[
        Path, typer.Option("--captions", help="Captions with images, in any format of paraphrase.")
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder of the images.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="What paraphrase made of them; without it a paraphrase is that of the caption's "
            "own row (field paraphrase or paraphrased), else another caption of the same image.",
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            "--step",
            min=1,
            max=2,
            help="Which paraphrase of --pairs is the other query.",
            show_default="2",
        ),
    ] = None,
    written_by: Annotated[
        str | None,
        typer.Option("--written-by", help="Who wrote the texts, for the card; without --pairs."),
    ] = None,
    dev_share: Annotated[
        float, typer.Option("--dev-share", min=0, max=0.9, help="Share of images in dev/.")
    ] = 0.2,
    caption_field: CaptionFieldOption = None,
    image_field: ImageFieldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a paraphrased-retrieval set: OUT/test and OUT/dev for --data-dir, and a card.

    The paraphrases are those of --pairs or of the captions' own table, or the other captions of
    the same image. Negations that the pairs or the table have are taken too.
    """
    import json

    from paraclip_bench.paraphrasing.captions import CaptionFields, caption_files
    from paraclip_bench.paraphrasing.retrieval_set import RetrievalSetInput, build
    from paraclip_bench.progress import Progress
    from paraclip_bench.tasks.base import LEAST_DEPTH

    if pairs is None and step is not None:
        raise UsageError("--step is for --pairs, which is not given; give it, or leave --step out")
    if pairs is not None and written_by is not None:
        raise UsageError(
            "--written-by is for captions alone; --pairs says itself who, leave it out"
        )
    folder_to_write(output)
    source = RetrievalSetInput(
        caption_files(captions),
        pairs,
        images,
        CaptionFields(caption_field, image_field),
        step or 2,
        written_by or "",
    )
    progress = Progress()
    with progress.track("building", None) as advance:
        counts = build(source, output, dev_share=dev_share, advance=advance)
    for split, found in counts.items():
        progress.say(
            f"{output / split}: {counted(found['queries'], 'query', 'queries')} on "
            f"{counted(found['images'], 'image')}"
            + (f", {counted(found['negations'], 'negation')}" if "negations" in found else "")
        )
        if found["images"] < LEAST_DEPTH:
            progress.say(
                f"note: {output / split} cannot be measured: ao@{LEAST_DEPTH} compares "
                f"{LEAST_DEPTH} places, so a gallery has at least {LEAST_DEPTH} images; give more "
                "captions with images, or another --dev-share"
            )
    typer.echo(json.dumps(counts) if as_json else str(output))


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def cache(
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", help="Remove the least recently used beyond this: 5GB, 0."),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Remove what was not used for so long: 30d, 12h."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the embedding store holds; with an option, remove some of it first.

    What a running process uses stays.
    """
    from paraclip_bench.encoding.eviction import parse_size, size_text
    from paraclip_bench.encoding.vector_store import VectorStore
    from paraclip_bench.progress import Progress

    size = None if max_size is None else parse_size(max_size, "--max-size")
    age = None if older_than is None else parse_age(older_than, "--older-than")
    store, progress = VectorStore(), Progress()
    if size is not None or age is not None:
        removed, freed = store.prune(size, age)
        progress.say(f"removed {counted(removed, 'vector')}, freed {size_text(freed)}")
    summary = store.summary()
    if store.was_reset:
        progress.say(f"{summary.path} was damaged and has been started again, empty")
    typer.echo(json.dumps(_as_json(summary), indent=1) if as_json else _as_table(summary))


def parse_age(text: str, where: str) -> timedelta:
    """An age such as 30d, 12h, 90m or 2w; `where` is what a `UsageError` names."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([mhdw])\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{where} is {text!r}, which is not an age; write one such as 30d or 12h")
    return timedelta(**{_UNITS[found[2].lower()]: float(found[1])})


def _as_table(summary: StoreSummary) -> str:
    from paraclip_bench.encoding.eviction import size_text

    rows = [
        {
            "model": space.label,
            "side": space.side,
            "dtype": space.dtype,
            "vectors": space.vectors,
            "size": size_text(space.bytes),
            "last used (UTC)": f"{space.last_used:%Y-%m-%d %H:%M}",
        }
        for space in summary.spaces
    ]
    total = f"{size_text(summary.bytes)} of at most {size_text(summary.limit)}"
    return f"{table(rows)}\n{summary.path}: {total}"


def _as_json(summary: StoreSummary) -> dict[str, Any]:
    return {
        "path": str(summary.path),
        "bytes": summary.bytes,
        "limit": summary.limit,
        "spaces": [
            {
                "model": space.label,
                "side": space.side,
                "dtype": space.dtype,
                "fingerprint": space.fingerprint,
                "vectors": space.vectors,
                "bytes": space.bytes,
                "last_used": space.last_used.isoformat(),
                "created": space.created.isoformat(),
            }
            for space in summary.spaces
        ],
    }
