"""A result beside the numbers that were published for the same model, task, protocol and score."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from paraclip_bench.reference.identity import Identity, identity_of, is_same
from paraclip_bench.reference.published_numbers import (
    PublishedMeasure,
    PublishedScore,
    published_scores,
)
from paraclip_bench.results.schema import DataInfo, Result


def published_for(result: Result) -> list[PublishedScore]:
    """The numbers published for what was measured, on whatever data."""
    identity = identity_of(result.model, result.suite)
    if identity == Identity():
        return []
    keys = {(result.task, result.protocol, score) for score in result.scores}
    return [
        score
        for score in published_scores()
        if score.measure.key in keys and is_same(identity, score.model)
    ]


def is_whole_set(result: Result, measure: PublishedMeasure) -> bool:
    """Whether a result is of as many examples, and as noted, as the published number is."""
    return not _mismatch(result, measure)


def comparison(result: Result, title: str) -> list[str]:
    """A line for each source with numbers for this model: measured, published, difference x 100.

    A score that no rerun can meet has no difference. `title` is how the line begins. Empty for the
    demo suite and for a result with a limit; where the data are not the whole set, the line says
    why and gives no difference.
    """
    if result.suite != "paper" or result.limit is not None:
        return []
    lines = []
    published = published_for(result)
    for (label, _), group in groupby(published, lambda s: (s.source.label, s.model)):
        scores = list(group)
        whole = [score for score in scores if is_whole_set(result, score.measure)]
        if not whole:
            lines.append(
                f"{title}: published {_values(scores)} ({label}) "
                f"{_mismatch(result, scores[0].measure)}; not compared"
            )
            continue
        differences = [text for score in whole if (text := _difference(result, score))]
        if differences:
            remark = data_remark(result.data, whole[0].measure)
            lines.append(f"{title}: {'; '.join(differences)} ({label}; {remark})")
    return lines


def data_remark(data: DataInfo, measure: PublishedMeasure) -> str:
    """How the data of a result are known to differ from the published number's, or may."""
    theirs, ours = measure.dataset_revision, data.revision
    if theirs is None:
        return "the revision of its data is not published"
    if ours == theirs:
        return f"the same data, {measure.dataset} @ {theirs[:7]}"
    these = f"these of a {data.source}" if ours is None else f"these @ {ours[:7]}"
    return f"its data are {measure.dataset} @ {theirs[:7]}, {these}; they may differ"


def _mismatch(result: Result, measure: PublishedMeasure) -> str:
    """How a result's data are known not to be the whole set, or nothing where they may be."""
    if result.n != measure.n:
        return f"on the whole set of {measure.n}, which these data are not"
    for name, theirs in measure.notes.items():
        if (ours := result.data.notes.get(name)) != theirs:
            noted = "not noted" if ours is None else ours
            return f"on data whose {name.replace('_', ' ')} are {theirs}, here {noted}"
    return ""


def _values(scores: Iterable[PublishedScore]) -> str:
    return ", ".join(
        f"{score.measure.score} {100 * score.value:.2f}"
        + (" (derived)" if score.measure.mean_of else "")
        for score in scores
    )


def _difference(result: Result, score: PublishedScore) -> str:
    """Both values, x 100, and their difference, unless no rerun can be of the same texts."""
    measure = score.measure
    value = result.scores[measure.score].value
    if value is None:
        return ""
    both = f"{measure.score} {100 * value:.2f}, published {100 * score.value:.2f}"
    if not measure.reproducible:
        return f"{both}, {measure.remark}: compare roughly"
    change = round(100 * (value - score.value), 2) + 0.0  # no minus before 0.00
    apart = measure.tolerance and f" (two sources agree to {100 * measure.tolerance:.2f})"
    return f"{both}{f' ({measure.remark})' if measure.remark else ''}, {change:+.2f}{apart or ''}"
