"""What a file of pairs is like: lengths, how many words change at a step, tokens, examples.

For the terminal, as JSON, or as one HTML page with its plots in it.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraclip_bench import safe_text
from paraclip_bench.errors import DataError
from paraclip_bench.files import parse_json
from paraclip_bench.paraphrasing.export import report_file
from paraclip_bench.paraphrasing.pairs_file import TEXTS, first_text, read_pairs
from paraclip_bench.paraphrasing.wording import content_words, units, word_count

# Which views are compared, and what the comparison is called.
OVERLAPS = {"T, T'": (0, 1), "T', T''": (1, 2), "T, T''": (0, 2)}
VIEWS = ("T", "T'", "T''")
PARAPHRASES = {name: places for name, places in OVERLAPS.items() if places[0] == 0}
BINS = 20
_LONGEST = 40


@dataclass
class Statistics:
    """Sums over rows. Overlaps are histograms of 20 bins from 0 to 1, lengths one bin a word."""

    rows: int = 0
    images: int = 0
    lengths: list[Counter[int]] = field(default_factory=lambda: [Counter() for _ in VIEWS])
    overlaps: dict[str, Counter[int]] = field(
        default_factory=lambda: {name: Counter() for name in OVERLAPS}
    )
    overlap_sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OVERLAPS, 0.0))
    # Paraphrases without a content word of their caption: in other words, or of something else.
    unlike: Counter[str] = field(default_factory=Counter)
    word_sums: list[int] = field(default_factory=lambda: [0] * len(VIEWS))
    # Rows with a negation, its words, and those that are not the caption's, or the caption's alone.
    negations: int = 0
    negation_words: int = 0
    negation_changes: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    examples: list[list[str]] = field(default_factory=list)
    report: dict[str, Any] | None = None

    @property
    def views(self) -> tuple[str, ...]:
        """What the texts of an example are: T, T', T'', and its negation where rows have one."""
        return (*VIEWS, "not T") if self.negations else VIEWS

    def mean_length(self, view: int) -> float:
        """Words a text."""
        return self.word_sums[view] / max(1, self.rows)

    def mean_overlap(self, name: str) -> float:
        """Mean of `overlap`."""
        return self.overlap_sums[name] / max(1, self.rows)


def overlap(one: Iterable[str], two: Iterable[str]) -> float:
    """Jaccard index of two sets of words, in [0, 1]; 1 where both are empty."""
    left, right = set(one), set(two)
    return len(left & right) / len(left | right) if left | right else 1.0


def statistics(path: Path, *, examples: int = 5) -> Statistics:
    """Read a file of pairs once; of several paraphrases the first counts.

    Examples are those rows that come first by a digest, so that they do not change with the order.
    An example without a negation, in a file with some, has an empty text for it.
    """
    found = Statistics()
    best: list[tuple[bytes, list[str], str]] = []
    for row in read_pairs(path):
        texts = [first_text(row[key]) for key in TEXTS]
        several = [units(text) for text in texts]
        content = [content_words(text) for text in texts]
        found.rows += 1
        found.images += row.get("image") is not None
        for view, text in enumerate(texts):
            length = word_count(text)
            found.word_sums[view] += length
            found.lengths[view][min(length, _LONGEST)] += 1
        for name, (one, two) in PARAPHRASES.items():
            found.unlike[name] += bool(content[one]) and not content[one] & content[two]
        for name, (one, two) in OVERLAPS.items():
            value = overlap(several[one], several[two])
            found.overlap_sums[name] += value
            found.overlaps[name][min(int(value * BINS), BINS - 1)] += 1
        negation = first_text(row["negation"]) if row.get("negation") else ""
        if negation:
            found.negations += 1
            found.negation_words += word_count(negation)
            asked, said = Counter(several[0]), Counter(units(negation))
            found.negation_changes += ((asked - said) + (said - asked)).total()
        usage = row.get("usage")
        for name, count in usage.items() if isinstance(usage, dict) else ():
            found.tokens[name] += count if type(count) is int else 0
        best.append((hashlib.sha256("\n".join(texts).encode()).digest(), texts, negation))
        if len(best) > 100 * examples:
            best = sorted(best)[:examples]
    found.examples = [
        [*texts, negation] if found.negations else texts
        for _, texts, negation in sorted(best)[:examples]
    ]
    report = report_file(path)
    if report.is_file():
        try:
            found.report = dict(parse_json(report.read_bytes()))
            # Whatever it lacks is lacking when it is shown.
            tables(found)
            tokens_of(found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{report} is damaged ({error}); run paraphrase again, which writes it"
            ) from error
    return found


Table = tuple[str, list[tuple[str, str]]]


