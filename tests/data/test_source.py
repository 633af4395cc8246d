"""Places that data come from."""

from pathlib import Path

import pytest

from paraclip_bench.data.source import FolderSource, folder_source
from paraclip_bench.errors import DataError, UsageError


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        folder_source(tmp_path)
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts" / "a.tsv").write_text("x")
    source = folder_source(tmp_path)
    assert source.kind == "folder"
    assert source.file("sts/a.tsv") == tmp_path / "sts/a.tsv"
    assert source.folder("sts") == tmp_path / "sts"
    for ask, name in ((source.file, "sts"), (source.file, "sts/b.tsv"), (source.folder, "gone")):
        with pytest.raises(DataError, match=f"{name} is missing"):
            ask(name)
    with pytest.raises(UsageError, match="is not a folder"):
        folder_source(tmp_path / "sts" / "a.tsv")


def test_the_demo_world_is_not_a_place_to_put_files(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, kind="demo")
    for find in (source.file, source.folder):
        with pytest.raises(DataError) as caught:
            find("mine/cases.json")
        assert str(caught.value) == (
            "the demo world has no mine/cases.json; give a folder that has it with --data-dir"
        )
