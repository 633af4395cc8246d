"""`paraclip-bench data cache`: what the embedding store holds, and making it smaller."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paraclip_bench.cli.options import JsonOption
from paraclip_bench.cli.show import table
from paraclip_bench.errors import UsageError

if TYPE_CHECKING:
    from paraclip_bench.encoding.store.vector_store import StoreSummary

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
    from paraclip_bench.encoding.store.limit import parse_size, size_text
    from paraclip_bench.encoding.store.vector_store import VectorStore
    from paraclip_bench.progress import Progress

    size = None if max_size is None else parse_size(max_size, "--max-size")
    age = None if older_than is None else parse_age(older_than, "--older-than")
    store, progress = VectorStore(), Progress()
    if size is not None or age is not None:
        removed, freed = store.prune(size, age)
        vectors = "1 vector" if removed == 1 else f"{removed} vectors"
        progress.say(f"removed {vectors}, freed {size_text(freed)}")
    summary = store.summary()
    if store.was_reset:
        progress.say(f"{summary.path} was damaged and has been started anew, empty")
    typer.echo(json.dumps(_as_json(summary), indent=1) if as_json else _as_table(summary))


def parse_age(text: str, where: str) -> timedelta:
    """An age such as 30d, 12h, 90m or 2w; `where` is what a `UsageError` names."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([mhdw])\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{where} is {text!r}, which is no age; write one such as 30d or 12h")
    return timedelta(**{_UNITS[found[2].lower()]: float(found[1])})


def _as_table(summary: StoreSummary) -> str:
    from paraclip_bench.encoding.store.limit import size_text

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
