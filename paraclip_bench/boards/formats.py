"""A board as Markdown, LaTeX or HTML, x 100, and as CSV, JSON or a data frame, as fractions."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from paraclip_bench import safe_text
from paraclip_bench.boards.content import (
    BoardContent,
    about_view,
    bounds,
    caveats,
    cells_of,
    difference,
    holds,
    legend,
    percent,
    rank,
    verdict,
)
from paraclip_bench.boards.estimates import BETTER, WORSE
from paraclip_bench.boards.selection import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def markdown(board: BoardContent) -> str:
    """A Markdown table with its legend and what was left out."""
    heads = ["model", *board.ranks]
    heads += [f"{c.title} {c.score}" for c in board.columns]
    lines = [
        f"### {safe_text.markdown(board.title)}",
        "",
        *([safe_text.markdown(board.caption), ""] if board.caption else []),
        "| " + " | ".join(safe_text.markdown(head) for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for at, row in enumerate(board.rows):
        shown = [safe_text.markdown(row.name), *(rank(r[at]) for r in board.ranks.values())]
        for cell in row.cells:
            if cell is None:
                shown.append("–")
                continue
            value = percent(cell.estimate.value, board.precision)
            if cell.best or cell.tied:
                value = f"**{value}**" if cell.best else f"<ins>{value}</ins>"
            parts = [value, bounds(cell.estimate, board.precision)]
            text = " ".join(part for part in parts if part)
            change = difference(cell, board.precision)
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


def _published_lines(board: BoardContent) -> list[str]:
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
        shown = [percent(cell.value if cell else None, board.precision) for cell in cells]
        lines.append("| " + " | ".join([safe_text.markdown(row.label), *shown]) + " |")
    return lines


def as_csv(board: BoardContent) -> str:
    """One row a model; per score its value, interval, and difference to the baseline.

    seeds: of how many checkpoints a row is the mean; empty for published rows.
    Where published rows were asked for, the last column names their source, empty for our own. A
    view has its ranks behind the scores.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["suite", "model", "dtype", "fingerprint", "seeds"]
    for column in board.columns:
        name = safe_text.csv_cell(f"{column.title}/{column.score}")
        head += [
            name,
            *(f"{name}/{part}" for part in ("low", "high", "diff", "diff_low", "diff_high")),
        ]
    with_source = board.published is not None
    ranks = {} if board.view is None else board.ranks
    head += [name + end for name in ranks for end in ("", "/low", "/high")]
    writer.writerow([*head, "published"] if with_source else head)
    for at, row in enumerate(board.rows):
        name = safe_text.csv_cell(row.name)
        about = [safe_text.csv_cell(text) for text in (row.dtype, row.fingerprint)]
        fields: list[object] = [board.suite, name, *about, row.seeds]
        for cell in row.cells:
            for estimate in (None, None) if cell is None else (cell.estimate, cell.difference):
                if estimate is None:
                    fields += ["", "", ""]
                else:
                    fields += [estimate.value, estimate.low, estimate.high]
        for own in (each[at] for each in ranks.values()):
            fields += [""] * 3 if own is None else [own.value, own.low, own.high]
        writer.writerow([*fields, ""] if with_source else fields)
    for published in board.published or ():
        fields = [board.suite, safe_text.csv_cell(published.name), "", "", ""]
        for number in published.cells:
            fields += ["" if number is None else number.value, "", "", "", "", ""]
        fields += [""] * 3 * len(ranks)
        writer.writerow([*fields, f"{published.source} @ {published.commit}"])
    return buffer.getvalue()


TIDY = (
    *("suite", "model", "dtype", "fingerprint", "seeds"),
    *("family", "task", "protocol", "column", "score"),
    *("data_sha256", "lower_is_better", "value", "low", "high", "method", "best", "tied"),
    *("baseline", "difference", "difference_low", "difference_high", "p", "p_adjusted", "verdict"),
    *("smallest_difference", "published"),
)
"""The columns of the tidy form."""


def tidy_columns(board: BoardContent) -> tuple[str, ...]:
    """The columns of a board's tidy form: those of a view also say what reworded, and its ranks."""
    if board.view is None:
        return TIDY
    ranks = (name.replace(" ", "_") for name in board.ranks)
    return (*TIDY, "perturbation", "counts", *ranks)


