"""Examples for a page: what models make of one, side by side, and pictures of what they find."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench import safe_text
from paraclip_bench.boards.compare_models import (
    examples_of,
    has_ranking,
    is_counted,
    is_ranking,
    of_examples,
    texts_of,
)
from paraclip_bench.boards.content import BoardContent
from paraclip_bench.boards.selection import Column, Entry, Measure
from paraclip_bench.data.images import ImageRef, file_in
from paraclip_bench.errors import BenchError, reason_of
from paraclip_bench.results.store import read_outcomes
from paraclip_bench.tasks.base import Examples, Task
from paraclip_bench.tasks.catalog import load_task

# Examples of all tasks together, and of one at least and at most.
_EXAMPLES, _FEWEST, _MOST = 480, 12, 60
# So many first places of a ranking are shown.
_FIRST = 10
# Pictures on a page, and the pixels of their longer side.
_PICTURES, _SIDE = 800, 128
# Outcomes that say nothing of what a model did.
_NOT_SHOWN = ("example_id", "cluster_id", "counted_group", "averaged")
# Characters of one text.
_LONGEST = 600


class Pool:
    """Values that many results share, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[tuple[type, Any], int] = {}

    def place(self, value: Any) -> int:
        """Where a value stands in `values`."""
        is_plain = isinstance(value, str | int | float | None)
        key = type(value), value if is_plain else json.dumps(value, sort_keys=True, default=str)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def short(value: float | None, digits: int = 6) -> float | None:
    """A number with so many digits after the point: what is beyond is no result."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


class Explorer:
    """Examples of each measure, models side by side, and the images that they name."""

    def __init__(self, board: BoardContent, rows: Sequence[int], images: Path | None) -> None:
        self._board, self._rows, self._folder = board, rows, images
        sets = {measure for column in board.columns for measure in column.measures}
        self._most = max(_FEWEST, min(_MOST, _EXAMPLES // max(1, len(sets))))
        self._refs: dict[tuple[int, str], ImageRef] = {}
        self._names = Pool()
        self.notes: list[str] = []
        self.without_picture = 0

    def of(self, measure: Measure, measures: Sequence[Measure]) -> dict[str, Any] | None:
        """Those that changed most and a spread of the others; None where nothing is known."""
        rows, entries = [], []
        for index in self._rows:
            row = self._board.rows[index]
            own = self._board.results_of(row, measure)
            if own and own[0].has_outcomes and not own[0].result.provenance.scored_by:
                rows.append(index)
                entries.append(own[0])
                if len(own) > 1:
                    first = own[0].result.model.name
                    self.notes.append(f"examples of {row.name} are those of {first}")
        if not entries:
            return None
        result, score = entries[0].result, self._score(measure, entries[0])
        try:
            task = load_task(result.task)
            outcomes = [read_outcomes(entry.path, is_counted) for entry in entries]
            counted_as, values = _values(task, score, outcomes)
            place, chosen = measures.index(measure), _chosen(values, self._most)
            held = [
                {name: column[[i for i, _ in chosen]] for name, column in found.items()}
                | read_outcomes(entry.path, is_ranking, [i for i, _ in chosen])
                for entry, found in zip(entries, outcomes, strict=True)
            ]
        # Outcomes may be damaged, and a plugin's task or metric may raise anything.
        except Exception as error:
            self.notes.append(f"{result.task}: examples are not shown ({reason_of(error)})")
            return None
        if result.data.source == "hub":
            _stay_offline()
        examples = examples_of(task, result)
        if isinstance(examples, str):
            self.notes.append(f"{result.task}: texts of examples are not shown ({examples})")
        else:
            self._know(place, examples, result.data.source)
        return {
            "measure": place,
            "score": score,
            "counted": counted_as,
            "rows": rows,
            "all": values.shape[1],
            "examples": [
                self._example(place, examples, index, why, values, [_row(h, i) for h in held])
                for i, (index, why) in enumerate(chosen)
            ],
        }

    def pictures(self) -> tuple[list[str], dict[int, int]]:
        """Small pictures as data, and by the place of an image's name, which of them it is."""
        pictures, found, known = list[str](), dict[int, int](), dict[ImageRef, int | None]()
        for place, (measure, name) in enumerate(self._names.values):
            ref = self._ref(measure, name)
            if ref is not None and ref not in known:
                small = thumbnail(ref) if len(pictures) < _PICTURES else None
                known[ref] = None if small is None else len(pictures)
                pictures += [] if small is None else [small]
            if ref is None or (picture := known[ref]) is None:
                self.without_picture += 1
            else:
                found[place] = picture
        return pictures, found

    @property
    def images(self) -> list[str]:
        """The images' names."""
        return [name for _, name in self._names.values]

    def _score(self, measure: Measure, entry: Entry) -> str:
        """The first of the measure's scores on the board that can be taken apart: or the main."""
        columns: Iterable[Column] = self._board.columns
        shown = (c.score for c in columns if measure in c.measures and not c.is_computed)
        return next(shown, entry.result.main_score)

    def _know(self, measure: int, examples: Examples, source: str) -> None:
        """Images of the demo world are ours to show; others are in the folder that is named."""
        if source == "demo":
            rows = [*examples.shared, *(v for row in examples.rows for v in _fields(row))]
            self._refs |= {(measure, r.id): r for r in rows if isinstance(r, ImageRef)}

    def _ref(self, measure: int, name: str) -> ImageRef | None:
        """Two sets may give one name to different images, so that a name alone is not enough."""
        known = self._refs.get((measure, name))
        if self._folder is None or known is not None:
            return known
        for place in dict.fromkeys((name, name.replace("\\", "/").rpartition("/")[2])):
            try:
                if place and (path := file_in(self._folder, place, "the results")):
                    return ImageRef(name, path)
            except BenchError:  # a name that leads elsewhere
                continue
        return None

    def _example(
        self,
        measure: int,
        examples: Examples | str,
        index: int,
        why: str,
        values: npt.NDArray[Any],
        outcomes: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        texts, images = ({}, ()) if isinstance(examples, str) else texts_of(examples, index)
        models = []
        for outcome in outcomes:
            top = {
                name.removeprefix("top_"): [
                    self._names.place([measure, str(each)]) for each in value[:_FIRST]
                ]
                for name, value in outcome.items()
                if is_ranking(name) and has_ranking(value)
            }
            numbers = {
                name: _plain(value)
                for name, value in outcome.items()
                if not isinstance(value, np.ndarray) and name not in _NOT_SHOWN
            }
            models.append({"numbers": numbers, **({"top": top} if top else {})})
        return {
            "id": _plain(str(outcomes[0]["example_id"])),
            "why": why,
            "texts": {name: _plain(text) for name, text in texts.items()},
            "images": [self._names.place([measure, image]) for image in images],
            "values": [short(value, 4) for value in values[:, index]],
            "models": models,
        }


def _row(columns: Mapping[str, npt.NDArray[Any]], index: int) -> dict[str, Any]:
    return {name: values[index] for name, values in columns.items()}


def thumbnail(ref: ImageRef) -> str | None:
    """A small picture as a data URL; None where the image cannot be read."""
    try:
        picture = ref.open()
    except BenchError:  # damaged, or not there any more
        return None
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=75, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _stay_offline() -> None:
    """What is cached is shown; a page is made without the network."""
    from paraclip_bench.data.hub import go_offline, offline_by

    if not offline_by():
        go_offline("a page is made without the network")


def _fields(row: Any) -> Iterable[Any]:
    if isinstance(row, Mapping):
        return row.values()
    return [getattr(row, field.name) for field in dataclasses.fields(row)]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text.cut(value, _LONGEST)
    plain = value.item() if isinstance(value, np.generic) else value
    return short(plain, 4) if isinstance(plain, float) else plain


def _values(
    task: Task, score: str, outcomes: Sequence[Mapping[str, npt.NDArray[Any]]]
) -> tuple[str, npt.NDArray[Any]]:
    """What each example counts [m, n] for each of m results, and what that is called."""
    found = [of_examples(task, score, columns) for columns in outcomes]
    known = [each for each in found if each is not None]
    if len(known) < len(found) or len({len(values) for _, values in known}) > 1:
        raise ValueError(score)
    return known[0][0], np.stack([values for _, values in known])


def _chosen(values: npt.NDArray[Any], most: int) -> list[tuple[int, str]]:
    """Numbers of examples and why: those that gained and lost most, and a spread of the others.

    The first row of values is what the others are compared to; a third is for each kind.
    """
    n = values.shape[1]
    change = np.nan_to_num(values[1:] - values[0])
    found: dict[int, str] = {}
    if len(change):
        gain, loss = change.max(axis=0), change.min(axis=0)
        for why, size in (("better", gain), ("worse", -loss)):
            order = np.argsort(-size, kind="stable")
            best = [int(i) for i in order[: most // 3 + len(found)] if size[i] > 0]
            for i in [i for i in best if i not in found][: most // 3]:
                found[i] = why
    others = [i for i in range(n) if i not in found]
    room = most - len(found)
    step = max(1, -(-len(others) // max(1, room)))
    found |= dict.fromkeys(others[::step][:room], "spread")
    return list(found.items())
