"""`paraclip-bench leaderboard`: results side by side."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench.cli.shared import JsonOption, OnePath, SuiteOption, WorkspaceOption
from paraclip_bench.errors import UsageError
from paraclip_bench.files import ending

if TYPE_CHECKING:
    from paraclip_bench.boards.board import Board


class Format(StrEnum):
    """How a leaderboard is written."""

    TABLE = "table"
    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"
    HTML = "html"


class Adjustment(StrEnum):
    """How p-values are adjusted for all differences that a board shows."""

    HOLM = "holm"
    BH = "bh"
    NONE = "none"


class Reference(StrEnum):
    """Which published rows a leaderboard shows."""

    MATCHING = "matching"
    ALL = "all"


class BareReference(OnePath):
    """Reads `--reference` without a word as `--reference matching`; typer's options need one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click's Command."""
        for index in range(len(args) - 1, -1, -1):
            following = args[index + 1 : index + 2]
            if args[index] == "--reference" and (not following or following[0].startswith("-")):
                args = [*args[: index + 1], Reference.MATCHING.value, *args[index + 1 :]]
        return super().parse_args(ctx, args)


_ENDINGS = {
    ".md": Format.MD,
    ".markdown": Format.MD,
    ".csv": Format.CSV,
    ".tex": Format.LATEX,
    ".json": Format.JSON,
    ".html": Format.HTML,
    ".htm": Format.HTML,
}


ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of the examples' images, for thumbnails (html)."),
]

ViewOption = Annotated[
    str | None,
    typer.Option(
        "--view",
        metavar="robustness",
        help="Columns that answer one question: invariance to wording and sensitivity to meaning.",
        show_default="what each task shows",
    ),
]


def _format_of(out: Path | None) -> Format:
    """The format that a file's ending says: a table of text for one that says none."""
    return _ENDINGS.get("" if out is None else ending(out), Format.TABLE)


def leaderboard(
    suite: SuiteOption = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Model that the others are compared to.",
            show_default="clip, else the base of the checkpoints shown",
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="How to write it.", show_default="by the ending of -o, else table"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file instead of stdout.")
    ] = None,
    all_scores: Annotated[
        bool, typer.Option("--all", help="Every score of every task, not only the main ones.")
    ] = False,
    score: Annotated[
        list[str] | None,
        typer.Option(
            "--score",
            help="This score alone, of every task that has it, such as ao@20; repeatable.",
        ),
    ] = None,
    with_limits: Annotated[
        bool, typer.Option("--with-limits", help="Also results made with --limit.")
    ] = False,
    reference: Annotated[
        Reference | None,
        typer.Option(
            "--reference",
            help="Published numbers too, in rows apart: those of measured models, or all.",
            show_default="none; matching where no word follows",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models", "-m", help="This model alone, by name or spec; repeatable, in this order."
        ),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option("--family", help="This task or group of tasks alone; repeatable."),
    ] = None,
    adjust: Annotated[
        Adjustment,
        typer.Option(
            "--adjust",
            help="What better and worse hold for: all differences together (holm), all but 5% of "
            "those called so (bh), each alone (none).",
        ),
    ] = Adjustment.HOLM,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="name|rank|TASK[:SCORE]",
            help="Order of the models, the best first.",
            show_default="the baseline, then by name",
        ),
    ] = None,
    precision: Annotated[
        int, typer.Option("--precision", min=0, max=6, help="Decimals of scores x 100.")
    ] = 1,
    caption: Annotated[
        str | None, typer.Option("--caption", help="A sentence of your own for the table.")
    ] = None,
    is_tidy: Annotated[
        bool, typer.Option("--tidy", help="CSV with a row a model and score.")
    ] = False,
    each_seed: Annotated[
        bool,
        typer.Option("--each-seed", help="A row a checkpoint, where several differ in the seed."),
    ] = False,
    view: ViewOption = None,
    images: ImagesOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show one row a model and one column a task's score, with intervals and differences."""
    from paraclip_bench.boards import formats
    from paraclip_bench.boards.content import remarks
    from paraclip_bench.boards.make_board import make_board, no_collection
    from paraclip_bench.boards.page import as_html
    from paraclip_bench.boards.terminal import show, text
    from paraclip_bench.files import write_text
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    # Not only while the board is made: to print it makes many objects, too.
    with no_collection():
        form = Format.JSON if as_json else form or _format_of(out)
        if is_tidy and form is not Format.CSV:
            raise UsageError(
                "--tidy is a form of CSV; add --format csv, or a name that ends in .csv"
            )
        board = make_board(
            Workspace(workspace).results,
            suite=suite,
            baseline=baseline,
            all_scores=all_scores,
            with_limits=with_limits,
            scores=score or (),
            reference=reference,
            adjust=adjust.value,
            models=models or (),
            families=families or (),
            sort=sort,
            precision=precision,
            caption=caption,
            each_seed=each_seed,
            view=view,
        )
        progress = Progress()
        if form is Format.TABLE and out is None:
            show(board)
        else:
            writers: dict[Format, Callable[[Board], str]] = {
                Format.TABLE: text,
                Format.MD: formats.markdown,
                Format.CSV: formats.tidy_csv if is_tidy else formats.as_csv,
                Format.LATEX: formats.latex,
                Format.JSON: formats.as_json,
                Format.HTML: lambda board: as_html(board, Workspace(workspace), images=images),
            }
            content = writers[form](board)
            if out is None:
                typer.echo(content, nl=False)
            else:
                write_text(out, content)
                progress.say(f"{out} written")
        if form in (Format.TABLE, Format.CSV, Format.LATEX):  # the others hold it themselves
            for line in remarks(board):
                progress.say(line)


def serve(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of this machine; 0 is a free one.")
    ] = 8765,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Open no browser, only print the address.")
    ] = False,
    suite: SuiteOption = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Model that the others are compared to.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="This model alone, by name or spec; repeatable."),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option("--family", help="This task or group of tasks alone; repeatable."),
    ] = None,
    view: ViewOption = None,
    images: ImagesOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Make the leaderboard's page and show it to this machine's browser, until Ctrl-C."""
    import webbrowser
    from threading import Thread

    from paraclip_bench import interrupts
    from paraclip_bench.boards.make_board import make_board
    from paraclip_bench.boards.page import as_html, server
    from paraclip_bench.progress import Progress
    from paraclip_bench.workspace import Workspace

    interrupts.go_on(kept="the page is no longer served")
    place, progress = Workspace(workspace), Progress()
    board = make_board(
        place.results,
        suite=suite,
        baseline=baseline,
        models=models or (),
        families=families or (),
        view=view,
    )
    with server(as_html(board, place, images=images), port) as serving:
        address = f"http://127.0.0.1:{serving.server_address[1]}/"
        typer.echo(address)
        progress.say("serving the page to this machine alone; Ctrl-C ends it")
        if not no_open:
            # A browser in the foreground, as lynx is one, waits for the page.
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        serving.serve_forever()
