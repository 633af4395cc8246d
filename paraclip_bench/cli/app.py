"""The program: its commands, and what an error looks like."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from paraclip_bench import interrupts, safe_text
from paraclip_bench.cli import (
    audit,
    compare,
    data,
    finetune,
    leaderboard,
    listings,
    pairs,
    paraphrase,
    results,
    run,
)
from paraclip_bench.cli.shared import OnePath
from paraclip_bench.errors import BenchError, check_name, lack_of, reason_of


class DefaultCommand(TyperGroup):
    """Puts `default` in front of a command line that names none of the group's commands."""

    default = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click's Group."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="paraclip-bench",
    help="Fine-tune CLIP text towers on paraphrases and measure how models cope with rephrasing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("demo", short_help="Everything, on the embedded world, offline.")(run.demo)
rewording = typer.Typer(
    cls=DefaultCommand, no_args_is_help=True, rich_markup_mode=None, add_completion=False
)
rewording.command("make", short_help="The default: paraphrase captions.")(paraphrase.make)
rewording.command("report", short_help="What a file of pairs is like.")(pairs.report)
rewording.command("convert", short_help="From one format of pairs to another.")(pairs.convert)
app.add_typer(
    rewording,
    name="paraphrase",
    help="Captions become paraphrases: paraphrase CAPTIONS -o PAIRS --llm MODEL [--base-url URL]. "
    "All options: paraphrase make --help.",
    short_help="Captions become paraphrases.",
)
app.command("finetune", short_help="Make a ParaCLIP checkpoint.")(finetune.finetune)
app.command("merge", short_help="Interpolate a base and its checkpoint.")(finetune.merge)
app.command("run", short_help="Measure models on tasks.")(run.run)
app.command(
    "leaderboard", cls=leaderboard.BareReference, short_help="Compare results in one table."
)(leaderboard.leaderboard)
app.command("compare", short_help="Say on which scores models differ, and how.")(compare.compare)
app.command("audit", short_help="Say how stable a search of yours is.")(audit.audit)
kept = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
kept.command("show", short_help="List results, or show one whole.")(results.show)
kept.command("validate", short_help="Check results, and their scores.")(results.validate)
kept.command("diff", short_help="Say how two results or folders differ.")(results.diff)
kept.command("merge", short_help="Bring several machines' results together.")(results.merge)
kept.command("export", short_help="Write CSV, Parquet, TREC runs or mteb's files.")(results.export)
app.add_typer(kept, name="results", help="Results: what was measured.")
reports = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
reports.command("serve", short_help="Show the leaderboard in your browser.")(leaderboard.serve)
app.add_typer(reports, name="report", help="The leaderboard as a page.")
app.command("models", short_help="List the models that can be named.")(listings.models)
app.command("tasks", short_help="List the tasks, or show one.")(listings.tasks)
app.command("metrics", short_help="List the metrics.")(listings.metrics)
app.command("plugins", short_help="Check every plugin.")(listings.plugins)
stored = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
stored.command("list", short_help="The tasks' data sets: here, or missing.")(data.list_)
stored.command("prefetch", short_help="Fetch data sets while there is a network.")(data.prefetch)
stored.command("verify", short_help="Check hashes and numbers of examples.")(data.verify)
stored.command("path", short_help="Where a data set's files are.")(data.path)
stored.command("cache", short_help="Show or prune the stored embeddings.")(data.cache)
building = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
building.command("paraphrased-retrieval", short_help="Queries with paraphrases on images.")(
    data.paraphrased_retrieval
)
stored.add_typer(building, name="build", help="Make a task's data from your own.")
app.add_typer(stored, name="data", help="Data: what is here, fetching, checking and making some.")


for group in (app, rewording, kept, reports, stored, building):
    for registered in group.registered_commands:
        if registered.cls in (None, TyperCommand):
            registered.cls = OnePath


# How a user goes on with a command that was stopped.
_GO_ON = {
    "finetune": "run the same command with --resume",
    "data build": "run the same command again",
}
_GOES_ON = ("demo", "run", "audit", "paraphrase", "merge", "data prefetch", "results merge")
_GO_ON |= dict.fromkeys(_GOES_ON, "run the same command again, it goes on where it was")
# typer carries its own copy of click in some versions; this class is right in all of them.
USAGE_ERROR = typer.BadParameter.__mro__[1]


def _version(value: bool) -> None:
    if value:
        import importlib_metadata

        typer.echo(importlib_metadata.version("paraclip-bench"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback for an error (anywhere in the line).")
    ] = False,
) -> None:
    """Fine-tune CLIP text towers on paraphrases and measure how models cope with rephrasing."""


def _show_usage(error: Any) -> int:
    """Say what is wrong with a command line in one sentence; returns the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "paraclip-bench"
        message = error.format_message().replace(". Did you", ", did you").rstrip(".?")
        message = safe_text.sentence(message[:1].lower() + message[1:])
        print(f"error: {message}; see `{command} --help`", file=sys.stderr)
    return int(error.exit_code)


def _is_told_here(error: BenchError) -> bool:
    """Whether this process says it: of torchrun's, rank 0 does, and who else failed alone."""
    from paraclip_bench.distributed import is_known_to_all, process_group

    return process_group().is_first or not (is_known_to_all(error) or error.exit_code == 2)


def main() -> None:
    """Run the program; an error is one sentence on stderr, a traceback only with --debug."""
    with interrupts.handled():
        _main()


def _check_names(arguments: Sequence[str], command: str) -> None:
    for argument in arguments:
        check_name(argument, "the argument")
    if command in _GO_ON:
        check_name(Path.cwd(), "the working directory")


def _prepare_for_stops(command: str) -> None:
    from paraclip_bench.distributed import process_group

    if command in _GO_ON:
        # A set is published whole, or not at all.
        kept = {"kept": "nothing was written"} if command == "data build" else {}
        interrupts.go_on(_GO_ON[command], **kept, aloud=process_group().is_first)


def _main() -> None:
    for stream in (sys.stdout, sys.stderr):
        # What an encoding such as latin-1 does not have is replaced; it never ends a command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    words = [argument for argument in arguments if not argument.startswith("-")]
    command = " ".join(words[: 2 if words[:1] in (["data"], ["results"]) else 1])
    _prepare_for_stops(command)
    try:
        _check_names(arguments, command)
        # Not standalone: typer would print its own block of lines for wrong usage.
        try:
            code = app(arguments, prog_name="paraclip-bench", standalone_mode=False)
        finally:
            # Whatever a stop became on its way through others' code.
            interrupts.check()
        if code == 130:  # typer's code for a KeyboardInterrupt, whoever raised it
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except BenchError as error:
        if debug:
            raise
        if _is_told_here(error):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if isinstance(error, USAGE_ERROR):
            sys.exit(_show_usage(error))
        if debug:
            raise
        said = lack_of(error) or (
            f"unexpected {reason_of(error)}; run again with --debug to see where, and please "
            "report it"
        )
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)
