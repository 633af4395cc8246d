"""What several commands share: options, and small tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from paraclip_bench import safe_text
from paraclip_bench.errors import UsageError
from paraclip_bench.files import has_name_of_file

if TYPE_CHECKING:
    from paraclip_bench.evaluation.plan import Plan
    from paraclip_bench.results.schema import Result


WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", help="Folder of checkpoints/ and results/.", show_default="here"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="paper (real data) or demo (the embedded world).")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 …", show_default="cpu")
]
CaptionFieldOption = Annotated[
    str | None, typer.Option("--caption-field", show_default="caption, text …")
]
PairsOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write, .jsonl or .parquet."),
]
ImageFieldOption = Annotated[
    str | None, typer.Option("--image-field", show_default="image, image_id …")
]


_SEVERAL = "; a folder, or a pattern in quotes, names several files"
PATHS = {
    **{"--data": _SEVERAL, "--captions": _SEVERAL},
    **dict.fromkeys(
        (
            "--data-dir",
            "--images",
            "--pairs",
            "--output",
            "--to",
            "--workspace",
            "--queries",
            "--paraphrases",
        ),
        "",
    ),
}
"""The options of all commands that name a file or folder, and how one of them means several."""


class OnePath(TyperCommand):
    """Refuses a file or folder option that is given twice: the last would silently win.

    Of other options the last wins, as is usual, so that an alias may be overridden.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click's Command."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for param in order:
            for name in PATHS.keys() & {*param.opts}:
                if (times := order.count(param)) > 1:
                    raise UsageError(f"{name} is given {times} times; give it once{PATHS[name]}")
        return super().parse_args(ctx, args)


def folder_to_write(out: Path) -> Path:
    """`out`, where -o names a folder; `UsageError` for a file, and for a new one's name."""
    if out.is_dir():
        return out
    if out.exists():
        raise UsageError(f"{out} is a file, and a folder is written; name another one with -o")
    if has_name_of_file(out):
        raise UsageError(
            f"{out} is the name of a file, and a folder is written; name one with -o, such as "
            f"{out.with_suffix('')}"
        )
    return out


Rows = Sequence[dict[str, Any]]


def table(rows: Rows) -> str:
    """Rows as aligned columns with a header; fractional numbers get two decimals."""
    if not rows:
        return "nothing"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [list(map(safe_text.line, names))] + [
        [_text(row.get(n)) for n in names] for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else safe_text.line(str(value))


def suite_line(plan: Plan) -> str:
    """The first line of a run: which suite, on which data."""
    places = {"hub": "the hub's data", "demo": "the embedded demo world, small drawn scenes"}
    root = plan.source.root
    named = plan.source.kind == "demo" or root is None
    where = places[plan.source.kind] if named else f"data of {root}"
    return f"suite: {plan.suite} ({where})"


def result_rows(
    results: Sequence[tuple[Path, Result]], *, percent: bool, with_suite: bool = False
) -> list[dict[str, Any]]:
    """One row a result: its main score with its interval, and its file.

    `percent`: x 100, as tables show scores; otherwise fractions, as files hold them.
    """
    factor = 100 if percent else 1
    rows = []
    for path, result in results:
        score = result.scores[result.main_score]
        values = {"value": score.value, "low": score.low, "high": score.high}
        rows.append(
            {
                **({"suite": result.suite} if with_suite else {}),
                "model": result.model.name,
                "task": result.task,
                "protocol": result.protocol,
                **(
                    {}
                    if result.perturbation is None
                    else {"perturbation": result.perturbation.name}
                ),
                "score": result.main_score,
                **{k: None if v is None else factor * v for k, v in values.items()},
                "n": result.n,
                "file": str(path),
            }
        )
    return rows
