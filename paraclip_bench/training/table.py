"""The training rows as arrays on disk: images by number, texts as tokens, each row's choices.

One pass over the data checks every row, numbers its image by content and writes its tokens without
their padding. Rows with something wrong are counted and named, and stop the run or are left out.
What the loop reads is memory-mapped, so millions of pairs need little memory: while the table is
made about 150 bytes for a distinct image and for an id, afterwards next to none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.training_rows import TEXTS, BadRow, TrainingRow
from paraclip_bench.errors import DataError
from paraclip_bench.files import parse_json, write_text
from paraclip_bench.models.training_digests import TrainingDigests, image_digest, text_digest
from paraclip_bench.safe_text import counted

# So many rows of each kind are named in the report.
_NAMED = 1000


class RowReport:
    """Counts good and bad rows.

    counts has how many rows there are of each kind of problem.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self._named: dict[str, list[str]] = {}

    def good(self) -> None:
        """Count a row that is trained on."""
        self.rows += 1

    def bad(self, row: BadRow) -> None:
        """Count a row that is not, and remember what is wrong with the first of them."""
        self.counts[row.kind] += 1
        named = self._named.setdefault(row.kind, [])
        if len(named) < _NAMED:
            named.append(row.sentence)

    def drop(self, row: BadRow) -> None:
        """Count a row as bad that was counted as good."""
        self.rows -= 1
        self.bad(row)

    def write(self, path: Path) -> None:
        """Write the counts, and the sentence on each row that is named, as JSON."""
        written = {"good": self.rows, "bad": dict(self.counts), "rows": self._named}
        write_text(path, json.dumps(written, indent=1, ensure_ascii=False) + "\n")

    def summary(self) -> str:
        """Such as "3 rows cannot be trained on (2 empty text, 1 missing image)"."""
        total = self.counts.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        return f"{counted(total, 'row')} cannot be trained on ({kinds})"

    def refuse(self, path: Path) -> None:
        """Raise `DataError` where there are bad rows: the first of them, and how to go on."""
        if not self.counts:
            return
        first = next(iter(self._named.values()))[0]
        if self.counts.total() == 1:
            raise DataError(f"{first}; fix or drop the row, or leave it out with --bad-rows skip")
        self.write(path)
        raise DataError(
            f"{self.summary()}, the first: {first}; {path} names them; "
            "fix or drop them, or leave them out with --bad-rows skip"
        )


Tokenize = Callable[[str], npt.NDArray[np.int32]]

_META = "table.json"
_ARRAYS = {
    "image": "<i4",
    "first": "<i8",
    "choices": "<i4",
    "end": "<i8",
    "token": "<i4",
    "source": "<i8",
    "text_digest": "<u8",
    "image_digest": "<u8",
}
# Those with a column a text view.
_BY_VIEW = ("first", "choices")


@dataclass(frozen=True)
class Table:
    """Pairs as memory-mapped arrays.

    image [n]: which distinct image, -1 without one. first, choices [n, views]: of each text view,
    the first text and how many there are to choose among. views: those of `text_views`. end
    [texts]: where a text's tokens end in token [tokens]. source [images]: the row of the data that
    has a distinct image first. text_digest [texts], image_digest [images]: see
    `models.training_digests`. sha256: over the rows in order.
    """

    image: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    choices: npt.NDArray[np.int32]
    end: npt.NDArray[np.int64]
    token: npt.NDArray[np.int32]
    source: npt.NDArray[np.int64]
    text_digest: npt.NDArray[np.uint64]
    image_digest: npt.NDArray[np.uint64]
    sha256: str
    views: tuple[str, ...] = TEXTS

    def __len__(self) -> int:
        return len(self.image)

    def choose(self, rows: npt.NDArray[np.intp], seed: list[int]) -> npt.NDArray[np.int64]:
        """Texts [len(rows), views] of rows, one at random where there are several.

        Views of a row that have equally many texts give the same one of them: T' and T'' belong
        together, because the one was made from the other.
        """
        chance = np.random.default_rng(seed).random((len(rows), len(self.views)))
        choices = self.choices[rows]
        for view, name in enumerate(self.views):
            before = self._made_from(name)
            together = choices[:, view] == choices[:, before]
            chance[together, view] = chance[together, before]
        return self.first[rows] + (chance * choices).astype(np.int64)

    def _made_from(self, view: str) -> int:
        """Of which column a view's texts were made: the paraphrase before it, else the caption."""
        name, _, number = view.partition("_")
        before = f"{name}_{int(number) - 1}" if number else ""
        return self.views.index(before) if before in self.views else 0

    def digests(self, rows: npt.NDArray[np.intp]) -> TrainingDigests:
        """Digests of all texts and images of some rows."""
        images = self.image[rows]
        taken = [np.empty(0, dtype=np.int64)]
        for view in range(len(self.views)):
            first, count = self.first[rows, view], self.choices[rows, view].astype(np.int64)
            # Of each row, the numbers first, first + 1, …
            before = np.repeat(np.cumsum(count) - count, count)
            taken.append(np.repeat(first, count) + np.arange(len(before)) - before)
        return TrainingDigests(
            np.unique(self.text_digest[np.concatenate(taken)]),
            np.unique(self.image_digest[np.unique(images[images >= 0])]),
        )

    def tokens(self, text: int) -> npt.NDArray[np.int32]:
        """The tokens of a text, the last of them its padding unless it fills the context."""
        start = 0 if text == 0 else self.end[text - 1]
        return self.token[start : self.end[text]]


