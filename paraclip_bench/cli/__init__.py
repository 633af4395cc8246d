"""The command line: a file a command or group of commands; each parses, calls and shows.

`app` puts the commands together and says what an error looks like; `shared` has options and small
tables that several commands have.
"""

from paraclip_bench import interrupts


def main() -> None:
    """Run the program. Ctrl-C ends it well from its first moment, while modules are imported."""
    with interrupts.handled():
        from paraclip_bench.cli.app import main as run

        run()


__all__ = ["main"]