def tidy(board: BoardContent) -> list[dict[str, object]]:
    """One row a model and score; published rows name their source, which ours leave empty.

    A group's mean has no protocol and no data of its own. Scores are fractions.
    """
    columns = tidy_columns(board)
    rows: list[dict[str, object]] = []
    about: list[dict[str, object]] = []
    for column in board.columns:
        measure = None if column.is_group else column.measures[0]
        about.append(
            {
                "suite": board.suite,
                "family": column.family,
                "task": measure.task if measure else column.family,
                "protocol": measure.protocol if measure else None,
                "column": column.title,
                "score": column.score,
                "data_sha256": measure.sha256 if measure else None,
                "lower_is_better": column.lower_is_better if column.is_judged else None,
                "perturbation": column.measures[0].perturbation or None,
                "counts": column.is_judged,
            }
        )
    for at, row in enumerate(board.rows):
        ranks = {name.replace(" ", "_"): own[at] for name, own in board.ranks.items()}
        named = {"model": row.name, "dtype": row.dtype, "fingerprint": row.fingerprint}
        for of_column, cell in zip(about, row.cells, strict=True):
            if cell is None:
                continue
            found = {**of_column, **named, **dataclasses.asdict(cell.estimate)}
            found |= {name: None if own is None else own.value for name, own in ranks.items()}
            found |= {
                "seeds": cell.seeds,
                "best": cell.best,
                "tied": cell.tied,
                "baseline": board.baseline,
            }
            if (change := cell.difference) is not None:
                found |= {
                    "difference": change.value,
                    "difference_low": change.low,
                    "difference_high": change.high,
                    "p": change.p,
                    "p_adjusted": change.adjusted,
                    "verdict": change.verdict or None,
                    "smallest_difference": change.smallest,
                }
            rows.append({name: found.get(name) for name in columns})
    for published in board.published or ():
        source = f"{published.source} @ {published.commit}"
        for of_column, number in zip(about, published.cells, strict=True):
            if number is not None:
                found = {**of_column, "model": published.name, "value": number.value}
                found |= {"published": source, "data_sha256": None}
                rows.append({name: found.get(name) for name in columns})
    return rows


def tidy_csv(board: BoardContent) -> str:
    """The tidy form as CSV; what is not known is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, tidy_columns(board), lineterminator="\n")
    writer.writeheader()
    for row in tidy(board):
        writer.writerow(
            {
                name: safe_text.csv_cell(value) if isinstance(value, str) else value
                for name, value in row.items()
            }
        )
    return buffer.getvalue()


def latex(board: BoardContent) -> str:
    """A table of LaTeX for the booktabs package, scores x 100.

    Bold is the best of a column; underlined is what cannot be told from it. A star and a dagger
    mark what is better and worse than the baseline.
    """
    marks = {BETTER: r"\textsuperscript{*}", WORSE: r"\textsuperscript{\dag}"}
    titles = [column.title for column in board.columns]
    ranks = {} if board.view is None else board.ranks
    place, rules, heads = 2 + len(ranks), list[str](), [""] * len(ranks)
    families = [""] * len(ranks)
    for family, indices in board.families.items() if board.view is not None else ():
        families.append(rf"\multicolumn{{{len(indices)}}}{{c}}{{{safe_text.latex(family)}}}")
    for title, same in itertools.groupby(titles):
        count = len(list(same))
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{safe_text.latex(title)}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    scores = [safe_text.latex(name) for name in (*ranks, *(c.score for c in board.columns))]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * len(scores)}}}",
        r"\toprule",
        *([" & ".join(["", *families]) + r" \\"] if board.view is not None else []),
        " & ".join(["", *heads]) + r" \\",
        " ".join(rules),
        " & ".join(["model", *scores]) + r" \\",
        r"\midrule",
    ]
    for at, row in enumerate(board.rows):
        shown = [safe_text.latex(row.name)]
        found = [own[at] for own in ranks.values()]
        shown += ["--" if each is None else safe_text.latex(rank(each)) for each in found]
        for cell in row.cells:
            if cell is None or cell.estimate.value is None:
                shown.append("--")
                continue
            value = percent(cell.estimate.value, board.precision)
            if cell.best or cell.tied:
                value = rf"\{'textbf' if cell.best else 'underline'}{{{value}}}"
            verdict = cell.difference.verdict if cell.difference else ""
            shown.append(value + marks.get(verdict, ""))
        lines.append(" & ".join(shown) + r" \\")
    about = ["Scores x 100. Bold: best of a column; underlined: cannot be told from it."]
    own = (board.caption or "").strip()
    text = safe_text.latex(own if own.endswith((".", "!", "?")) or not own else f"{own}.") + " "
    text += safe_text.latex(" ".join(about))
    if board.baseline is not None:
        name = safe_text.latex(board.baseline)
        text += rf" *: better than {name}; \dag: worse. {safe_text.latex(holds(board))}"
    said = [*about_view(board), *caveats(board)]
    text += safe_text.latex("".join(f" {sentence}" for sentence in said))
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{text}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


# How a value was had and is shown, and files of this machine: no data for others.
_NOT_DATA = {"precision", "caption", "entries", "members"}
_OF_COLUMNS = [
    f.name for f in dataclasses.fields(Column) if f.name not in ("is_computed", "is_judged")
]


def as_json(board: BoardContent) -> str:
    """The whole board, scores as fractions: a line a field, and of a list a line each."""
    fields = []
    for name in (field.name for field in dataclasses.fields(board)):
        value = getattr(board, name)
        if name in _NOT_DATA or (name == "view" and value is None):
            continue
        if name == "columns":
            value = [_column_fields(board, each) for each in value]
        text = _json(value)
        if value and isinstance(value, list | tuple):
            text = "[\n  " + ",\n  ".join(map(_json, value)) + "\n ]"
        fields.append(f" {_json(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _column_fields(board: BoardContent, column: Column) -> dict[str, Any]:
    """What JSON has of a column; of a view's also what reworded it, and whether it counts."""
    found = {field: getattr(column, field) for field in _OF_COLUMNS}
    found["measures"] = [measure[:3] for measure in column.measures]
    if board.view is not None:
        found["perturbation"] = column.measures[0].perturbation or None
        found["counts"] = column.is_judged
    return found


