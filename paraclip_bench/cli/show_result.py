"""One result, whole: what it is of, its scores, and a table for each kind of part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip_bench.cli.show import table
from paraclip_bench.results.schema import Result, Score


def result_text(path: Path, result: Result) -> str:
    """The result as text, scores x 100."""
    about = result.model_dump(exclude={"scores", "details"})
    blocks = [
        str(path),
        table([{"field": name, "value": value} for name, value in _flat(about)]),
        table([{"score": name, **_percent(score)} for name, score in result.scores.items()]),
    ]
    for kind, parts in result.details.items():
        rows = [
            {
                kind: part.name,
                "n": part.n,
                **{k: v for name, score in part.scores.items() for k, v in _named(name, score)},
            }
            for part in parts
        ]
        blocks.append(table(rows))
    return "\n\n".join(blocks)


def _percent(score: Score) -> dict[str, float | None]:
    values = {"value": score.value, "low": score.low, "high": score.high}
    return {name: None if value is None else 100 * value for name, value in values.items()}


def _named(name: str, score: Score) -> list[tuple[str, float | None]]:
    """A part's score with its interval, where it has one, as columns of its row."""
    values = _percent(score)
    columns = [(name, values.pop("value"))]
    if score.low is not None or score.high is not None:
        columns += [(f"{name} {bound}", value) for bound, value in values.items()]
    return columns


def _flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Fields of fields as model.name; what is empty is left out."""
    rows = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], ()):
            # As text: a number of seconds is no score.
            rows.append((prefix + name, str(value)))
    return rows
