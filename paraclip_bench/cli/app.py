"""The program: its commands, and what an error looks like."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from paraclip_bench.cli import demo, finetune, leaderboard, listings, run
from paraclip_bench.errors import BenchError

app = typer.Typer(
    name="paraclip-bench",
    help="Fine-tune CLIP text towers on paraphrases and measure how models cope with rephrasing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("finetune")(finetune.finetune)
app.command("run")(run.run)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("models")(listings.models)
app.command("tasks")(listings.tasks)
app.command("plugins")(listings.plugins)


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


def main() -> None:
    """Run the program; an error is one sentence on stderr, a traceback only with --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, prog_name="paraclip-bench")
    except BenchError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        first = str(error).splitlines()[0] if str(error) else ""
        print(
            f"error: unexpected {type(error).__name__}: {first}; run again with --debug to see "
            "where, and please report it",
            file=sys.stderr,
        )
        sys.exit(1)
