"""NegBench's multiple choice (Alhamoud et al., CVPR 2025, arXiv 2501.09425): what is not there?

An image and four captions, of which one is true: it affirms two things ("positive"), denies one
("negative"), or affirms one and denies another ("hybrid"); the others affirm what is absent or deny
what is there. On photos of COCO val2017 and of VOC2007's test part, as
benchmarks/src/evaluation/mcq.py of m1k2zoo/negbench @ 2ac009b scores them: the most similar caption
is the answer. Here a tie with another caption is wrong. There the argmax takes the first of a tie,
and synthetic_datasets/evaluation/create_mcq.py puts the true caption first, so that a model that
hears no difference would be right everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import ACCURACY_MICRO, TIE_RATE, macro_mean_of, mean_within
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import row_dot
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, spread
from paraclip_bench.tasks.crisscrossed_captions import csv_rows
from paraclip_bench.tasks.sugarcrepe import SEEN_VAL2017, missing_subsets, subset_accuracies

SOURCE = "Alhamoud et al. 2025 (arXiv 2501.09425)"
# The authors' file of each subset, and the folder of its images.
FILES = {
    "coco": ("COCO_val_mcq_llama3.1_rephrased.csv", "val2017"),
    "voc2007": ("VOC2007_mcq_llama3.1_rephrased.csv", "JPEGImages"),
}
TYPES = ("positive", "negative", "hybrid")
"""What the true caption does, as the authors name it."""
OPTIONS = tuple(f"caption_{i}" for i in range(4))
_ANSWER, _TYPE, _IMAGE = "correct_answer", "correct_answer_template", "image_path"


@dataclasses.dataclass(frozen=True)
class NegationQuestion:
    """An image and four captions, of which the one at place `answer` is true; type is its kind."""

    id: str
    subset: str
    image: ImageRef
    captions: tuple[str, ...]
    answer: int
    type: str


def _type_accuracies() -> tuple[Metric, ...]:
    one = Metric(
        "type_accuracy",
        "share of the questions of one type, of all subsets, that are right",
        lambda of: mean_within("correct", "type", of),
        source=SOURCE,
        of=TYPES[0],
        choices=TYPES,
    )
    return tuple(dataclasses.replace(one, of=type) for type in TYPES)


class NegBench(Task):
    """Which of four captions is true, where some say what is not in the image?"""

    name = "negbench"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "mcq": Protocol(("text", "image"), "ties wrong; mean over COCO and VOC2007")
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "mean over the subsets of the share of questions whose true caption is the nearest",
            functools.partial(macro_mean_of, "correct", "subset"),
            source=SOURCE,
        ),
        ACCURACY_MICRO,
        *subset_accuracies(tuple(FILES)),
        *_type_accuracies(),
        TIE_RATE,
    )
    board = ("accuracy", "type_accuracy/negative")
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "subset": ("accuracy_micro", "tie_rate"),
        "kind": ("accuracy_micro", "tie_rate"),
    }

    data_set = DataSet(
        "MIT (the repository), images of their sources",
        "NegBench (Alhamoud et al. 2025; github.com/m1k2zoo/negbench @ 2ac009b5)",
        layout={
            "negbench/{COCO_val,VOC2007}_mcq_llama3.1_rephrased.csv": "the authors' files, one or "
            "both",
            "negbench/val2017/": "COCO val2017, for COCO_val",
            "negbench/JPEGImages/": "the folder of that name of VOC2007's test part",
        },
        examples={"mcq": 10945},
        not_on_hub="no copy on the hub is the authors' own",
        contamination=SEEN_VAL2017,
    )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first question of each subset and type, then the second of each, and so on."""
        return spread(rows, [(row.subset, row.type) for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare each image's similarities to its four captions."""
        questions: list[NegationQuestion] = list(examples)
        n, k = len(questions), len(OPTIONS)
        images = embed.images([question.image for question in questions])
        # One request, so that equal captions are one vector and tie.
        texts = embed.texts([caption for q in questions for caption in q.captions])
        similarities = row_dot(np.repeat(images, k, axis=0), texts).reshape(n, k)
        answers = np.array([question.answer for question in questions])
        true = similarities[np.arange(n), answers]
        similarities[np.arange(n), answers] = -np.inf
        false = similarities.max(axis=1)
        kinds = [f"{question.subset}/{question.type}" for question in questions]
        return {
            "example_id": np.array([question.id for question in questions], dtype=object),
            "cluster_id": np.array([q.image.sha256 for q in questions], dtype=object),
            "similarity_true": true,
            "similarity_false": false,
            "correct": true > false,
            "tie": true == false,
            "subset": np.array([question.subset for question in questions], dtype=object),
            "type": np.array([question.type for question in questions], dtype=object),
            "kind": np.array(kinds, dtype=object),
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The questions of the files that a folder has."""
        folder = source.folder(self.name)
        there = {subset: folder / file for subset, (file, _) in FILES.items()}
        there = {subset: file for subset, file in there.items() if file.is_file()}
        if not there:
            names = " and ".join(file for file, _ in FILES.values())
            raise DataError(f"{folder} has neither of {names}; put the authors' files there")
        questions = [q for subset, file in there.items() for q in _questions(subset, file)]
        notes = missing_subsets(tuple(FILES), list(there))
        return Examples(questions, id=f"{source.id}:{self.name}", notes=notes)


def _questions(subset: str, file: Path) -> Iterator[NegationQuestion]:
    """The rows of an authors' file; what stands before an image's name is the authors' own path."""
    images = file.parent / FILES[subset][1]
    number = 0
    for number, (where, row) in enumerate(csv_rows(file, (_IMAGE, _ANSWER, *OPTIONS, _TYPE)), 1):
        answer, type = row[_ANSWER], row[_TYPE]
        if answer not in ("0", "1", "2", "3"):
            raise DataError(
                f"{where}: {_ANSWER!r} must be 0, 1, 2 or 3, the number of the true caption, and "
                f"not {answer!r:.40}"
            )
        if type not in TYPES:
            raise DataError(
                f"{where}: {_TYPE!r} must be {', '.join(TYPES[:-1])} or {TYPES[-1]}, and not "
                f"{type!r:.40}"
            )
        name = text_field(row, _IMAGE, where).replace("\\", "/").rpartition("/")[2]
        captions = tuple(text_field(row, option, where) for option in OPTIONS)
        id, image = f"{subset}/{number - 1}", image_in(images, name, where)
        yield NegationQuestion(id, subset, image, captions, int(answer), type)
    if not number:
        raise DataError(f"{file} holds no questions; give the authors' own file")
