"""Paraphrased retrieval (Cheng et al. 2024, arXiv 2405.03190).

A query and its paraphrase rank one gallery; their first places should agree (AO@k, JS@k, RBO) and
both should find the target (recall), since agreement alone rewards a model that ignores the query.
The query set of the paper is not public: there is a task for a set of the user's own, and one for
each set that a rule makes of published files.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.gallery import read_gallery
from paraclip_bench.data.images import ImageRef, left_out_remark
from paraclip_bench.data.row_files import read_jsonl, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.agreement import AO, JS, NEGATION_AO, RBO, overlaps
from paraclip_bench.metrics.metric import Statistic, named
from paraclip_bench.metrics.ranking import (
    NEGATION_RECALL,
    QUERY_OVER_NEGATION,
    RECALL,
    RECALL_FALL,
    retrieve,
    row_dot,
)
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import (
    DERIVED,
    LEAST_DEPTH,
    OPTIONAL,
    Embed,
    Examples,
    Protocol,
    Task,
    Vectors,
    spread,
)
from paraclip_bench.tasks.captioned_retrieval import (
    CaptionedImage,
    CocoKarpathy,
    Flickr30kKarpathy,
    captioned_images,
)
from paraclip_bench.tasks.sugarcrepe import missing_subsets, read_items, subset_files
from paraclip_bench.tasks.sugarcrepe_pp import SEEN_PLUS, SUBSETS


@dataclasses.dataclass(frozen=True)
class QueryPair:
    """A query, its paraphrase, and the target's place in the gallery (-1 where there is none).

    id is the row's own, or its number from 0. negation is the query with its meaning negated, empty
    where there is none.
    """

    query: str
    paraphrase: str
    target: int
    id: str = dataclasses.field(default="", metadata=DERIVED)
    negation: str = dataclasses.field(default="", metadata=OPTIONAL)


_SCORES = named(
    *(AO, JS, RBO, *AO.at(1, 5), *JS.at(1, 5)),
    *(
        recall
        for side in RECALL.choices
        for recall in dataclasses.replace(RECALL, of=side).at(1, 5, 10)
    ),
)
_BOARD: tuple[str, ...] = (
    *("ao@10", "js@10", "recall@1/query", "recall@1/paraphrase"),
    *("recall@10/query", "recall@10/paraphrase"),
)


class ParaphrasedRetrieval(Task):
    """Do two phrasings of one query retrieve the same images, and the right one?"""

    name = "paraphrased-retrieval"
    depth = 100
    suites: ClassVar[tuple[str, ...]] = ("paper", "demo")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "cheng2024": Protocol(("text", "image"), "top 10 of query and paraphrase compared")
    }
    scores: ClassVar[Mapping[str, Statistic]] = {
        **_SCORES,
        **named(QUERY_OVER_NEGATION, RECALL_FALL, *NEGATION_RECALL.at(1, 5, 10), NEGATION_AO),
    }
    board: ClassVar[tuple[str, ...]] = (*_BOARD, str(QUERY_OVER_NEGATION), str(RECALL_FALL))
    data_set = DataSet(
        "that of your images",
        "the set of Cheng et al. 2024 is not public: make one with data build",
        layout={
            "paraphrased-retrieval/queries.jsonl": "query, paraphrase[, image_id][, id]"
            "[, negation]",
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
                    "" if row.get("negation") is None else text_field(row, "negation", where),
                )
            )
        if not queries:
            raise DataError(f"{path} holds no queries")
        without = sum(query.target < 0 for query in queries)
        notes = {"queries_without_target": without} if without else {}
        negated = [query for query in queries if query.negation]
        if negated and len(negated) < len(queries):
            notes["queries_without_negation"] = len(queries) - len(negated)
        if same := sum(is_same(query.query, query.negation) for query in negated):
            notes["negations_equal"] = same
        if gallery.left_out:
            notes["files_left_out"] = len(gallery.left_out)
        remarks = left_out_remark(self.name, gallery.left_out, gallery.where)
        if equal := _equal(queries):
            notes["pairs_equal"] = equal
        if equal == len(queries):
            remarks.append(f"{self.name}: {_ALL_EQUAL.format(path)}")
        if same:
            remarks.append(
                f"{self.name}: {counted(same, 'negation is', 'negations are')} the query itself "
                f"in {path} (case and white space aside), so that no model can tell them apart"
            )
        return Examples(
            queries,
            shared=gallery.images,
            id=f"{source.id}:{path.name}",
            notes=notes,
            remarks=remarks,
        )

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Rank the gallery for both phrasings of each query; the first `depth` places are kept.

        Also for the negations, where there are any: further columns, in which a query without one
        has no ranking.
        """
        queries: list[QueryPair] = list(examples)
        gallery = list(examples.shared)
        images = embed.images(gallery)
        n = len(queries)
        # One request, so that equal texts are one vector.
        texts = embed.texts(
            [q.query for q in queries]
            + [q.paraphrase for q in queries]
            + [q.negation for q in queries if q.negation]
        )
        targets = np.array([q.target for q in queries])
        k = min(max(self.depth or 0, LEAST_DEPTH), len(gallery))
        query, paraphrase = (
            retrieve(vectors, images, targets, k) for vectors in (texts[:n], texts[n : 2 * n])
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
            **(_negated(queries, texts, images, names, query.first) if len(texts) > 2 * n else {}),
        }


