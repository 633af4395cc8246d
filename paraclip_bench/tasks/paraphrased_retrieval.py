"""Paraphrased retrieval (Cheng et al. 2024, arXiv 2405.03190).

A query and its paraphrase rank one gallery; their first places should agree (AO@k, JS@k, RBO) and
both should find the target (recall), since agreement alone rewards a model that ignores the query.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.gallery import read_gallery
from paraclip_bench.data.images import left_out_remark
from paraclip_bench.data.row_files import read_jsonl, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.agreement import AO, JS, RBO, overlaps
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import recall_of, retrieve
from paraclip_bench.tasks.base import DERIVED, LEAST_DEPTH, Embed, Examples, Protocol, Task


@dataclasses.dataclass(frozen=True)
class QueryPair:
    """A query, its paraphrase, and the target's place in the gallery (-1 where there is none).

    id is the row's own, or its number from 0.
    """

    query: str
    paraphrase: str
    target: int
    id: str = dataclasses.field(default="", metadata=DERIVED)


def _recall(k: int, of: str) -> Statistic:
    return recall_of(f"rank_{of}", k)


RECALL = Metric(
    "recall",
    "share of the queries, or of the paraphrases, that find the target in the first k places",
    _recall,
    source="common use",
    k=1,
    of="query",
    choices=("query", "paraphrase"),
)


class ParaphrasedRetrieval(Task):
    """Do two phrasings of one query retrieve the same images, and the right one?"""

    name = "paraphrased-retrieval"
    depth = 100
    suites = ("paper", "demo")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "cheng2024": Protocol(("text", "image"), "top 10 of query and paraphrase compared")
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        AO,
        JS,
        RBO,
        *AO.at(1, 5),
        *JS.at(1, 5),
        *(
            recall
            for side in RECALL.choices
            for recall in dataclasses.replace(RECALL, of=side).at(1, 5, 10)
        ),
    )
    board = (
        "ao@10",
        "js@10",
        "recall@1/query",
        "recall@1/paraphrase",
        "recall@10/query",
        "recall@10/paraphrase",
    )
    data_set = DataSet(
        "that of your images",
        "the set of Cheng et al. 2024 is not public: make one with data build",
        layout={
            "paraphrased-retrieval/queries.jsonl": "query, paraphrase[, image_id][, id]",
            "paraphrased-retrieval/images/": "the gallery; or val2014/, val2017/, *.tar",
        },
        not_on_hub="no copy of the published set is known on the hub",
    )

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """Read and check the queries and the gallery."""
        path = source.file(f"{self.name}/queries.jsonl")
        gallery = read_gallery(path.parent, LEAST_DEPTH)
        queries: list[QueryPair] = []
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
                raise DataError(f"{where}: the id {id!r} is that of line {lines[id]} too; fix one")
            lines[id] = number
            queries.append(
                QueryPair(
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
        if gallery.left_out:
            notes["files_left_out"] = len(gallery.left_out)
        return Examples(
            queries,
            shared=gallery.images,
            id=f"{source.id}:{path.name}",
            notes=notes,
            remarks=left_out_remark(self.name, gallery.left_out, gallery.where),
        )

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank the gallery for both phrasings of each query; the first `depth` places are kept."""
        queries: list[QueryPair] = list(examples)
        gallery = list(examples.shared)
        images = embed.images(gallery)
        texts = embed.texts([q.query for q in queries] + [q.paraphrase for q in queries])
        targets = np.array([q.target for q in queries])
        k = min(max(self.depth or 0, LEAST_DEPTH), len(gallery))
        query, paraphrase = (
            retrieve(vectors, images, targets, k)
            for vectors in (texts[: len(queries)], texts[len(queries) :])
        )
        names = np.array([image.id for image in gallery], dtype=object)
        clusters = [
            f"pair-{index}" if q.target < 0 else gallery[q.target].sha256
            for index, q in enumerate(queries)
        ]
        return {
            "example_id": np.array([q.id for q in queries], dtype=object),
            "cluster_id": np.array(clusters, dtype=object),
            "target": np.array([names[t] if t >= 0 else "" for t in targets], dtype=object),
            "overlaps": overlaps(query.first, paraphrase.first),
            "rank_query": query.target_ranks,
            "rank_paraphrase": paraphrase.target_ranks,
            "top_query": names[query.first],
            "top_paraphrase": names[paraphrase.first],
            "similarity_query": query.similarities,
            "similarity_paraphrase": paraphrase.similarities,
        }


def _id(row: Mapping[str, Any], where: str) -> str | None:
    id = row.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int | None):
        raise DataError(f"{where}: 'id' must be a text or a whole number, not {id!r}")
    return None if id is None else str(id)
