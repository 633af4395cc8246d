"""Paraphrased retrieval (Cheng et al. 2024, arXiv 2405.03190).

A query and its paraphrase rank one gallery; their first places should agree (AO@k, JS@k, RBO) and
both should find the target (recall), since agreement alone rewards a model that ignores the query.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.gallery import read_gallery
from paraclip_bench.data.row_files import read_jsonl, text_field
from paraclip_bench.data.source import HubSource, Source
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.agreement import (
    average_overlap_of,
    jaccard_of,
    overlaps,
    rank_biased_overlap_of,
)
from paraclip_bench.metrics.ranking import recall_of, retrieve
from paraclip_bench.metrics.statistic import Statistic
from paraclip_bench.tasks.base import DERIVED, Embed, Examples, Protocol, Task

DEPTH = 10


@dataclasses.dataclass(frozen=True)
class Query:
    """A query, its paraphrase, and the target's place in the gallery (-1 where there is none).

    id is the row's own, or its number from 0.
    """

    query: str
    paraphrase: str
    target: int
    id: str = dataclasses.field(default="", metadata=DERIVED)


class ParaphrasedRetrieval(Task):
    """Do two phrasings of one query retrieve the same images, and the right one?"""

    name = "paraphrased-retrieval"
    suites = ("paper", "demo")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "cheng2024": Protocol(("text", "image"), "top 10 of query and paraphrase compared")
    }
    scores: ClassVar[Mapping[str, Statistic]] = {
        "ao@10": average_overlap_of("overlaps", DEPTH),
        "js@10": jaccard_of("overlaps", DEPTH),
        "rbo@10": rank_biased_overlap_of("overlaps", DEPTH),
        **{f"ao@{k}": average_overlap_of("overlaps", k) for k in (1, 5)},
        **{f"js@{k}": jaccard_of("overlaps", k) for k in (1, 5)},
        **{
            f"recall@{k}/{side}": recall_of(f"rank_{side}", k)
            for side in ("query", "paraphrase")
            for k in (1, 5, 10)
        },
    }
    board = (
        "ao@10",
        "js@10",
        "recall@1/query",
        "recall@1/paraphrase",
        "recall@10/query",
        "recall@10/paraphrase",
    )

    def load(self, source: Source, protocol: str) -> Examples:
        """Read and check the queries and the gallery."""
        if isinstance(source, HubSource):
            raise DataError(
                f"{self.name}: no copy of the published set is known on the hub; give "
                f"{self.name}/queries.jsonl and images/ with --data-dir (docs/data.md)"
            )
        path = source.file(f"{self.name}/queries.jsonl")
        gallery = read_gallery(path.parent, DEPTH)
        queries: list[Query] = []
        lines: dict[str | None, int] = {}
        for index, (number, row) in enumerate(read_jsonl(path)):
            where = f"{path}, line {number}"
            target = row.get("image_id")
            place = None if target is None else gallery.find(target, where)
            if target is not None and place is None:
                raise DataError(
                    f"{where}: the target image {target!r} is not in {gallery.where}; "
                    + (
                        "write COCO's number without quotes"
                        if isinstance(target, str) and target.isdigit()
                        else "put it there or drop image_id"
                    )
                )
            id = _id(row, where)
            if lines and (id is None) != (None in lines):
                raise DataError(f"{where}: some lines have an 'id' and some not; give all one")
            if id is not None and id in lines:
                raise DataError(f"{where}: the id {id!r} is that of line {lines[id]} too; mend one")
            lines[id] = number
            queries.append(
                Query(
                    text_field(row, "query", where),
                    text_field(row, "paraphrase", where),
                    -1 if place is None else place,
                    str(index) if id is None else id,
                )
            )
        if not queries:
            raise DataError(f"{path} holds no queries")
        without = sum(query.target < 0 for query in queries)
        notes = {"queries_without_target": without} if without else {}
        return Examples(queries, shared=gallery.images, id=f"{source.id}:{path.name}", notes=notes)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank the gallery for both phrasings of each query."""
        queries: list[Query] = list(examples)
        gallery = list(examples.shared)
        images = embed.images(gallery)
        texts = embed.texts([q.query for q in queries] + [q.paraphrase for q in queries])
        targets = np.array([q.target for q in queries])
        firsts, ranks = {}, {}
        for side, vectors in (
            ("query", texts[: len(queries)]),
            ("paraphrase", texts[len(queries) :]),
        ):
            firsts[side], ranks[side] = retrieve(vectors, images, targets, DEPTH)
        names = np.array([image.id for image in gallery], dtype=object)
        clusters = [
            f"pair-{index}" if q.target < 0 else gallery[q.target].sha256
            for index, q in enumerate(queries)
        ]
        return {
            "example_id": np.array([q.id for q in queries], dtype=object),
            "cluster_id": np.array(clusters, dtype=object),
            "overlaps": overlaps(firsts["query"], firsts["paraphrase"]),
            "rank_query": ranks["query"],
            "rank_paraphrase": ranks["paraphrase"],
            "top_query": names[firsts["query"]],
            "top_paraphrase": names[firsts["paraphrase"]],
        }


def _id(row: Mapping[str, Any], where: str) -> str | None:
    id = row.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int | None):
        raise DataError(f"{where}: 'id' must be a text or a whole number, not {id!r}")
    return None if id is None else str(id)
