"""What'sUp (Kamath et al., EMNLP 2023, arXiv 2310.19785): which preposition is true?

Six subsets, as amitakamath/whatsup_vlms @ 7c1f255 has them (dataset_zoo/aro_datasets.py): A and B
are photographs in sets of four that differ only in how the same two objects lie, each with four
captions; COCO-spatial and GQA-spatial, of one and of two objects, have two captions. The true
caption is the first. An image is right when none of the others is nearer: an argmax, so a tie is
right.

In A and B a pair is two opposite relations of a set (left and right; on and under, or in front and
behind): it is right when both images are, a set when all four are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.data_set import DataSet
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import read_json, read_json_list, text_field
from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.metrics.accuracy import (
    ACCURACY_MICRO,
    TIE_RATE,
    macro_mean_of,
    mean_within,
)
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.metrics.ranking import row_dot
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, spread
from paraclip_bench.tasks.sugarcrepe import missing_subsets, subset_accuracies

SOURCE = "Kamath et al. 2023 (arXiv 2310.19785)"
# The authors' file of each subset.
FILES = {
    "controlled_a": "controlled_images_dataset.json",
    "controlled_b": "controlled_clevr_dataset.json",
    "coco_one": "coco_qa_one_obj.json",
    "coco_two": "coco_qa_two_obj.json",
    "gqa_one": "vg_qa_one_obj.json",
    "gqa_two": "vg_qa_two_obj.json",
}
CONTROLLED = ("controlled_a", "controlled_b")
OPTIONS = 4
"""Captions of an image in A and B."""
# The pair that each relation of a set is of.
PAIRS = {
    "left": "left and right",
    "right": "left and right",
    "on": "on and under",
    "under": "on and under",
    "front": "in front and behind",
    "behind": "in front and behind",
}
# Their annotations name images as seen from the folder above that of the data.
_ABOVE = "data/"


@dataclasses.dataclass(frozen=True)
class SpatialCase:
    """An image and its captions, the true one first.

    relation is the true caption's preposition; set is the number of the set of photographs within
    the subset, "" where there is none.
    """

    id: str
    subset: str
    image: ImageRef
    captions: tuple[str, ...]
    relation: str
    set: str


def _accuracies(name: str, of: str) -> tuple[Metric, ...]:
    one = Metric(
        f"{name}_accuracy",
        f"share of a subset's whole {of} of which every image is right",
        lambda of: mean_within(f"{name}_correct", f"{name}_of", of),
        source=SOURCE,
        of=CONTROLLED[0],
        choices=CONTROLLED,
    )
    return tuple(dataclasses.replace(one, of=subset) for subset in CONTROLLED)


class WhatsUp(Task):
    """Left or right, on or under, in front or behind: which caption is true of the image?"""

    name = "whatsup"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "whatsup": Protocol(("text", "image"), "ties right; mean over the six subsets")
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "mean over the subsets of the share of images that prefer the true caption",
            functools.partial(macro_mean_of, "correct", "subset"),
            source=SOURCE,
        ),
        ACCURACY_MICRO,
        *subset_accuracies(tuple(FILES)),
        *_accuracies("pair", "pairs of opposite relations"),
        *_accuracies("set", "sets of four photographs"),
        TIE_RATE,
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "subset": ("accuracy_micro", "tie_rate"),
        "relation": ("accuracy_micro", "tie_rate"),
    }

    data_set = DataSet(
        "MIT, images of their sources",
        "What'sUp (Kamath et al. 2023)",
        layout={
            "whatsup/{controlled_images,controlled_clevr}_dataset.json": "the authors' files, as "
            "many as there are",
            "whatsup/{coco,vg}_qa_{one,two}_obj.json": "the same",
            "whatsup/controlled_images/": "photographs of subset A",
            "whatsup/controlled_clevr/": "photographs of subset B",
            "whatsup/val2017/": "COCO val2017, for COCO-spatial",
            "whatsup/vg_images/": "the authors' images, for GQA-spatial",
        },
        examples={"whatsup": 4958},
        not_on_hub="no copy on the hub is the authors' own",
    )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first image of each subset, then the second of each, and so on."""
        return spread(rows, [row.subset for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare each image's similarities to its captions; what is right in pairs and in sets."""
        cases: list[SpatialCase] = list(examples)
        counts = np.array([len(case.captions) for case in cases])
        starts = np.cumsum(counts) - counts
        images = embed.images([case.image for case in cases])
        # One request, so that equal captions are one vector and tie.
        texts = embed.texts([caption for case in cases for caption in case.captions])
        similarities = row_dot(images[np.repeat(np.arange(len(cases)), counts)], texts)
        true = similarities[starts]
        similarities[starts] = -np.inf
        false = np.maximum.reduceat(similarities, starts)
        correct = true >= false
        sets = [f"{case.subset}/{case.set}" if case.set else "" for case in cases]
        pairs = [
            f"{set}/{PAIRS[case.relation]}" if set else ""
            for set, case in zip(sets, cases, strict=True)
        ]
        subsets = np.array([case.subset for case in cases], dtype=object)
        pair_of, pair_correct = _all_of(pairs, 2, subsets, correct)
        set_of, set_correct = _all_of(sets, OPTIONS, subsets, correct)
        return {
            "example_id": np.array([case.id for case in cases], dtype=object),
            # The photographs of a set differ in one thing alone.
            "cluster_id": np.array(
                [set or case.image.sha256 for set, case in zip(sets, cases, strict=True)],
                dtype=object,
            ),
            "similarity_true": true,
            "similarity_false": false,
            "correct": correct,
            "tie": true == false,
            "subset": subsets,
            "relation": np.array([f"{c.subset}/{c.relation}" for c in cases], dtype=object),
            "pair_of": pair_of,
            "pair_correct": pair_correct,
            "set_of": set_of,
            "set_correct": set_correct,
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The subsets that a folder has."""
        folder = source.folder(self.name)
        there = {subset: folder / file for subset, file in FILES.items()}
        there = {subset: file for subset, file in there.items() if file.is_file()}
        if not there:
            names = ", ".join(FILES.values())
            raise DataError(f"{folder} has none of {names}; put the authors' files there")
        cases = []
        for subset, file in there.items():
            read = _controlled if subset in CONTROLLED else _spatial
            cases += list(read(subset, file))
        notes = missing_subsets(tuple(FILES), list(there))
        return Examples(cases, id=f"{source.id}:{self.name}", notes=notes)


def _all_of(
    groups: Sequence[str], size: int, subsets: npt.NDArray[Any], correct: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Columns [n]: the subset of each case whose group is whole, else ""; whether all is right.

    Each group of `size` counts `size` times, so that a mean over cases is one over groups. A group
    that --limit cut counts nowhere.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if group:
            members[group].append(index)
    of = np.full(len(groups), "", dtype=object)
    right = np.zeros(len(groups), dtype=bool)
    for rows in members.values():
        if len(rows) == size:
            of[rows] = subsets[rows]
            right[rows] = correct[rows].all()
    return of, right


def _controlled(subset: str, file: Path) -> Iterator[SpatialCase]:
    """A or B: objects with `image_path` and four `caption_options`.

    The same four captions are of one set, in which each of them is true of one photograph.
    """
    sets: dict[tuple[str, ...], str] = {}
    photographs: dict[tuple[str, str], str] = {}
    for index, row in enumerate(read_json_list(file)):
        where = f"{file}, case {index}"
        name = text_field(row, "image_path", where).removeprefix(_ABOVE)
        captions = _captions(row.get("caption_options"), OPTIONS, "'caption_options'", where)
        image = image_in(file.parent, name, where)
        relation = _relation(captions[0], where)
        number = sets.setdefault(tuple(sorted(captions)), str(len(sets)))
        if before := photographs.get((number, relation)):
            raise DataError(
                f"{where}: its set has a photograph of {relation!r} before ({before}); fix the file"
            )
        photographs[number, relation] = name
        yield SpatialCase(f"{subset}/{index}", subset, image, captions, relation, number)


def _spatial(subset: str, file: Path) -> Iterator[SpatialCase]:
    """COCO-spatial or GQA-spatial: lists of an image's number and two captions."""
    rows = read_json(file)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file} must hold a list of cases; give the authors' own file")
    for index, row in enumerate(rows):
        where = f"{file}, case {index}"
        if not isinstance(row, list) or len(row) != 3:
            raise DataError(f"{where}: must be a list of an image's number and two captions")
        number = row[0]
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise DataError(f"{where}: the image's number must be one, not {number!r:.40}")
        coco = subset.startswith("coco")
        name = f"val2017/{str(number).zfill(12)}.jpg" if coco else f"vg_images/{number}.jpg"
        captions = _captions(row[1:], 2, "what follows the image's number", where)
        relation = captions[0].split()[-1] if subset.endswith("one") else _of_two(captions[0])
        image = image_in(file.parent, name, where)
        yield SpatialCase(f"{subset}/{index}", subset, image, captions, relation, "")


def _captions(given: object, count: int, what: str, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) != count:
        raise DataError(f"{where}: {what} must be a list of {count} texts, the true one first")
    return tuple(
        text_field({f"caption {k}": c}, f"caption {k}", where) for k, c in enumerate(given)
    )


def _relation(caption: str, where: str) -> str:
    """The one preposition of a caption of A or B, found among its words as the authors do."""
    found = PAIRS.keys() & set(caption.lower().split())
    if len(found) != 1:
        raise DataError(
            f"{where}: the caption {caption!r} must have one of {', '.join(PAIRS)}, by which the "
            "photographs of a set are told apart; give the authors' own file"
        )
    return found.pop()


def _of_two(caption: str) -> str:
    """The preposition of a caption of two objects, as the authors tell them apart."""
    of = ("left of", "right of", "front of", "behind", "above", "below")
    return next((name.split()[0] for name in of if name in caption), "top")
