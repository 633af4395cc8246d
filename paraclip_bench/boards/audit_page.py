"""An audit as text, as plain data, and as one HTML file with the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paraclip_bench import safe_text
from paraclip_bench.boards.page_examples import thumbnail
from paraclip_bench.evaluation.audit import Audit, AuditedQuery
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.safe_text import counted

# So many images of a ranking are shown as names.
_NAMED = 2
_STYLE = """
:root { color-scheme: light dark; --line: #8885; --out: #c33; --in: #27a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
article { border-top: 1px solid var(--line); padding: .8rem 0; }
article h3 { font-size: 1rem; margin: 0; } article p { margin: .2rem 0; }
ol { display: flex; gap: .4rem; list-style: none; margin: .3rem 0; padding: 0; overflow-x: auto; }
li { flex: 0 0 auto; width: 6.2rem; font-size: .75rem; overflow-wrap: anywhere; }
img { display: block; width: 6rem; height: 6rem; object-fit: contain; background: #8882; }
li.out img { outline: 3px solid var(--out); outline-offset: -3px; }
li.in img { outline: 3px dashed var(--in); outline-offset: -3px; }
"""


def as_data(audits: Sequence[Audit]) -> dict[str, Any]:
    """Everything, scores as fractions, images by name; the least stable queries first."""
    return {
        "audits": [
            {
                "model": audit.model,
                "perturbation": audit.perturbation,
                "k": audit.k,
                "images": len(audit.images),
                "queries_without_other_wording": audit.uncovered,
                **{
                    name: {"value": found.value, "low": found.low, "high": found.high}
                    for name, found in _summary(audit).items()
                },
                "versions": [
                    {"version": version, f"ao@{audit.k}": value, "queries": count}
                    for version, value, count in audit.by_version
                ],
                "queries": [
                    {
                        "query": each.query,
                        f"ao@{audit.k}": each.ao,
                        f"js@{audit.k}": each.js,
                        "same_first": each.same_first,
                        "worst": {
                            "text": each.worst,
                            "version": each.version,
                            f"ao@{audit.k}": each.worst_ao,
                            "images": [audit.images[place].id for place in each.worst_first],
                        },
                        "images": [audit.images[place].id for place in each.first],
                    }
                    for each in audit.queries
                ],
            }
            for audit in audits
        ]
    }


def summary_rows(audits: Sequence[Audit]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two tables, x 100: the models, and each of their wordings."""
    models = [
        {
            "model": audit.model,
            **{
                name: f"{_percent(found.value)} {_interval(found)}".strip()
                for name, found in _summary(audit).items()
            },
            "queries": len(audit.queries),
            **({"not reworded": audit.uncovered} if audit.uncovered else {}),
        }
        for audit in audits
    ]
    wordings = [
        {
            "model": audit.model,
            "wording": version,
            f"ao@{audit.k}": _percent(value),
            "queries": count,
        }
        for audit in audits
        for version, value, count in audit.by_version
    ]
    return models, wordings


def least_stable(audit: Audit, show: int) -> str:
    """So many of the least stable queries, four lines each, their images by name."""
    shown = audit.queries[:show]
    some = f"{len(shown)} of {counted(len(audit.queries), 'query', 'queries')}"
    lines = [f"{safe_text.line(audit.model)}, the least stable ({some}), AO@{audit.k}"]
    for each in shown:
        lines += [
            f"{_percent(each.ao):>6}  {_short(each.query, 70)}",
            f"{_percent(each.worst_ao):>6}  {_short(each.worst, 70)}"
            f" ({safe_text.line(each.version)})",
            f"        left: {_names(audit, each.first, each.worst_first)}",
            f"        came: {_names(audit, each.worst_first, each.first)}",
        ]
    return "\n".join(lines)


def as_page(audits: Sequence[Audit], show: int) -> str:
    """One HTML file that loads nothing: the summary, and so many queries with their images."""
    html = safe_text.html
    known: dict[tuple[int, int], str] = {}
    parts = []
    for number, audit in enumerate(audits):
        heads = "".join(f'<th class="number">{html(name)}</th>' for name in _summary(audit))
        cells = "".join(
            f'<td class="number">{_percent(found.value)} {_interval(found)}</td>'
            for found in _summary(audit).values()
        )
        versions = "".join(
            f'<tr><td>{html(version)}</td><td class="number">{_percent(value)}</td>'
            f'<td class="number">{count:,}</td></tr>'
            for version, value, count in audit.by_version
        )
        shown = "".join(_article(audit, each, number, known) for each in audit.queries[:show])
        without = counted(audit.uncovered, "query", "queries")
        count = counted(len(audit.queries), "query", "queries")
        images = counted(len(audit.images), "image")
        parts.append(
            f"<section><h2>{html(audit.model)}</h2>"
            f"<p>{count} on {images}; {without} without another wording.</p>"
            f'<div class="wide"><table><tr>{heads}</tr><tr>{cells}</tr></table></div>'
            f"<h3>By wording ({html(audit.perturbation)})</h3>"
            f'<div class="wide"><table><tr><th>wording</th><th class="number">ao@{audit.k}</th>'
            f'<th class="number">queries</th></tr>{versions}</table></div>'
            f"<h3>The least stable queries</h3>{shown}</section>"
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<title>How stable is this search?</title><style>{_STYLE}</style></head><body><main>"
        "<h1>How stable is this search?</h1>"
        "<p>Each query was searched as it is and in other words; the first images should be the "
        "same. Scores x 100 with 95% intervals. Nothing here says whether they are right.</p>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _article(
    audit: Audit, each: AuditedQuery, number: int, known: dict[tuple[int, int], str]
) -> str:
    html = safe_text.html
    lists = []
    for first, other, kind, said in (
        (each.first, each.worst_first, "out", "left"),
        (each.worst_first, each.first, "in", "came"),
    ):
        items = []
        for place in first:
            key = (number, place)
            if key not in known:
                known[key] = thumbnail(audit.images[place]) or ""
            name = html(audit.images[place].id)
            moved = place not in other
            picture = f'<img alt="" src="{known[key]}">' if known[key] else ""
            mark = f' class="{kind}"' if moved else ""
            items.append(f"<li{mark}>{picture}{name}{f' ({said})' if moved else ''}</li>")
        lists.append(f'<ol tabindex="0">{"".join(items)}</ol>')
    return (
        f"<article><h3>{html(each.query)}</h3>"
        f"<p>AO@{audit.k} {_percent(each.ao)} over its wordings; first image the same in "
        f"{_percent(each.same_first)}% of them</p>{lists[0]}"
        f"<p><strong>{html(each.worst)}</strong> ({html(each.version)}), AO@{audit.k} "
        f"{_percent(each.worst_ao)}</p>{lists[1]}</article>"
    )


def _summary(audit: Audit) -> dict[str, Estimate]:
    return {
        f"ao@{audit.k}": audit.ao,
        f"js@{audit.k}": audit.js,
        "same first image": audit.same_first,
    }


def _names(audit: Audit, first: Sequence[int], other: Sequence[int]) -> str:
    """The images that one list has and the other has not."""
    names = [_short(audit.images[p].id, 30) for p in first if p not in other]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "") or "none"


def _short(text: str, length: int) -> str:
    return safe_text.cut(safe_text.line(text), length)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
