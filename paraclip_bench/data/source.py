"""The places that a task's examples can come from: the hub, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip_bench.data.data_set import Pin
from paraclip_bench.data.snapshot import (
    check_cached,
    check_prefetched,
    files,
    files_folder,
    read_manifest,
)
from paraclip_bench.errors import DataError, MissingData, UsageError, check_name
from paraclip_bench.files import regular


@dataclass(frozen=True)
class HubSource:
    """The hub's data sets at the revisions that the tasks' data sets pin.

    `root` is a folder that prefetch wrote, None for the hub itself and its cache.
    """

    kind: str = "hub"
    root: Path | None = None

    def rows(self, pin: Pin) -> Any:
        """The pinned split as a `datasets.Dataset`; images stay undecoded ({"bytes", "path"}).

        Raises `DataError` where it cannot be had.
        """
        from paraclip_bench.data import hub

        return hub.load(pin, self.root)

    def check(self, pin: Pin | None) -> tuple[int, int]:
        """Hash the files of a data set again and read its rows; how many files, how many compared.

        Raises `MissingData` where they are not here, `DataError` where one is damaged.
        """
        folder = None if pin is None else files_folder(pin, self.root)
        if pin is None or folder is None:
            raise MissingData("not here; data prefetch fetches it")
        if self.root is None:
            hashed = check_cached(folder, pin, again=True)
        else:
            hashed = len(files(check_prefetched(self.root, pin, again=True)))
        self.rows(pin)
        return len(files(folder)), hashed

    def of(self, pin: Pin | None) -> Source:
        """Where a task's examples are: a prefetched folder may have a layout beside the hub's."""
        layout = self.layout()
        if layout is None:
            return self
        listed = read_manifest(layout.root) or {}
        return self if pin and pin.id in listed else layout

    def layout(self) -> FolderSource | None:
        """The layout of --data-dir in a prefetched folder; None where there is no such folder."""
        return None if self.root is None else FolderSource(self.root, id=str(self.root))

    def file(self, relative: str) -> Path:
        """For tasks that read folders alone: `DataError`, because the hub has no such file."""
        raise DataError(f"the hub has no {relative}; give a folder that has it with --data-dir")

    folder = file


@dataclass(frozen=True)
class FolderSource:
    """A folder in the layout of --data-dir; `kind` is "demo" for the embedded world's own."""

    root: Path
    kind: str = "folder"
    id: str = "folder"

    def check(self, _: Pin | None) -> tuple[int, int]:
        """None: a layout has no checksums."""
        return 0, 0

    def of(self, _: Pin | None) -> Source:
        """Where a task's examples are: here."""
        return self

    def layout(self) -> FolderSource | None:
        """None: what this folder does not have lies nowhere else."""
        return None

    def file(self, relative: str) -> Path:
        """The file of that place in the layout; `MissingData` where it is missing."""
        path = self.root / relative
        if not regular(path).is_file():
            raise self._missing(relative, "it")
        return path

    def folder(self, relative: str) -> Path:
        """The folder of that place in the layout; `MissingData` where it is missing."""
        path = self.root / relative
        if not path.is_dir():
            raise self._missing(relative, "the folder")
        return path

    def _missing(self, relative: str, what: str) -> MissingData:
        if self.kind == "demo":
            return MissingData(
                f"the demo world has no {relative}; give a folder that has it with --data-dir"
            )
        first = Path(relative).parts[0]
        inside = [f"{self.root / name}" for name in ("test", "dev", "data")]
        near = [place for place in inside if (Path(place) / relative).exists()]
        if self.root.resolve().name == first and (self.root.resolve().parent / relative).exists():
            near.append(str(self.root.parent) if len(self.root.parts) > 1 else "its parent folder")
        if near:
            return MissingData(
                f"{self.root / relative} is missing, and there is one for --data-dir {near[0]}; "
                "give that"
            )
        return MissingData(
            f"{self.root / relative} is missing; put {what} there (docs/data.md has the layout)"
        )


Source = HubSource | FolderSource


def folder_source(root: Path) -> Source:
    """The source for --data-dir; `UsageError` where the folder is missing or empty."""
    check_name(root.resolve(), "--data-dir")
    if not root.is_dir():
        raise UsageError(f"--data-dir {root} is not a folder; name the folder that holds the data")
    if not any(root.iterdir()):
        raise UsageError(
            f"--data-dir {root} is empty; put the data there (docs/data.md has the layout)"
        )
    if read_manifest(root) is not None:
        return HubSource(root=root.resolve())
    return FolderSource(root, id=str(root.resolve()))
