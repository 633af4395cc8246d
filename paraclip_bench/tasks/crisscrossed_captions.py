"""Crisscrossed Captions (CxC, Parekh et al., EACL 2021, arXiv 2004.15020): similarity by people.

People rated how alike two COCO captions are (STS), and how well a caption says what a photo shows
(SITS). Score: Spearman's correlation over all pairs, and beside it the paper's over samples of
pairs. The files name captions by COCO's sentence ids; the texts are those of Karpathy's file.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, file_in
from paraclip_bench.data.row_files import int_field, read_text, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.correlation import spearman
from paraclip_bench.metrics.metric import Columns, Floats, Metric, Statistic, derived, named
from paraclip_bench.metrics.ranking import unit_cosine
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.base import DERIVED, Embed, Examples, Protocol, Task, spread
from paraclip_bench.tasks.captioned_retrieval import SEEN_COCO, karpathy_entries
from paraclip_bench.tasks.sts import PEARSON, SPEARMAN, check_golds, gold_score

FOLDER = "cxc"
SAMPLES = 1000
_GOLDS = (0.0, 5.0)
# COCO_val2014:sentid:411553
_CAPTION_ID = re.compile(r"(?:.*:)?sentid:([0-9]{1,18})")


@dataclasses.dataclass(frozen=True)
class CaptionPair:
    """Two captions, how alike people find them, and the names of the photos that they are of.

    query is the first caption's id, of which the paper's samples choose a pair; id has both.
    """

    caption1: str
    caption2: str
    score: float
    sampling_method: str
    photo1: str
    photo2: str
    query: str
    id: str = dataclasses.field(default="", metadata=DERIVED)


@dataclasses.dataclass(frozen=True)
class CaptionImagePair:
    """A caption and an image, and how well people find that it says what is there.

    photo1 is the name of the photo that the caption was written of, photo2 that of the image; query
    and id as in `CaptionPair`.
    """

    caption: str
    image: ImageRef
    score: float
    sampling_method: str
    photo1: str
    photo2: str
    query: str
    id: str = dataclasses.field(default="", metadata=DERIVED)


def _samples(columns: Columns) -> npt.NDArray[np.float64]:
    """Spearman's correlation of each of the paper's samples [SAMPLES], nan where undefined.

    A sample: half of the queries at random, and of each one of its pairs at random. Drawn by
    numpy's default_rng(0), queries in order of their names: for each sample a permutation, then a
    number of [0, 1) for each query of its first half.
    """
    cosine, gold = columns["cosine"], columns["gold"]
    _, which = np.unique(columns["query"].astype(str), return_inverse=True)
    rows = np.argsort(which, kind="stable")
    counts = np.bincount(which)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(0)
    half = len(counts) // 2
    found = np.full(SAMPLES, np.nan)
    for sample in range(SAMPLES if half > 1 else 0):
        chosen = rng.permutation(len(counts))[:half]
        pick = rows[starts[chosen] + (rng.random(half) * counts[chosen]).astype(np.intp)]
        found[sample] = spearman(cosine[pick], gold[pick], np.ones(half))
    return found


def _resampled(of: str) -> Statistic:
    def statistic(columns: Columns, weights: Floats) -> float:
        # Of the data as they are alone: its own spread is beside it in place of an interval.
        if not (weights == weights[0]).all():
            return float("nan")
        found = derived(columns, "cxc samples", lambda: _samples(columns))
        found = found[np.isfinite(found)]
        if not len(found):
            return float("nan")
        return float(found.mean() if of == "mean" else found.std())

    return statistic


_PAPER = "Parekh et al. 2021 (arXiv 2004.15020), as we read it"
RESAMPLED = Metric(
    "spearman_resampled",
    f"mean of Spearman's correlation over {SAMPLES} samples: half the captions, a pair of each",
    lambda: _resampled("mean"),
    source=_PAPER,
    range=(-1.0, 1.0),
)
RESAMPLED_SD = Metric(
    "spearman_resampled_sd",
    "standard deviation of Spearman's correlation over these samples",
    lambda: _resampled("sd"),
    source=_PAPER,
    lower_is_better=True,
)


@dataclasses.dataclass(frozen=True)
class _Caption:
    text: str
    photo: str


class _Cxc(Task):
    groups = ("cxc",)
    suites = ("paper",)
    scores: ClassVar[Mapping[str, Statistic]] = named(SPEARMAN, PEARSON, RESAMPLED, RESAMPLED_SD)
    board = ("spearman", "spearman_resampled")
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sampling_method": ("spearman", "pearson")
    }
    kind: ClassVar[str]
    columns: ClassVar[tuple[str, str, str]]

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The pairs of a part, with the captions of Karpathy's file."""
        path = source.file(f"{FOLDER}/{self.kind}_{protocol}.csv")
        texts = source.file(f"{FOLDER}/dataset_coco.json")
        pairs: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
        for where, row in csv_rows(path, self.columns):
            one, two, _ = (row[column] for column in self.columns)
            if (one, two) in pairs:
                before = pairs[one, two][0].removeprefix(f"{path}, ")
                raise DataError(f"{where}: the pair of {before} comes again; drop one of them")
            pairs[one, two] = (where, row)
        ids = [
            (where, row[column])
            for where, row in pairs.values()
            for column in self.columns
            if column.startswith("caption")
        ]
        captions = _captions(texts, ids)
        rows = self.pairs(list(pairs.values()), captions, source)
        check_golds([row.score for row in rows], f"{self.name} of {path}")
        return Examples(rows, id=f"{source.id}:{FOLDER}/{path.name}")

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first pair of each way of sampling, then the second of each, and so on."""
        return spread(rows, [row.sampling_method for row in rows], n)

    @abstractmethod
    def pairs(
        self,
        rows: Sequence[tuple[str, dict[str, str]]],
        captions: Mapping[str, _Caption],
        source: FolderSource,
    ) -> Sequence[Any]:
        """The examples of rows, each with where it stands; captions are by their ids."""

    def _columns(self, rows: Sequence[Any], cosine: Any) -> dict[str, Any]:
        photos = [(row.photo1, row.photo2) for row in rows]
        return {
            "example_id": np.array([row.id for row in rows], dtype=object),
            # All pairs are connected by photos, so that connected pairs are no clusters: a pair
            # varies with each of its two photos.
            "cluster_id": np.array(photos, dtype=object).reshape(len(rows), 2),
            "cosine": cosine,
            "gold": np.array([row.score for row in rows]),
            "query": np.array([row.query for row in rows], dtype=object),
            "sampling_method": np.array([row.sampling_method for row in rows], dtype=object),
        }


def _data_set(kind: str, test: int, val: int, images: Mapping[str, str]) -> DataSet:
    return DataSet(
        "free for any purpose; captions CC BY 4.0, images Flickr's terms",
        "Crisscrossed Captions (Parekh et al. 2021; "
        "github.com/google-research-datasets/Crisscrossed-Captions @ 7d6634be)",
        layout={
            f"{FOLDER}/{kind}_test.csv": f"the authors' file; {kind}_val.csv for protocol val",
            f"{FOLDER}/dataset_coco.json": "Karpathy's file, for the captions",
            **images,
        },
        examples={"test": test, "val": val},
        not_on_hub="no copy with the captions is known on the hub",
        contamination=SEEN_COCO,
    )


class CxcSTS(_Cxc):
    """How alike are two captions?"""

    name = "cxc-sts"
    kind = "sts"
    columns = ("caption1", "caption2", "agg_score")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "test": Protocol(("text",), "Spearman over all pairs of Karpathy's test part"),
        "val": Protocol(("text",), "the same of the val part"),
    }
    data_set = _data_set("sts", 44045, 44009, {})

    def pairs(
        self,
        rows: Sequence[tuple[str, dict[str, str]]],
        captions: Mapping[str, _Caption],
        source: FolderSource,
    ) -> Sequence[CaptionPair]:
        """Both captions of each row."""
        found = []
        for where, row in rows:
            one, two = row["caption1"], row["caption2"]
            found.append(
                CaptionPair(
                    captions[one].text,
                    captions[two].text,
                    gold_score(row["agg_score"], _GOLDS, where),
                    row.get("sampling_method", ""),
                    captions[one].photo,
                    captions[two].photo,
                    one,
                    f"{one} {two}",
                )
            )
        return found

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """The cosine of each pair."""
        rows: list[CaptionPair] = list(examples)
        # One request, so that equal captions are one vector and tie.
        vectors = embed.texts([row.caption1 for row in rows] + [row.caption2 for row in rows])
        cosine = unit_cosine(vectors[: len(rows)], vectors[len(rows) :])
        return self._columns(rows, cosine)


class CxcSITS(_Cxc):
    """How well does a caption say what an image shows?"""

    name = "cxc-sits"
    kind = "sits"
    columns = ("caption", "image", "agg_score")
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "test": Protocol(("text", "image"), "Spearman over all pairs of Karpathy's test part"),
        "val": Protocol(("text", "image"), "the same of the val part"),
    }
    data_set = _data_set(
        "sits",
        44833,
        44722,
        {f"{FOLDER}/images/": "for cxc-sits: COCO's images, in val2014/ or here"},
    )

    def pairs(
        self,
        rows: Sequence[tuple[str, dict[str, str]]],
        captions: Mapping[str, _Caption],
        source: FolderSource,
    ) -> Sequence[CaptionImagePair]:
        """The caption and the image of each row."""
        folder = source.folder(f"{FOLDER}/images")
        images = _images(folder, [(where, row["image"]) for where, row in rows])
        return [
            CaptionImagePair(
                captions[row["caption"]].text,
                images[row["image"]],
                gold_score(row["agg_score"], _GOLDS, where),
                row.get("sampling_method", ""),
                captions[row["caption"]].photo,
                row["image"],
                row["caption"],
                f"{row['caption']} {row['image']}",
            )
            for where, row in rows
        ]

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """The cosine of each pair."""
        rows: list[CaptionImagePair] = list(examples)
        texts = embed.texts([row.caption for row in rows])
        cosine = unit_cosine(texts, embed.images([row.image for row in rows]))
        return self._columns(rows, cosine)


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header, each with where it stands.

    Raises `DataError` for a missing column, a row with another number of fields, or quotes that
    are not closed.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        for column in columns:
            if column not in header:
                raise DataError(
                    f"{path} has no column {column!r} (it has {', '.join(header) or 'none'}); give "
                    "the authors' file"
                )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row and len(row) != len(header):
                raise DataError(
                    f"{where}: {counted(len(row), 'field')} where the header has {len(header)}; "
                    "fix that line"
                )
            if row:
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; fix that line") from error


def _captions(path: Path, asked: Sequence[tuple[str, str]]) -> dict[str, _Caption]:
    """The captions of these ids, each asked for somewhere, from Karpathy's file."""
    numbers: dict[str, int] = {}
    for where, id in asked:
        if id not in numbers:
            found = _CAPTION_ID.fullmatch(id)
            if found is None:
                raise DataError(
                    f"{where}: {id!r} is no id of a caption, such as COCO_val2014:sentid:411553; "
                    "give the authors' file"
                )
            numbers[id] = int(found[1])
    wanted, there = {*numbers.values()}, dict[int, _Caption]()
    for where, entry in karpathy_entries(path):
        sentences = entry.get("sentences")
        for sentence in sentences if isinstance(sentences, list) else []:
            told = sentence.get("sentid") if isinstance(sentence, dict) else None
            if isinstance(told, int | float) and told in wanted:
                number = int_field(sentence, "sentid", where)
                if number in there:
                    raise DataError(f"{where}: the sentid {number} came before; fix the file")
                photo = text_field(entry, "filename", where)
                there[number] = _Caption(text_field(sentence, "raw", where), photo)
    if absent := [id for id, number in numbers.items() if number not in there]:
        first = next(where for where, id in asked if id == absent[0])
        raise DataError(
            f"{first}: the caption {absent[0]} is not in {path}"
            + f", nor {counted(len(absent) - 1, 'other')}" * (len(absent) > 1)
            + "; give Karpathy's own dataset_coco.json, with all its splits"
        )
    return {id: there[number] for id, number in numbers.items()}


def _images(folder: Path, asked: Sequence[tuple[str, str]]) -> dict[str, ImageRef]:
    """The images of these names, each asked for somewhere; they lie in val2014/ or beside it."""
    found: dict[str, ImageRef | None] = {}
    absent: dict[str, str] = {}
    for where, name in asked:
        if name not in found:
            places = (file_in(folder, f"{part}{name}", where) for part in ("val2014/", ""))
            path = next((path for path in places if path is not None), None)
            found[name] = None if path is None else ImageRef(id=name, path=path)
            if path is None:
                absent[name] = where
    if absent:
        name, where = next(iter(absent.items()))
        raise DataError(
            f"{where}: the image {name!r} is not in {folder} nor in its val2014/"
            + f", nor {counted(len(absent) - 1, 'other')}" * (len(absent) > 1)
            + "; put val2014 there"
        )
    return {name: ref for name, ref in found.items() if ref is not None}
