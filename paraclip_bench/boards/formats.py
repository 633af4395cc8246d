"""A board as Markdown, CSV or JSON: scores x 100 in Markdown, fractions in the others."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json

from paraclip_bench import safe_text
from paraclip_bench.boards.board import Board, bounds, difference, holds, legend, percent, verdict
from paraclip_bench.boards.estimates import BETTER, WORSE


def markdown(board: Board) -> str:
    """A Markdown table with its legend and what was left out."""
    heads = ["model", *(f"{c.title} {c.score}" for c in board.columns)]
    lines = [
        f"### Leaderboard, suite {board.suite}",
        "",
        "| " + " | ".join(safe_text.markdown(head) for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in board.rows:
        shown = [safe_text.markdown(row.name)]
        for cell in row.cells:
            if cell is None:
                shown.append("–")
                continue
            value = percent(cell.estimate.value)
            parts = [f"**{value}**" if cell.best else value, bounds(cell.estimate)]
            text = " ".join(part for part in parts if part)
            change = difference(cell)
            shown.append(f"{text}<br>{change}" if change else text)
        lines.append("| " + " | ".join(shown) + " |")
    if board.published:
        lines += ["", "#### Published, not measured here", "", *_published_lines(board)]
    lines += ["", safe_text.markdown(" ".join([legend(board), *verdict(board)]))]
    lines += [f"\nNote: {safe_text.markdown(note)}." for note in board.notes]
    if board.left_out:
        lines += [
            "",
            "Left out:",
            *(f"- {safe_text.markdown(reason)}" for reason in board.left_out),
        ]
    return "\n".join(lines) + "\n"


def _published_lines(board: Board) -> list[str]:
    """A Markdown table of the published rows, with the columns that they have numbers for."""
    rows = board.published or ()
    used = [i for i in range(len(board.columns)) if any(row.cells[i] for row in rows)]
    heads = ["model (published by)"]
    heads += [f"{board.columns[i].title} {board.columns[i].score}" for i in used]
    lines = [
        "| " + " | ".join(safe_text.markdown(head) for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in rows:
        cells = [row.cells[i] for i in used]
        shown = [percent(cell.value if cell else None) for cell in cells]
        lines.append("| " + " | ".join([safe_text.markdown(row.label), *shown]) + " |")
    return lines


def as_csv(board: Board) -> str:
    """One row a model; per score its value, interval, and difference to the baseline.

    Where published rows were asked for, the last column names their source, empty for our own.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["suite", "model", "dtype", "fingerprint"]
    for column in board.columns:
        name = safe_text.csv_cell(f"{column.title}/{column.score}")
        head += [
            name,
            *(f"{name}/{part}" for part in ("low", "high", "diff", "diff_low", "diff_high")),
        ]
    with_source = board.published is not None
    writer.writerow([*head, "published"] if with_source else head)
    for row in board.rows:
        name = safe_text.csv_cell(row.name)
        about = [safe_text.csv_cell(text) for text in (row.dtype, row.fingerprint)]
        fields: list[object] = [board.suite, name, *about]
        for cell in row.cells:
            for estimate in (None, None) if cell is None else (cell.estimate, cell.difference):
                if estimate is None:
                    fields += ["", "", ""]
                else:
                    fields += [estimate.value, estimate.low, estimate.high]
        writer.writerow([*fields, ""] if with_source else fields)
    for published in board.published or ():
        fields = [board.suite, safe_text.csv_cell(published.name), "", ""]
        for number in published.cells:
            fields += ["" if number is None else number.value, "", "", "", "", ""]
        writer.writerow([*fields, f"{published.source} @ {published.commit}"])
    return buffer.getvalue()


def latex(board: Board, *, precision: int = 1, caption: str | None = None) -> str:
    """A table of LaTeX for the booktabs package, scores x 100 with `precision` decimals.

    Bold is the best of a column; underlined is what cannot be told from it. A star and a dagger
    mark what is better and worse than the baseline.
    """
    marks = {BETTER: r"\textsuperscript{*}", WORSE: r"\textsuperscript{\dag}"}
    titles = [column.title for column in board.columns]
    place, rules, heads = 2, list[str](), list[str]()
    for title, same in itertools.groupby(titles):
        count = len(list(same))
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{safe_text.latex(title)}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    scores = [safe_text.latex(column.score) for column in board.columns]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * len(board.columns)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        " ".join(rules),
        " & ".join(["model", *scores]) + r" \\",
        r"\midrule",
    ]
    for row in board.rows:
        shown = [safe_text.latex(row.name)]
        for cell in row.cells:
            if cell is None or cell.estimate.value is None:
                shown.append("--")
                continue
            value = f"{100 * cell.estimate.value:.{precision}f}"
            if cell.best or cell.tied:
                value = rf"\{'textbf' if cell.best else 'underline'}{{{value}}}"
            verdict = cell.difference.verdict if cell.difference else ""
            shown.append(value + marks.get(verdict, ""))
        lines.append(" & ".join(shown) + r" \\")
    about = ["Scores x 100. Bold: best of a column; underlined: cannot be told from it."]
    text = "" if caption is None else safe_text.latex(caption) + " "
    text += safe_text.latex(" ".join(about))
    if board.baseline is not None:
        name = safe_text.latex(board.baseline)
        text += rf" *: better than {name}; \dag: worse. {safe_text.latex(holds(board))}"
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{text}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def as_json(board: Board) -> str:
    """The whole board, scores as fractions."""
    whole = dataclasses.asdict(dataclasses.replace(board, entries={}))
    del whole["entries"]  # files of this machine
    for column in whole["columns"]:
        del column["is_computed"]  # how a value was had, which nobody else needs
    return json.dumps(whole, indent=1) + "\n"
