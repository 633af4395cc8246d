"""A board as one HTML file: what it shows as plain data, and the file around it.

The page is for anybody's browser, so it loads nothing, and no foreign text is ever markup: the data
are JSON in a block that no browser runs, and the script writes them as text. A policy in the page
names the digests of its own script and style, and forbids all else.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from paraclip_bench import safe_text
from paraclip_bench.boards.content import BoardContent, Cell, legend, verdict
from paraclip_bench.boards.estimates import Difference
from paraclip_bench.boards.page_examples import Explorer, Pool, short
from paraclip_bench.boards.selection import Entry, Measure
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.files import parse_json, regular
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.results.provenance import command_line, versions
from paraclip_bench.results.schema import Score
from paraclip_bench.results.store import read
from paraclip_bench.workspace import Workspace

MODELS = 4
"""So many models have their parts and examples on a page; outcomes of more are not read."""
_SCRIPTS = ("page.js", "table.js", "charts.js", "examples.js")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_AGREEMENT = ("ao@", "js@", "rbo")


def as_html(board: BoardContent, workspace: Workspace, *, images: Path | None = None) -> str:
    """The board as one HTML file that loads nothing.

    workspace: where merge curves are. images: a folder with the images of the examples, which are
    then shown as thumbnails; the demo world's are shown without it. Raises `UsageError` where that
    folder is none.
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"--images {images} is no folder; name the one with the images")
    return _file(collect(board, workspace, images=images))


