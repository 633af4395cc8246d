"""VG-Relation and VG-Attribution of ARO (Yuksekgonul et al., ICLR 2023).

Does a model prefer the true caption to one with the two objects, or their attributes, swapped?
Two protocols: `aro` crops to the box, counts a tie as wrong and averages over relations or
attribute pairs; `mteb` takes the image as stored, a tie as right, and averages over cases.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.hub import with_images
from paraclip_bench.data.images import ImageRef, checked_box, image_in
from paraclip_bench.data.row_files import int_field, read_json_list, text_field
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, NotServed
from paraclip_bench.metrics.accuracy import ACCURACY_MICRO, TIE_RATE, macro_mean_of
from paraclip_bench.metrics.metric import Metric, Statistic, named
from paraclip_bench.tasks.base import DERIVED, Embed, Examples, Protocol, Task, compare_captions

_BOX_FIELDS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
# The authors average over attribute pairs with at least 25 cases.
MIN_CASES = 25


@dataclasses.dataclass(frozen=True)
class VisualGenomeCase:
    """An image, its true and false caption, the case's group, and whether that group counts.

    `counted_group` is the group that the protocol's mean counts the case in, or "".
    """

    image: ImageRef
    true_caption: str
    false_caption: str
    group: str
    counted_group: str = dataclasses.field(default="all", metadata=DERIVED)


@functools.cache
def excluded_relations() -> frozenset[str]:
    """The 157 relations that ARO leaves out of its macro average."""
    file = importlib.resources.files("paraclip_bench.data") / "vg_relation_excluded.json"
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["relations"])


class _VisualGenome(Task):
    groups = ("compositionality",)
    suites = ("paper", "demo")
    scores: ClassVar[Mapping[str, Statistic]] = named(
        Metric(
            "accuracy",
            "the protocol's own mean of right cases: over relations or attribute pairs, or over "
            "all cases",
            functools.partial(macro_mean_of, "correct", "counted_group"),
            source="Yuksekgonul et al. 2023 (arXiv 2210.01936)",
        ),
        ACCURACY_MICRO,
        TIE_RATE,
    )
    breakdown: ClassVar[Mapping[str, tuple[str, ...]]] = {"group": ("accuracy_micro", "tie_rate")}
    annotation: ClassVar[str]
    group_field: ClassVar[str]
    data_set: ClassVar[DataSet]

    def group(self, row: Mapping[str, Any], where: str) -> str:
        """The relation or the attribute pair of a case."""
        raise DataError(f"{where}: this task names no group")

    def counted(self, groups: list[str]) -> set[str]:
        """The groups that the aro protocol's mean is over."""
        raise DataError(f"{self.name} names no counted groups")

    def _counted(self, examples: Examples, protocol: str) -> Examples:
        """The examples, each with the group that the protocol's mean counts it in."""
        if protocol != "aro":
            return examples
        groups = [case.group for case in examples]
        counted = self.counted(groups)
        if not counted:
            raise DataError(
                f"{self.name} of {examples.id}: none of its {len(set(groups))} groups is one that "
                "the aro protocol counts; give the whole set, or ask for --protocol mteb"
            )
        # Decided on the whole set, so that --limit does not change which groups count.
        rows = [
            dataclasses.replace(case, counted_group=case.group if case.group in counted else "")
            for case in examples
        ]
        return dataclasses.replace(examples, rows=rows)

    def outcomes(self, examples: Examples, embed: Embed) -> Mapping[str, Any]:
        cases: list[VisualGenomeCase] = list(examples)
        if not any(case.counted_group for case in cases):
            raise DataError(
                f"{self.name}: none of these {len(cases)} cases is of a group that the aro "
                "protocol counts; raise --limit, or ask for --protocol mteb"
            )
        return {
            "cluster_id": np.array([case.image.sha256 for case in cases], dtype=object),
            **compare_captions(
                [case.image for case in cases],
                [case.true_caption for case in cases],
                [case.false_caption for case in cases],
                embed,
                tie_is_right=examples.protocol == "mteb",
            ),
            "group": np.array([case.group for case in cases], dtype=object),
            "counted_group": np.array([case.counted_group for case in cases], dtype=object),
        }

    def load_folder(self, source: FolderSource, protocol: str) -> Examples:
        path = source.file(f"{self.name}/{self.annotation}")
        images = source.folder(f"{self.name}/images")
        cases, partly_outside = [], 0
        for index, row in enumerate(read_json_list(path)):
            where = f"{path}, case {index}"
            image = image_in(images, text_field(row, "image_path", where), where)
            case = self._case(row, image, protocol, where)
            partly_outside += not checked_box(case.image, where)
            cases.append(case)
        notes = {"boxes_partly_outside": partly_outside} if partly_outside else {}
        examples = Examples(cases, id=f"{source.id}:{path.name}", notes=notes)
        return self._counted(examples, protocol)

    def load_hub(self, source: HubSource, protocol: str) -> Examples:
        pin = self.data_set.pin
        assert pin is not None
        rows = source.rows(pin)
        columns = set(rows.column_names)
        missing = {"image", "true_caption", "false_caption"} - columns
        if protocol == "aro":
            missing |= set(_BOX_FIELDS) - columns
        if missing:
            # Boxes it may do without, captions not.
            kind = NotServed if missing <= set(_BOX_FIELDS) else DataError
            raise kind(
                f"{self.name}: the hub's copy lacks {', '.join(sorted(missing))}, which the "
                f"{protocol} protocol needs; give ARO's own files with --data-dir"
                + ("" if protocol == "mteb" else ", or ask for --protocol mteb")
            )
        cases, partly_outside = [], 0
        for index, row, (image,) in with_images(rows, ["image"], self.name):
            where = f"{self.name} of the hub, row {index}"
            ref = dataclasses.replace(image, id=str(row.get("image_path") or index))
            case = self._case(row, ref, protocol, where)
            partly_outside += not checked_box(case.image, where)
            cases.append(case)
        notes: dict[str, Any] = {}
        if partly_outside:
            notes["boxes_partly_outside"] = partly_outside
        if protocol == "aro" and self.group_field not in columns:
            notes["group"] = "recovered from the captions"
        examples = Examples(cases, id=pin.id, revision=pin.revision, notes=notes)
        return self._counted(examples, protocol)

    def _case(
        self, row: Mapping[str, Any], image: ImageRef, protocol: str, where: str
    ) -> VisualGenomeCase:
        if protocol == "aro":
            left, top, width, height = (int_field(row, key, where) for key in _BOX_FIELDS)
            image = image.cropped((left, top, left + width, top + height))
        return VisualGenomeCase(
            image,
            text_field(row, "true_caption", where),
            text_field(row, "false_caption", where),
            self.group(row, where) if protocol == "aro" or self.group_field in row else "",
        )


