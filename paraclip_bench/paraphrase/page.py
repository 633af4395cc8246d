"""The report of a file of pairs as one HTML page with its plots in it."""

from __future__ import annotations

import html
import io
from typing import Any

from paraclip_bench.paraphrase.statistics import BINS, VIEWS, Statistics

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2129; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid #e3e5ea; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f5f6f8; padding: .8rem; white-space: pre-wrap; }
svg { max-width: 100%; height: auto; } .note { color: #5a6270; }
"""


def page(title: str, tables: list[tuple[str, list[tuple[str, str]]]], found: Statistics) -> str:
    """HTML without anything from outside; tables are (heading, rows of name and value)."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for heading, rows in tables:
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td class='number'>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        parts.append(f"<h2>{html.escape(heading)}</h2><table>{cells}</table>")
    parts.append(f"<h2>Lengths and overlap</h2>{_plots(found)}")
    rows_of = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in texts) + "</tr>"
        for texts in found.examples
    )
    head = "".join(f"<th>{html.escape(view)}</th>" for view in VIEWS)
    parts.append(f"<h2>Examples</h2><table><tr>{head}</tr>{rows_of}</table>")
    for step, template in ((found.report or {}).get("made_with", {}).get("prompts", {})).items():
        parts.append(f"<h2>Prompt of step {step}</h2><pre>{html.escape(template)}</pre>")
    body = "\n".join(parts)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{body}"
        "</body></html>\n"
    )


def _plots(found: Statistics) -> str:
    """Two plots side by side, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    total = max(1, found.rows)
    for view, counts in zip(VIEWS, found.lengths, strict=True):
        longest = max(counts, default=1)
        lengths = range(1, longest + 1)
        left.plot(lengths, [100 * counts[n] / total for n in lengths], label=view, linewidth=2)
    left.set(xlabel="words of a text", ylabel="% of rows")
    for name, counts in found.overlaps.items():
        middles = [(i + 0.5) / BINS for i in range(BINS)]
        shares = [100 * counts[i] / total for i in range(BINS)]
        right.plot(middles, shares, label=name, linewidth=2)
    right.set(xlabel="words in common (Jaccard index)", ylabel="% of rows", xlim=(0, 1))
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    drawn: Any = io.StringIO()
    # Without the date the same rows give the same page.
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text: str = drawn.getvalue()
    return text[text.index("<svg") :]