def _negated(
    queries: Sequence[QueryPair],
    texts: Vectors,
    images: Vectors,
    names: npt.NDArray[Any],
    first: npt.NDArray[np.intp],
) -> dict[str, npt.NDArray[Any]]:
    """Outcome columns of the negations, whose vectors are the last of `texts`.

    first [n, k] are the places that the queries find. A query without a negation has rank 0,
    overlaps of -1, no names, and similarities of NaN; one without a target has rank 0, cosines NaN.
    """
    n, k = first.shape
    there = np.array([i for i, q in enumerate(queries) if q.negation], dtype=np.intp)
    targets = np.array([queries[i].target for i in there])
    vectors = texts[2 * n :]
    found = retrieve(vectors, images, targets, k)
    columns = {
        "overlaps_negation": np.full((n, k), -1, dtype=np.int64),
        "rank_negation": np.zeros(n, dtype=np.int64),
        "top_negation": np.full((n, k), "", dtype=object),
        "similarity_negation": np.full((n, k), np.nan, dtype=np.float32),
        "cosine_query": np.full(n, np.nan, dtype=np.float32),
        "cosine_negation": np.full(n, np.nan, dtype=np.float32),
    }
    columns["overlaps_negation"][there] = overlaps(first[there], found.first)
    columns["rank_negation"][there] = found.target_ranks
    columns["top_negation"][there] = names[found.first]
    columns["similarity_negation"][there] = found.similarities
    has_target = targets >= 0
    rows, seen = there[has_target], images[targets[has_target]]
    columns["cosine_query"][rows] = row_dot(seen, texts[rows])
    columns["cosine_negation"][rows] = row_dot(seen, vectors[has_target])
    return columns


def _id(row: Mapping[str, Any], where: str) -> str | None:
    id = row.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int | None):
        raise DataError(f"{where}: 'id' must be a text or a whole number, not {id!r}")
    return None if id is None else str(id)


_ALL_EQUAL = (
    "every paraphrase of {} is its query (case and white space aside), so all agree whatever the "
    "model"
)


def is_same(one: str, other: str) -> bool:
    """Whether two texts are equal, case and white space aside, as they are to most tokenizers."""
    return one.casefold().split() == other.casefold().split()


def _equal(queries: Sequence[QueryPair]) -> int:
    return sum(is_same(pair.query, pair.paraphrase) for pair in queries)


class _PublishedSet(ParaphrasedRetrieval):
    """What the sets of published files share: a group, and pairs as published.

    A pair of equal texts stays in and is counted, so that the sizes are those of the files. None
    has negations.
    """

    groups = ("paraphrase-sets",)
    scores: ClassVar[Mapping[str, Statistic]] = _SCORES
    board: ClassVar[tuple[str, ...]] = _BOARD
    suites: ClassVar[tuple[str, ...]] = ("paper",)

    def _made(
        self,
        queries: Sequence[QueryPair],
        gallery: Sequence[ImageRef],
        source: FolderSource,
        where: str,
        notes: Mapping[str, Any],
        remarks: Sequence[str] = (),
    ) -> Examples:
        equal = _equal(queries)
        if equal == len(queries):
            raise DataError(f"{self.name}: {_ALL_EQUAL.format(where)}; give the published files")
        return Examples(
            queries,
            shared=gallery,
            id=f"{source.id}:{where}",
            notes={**notes, **({"pairs_equal": equal} if equal else {})},
            remarks=remarks,
        )


