"""SugarCrepe (Hsieh et al., NeurIPS 2023, arXiv 2306.14610): a caption against a hard negative.

The negatives are fluent and plausible, so that a model cannot do well without the image. Two
protocols: `sugarcrepe` counts a tie as wrong, as the authors' code does, and averages over their
seven subsets; `mteb` counts a tie as right and averages over cases.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.hub import require_columns, with_images
from paraclip_bench.data.images import ImageRef, image_in
from paraclip_bench.data.row_files import read_json_rows, text_field
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, NotServed
from paraclip_bench.metrics.accuracy import ACCURACY_MICRO, TIE_RATE, macro_mean_of, mean_within
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task, compare_captions, spread

SEEN_VAL2017 = (
    "models trained on COCO's captions know how they are written, and Karpathy's training part "
    "with restval has most of val2017's photos"
)
"""What is known of models that have seen photos and captions of COCO val2017."""
SUBSETS = (
    "add_obj",
    "add_att",
    "replace_obj",
    "replace_att",
    "replace_rel",
    "swap_obj",
    "swap_att",
)


@dataclasses.dataclass(frozen=True)
class SugarCrepeCase:
    """An image, its caption and a caption of it that is false; subset is "" where unknown."""

    id: str
    subset: str
    image: ImageRef
    caption: str
    negative_caption: str


def subset_accuracies(subsets: tuple[str, ...]) -> tuple[Metric, ...]:
    """The accuracy within each of these subsets, as accuracy/SUBSET."""
    one = Metric(
        "accuracy",
        "share of a subset's cases that are right",
        lambda of: mean_within("correct", "subset", of),
        source="common use",
        of=subsets[0],
        choices=subsets,
    )
    return tuple(dataclasses.replace(one, of=subset) for subset in subsets)


class SugarCrepe(Task):
    """Does an image prefer its caption to one with something added, replaced or swapped?"""

    name = "sugarcrepe"
    groups = ("compositionality",)
    suites = ("paper",)
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "sugarcrepe": Protocol(("text", "image"), "ties wrong; mean over the subsets"),
        "mteb": Protocol(("text", "image"), "ties right; mean over cases"),
    }
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "the protocol's own mean of right cases: over the subsets, or over all cases",
            functools.partial(macro_mean_of, "correct", "averaged"),
            source="Hsieh et al. 2023 (arXiv 2306.14610)",
        ),
        ACCURACY_MICRO,
        *subset_accuracies(SUBSETS),
        TIE_RATE,
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"subset": ("accuracy_micro", "tie_rate")}

    data_set = DataSet(
        "MIT",
        "SugarCrepe (Hsieh et al. 2023)",
        layout={
            "sugarcrepe/{add,replace,swap}_{obj,att}.json, replace_rel.json": "the authors' files, "
            "as many as there are",
            "sugarcrepe/images/": "COCO val2017",
        },
        examples={"sugarcrepe": 7511, "mteb": 7511},
        # Its only split is called train; mteb tests on it.
        pin=Pin(
            "mteb/SUGARCREPE_fmt", "e9e0e3ce40c94023c819d3413edb5d090ec9f0d8", "train", rows=7511
        ),
        mteb=MtebEquivalent("SugarCrepe", "mteb", {"accuracy": "text_acc"}),
        contamination=SEEN_VAL2017,
    )

    def limited(self, rows: Sequence[Any], n: int) -> Sequence[Any]:
        """The first case of each subset, then the second of each, and so on."""
        return spread(rows, [row.subset for row in rows], n)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        """Compare the image's similarities to both captions of each case."""
        cases: list[SugarCrepeCase] = list(examples)
        subsets = np.array([case.subset for case in cases], dtype=object)
        is_mteb = examples.protocol == "mteb"
        return {
            "example_id": np.array([case.id for case in cases], dtype=object),
            "cluster_id": np.array([case.image.sha256 for case in cases], dtype=object),
            **compare_captions(
                [case.image for case in cases],
                [case.caption for case in cases],
                [case.negative_caption for case in cases],
                embed,
                tie_is_right=is_mteb,
            ),
            "subset": subsets,
            "averaged": np.full(len(cases), "all", dtype=object) if is_mteb else subsets,
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        """The subsets that a folder has."""
        there = subset_files(source.folder(self.name), SUBSETS)
        images = source.folder(f"{self.name}/images")
        cases = [
            SugarCrepeCase(
                id,
                subset,
                image_in(images, text_field(row, "filename", where), where),
                text_field(row, "caption", where),
                text_field(row, "negative_caption", where),
            )
            for subset, file in there.items()
            for id, where, row in read_items(subset, file)
        ]
        notes = missing_subsets(SUBSETS, list(there))
        return Examples(cases, id=f"{source.id}:{self.name}", notes=notes)

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        """The hub's copy; without names of the subsets protocol mteb alone."""
        pin = self.data_set.pin
        assert pin is not None
        rows = source.rows(pin)
        require_columns(rows, ("images", "caption", "negative_caption"), self.name)
        column = _subset_column(rows)
        if column is None and protocol != "mteb":
            raise NotServed(
                f"{self.name}: no column of the hub's copy names the subsets, which the "
                f"{protocol} protocol's mean is over; give the authors' files with --data-dir, "
                "or ask for --protocol mteb"
            )
        cases = []
        for index, row, (image,) in with_images(rows, ["images"], self.name):
            where = f"{self.name} of the hub, row {index}"
            cases.append(
                SugarCrepeCase(
                    str(index),
                    "" if column is None else row[column],
                    image,
                    text_field(row, "caption", where),
                    text_field(row, "negative_caption", where),
                )
            )
        if not cases:
            raise DataError(f"{self.name}: the hub's copy holds no rows")
        notes: dict[str, Any] = {"subsets": "not named by the hub's copy"}
        if column is not None:
            notes = missing_subsets(SUBSETS, [case.subset for case in cases])
        return Examples(cases, id=pin.id, revision=pin.revision, notes=notes)


def _subset_column(rows: Any) -> str | None:
    """The column whose every value is a subset's name: no document says what it is called."""
    texts = rows.remove_columns(["images"])
    for column in texts.column_names:
        first = texts[:1][column]
        if first and first[0] in SUBSETS and set(texts.unique(column)) <= set(SUBSETS):
            return str(column)
    return None


def subset_files(folder: Path, subsets: Sequence[str]) -> dict[str, Path]:
    """The files SUBSET.json of a folder, as many of the subsets as there are, in their order.

    Raises `DataError` where there is none, or a JSON file that is not a subset's.
    """
    files = {subset: folder / f"{subset}.json" for subset in subsets}
    there = {subset: file for subset, file in files.items() if file.is_file()}
    names = ", ".join(file.name for file in files.values())
    if not there:
        raise DataError(f"{folder} has none of {names}; put the authors' files there")
    strange = sorted(set(folder.glob("*.json")) - set(there.values()))
    if strange:
        raise DataError(f"{strange[0]} is none of {names}; rename it, or put it elsewhere")
    return there


def missing_subsets(subsets: Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """The result's note on subsets that are not there; empty where all are."""
    missing = [subset for subset in subsets if subset not in there]
    return {"subsets_missing": ", ".join(missing)} if missing else {}


def read_items(subset: str, file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each item of a subset's file: its id (SUBSET/ID), where it stands, and its fields.

    The file holds a list, or objects under keys; an item's own `id` goes before its key. Raises
    `DataError` for an id that came before.
    """
    ids: set[str] = set()
    for key, row in read_json_rows(file):
        where = f"{file}, item {key}"
        id = f"{subset}/{row.get('id', key)}"
        if id in ids:
            raise DataError(f"{where}: the id {row.get('id')!r} came before; fix the file")
        ids.add(id)
        yield id, where, row
