"""Training rows, ours and those of the ParaCLIP authors' script."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from paraclip_bench.data.training import read_pairs
from paraclip_bench.errors import DataError

TEXTS = {"caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "a hound"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.png", "000017.jpg", "12.webp"):
        Image.new("RGB", (2, 2)).save(folder / name)
    return folder


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_both_formats(tmp_path: Path, images: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl",
        {"image": "a.jpg", **TEXTS},
        {"image": "sub/b.png", **TEXTS, "note": "more fields are no harm"},
        {"index": 0, "image_id": "000017", **TEXTS, "caption": "the cat"},
        {"index": 1, "image_id": "12", **TEXTS},
    )
    pairs = read_pairs(path, images)
    assert [pair.image.path for pair in pairs] == [
        images / name for name in ("a.jpg", "sub/b.png", "000017.jpg", "12.webp")
    ]
    assert [pair.caption for pair in pairs] == ["a dog", "a dog", "the cat", "a dog"]
    assert (pairs[2].paraphrase_1, pairs[2].paraphrase_2) == ("one dog", "a hound")
    assert pairs[2].image.open().size == (2, 2)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "gone.jpg", **TEXTS}, "gone.jpg does not exist"),
        ({"image_id": "99", **TEXTS}, "99 does not exist"),
        ({"image": "a caption " * 30, **TEXTS}, "caption  does not exist"),
        (TEXTS, "there is no 'image_id'"),
        ({"image": "a.jpg", "caption": "x", "paraphrase_1": "y"}, "there is no 'paraphrase_2'"),
        ({"image": "a.jpg", **TEXTS, "paraphrase_1": " "}, "'paraphrase_1' must be a text"),
        ({"image": "a.jpg", **TEXTS, "caption": None}, "'caption' must be a text"),
        ([1], "must be an object"),
    ],
)
def test_bad_rows(tmp_path: Path, images: Path, row: Any, said: str) -> None:
    path = write(tmp_path / "pairs.jsonl", {"image": "a.jpg", **TEXTS}, row)
    with pytest.raises(DataError) as caught:
        read_pairs(path, images)
    assert f"{path}, line 2: " in str(caught.value)
    assert said in str(caught.value)


def test_no_rows_and_no_folder(tmp_path: Path, images: Path) -> None:
    path = write(tmp_path / "pairs.jsonl")
    with pytest.raises(DataError, match=r"pairs\.jsonl holds no rows"):
        read_pairs(path, images)
    with pytest.raises(DataError, match=r"the image folder .*none does not exist"):
        read_pairs(path, tmp_path / "none")