class CocoParaphrase(_PublishedSet):
    """SugarCrepe++'s two captions of one meaning, checked by people; the gallery is val2017.

    A pair is (image, caption, caption2), each once, in the order of the authors' files: caption is
    the query. A query with several paraphrases is in several pairs.
    """

    name = "coco-paraphrase"
    data_set = DataSet(
        "CC BY 4.0, images Flickr's terms",
        "caption and caption2 of SugarCrepe++ (Dumpala et al. 2024; github.com/Sri-Harsha/scpp @ "
        "c083bbf0) on COCO val2017",
        layout={
            f"coco-paraphrase/{{{','.join(SUBSETS)}}}.json": "SugarCrepe++'s files, as many as "
            "there are",
            "coco-paraphrase/images/": "the gallery: COCO val2017; or val2017/, *.tar",
        },
        examples={"cheng2024": 4570},
        not_on_hub="no revision of the hub's copy is pinned, and the gallery is not in it",
        contamination=SEEN_PLUS,
    )
    # Of val2017.
    _whole_gallery = 5000

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The distinct pairs of the subsets that a folder has, as far as their images are there."""
        folder = source.folder(self.name)
        there = subset_files(folder, SUBSETS)
        gallery = read_gallery(folder, LEAST_DEPTH)
        pairs: dict[tuple[str, str, str], QueryPair] = {}
        items, absent = 0, dict[str, None]()
        for subset, file in there.items():
            for id, where, row in read_items(subset, file):
                items += 1
                texts = [text_field(row, key, where) for key in ("filename", "caption", "caption2")]
                name, caption, caption2 = texts
                if (name, caption, caption2) in pairs:
                    continue
                place = gallery.find(name, where)
                if place is None:
                    absent[name] = None
                    place = -1
                pairs[name, caption, caption2] = QueryPair(caption, caption2, place, id)
        queries = [pair for pair in pairs.values() if pair.target >= 0]
        if not queries:
            raise DataError(
                f"{gallery.where} has none of the {counted(len(absent), 'image')} that the pairs "
                f"of {folder} are of, such as {next(iter(absent))}; put val2017 there"
            )
        notes: dict[str, Any] = missing_subsets(SUBSETS, list(there))
        remarks = left_out_remark(self.name, gallery.left_out, gallery.where)
        if items > len(pairs):
            notes["pairs_repeated"] = items - len(pairs)
        if gallery.left_out:
            notes["files_left_out"] = len(gallery.left_out)
        if absent:
            notes["pairs_without_image"] = len(pairs) - len(queries)
            remarks.append(
                f"{self.name}: left out {counted(len(pairs) - len(queries), 'pair')} of "
                f"{counted(len(absent), 'image')} that {gallery.where} lacks, such as "
                f"{next(iter(absent))}"
            )
        if len(gallery.images) != self._whole_gallery:
            notes["gallery_images"] = len(gallery.images)
            remarks.append(
                f"{self.name}: the gallery has {counted(len(gallery.images), 'image')} and not the "
                f"{self._whole_gallery:,} of val2017, so its scores are not those of the whole set"
            )
        return self._made(queries, gallery.images, source, self.name, notes, remarks)

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first pair of each subset, then the second of each, and so on."""
        return spread(rows, [row.id.partition("/")[0] for row in rows], n)


class _HumanSet(_PublishedSet):
    """The captions that several people wrote of one photo are paraphrases of one another.

    Each caption is a query once, and its paraphrase is the next caption of its photo, that of the
    last one the first (`next_captions`). The gallery is the test photos.
    """

    _captions: ClassVar[type[CocoKarpathy | Flickr30kKarpathy]]

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The pairs of Karpathy's test part, or of the user's own captions.jsonl."""
        folder, annotation = self._captions.name, self._captions.annotation
        rows, file = captioned_images(source, folder, annotation)
        rows.sort(key=lambda row: os.fsencode(row.image.id))
        if len(rows) < LEAST_DEPTH:
            raise DataError(
                f"{file} has {counted(len(rows), 'image')}, and a top {LEAST_DEPTH} needs "
                f"{LEAST_DEPTH}; give more"
            )
        queries = [pair for place, row in enumerate(rows) for pair in _of_photo(row, place)]
        if not queries:
            raise DataError(
                f"{file} has one caption an image, and a paraphrase is another caption of the same "
                "image; give several"
            )
        alone = sum(len(row.captions) < 2 for row in rows)
        notes = {"images_with_one_caption": alone} if alone else {}
        where = f"{folder}/{file.name}"
        return self._made(queries, [row.image for row in rows], source, where, notes)

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first pair of each photo, then the second of each, and so on."""
        return spread(rows, [row.target for row in rows], n)


def next_captions(captions: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each caption of one photo with the next one, the last with the first; nothing of one alone.

    So each is once the query and once the paraphrase, and nobody chooses. All ordered pairs of five
    would be 20 in place of 5: AO and JS do not know which of two comes first, and what the ten
    pairs without order add is of the same photo, so it makes no interval much narrower.
    """
    if len(captions) > 1:
        yield from zip(captions, [*captions[1:], captions[0]], strict=True)


def _of_photo(row: CaptionedImage, place: int) -> Iterator[QueryPair]:
    for number, (query, paraphrase) in enumerate(next_captions(row.captions)):
        yield QueryPair(query, paraphrase, place, f"{row.image.id}#{number}")


class CocoHuman(_HumanSet):
    """The captions of Karpathy's 5,000 COCO test photos."""

    name = "coco-human"
    _captions = CocoKarpathy
    data_set = dataclasses.replace(CocoKarpathy.data_set, examples={"cheng2024": 25010})


class Flickr30kHuman(_HumanSet):
    """The captions of Karpathy's 1,000 Flickr30k test photos."""

    name = "flickr30k-human"
    _captions = Flickr30kKarpathy
    data_set = dataclasses.replace(Flickr30kKarpathy.data_set, examples={"cheng2024": 5000})