class VGRelation(_VisualGenome):
    """Which way round a relation holds: "the horse eats the grass" or its swap."""

    name = "vg-relation"
    annotation = "visual_genome_relation.json"
    data_set = DataSet(
        "MIT, images CC BY 4.0",
        "ARO (Yuksekgonul et al. 2023)",
        layout={
            "vg-relation/visual_genome_relation.json": "ARO's own file",
            "vg-relation/images/": "Visual Genome's images",
        },
        examples={"aro": 23937, "mteb": 23937},
        pin=Pin("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d", rows=23937),
        mteb=MtebEquivalent("AROVisualRelation", "mteb", {"accuracy": "text_acc"}),
    )
    group_field = "relation_name"
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "aro": Protocol(("text", "image"), "cropped; ties wrong; mean over relations"),
        "mteb": Protocol(("text", "image"), "whole image; ties right; mean over cases"),
    }

    def group(self, row: Mapping[str, Any], where: str) -> str:
        """The relation's name."""
        return text_field(row, "relation_name", where)

    def counted(self, groups: list[str]) -> set[str]:
        """All relations but the 157 that ARO leaves out."""
        return set(groups) - excluded_relations()


class VGAttribution(_VisualGenome):
    """Which object has which attribute: "the paved road and the white house" or its swap."""

    name = "vg-attribution"
    annotation = "visual_genome_attribution.json"
    data_set = DataSet(
        "MIT, images CC BY 4.0",
        "ARO (Yuksekgonul et al. 2023)",
        layout={
            "vg-attribution/visual_genome_attribution.json": "ARO's own file",
            "vg-attribution/images/": "Visual Genome's images",
        },
        examples={"aro": 28748, "mteb": 28748},
        pin=Pin(
            "mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e", rows=28748
        ),
        mteb=MtebEquivalent("AROVisualAttribution", "mteb", {"accuracy": "text_acc"}),
    )
    group_field = "attributes"
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "aro": Protocol(
            ("text", "image"), f"cropped; ties wrong; mean over pairs with >= {MIN_CASES} cases"
        ),
        "mteb": Protocol(("text", "image"), "whole image; ties right; mean over cases"),
    }

    def group(self, row: Mapping[str, Any], where: str) -> str:
        """The ordered pair of attributes, read off the captions where no field names it."""
        if "attributes" not in row:
            first, second = attributes_of(
                str(row["true_caption"]), str(row["false_caption"]), where
            )
            return f"{first}_{second}"
        attributes = row["attributes"]
        if (
            not isinstance(attributes, list | tuple)
            or len(attributes) != 2
            or not all(isinstance(a, str) and a for a in attributes)
        ):
            raise DataError(f"{where}: 'attributes' must be a list of two texts")
        return f"{attributes[0]}_{attributes[1]}"

    def counted(self, groups: list[str]) -> set[str]:
        """Pairs with at least `MIN_CASES` cases."""
        return {group for group, count in Counter(groups).items() if count >= MIN_CASES}


def attributes_of(true_caption: str, false_caption: str, where: str) -> tuple[str, str]:
    """The two attributes of "the A x and the B y", found as the words that the swap moves.

    Raises `DataError` where no reading, or more than one, explains the false caption.
    """
    match = re.fullmatch(r"the (.+) and the (.+)", true_caption)
    readings = set()
    if match:
        first, second = (part.split() for part in match.groups())
        for i in range(1, len(first)):
            for j in range(1, len(second)):
                a, x = " ".join(first[:i]), " ".join(first[i:])
                b, y = " ".join(second[:j]), " ".join(second[j:])
                if f"the {b} {x} and the {a} {y}" == false_caption:
                    readings.add((a, b))
    if len(readings) != 1:
        raise DataError(
            f"{where}: the attributes cannot be read from the captions; "
            "give ARO's own files with --data-dir"
        )
    return readings.pop()