def _json(value: Any) -> str:
    # Some ten times as fast as the standard library; file names may hold what it refuses.
    return json.dumps(value) if isinstance(value, str) else to_json(value).decode()


def html_table(board: BoardContent) -> str:
    """The board as an HTML table, for a notebook: values with intervals, the best in bold."""
    text = safe_text.html
    heads = "".join(
        f"<th colspan={len(list(same))}>{text(title)}</th>"
        for title, same in itertools.groupby(column.title for column in board.columns)
    )
    scores = "".join(f"<th>{text(column.score)}</th>" for column in board.columns)
    body = []
    for at, row in enumerate(board.rows):
        cells = [f"<th>{text(row.name)}</th>"]
        cells += [f"<td>{rank(own[at])}</td>" for own in board.ranks.values()]
        for cell in row.cells:
            if cell is None:
                cells.append("<td>–</td>")
                continue
            value = percent(cell.estimate.value, board.precision)
            if cell.best or cell.tied:
                value = f"<b>{value}</b>" if cell.best else f"<u>{value}</u>"
            lines = [f"{value} {bounds(cell.estimate, board.precision)}".strip()]
            if change := difference(cell, board.precision):
                assert cell.difference is not None
                lines.append(f"{change} {cell.difference.verdict}".strip())
            cells.append(f"<td>{'<br>'.join(lines)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    ranks = board.ranks
    families = "".join(
        f"<th colspan={len(own)}>{text(family)}</th>" for family, own in board.families.items()
    )
    rank_heads = "".join(f"<th>{text(name)}</th>" for name in ranks)
    top = "" if board.view is None else f"<tr><th></th>{'<th></th>' * len(ranks)}{families}</tr>"
    caption = board.caption or board.title
    return (
        f"<table><caption>{text(caption)}</caption><thead>{top}"
        f"<tr><th></th>{'<th></th>' * len(ranks)}{heads}</tr>"
        f"<tr><th>model</th>{rank_heads}{scores}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table><p>{text(legend(board))}</p>"
    )


def plot(board: BoardContent) -> Figure:
    """A forest plot: a row a score, a mark a model, with 95% intervals, x 100.

    Of differences to the baseline where there are any, else of values.
    """
    from matplotlib.figure import Figure

    is_apart = any(cell.difference is not None for cell in cells_of(board))
    models = [
        row for row in board.rows if not is_apart or any(c and c.difference for c in row.cells)
    ]
    height = 1.2 + len(board.columns) * max(0.3, 0.14 * len(models))
    figure = Figure(figsize=(7, height), layout="constrained")
    axes: Any = figure.subplots()
    step = 0.8 / max(len(models), 1)
    for number, row in enumerate(models):
        xs, ys, errors = list[float](), list[float](), list[tuple[float, float]]()
        for place, cell in enumerate(row.cells):
            found = cell and (cell.difference if is_apart else cell.estimate)
            if not found or found.value is None:
                continue
            low = found.value if found.low is None else found.low
            high = found.value if found.high is None else found.high
            xs.append(100 * found.value)
            ys.append(place - 0.4 + step * (number + 0.5))
            errors.append((100 * (found.value - low), 100 * (high - found.value)))
        if xs:
            sides = list(zip(*errors, strict=True))
            axes.errorbar(
                xs,
                ys,
                xerr=sides,
                fmt="o",
                markersize=4,
                capsize=2,
                linewidth=1,
                label=_no_math(row.name),
            )
    axes.set_yticks(
        range(len(board.columns)),
        [_no_math(f"{column.title} {column.score}") for column in board.columns],
    )
    axes.invert_yaxis()
    if is_apart:
        axes.axvline(0, color="grey", linewidth=0.8)
    name = _no_math(board.baseline or "")
    axes.set_xlabel(f"difference to {name}, points (95% interval)" if is_apart else "score x 100")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if models:
        figure.legend(loc="outside upper center", ncols=min(len(models), 3), fontsize=8)
    return figure


def _no_math(text: str) -> str:
    """Foreign text for matplotlib, which reads what stands between dollars as a formula."""
    return safe_text.line(text).replace("$", r"\$")
