"""From rows to what the loop reads: the table of tokens, and the images' features."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paraclip_bench.data.training import BadRow, Row, read_rows
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.ranks import Ranks
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import DataError
from paraclip_bench.finetune.features import image_features
from paraclip_bench.finetune.job import Job
from paraclip_bench.finetune.report import Report
from paraclip_bench.finetune.table import Table, distinct_images, make_table, open_table
from paraclip_bench.models.base import Model
from paraclip_bench.models.open_clip import OpenCLIP
from paraclip_bench.progress import Progress


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Makes the table of a job, in a folder beside the checkpoint's until that is claimed.

    bad_rows is the file that names rows that stop the run.
    """

    job: Job
    model: Model
    adapter: OpenCLIP
    folder: Path
    bad_rows: Path
    team: Ranks
    progress: Progress

    def table(self, *, skip_bad: bool) -> tuple[Table, Report]:
        """Read all rows once; rank 0 writes the table, all open it.

        Raises `DataError` for bad rows unless they are to be skipped, and where none is good.
        """
        report: Report = self.team.on_first(lambda: self._make(skip_bad=skip_bad))
        return open_table(self.folder), report

    def _make(self, *, skip_bad: bool) -> Report:
        report = Report()
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
            make_table(self._rows(), tokenize, padding, self.folder, report, advance)
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
        return image_features(
            distinct_images(self._rows(), table),
            len(table.source),
            embed,
            self.folder / "image_features.npy",
            self.team,
            skip_bad=skip_bad,
        )

    def moved(self, folder: Path) -> Preparation:
        """The same with its files in another folder."""
        if self.team.is_first:
            if folder.exists():
                shutil.rmtree(folder)
            self.folder.rename(folder)
        self.team.meet()
        return dataclasses.replace(self, folder=folder)

    def discard(self) -> None:
        """Delete what was made."""
        if self.team.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _rows(self) -> Iterator[Row | BadRow]:
        return read_rows(self.job.files, self.job.images, self.job.recipe.needed)


def without_padding(tokens: npt.NDArray[np.int64], padding: int) -> npt.NDArray[np.int32]:
    """Tokens [context] up to the first of what pads the end, that included; all without any."""
    different = np.flatnonzero(tokens != padding)
    length = int(different[-1]) + 2 if len(different) else 1
    return tokens[:length].astype(np.int32)
