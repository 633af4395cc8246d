"""From rows to what the loop reads: the table of tokens, and the frozen tower's image features."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.training_rows import BadRow, TrainingRow, read_rows, text_views
from paraclip_bench.distributed import ProcessGroup, RankFailed
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import DataError
from paraclip_bench.files import atomic, parse_json, write_text
from paraclip_bench.models.adapter import Model
from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.progress import Progress
from paraclip_bench.training.recipe import FinetuneJob
from paraclip_bench.training.table import RowReport, Table, distinct_images, make_table, open_table

# Images that go to the engine together: so many, or so many bytes of those that come as bytes.
_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 28


Features = npt.NDArray[np.float32]


def image_features(
    images: Iterable[ImageRef],
    count: int,
    embed: Embedder,
    path: Path,
    group: ProcessGroup,
    *,
    skip_bad: bool,
) -> tuple[Features, dict[int, str]]:
    """Unit features [count, d] of distinct images, memory-mapped from a .npy file at `path`.

    With `skip_bad`, images that cannot be decoded have no features; the second value says, by their
    number, what is wrong with them. Features come through the engine and its store, so that another
    run, or a run that was killed, does not encode them again. Rank 0 writes the file; memory does
    not grow with their number.
    """
    notes = path.with_suffix(".damaged.json")
    if not path.is_file():
        parts = _encoded(images, embed, skip_bad=skip_bad)
        if group.is_first:
            with atomic(path) as temporary:
                damaged = _write(temporary, parts, count)
                write_text(notes, json.dumps(damaged))
        else:
            for _ in parts:
                pass
    group.barrier()
    features: Features = np.load(path, mmap_mode="r")
    try:
        found = parse_json(notes.read_bytes())
        return features, {int(number): sentence for number, sentence in found.items()}
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{notes} is damaged ({error}); delete its folder and run finetune again"
        ) from error


def _encoded(
    images: Iterable[ImageRef], embed: Embedder, *, skip_bad: bool
) -> Iterator[tuple[list[ImageRef], Features, dict[int, str]]]:
    """Each part with the features of its good images, and what is wrong with the others."""
    for part in _parts(images):
        try:
            yield part, embed.images(part), {}
            continue
        except (DataError, RankFailed) as error:
            if not skip_bad:
                if isinstance(error, DataError):
                    # The same error, for it knows whether other processes have it.
                    error.args = (f"{error}, or leave its rows out with --bad-rows skip",)
                raise
            damaged = {place: said for place, ref in enumerate(part) if (said := _problem(ref))}
            if not damaged:
                raise
        good = [ref for place, ref in enumerate(part) if place not in damaged]
        yield part, embed.images(good), damaged


def _problem(image: ImageRef) -> str | None:
    try:
        image.open()
    except DataError as error:
        return str(error)
    return None


def _write(
    path: Path, parts: Iterable[tuple[list[ImageRef], Features, dict[int, str]]], count: int
) -> dict[int, str]:
    """Write all features; returns what is wrong with images that have none, by their number."""
    file, done = None, 0
    wrong: dict[int, str] = {}
    for part, vectors, damaged in parts:
        if file is None:
            file = np.lib.format.open_memmap(
                path, mode="w+", dtype=np.float32, shape=(count, vectors.shape[1])
            )
            # A full disk is an error now, and not a signal when a page is written back.
            with path.open("r+b") as whole:
                os.posix_fallocate(whole.fileno(), 0, path.stat().st_size)
        good = [place for place in range(len(part)) if place not in damaged]
        file[done + np.array(good, dtype=np.intp)] = vectors
        wrong |= {done + place: sentence for place, sentence in damaged.items()}
        done += len(part)
    if file is not None:
        file.flush()
    if done != count:
        raise DataError("the training data changed while it was read; run finetune again")
    return wrong


def _parts(images: Iterable[ImageRef]) -> Iterator[list[ImageRef]]:
    part: list[ImageRef] = []
    held = 0
    for image in images:
        part.append(image)
        held += len(image.data or b"")
        if len(part) == _AT_ONCE or held >= _BYTES_AT_ONCE:
            yield part
            part, held = [], 0
    if part:
        yield part


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Makes the table of a job, in a folder beside the checkpoint's until that is claimed.

    bad_rows is the file that names rows that stop the run.
    """

    job: FinetuneJob
    model: Model
    adapter: OpenCLIP
    folder: Path
    bad_rows: Path
    group: ProcessGroup
    progress: Progress

    def table(self, *, skip_bad: bool) -> tuple[Table, RowReport]:
        """Read all rows once; rank 0 writes the table, all open it.

        Raises `DataError` for bad rows unless they are to be skipped, and where none is good.
        """
        report: RowReport = self.group.on_first(lambda: self._make(skip_bad=skip_bad))
        return open_table(self.folder), report

    def _make(self, *, skip_bad: bool) -> RowReport:
        report = RowReport()
        network = self.adapter.network(("text",))
        padding = int(network.tokenize("a")[0][-1])
        # Some tokenizers pad with the token that ends a text: one of it is then no padding.
        ends_padded = bool((network.tokenizer([""])[0] == padding).all())

        def tokenize(text: str) -> npt.NDArray[np.int32]:
            tokens = network.tokenizer([text])[0].numpy()
            if ends_padded and tokens[-2] != padding:
                return np.asarray(tokens[:-1], dtype=np.int32)
            return without_padding(tokens, padding)

        with self.progress.track("reading rows", None) as advance:
            views = text_views(self.job.recipe.needed)
            make_table(self._rows(), tokenize, padding, self.folder, report, advance, views)
        if not skip_bad:
            report.refuse(self.bad_rows)
        self.bad_rows.unlink(missing_ok=True)
        if not report.rows:
            raise DataError(
                f"{self.job.data_name} holds no rows that can be trained on"
                + (f": {report.summary()}" if report.counts else "")
            )
        return report

    def features(
        self, table: Table, *, skip_bad: bool
    ) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
        """Features of the table's distinct images, in a file in its folder.

        Images that cannot be decoded raise `DataError`; with `skip_bad` the second value has them
        by number, with what is wrong.
        """
        embed = Embedder(self.model, Spaces(self.progress.say), self.progress)
        made = image_features(
            distinct_images(self._rows(), table),
            len(table.source),
            embed,
            self.folder / "image_features.npy",
            self.group,
            skip_bad=skip_bad,
        )
        for line in embed.inputs.lines():
            self.progress.say(f"note: {line}")
        return made

    def moved(self, folder: Path) -> Preparation:
        """The same with its files in another folder."""
        if self.group.is_first:
            if folder.exists():
                shutil.rmtree(folder)
            self.folder.rename(folder)
        self.group.barrier()
        return dataclasses.replace(self, folder=folder)

    def discard(self) -> None:
        """Delete what was made."""
        if self.group.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _rows(self) -> Iterator[TrainingRow | BadRow]:
        return read_rows(self.job.files, self.job.images, self.job.recipe.needed)


def without_padding(tokens: npt.NDArray[np.int64], padding: int) -> npt.NDArray[np.int32]:
    """Tokens [context] up to the first of what pads the end, that included; all without any."""
    different = np.flatnonzero(tokens != padding)
    length = int(different[-1]) + 2 if len(different) else 1
    return tokens[:length].astype(np.int32)
