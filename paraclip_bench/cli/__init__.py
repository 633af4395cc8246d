"""The command line: one file a command, each parses, calls and shows."""

from paraclip_bench.cli.app import main

__all__ = ["main"]