def tables(found: Statistics, *, prices: tuple[float, float] | None = None) -> list[Table]:
    """(heading, rows of name and value). prices are a million tokens' of prompt and of answer."""
    told: list[Table] = []
    report = found.report
    if report is not None:
        made, read = report["made_with"], report["input"]
        rows = [("captions in the input", f"{read['rows']:,}"), ("kept", f"{read['kept']:,}")]
        rows += [(f"left out: {name}", f"{count:,}") for name, count in read["left_out"].items()]
        told.append(("Input", rows))
        rows = [(f"rows {name}", f"{count:,}") for name, count in report["rows"].items()]
        if "rows_with_a_negation" in report:
            rows.append(("rows with a negation", f"{report['rows_with_a_negation']:,}"))
        rows += [
            (f"unfit: {name}", f"{count:,}") for name, count in report["unfit_answers"].items()
        ]
        rows += [
            (f"of the last run: {name.replace('_', ' ')}", f"{count:,}")
            for name, count in (report.get("requests") or {}).items()
            if isinstance(count, int)
        ]
        told.append(("Answers", [("answers", f"{report['answers']:,}"), *rows]))
        answered = ", ".join(f"{name} ({n:,})" for name, n in made["answered_by"].items())
        hashes = ", ".join(made["prompt_hashes"].values())
        sampling = ", ".join(f"{k} {v}" for k, v in made["sampling"].items())
        told.append(
            (
                "Made with",
                [
                    ("model asked for", str(made["llm"])),
                    ("answered by", answered),
                    ("prompts", hashes),
                    ("sampling", sampling or "the service's own"),
                ],
            )
        )
    rows = [("rows", f"{found.rows:,}"), ("rows with an image", f"{found.images:,}")]
    rows += [(f"words of {view}", f"{found.mean_length(i):.1f}") for i, view in enumerate(VIEWS)]
    rows += [(f"words in common, {name}", f"{found.mean_overlap(name):.2f}") for name in OVERLAPS]
    rows += [
        (f"no content word in common, {n}", safe_text.counted(found.unlike[n], "row"))
        for n in PARAPHRASES
    ]
    if found.negations:
        negations = found.negations
        rows += [
            ("rows with a negation", f"{negations:,}"),
            ("words of the negation", f"{found.negation_words / negations:.1f}"),
            ("words changed by it", f"{found.negation_changes / negations:.1f}"),
        ]
    told.append(("Pairs (means)", rows))
    tokens = tokens_of(found)
    if any(tokens.values()):
        rows = [(f"{name} tokens", f"{count:,}") for name, count in tokens.items()]
        if prices is not None:
            cost = (tokens["prompt"] * prices[0] + tokens["completion"] * prices[1]) / 1e6
            rows.append(("cost at the prices given", f"{cost:,.2f}"))
        told.append(("Tokens", rows))
    return told


def tokens_of(found: Statistics) -> dict[str, int]:
    """Tokens of prompts and of answers, those of dropped rows too where the report knows them."""
    known = (found.report or {}).get("tokens") or {
        name.removesuffix("_tokens"): count for name, count in found.tokens.items()
    }
    return {name: int(known.get(name, 0)) for name in ("prompt", "completion")}


def as_json(found: Statistics) -> dict[str, Any]:
    """The same figures for programs."""
    return {
        "rows": found.rows,
        "rows_with_image": found.images,
        "mean_words": {view: found.mean_length(i) for i, view in enumerate(VIEWS)},
        "mean_overlap": {name: found.mean_overlap(name) for name in OVERLAPS},
        "no_content_word_in_common": {name: found.unlike[name] for name in PARAPHRASES},
        **({"rows_with_a_negation": found.negations} if found.negations else {}),
        "tokens": tokens_of(found),
        "examples": found.examples,
        "run": found.report,
    }


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
    parts = [f"<h1>{safe_text.html(title)}</h1>"]
    for heading, rows in tables:
        cells = "".join(
            f"<tr><td>{safe_text.html(name)}</td>"
            f"<td class='number'>{safe_text.html(value)}</td></tr>"
            for name, value in rows
        )
        parts.append(f"<h2>{safe_text.html(heading)}</h2><table>{cells}</table>")
    parts.append(f"<h2>Lengths and overlap</h2>{_plots(found)}")
    rows_of = "".join(
        "<tr>" + "".join(f"<td>{safe_text.html(text)}</td>" for text in texts) + "</tr>"
        for texts in found.examples
    )
    head = "".join(f"<th>{safe_text.html(view)}</th>" for view in found.views)
    parts.append(f"<h2>Examples</h2><table><tr>{head}</tr>{rows_of}</table>")
    for step, template in ((found.report or {}).get("made_with", {}).get("prompts", {})).items():
        name = f"step {step}" if step.isdigit() else step
        parts.append(f"<h2>Prompt of {safe_text.html(name)}</h2><pre>{_block(template)}</pre>")
    body = "\n".join(parts)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{safe_text.html(title)}</title><style>{_STYLE}</style></head><body>{body}"
        "</body></html>\n"
    )


def _block(text: str) -> str:
    """Text of several lines for HTML."""
    return "\n".join(map(safe_text.html, text.splitlines()))


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
