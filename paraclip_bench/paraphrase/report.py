"""The report of a file of pairs: tables for the terminal and for a page, or JSON."""

from __future__ import annotations

from typing import Any

from paraclip_bench.paraphrase.statistics import OVERLAPS, VIEWS, Statistics

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
        rows += [
            (f"unfit: {name}", f"{count:,}") for name, count in report["unfit_answers"].items()
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
        "tokens": tokens_of(found),
        "examples": found.examples,
        "run": found.report,
    }