def make_table(
    rows: Iterable[TrainingRow | BadRow],
    tokenize: Tokenize,
    padding: int,
    folder: Path,
    report: RowReport,
    advance: Callable[[int], None],
    views: tuple[str, ...] = TEXTS,
) -> Table:
    """Write the table of the rows that can be trained on to a folder, which is made again.

    tokenize gives a text's tokens and one `padding` behind them; where that is missing, the text
    fills the context and may be cut off. Every row is counted in the report. views: the text views
    of the rows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    numbers: dict[str, int] = {}
    ids: set[str] = set()
    hasher = hashlib.sha256()
    with _Files(folder) as files:
        for source, row in enumerate(rows):
            advance(1)
            outcome: BadRow | str
            if isinstance(row, BadRow):
                outcome = row
            elif row.id is not None and row.id in ids:
                outcome = BadRow("duplicated id", f"{row.where}: the id {row.id!r} came before")
            else:

                def number_of(image: ImageRef, source: int = source) -> int:
                    if image.content not in numbers:
                        numbers[image.content] = len(numbers)
                        files.append("source", source)
                        files.append("image_digest", image_digest(image.sha256))
                    return numbers[image.content]

                outcome = _add(row, views, tokenize, padding, files, number_of)
            if isinstance(outcome, BadRow):
                report.bad(outcome)
                continue
            report.good()
            hasher.update(outcome.encode() + b"\n")
            if isinstance(row, TrainingRow) and row.id is not None:
                ids.add(row.id)
    meta = {"sha256": hasher.hexdigest(), "views": views}
    write_text(folder / _META, json.dumps(meta) + "\n")
    return open_table(folder)


def open_table(folder: Path) -> Table:
    """The table that a folder holds; `DataError` where it does not."""
    try:
        meta = parse_json((folder / _META).read_text(encoding="utf-8"))
        views = tuple(map(str, meta.get("views", TEXTS)))
        arrays = {
            name: _mapped(folder / name, kind, len(views) if name in _BY_VIEW else 1)
            for name, kind in _ARRAYS.items()
        }
        return Table(**arrays, sha256=meta["sha256"], views=views)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{folder} is damaged ({error}); delete it and run finetune again"
        ) from error


def distinct_images(rows: Iterable[TrainingRow | BadRow], table: Table) -> Iterator[ImageRef]:
    """The distinct images of a table, in their order, from the rows that it was made of."""
    sources = iter(table.source)
    wanted = next(sources, None)
    for number, row in enumerate(rows):
        if number == wanted:
            if not isinstance(row, TrainingRow) or row.image is None:
                raise DataError("the training data changed while it was read; run finetune again")
            yield row.image
            if (wanted := next(sources, None)) is None:
                return


class _Files:
    """The arrays of a table while they are written."""

    def __init__(self, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._files = {
            name: self._stack.enter_context((folder / name).open("wb")) for name in _ARRAYS
        }
        self._texts = self._tokens = 0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, name: str, *values: int) -> None:
        """Add values to an array."""
        self._files[name].write(np.array(values, dtype=_ARRAYS[name]).tobytes())

    def text(self, tokens: npt.NDArray[np.int32]) -> int:
        """Add a text; returns its number."""
        self._files["token"].write(tokens.astype(_ARRAYS["token"]).tobytes())
        self._tokens += len(tokens)
        self.append("end", self._tokens)
        self._texts += 1
        return self._texts - 1


def _add(
    row: TrainingRow,
    views: tuple[str, ...],
    tokenize: Tokenize,
    padding: int,
    files: _Files,
    number_of: Callable[[ImageRef], int],
) -> BadRow | str:
    """Write a row and give its digest; or say why it cannot be written."""
    several = [[tokenize(text) for text in texts] for texts in row.texts]
    for view, texts in zip(views, several, strict=True):
        for tokens in texts:
            if tokens[-1] != padding:
                full = f"{row.where}: {view!r} fills the model's context of {len(tokens)} tokens"
                return BadRow("overlong text", f"{full}, so it may be cut off")
    try:
        content = None if row.image is None else row.image.content
    except DataError as error:
        return BadRow("missing image", f"{row.where}: {error}")
    files.append("image", -1 if row.image is None else number_of(row.image))
    numbers = [[files.text(tokens) for tokens in texts] for texts in several]
    files.append("text_digest", *(text_digest(text) for texts in row.texts for text in texts))
    files.append("first", *(texts[0] if texts else 0 for texts in numbers))
    files.append("choices", *map(len, numbers))
    alone = [texts[0] if len(texts) == 1 else texts for texts in row.texts]
    return json.dumps([content, *alone])


def _mapped(path: Path, dtype: str, columns: int) -> npt.NDArray[Any]:
    shape = (-1, columns) if columns > 1 else (-1,)
    if path.stat().st_size == 0:
        return np.empty((0, *shape[1:]), dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r").reshape(shape)