def server(html: str, port: int) -> ThreadingHTTPServer:
    """A server of one page on 127.0.0.1, not serving yet; port 0 is a free one.

    It answers who asks for `/` of a loopback name, so that no other site's page can read it by a
    name that it points here. Raises `BenchError` where the port cannot be had.
    """
    content = html.encode()

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "paraclip-bench", ""
        timeout = 30

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            is_here = name.lower() in _LOOPBACK
            is_page = self.path.partition("?")[0] == "/"
            status = 200 if is_here and is_page else 404 if is_here else 403
            body, kind = (content, "html") if status == 200 else (f"{status}\n".encode(), "plain")
            self.send_response(status)
            headers = {"Content-Type": f"text/{kind}; charset=utf-8", "Cache-Control": "no-store"}
            headers |= {"Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
            headers |= {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a browser's requests are no news."""

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BenchError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another with "
            "--port, or any free one with --port 0"
        ) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser may hang up in the middle."""


def collect(
    board: BoardContent, workspace: Workspace, *, images: Path | None = None
) -> dict[str, Any]:
    """What the page shows, as plain data: scores are fractions, strings safe to show as text."""
    pool = Pool()
    measures = list(dict.fromkeys(m for column in board.columns for m in column.measures))
    detailed = _detailed(board)
    explorer = Explorer(board, detailed, images)
    shown = [explorer.of(measure, measures) for measure in measures]
    pictures, thumbnails = explorer.pictures()
    about: dict[str, Any] = {
        "suite": board.suite,
        "baseline": board.baseline,
        "adjust": board.adjust,
        "legend": legend(_without_lists(board), "★", "≈"),
        "sentences": verdict(board),
        "notes": [
            *(() if board.view is None else board.view.about),
            *(f"not the published set: {name}" for name in board.partial),
            *board.notes,
            *dict.fromkeys(explorer.notes),
        ],
        "left_out": board.left_out,
        "detailed": detailed,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": versions()["paraclip-bench"],
        "command": command_line(),
        "without_picture": explorer.without_picture,
    }
    if board.view is not None:
        about["view"] = board.view.name
        about["ranks"] = list(board.ranks)
    data = {
        "about": about,
        "columns": [
            {
                "title": column.title,
                "score": column.score,
                "lower": column.lower_is_better,
                "by": column.scored_by,
                **({} if board.view is None else {"family": column.family}),
                "measures": [measures.index(measure) for measure in column.measures],
            }
            for column in board.columns
        ],
        "measures": [_measure(board, measure) for measure in measures],
        "models": [_model(board, i, measures, pool) for i in range(len(board.rows))],
        "published": [
            {
                "label": row.label,
                "source": f"{row.source} ({row.paper}), {row.url} @ {row.commit}",
                "cells": [None if cell is None else short(cell.value) for cell in row.cells],
            }
            for row in board.published or ()
        ],
        "price": [p for m in measures if (p := _price(board, m, measures, workspace))],
        "parts": [p for m in measures if (p := _parts(board, m, measures, detailed))],
        "examples": [each for each in shown if each],
        "images": explorer.images,
        "pictures": pictures,
        "thumbnails": thumbnails,
    }
    data["pool"] = pool.values
    found = _safe(data)
    assert isinstance(found, dict)
    return found


def _without_lists(board: BoardContent) -> BoardContent:
    """The board without what stands in a list on the page, and not in its legend."""
    view = None if board.view is None else dataclasses.replace(board.view, about=())
    return dataclasses.replace(board, partial=(), view=view)


def _file(data: Mapping[str, Any]) -> str:
    """The template with its style, script and data, and the policy that allows no other."""
    folder = resources.files("paraclip_bench.boards") / "page_files"
    template, style = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css")
    )
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    embedded = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # Within a block of data only a tag could end it, and JSON has another way to write this.
    for character in "<>&":
        embedded = embedded.replace(character, f"\\u{ord(character):04x}")
    parts = {
        "title": safe_text.html(f"paraclip-bench leaderboard, suite {data['about']['suite']}"),
        "policy": policy,
        "style": style,
        "script": script,
        "data": embedded,
    }
    for name, text in parts.items():  # the data last: what stands in them is no place of ours
        template = template.replace(f"<!--{name}-->", text, 1)
    return template


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _safe(value: Any) -> Any:
    """The same data, all strings as one line without control characters."""
    if isinstance(value, str):
        return value if value.startswith("data:image/jpeg;base64,") else safe_text.line(value)
    if isinstance(value, dict):
        return {_safe(name): _safe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        # Most are rows of numbers.
        return [each if isinstance(each, float | int) else _safe(each) for each in value]
    return value


def _estimate(estimate: Estimate | Score | None) -> list[float | None] | None:
    """Value, low and high; only the value where there is no interval."""
    if estimate is None:
        return None
    if estimate.low is None or estimate.high is None:
        return [short(estimate.value)]
    return [short(estimate.value), short(estimate.low), short(estimate.high)]


def _over_seeds(scores: Sequence[Score | None]) -> list[float | None] | None:
    """A score of one checkpoint, or the mean of several, which has no interval here."""
    if len(scores) == 1:
        return _estimate(scores[0])
    values = [score.value for score in scores if score is not None and score.value is not None]
    return [short(sum(values) / len(values))] if values else None


def _significant(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _model(
    board: BoardContent, index: int, measures: Sequence[Measure], pool: Pool
) -> dict[str, Any]:
    """A row of the board, and of each result on it where it is from."""
    row = board.rows[index]
    entries = {i: found for i, m in enumerate(measures) if (found := board.results_of(row, m))}
    # A model may have nothing in the columns that are shown.
    info = next((own[0].result.model for own in entries.values()), None)
    return {
        "name": row.name,
        "fingerprint": row.fingerprint,
        "dtype": row.dtype,
        "base": info and info.base,
        "activation": info and info.activation,
        "rank": _estimate(row.rank),
        **(
            {}
            if board.view is None
            else {"ranks": [_estimate(own[index]) for own in board.ranks.values()]}
        ),
        "cells": [_cell(cell, pool) for cell in row.cells],
        "seeds": row.seeds,
        "results": {i: [_provenance(entry, pool) for entry in own] for i, own in entries.items()},
    }


def _cell(cell: Cell | None, pool: Pool) -> list[Any] | None:
    """[estimate, method, 0 | 1 best | 2 tied with it, difference]; nothing for no result."""
    if cell is None:
        return None
    method = pool.place(cell.estimate.method or "")
    standing = 1 if cell.best else 2 if cell.tied else 0
    return [_estimate(cell.estimate), method, standing, _difference(cell.difference, pool)]


def _difference(change: Difference | None, pool: Pool) -> list[Any] | None:
    """[estimate, verdict, p, p adjusted, smallest that could be shown, method]."""
    if change is None or change.value is None:
        return None
    numbers = [_significant(number) for number in (change.p, change.adjusted, change.smallest)]
    return [_estimate(change), change.verdict, *numbers, pool.place(change.method or "")]


def _provenance(entry: Entry, pool: Pool) -> list[Any]:
    """Where a result is from, in the order of the script's `PROVENANCE`."""
    result, about = entry.result, entry.result.provenance
    shared = (
        entry.path.parent.name,
        result.model.spec,
        about.command,
        about.versions,
        about.device,
        about.dtypes or {"all": about.dtype},
        result.data.id,
        about.seed,
        about.depth,
        result.limit,
        about.scored_by,
        entry.has_outcomes,
    )
    own = [entry.path.name, about.time, round(about.seconds, 2), round(about.from_store, 3)]
    return own + [pool.place(value) for value in shared]


def _measure(board: BoardContent, measure: Measure) -> dict[str, Any]:
    result = next(e.result for (_, m), e in board.entries.items() if m == measure)
    return {
        "task": result.task,
        "protocol": result.protocol,
        **({"perturbation": measure.perturbation} if measure.perturbation else {}),
        "version": result.task_version,
        "n": result.n,
        "limit": result.limit,
        "source": result.data.source,
        "revision": result.data.revision,
        "sha256": result.data.sha256,
        "notes": {name: str(value) for name, value in result.data.notes.items()},
    }


def _detailed(board: BoardContent) -> list[int]:
    """The rows whose parts and examples are on the page: the baseline, and the best or first.

    The best by mean rank, where all have one.
    """
    rows = list(range(len(board.rows)))
    ranks = {i: row.rank.value for i, row in enumerate(board.rows) if row.rank}
    if len(ranks) == len(rows) > MODELS:
        rows.sort(key=lambda i: ranks[i] or 0.0)
    rows.sort(key=lambda i: board.rows[i].name != board.baseline)
    return rows[:MODELS]


def _price(
    board: BoardContent, measure: Measure, measures: Sequence[Measure], workspace: Workspace
) -> dict[str, Any] | None:
    """Agreement and recall of every model on a measure that has both, and its merge curves."""
    if measure.perturbation:
        return None
    entries = [board.results_of(row, measure) for row in board.rows]
    names = dict.fromkeys(name for own in entries for e in own for name in e.result.scores)
    agreement = [name for name in names if name.startswith(_AGREEMENT)]
    recall = [name for name in names if name.startswith("recall@")]
    # Of what means the opposite less is better, which is neither axis.
    agreement, recall = (
        [name for name in found if not name.endswith("/negation")] for found in (agreement, recall)
    )
    if not agreement or not recall:
        return None
    wanted = [*agreement, *recall]
    # A mean over seeds has its interval from the board.
    places = {
        column.score: index
        for index, column in enumerate(board.columns)
        if column.measures == (measure,)
    }
    points = []
    for row, own in zip(board.rows, entries, strict=True):
        point = [_over_seeds([e.result.scores.get(name) for e in own]) for name in wanted]
        for i, name in enumerate(wanted):
            cell = row.cells[places[name]] if name in places else None
            point[i] = _estimate(cell.estimate) if cell else point[i]
        points.append(point if own else None)
    return {
        "measure": measures.index(measure),
        "agreement": agreement,
        "recall": recall,
        "points": points,
        "curves": _curves(workspace.checkpoints, wanted, points),
    }


def _curves(
    folder: Path, names: Sequence[str], points: Sequence[list[list[float | None] | None] | None]
) -> list[dict[str, Any]]:
    """The curves that `merge --sweep` left, of these data.

    A curve does not say on which data it is. It is of these where one of its points is a model's
    here: all scores are the same.
    """
    known = {json.dumps([p and p[0] for p in point]): i for i, point in enumerate(points) if point}
    found = []
    for path in sorted(folder.glob("*-sweep.json")):
        try:
            curve: list[dict[str, Any]] = [
                {
                    "alpha": float(row["alpha"]),
                    "scores": [
                        _estimate(Score(**row[name])) if name in row else None for name in names
                    ],
                }
                for row in parse_json(regular(path).read_text(encoding="utf-8"))
            ]
        # Whatever else has such a name.
        except (OSError, ValueError, TypeError, KeyError, BenchError):
            continue
        for point in curve:
            own = [p and p[0] for p in point["scores"]]
            matches = (
                row
                for key, row in known.items()
                if all(b is None or a == b for a, b in zip(json.loads(key), own, strict=True))
            )
            point["row"] = next(matches, None) if any(own) else None
        if any(point["row"] is not None for point in curve):
            found.append({"name": path.name.removesuffix("-sweep.json"), "points": curve})
    return found


def _parts(
    board: BoardContent, measure: Measure, measures: Sequence[Measure], rows: Sequence[int]
) -> dict[str, Any] | None:
    """Scores by relation or subset, of the models that are shown in detail."""
    details = {}
    for index in rows:
        row = board.rows[index]
        if own := board.results_of(row, measure):
            # What is kept for the board has no parts.
            details[index] = [e.result.details or read(e.path).details for e in own]
    kinds = {kind: None for own in details.values() for found in own for kind in found}
    if not kinds:
        return None
    kind = next(iter(kinds))
    every = [p for own in details.values() for found in own for p in found.get(kind, ())]
    sizes = {p.name: p.n for p in every}
    scores = dict.fromkeys(score for p in every for score in p.scores)
    by_row = {
        i: [{p.name: p for p in found.get(kind, ())} for found in own] for i, own in details.items()
    }
    return {
        "measure": measures.index(measure),
        "kind": kind,
        "scores": list(scores),
        "rows": list(by_row),
        "parts": [
            [
                name,
                n,
                [
                    [
                        _over_seeds([p[name].scores.get(score) if name in p else None for p in own])
                        for score in scores
                    ]
                    for own in by_row.values()
                ],
            ]
            for name, n in sizes.items()
        ],
    }
