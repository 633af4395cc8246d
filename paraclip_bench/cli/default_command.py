"""A group of commands of which one needs no name, as in `paraphrase captions.txt`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """Puts `default` in front of a command line that names none of the group's commands."""

    default = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click's Group."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)
