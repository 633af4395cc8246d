"""How stable is a search? The first images of each query against those of its other wordings.

For a user's own images and queries, without labels: nothing says whether what is found is right. A
model that ignores the query is perfectly stable, so an audit never stands for a measure of recall.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.gallery import in_order
from paraclip_bench.data.images import ImageRef, is_image_name
from paraclip_bench.data.row_files import read_text
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import DataError, ModelError, UsageError
from paraclip_bench.metrics.agreement import average_overlap, jaccard, overlaps
from paraclip_bench.metrics.inference import Estimate, estimate
from paraclip_bench.metrics.metric import Columns, Floats, MeanOf, Metric
from paraclip_bench.metrics.ranking import retrieve
from paraclip_bench.models.adapter import Model
from paraclip_bench.progress import Progress
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.perturbation import Perturbation, rewordings


@dataclasses.dataclass(frozen=True)
class AuditedQuery:
    """A query under its other wordings.

    ao, js: the mean over wordings of AO@k and JS@k with the query's own first places. same_first:
    the share of wordings whose first image is the query's. worst: the wording that agrees least,
    its version and its AO@k. first, worst_first: places of the first k images, in the gallery.
    """

    query: str
    ao: float
    js: float
    same_first: float
    worst: str
    version: str
    worst_ao: float
    first: tuple[int, ...]
    worst_first: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Audit:
    """One model's search.

    queries: those that have another wording, the least stable first; uncovered: how many have none.
    ao, js, same_first: means over queries with 95% intervals; by_version: mean AO@k of each version
    and how many queries it rewords.
    """

    model: str
    perturbation: str
    k: int
    images: tuple[ImageRef, ...]
    queries: tuple[AuditedQuery, ...]
    uncovered: int
    ao: Estimate
    js: Estimate
    same_first: Estimate
    by_version: tuple[tuple[str, float, int], ...]


def read_queries(path: Path) -> list[str]:
    """The distinct queries of a text file, one a line; `DataError` where there are none."""
    lines = (line.strip() for line in read_text(path).splitlines())
    queries = list(dict.fromkeys(line for line in lines if line))
    if not queries:
        raise DataError(f"{path} holds no queries; write one a line")
    return queries


def images_below(folder: Path, least: int) -> list[ImageRef]:
    """The images in a folder and in its folders, in order of their names' bytes, at least so many.

    Raises `UsageError` for what is no folder, `DataError` for too few, or a name not in UTF-8.
    """
    if not folder.is_dir():
        raise UsageError(f"--images {folder} is no folder; name the one with the images")
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(place) / name
            if is_image_name(name) and path.is_file():
                found.append(ImageRef(id=str(path.relative_to(folder)), path=path))
    if len(found) < least:
        raise DataError(
            f"{folder} has {counted(len(found), 'image')}, and a top {least} needs {least}; "
            "give more images, or a smaller -k"
        )
    return in_order(found, str(folder))


def audit(
    model: Model,
    images: Sequence[ImageRef],
    queries: Sequence[str],
    perturbation: Perturbation,
    progress: Progress,
    *,
    k: int = 10,
) -> Audit:
    """Search for every query and for its other wordings, and compare the first k images.

    Raises `ModelError` for a model of one side, `DataError` where no query has another wording.
    """
    for side in ("text", "image"):
        if model.encoder(side) is None:
            raise ModelError(f"{model.name} has no {side} encoder, so it cannot search images")
    wordings = {}
    for version in perturbation.versions:
        reworded = rewordings(perturbation, version)
        wordings[version] = {
            place: other
            for place, query in enumerate(queries)
            if (other := reworded(query)) is not None and other != query
        }
    wordings = {version: found for version, found in wordings.items() if found}
    covered = sorted({place for found in wordings.values() for place in found})
    if not covered:
        raise DataError(
            f"{perturbation.name} has another wording of none of the "
            f"{counted(len(queries), 'query', 'queries')}; give a file that is made from them"
        )
    embed = Embedder(model, Spaces(progress.say), progress)
    gallery = embed.images(images)
    # One request, so that every distinct text is encoded once.
    others = [text for found in wordings.values() for text in found.values()]
    texts = embed.texts([*queries, *others])
    ranking = retrieve(texts, gallery, np.full(len(texts), -1), k).first
    for line in embed.inputs.lines():
        progress.say(f"note: {line}")
    n = len(queries)
    scores = {name: np.full((len(wordings), n), np.nan) for name in ("ao", "js", "first")}
    rows = np.full((len(wordings), n), -1, dtype=np.intp)
    start = n
    for number, found in enumerate(wordings.values()):
        asked = np.fromiter(found, np.intp, len(found))
        own = np.arange(start, start + len(found))
        start += len(found)
        shared = overlaps(ranking[asked], ranking[own])
        scores["ao"][number, asked] = average_overlap(shared, k)
        scores["js"][number, asked] = jaccard(shared, k)
        scores["first"][number, asked] = ranking[asked, 0] == ranking[own, 0]
        rows[number, asked] = own
    versions = list(wordings)
    means = {name: np.nanmean(found[:, covered], axis=0) for name, found in scores.items()}
    audited = []
    for place, query in enumerate(covered):
        worst = int(np.nanargmin(scores["ao"][:, query]))
        audited.append(
            AuditedQuery(
                queries[query],
                float(means["ao"][place]),
                float(means["js"][place]),
                float(means["first"][place]),
                wordings[versions[worst]][query],
                versions[worst],
                float(scores["ao"][worst, query]),
                tuple(map(int, ranking[query])),
                tuple(map(int, ranking[rows[worst, query]])),
            )
        )
    # The order of the file where two are equally stable.
    audited.sort(key=lambda each: (each.ao, each.worst_ao))
    return Audit(
        model.name,
        perturbation.name,
        k,
        tuple(images),
        tuple(audited),
        n - len(covered),
        _mean(means["ao"]),
        _mean(means["js"]),
        _mean(means["first"]),
        tuple(
            (version, float(np.nanmean(scores["ao"][number])), len(wordings[version]))
            for number, version in enumerate(versions)
        ),
    )


def _mean(values: npt.NDArray[np.float64]) -> Estimate:
    """The mean over queries with its interval; a query is a cluster of its own."""

    def each(columns: Columns) -> tuple[Floats, Floats]:
        return columns["value"], np.ones(len(columns["value"]))

    ids = np.array([str(i) for i in range(len(values))], dtype=object)
    mean = Metric("mean", "mean over queries", lambda: MeanOf(each))
    return estimate(mean, {"cluster_id": ids, "value": values})
