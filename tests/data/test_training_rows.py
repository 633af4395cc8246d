"""Training rows: ours, those of the ParaCLIP authors' script, Parquet and WebDataset shards."""

import gzip
import io
import json
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tars
from PIL import Image

from paraclip_bench.data.training_rows import (
    BadRow,
    TrainingRow,
    find_image,
    read_rows,
    training_files,
)
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.training.table import RowReport, make_table

TEXTS = {"caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "a hound"}
ALL = ("image", *TEXTS)


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


def good(path: Path, images: Path | None, needed: Any = ALL) -> list[TrainingRow]:
    rows = list(read_rows(training_files(path), images, needed))
    assert all(isinstance(row, TrainingRow) for row in rows), rows
    return rows  # type: ignore[return-value]


def picture(colour: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 4), (colour, 0, 0)).save(buffer, form)
    return buffer.getvalue()


def test_both_formats(tmp_path: Path, images: Path) -> None:
    path = write(
        tmp_path / "pairs.jsonl",
        {"image": "a.jpg", **TEXTS},
        {"image": "sub/b.png", **TEXTS, "note": "more fields do no harm"},
        {"index": 0, "image_id": "000017", **TEXTS, "caption": "the cat"},
        {"index": 1, "image_id": 12, "id": 5, **TEXTS, "paraphrase_1": ["one dog", "1 dog"]},
    )
    rows = good(path, images)
    assert [row.image.path for row in rows if row.image] == [
        images / name for name in ("a.jpg", "sub/b.png", "000017.jpg", "12.webp")
    ]
    assert [row.texts[0] for row in rows] == [("a dog",), ("a dog",), ("the cat",), ("a dog",)]
    assert rows[2].texts[1:] == (("one dog",), ("a hound",))
    assert rows[3].texts[1:] == (("one dog", "1 dog"), ("a hound",))
    assert [row.id for row in rows] == [None, None, None, "5"]
    assert rows[3].where == f"{path}, line 4"


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        ({"image": "gone.jpg", **TEXTS}, "missing image", "gone.jpg does not exist"),
        ({"image_id": "99", **TEXTS}, "missing image", "99 does not exist"),
        ({"image": "a caption " * 30, **TEXTS}, "missing image", "caption  does not exist"),
        (TEXTS, "missing image", "there is no 'image'"),
        ({"image": "a.jpg", "caption": "x", "paraphrase_1": "y"}, "empty text", "'paraphrase_2'"),
        ({"image": "a.jpg", **TEXTS, "paraphrase_1": " "}, "empty text", "'paraphrase_1' must be"),
        ({"image": "a.jpg", **TEXTS, "paraphrase_1": ["x", ""]}, "empty text", "'paraphrase_1'"),
        ({"image": "a.jpg", **TEXTS, "paraphrase_1": []}, "empty text", "'paraphrase_1'"),
        ({"image": "a.jpg", **TEXTS, "caption": None}, "empty text", "'caption' must be a text"),
        ([1], "unreadable row", "must be an object"),
    ],
)
def test_bad_rows(tmp_path: Path, images: Path, row: Any, kind: str, said: str) -> None:
    path = write(tmp_path / "pairs.jsonl", {"image": "a.jpg", **TEXTS}, row)
    first, second = read_rows([path], images, ALL)
    assert isinstance(first, TrainingRow)
    assert isinstance(second, BadRow)
    assert second.kind == kind
    assert f"{path}, line 2: " in second.sentence
    assert said in second.sentence


def test_only_what_is_needed_must_be_there(tmp_path: Path, images: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", {"image": "a.jpg", "caption": "a dog"})
    (row,) = good(path, images, ("image", "caption"))
    assert row.texts == (("a dog",), (), ())
    (row,) = good(path, None, ("caption",))
    assert row.image is None
    with pytest.raises(DataError, match="name it with --images"):
        list(read_rows([path], None, ("image",)))


def test_files_of_a_folder_or_a_pattern(tmp_path: Path, images: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", {"image": "a.jpg", **TEXTS, "caption": name})
    assert [row.texts[0] for row in good(tmp_path, images)] == [("a",), ("b",)]
    assert [row.texts[0] for row in good(tmp_path / "b*.jsonl", images)] == [("b",)]
    with pytest.raises(UsageError, match=r"none\.jsonl does not exist"):
        training_files(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match=r"images has no \.jsonl"):
        training_files(images)
    pq.write_table(pa.table({"caption": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(UsageError, match=r"several formats \(Parquet, jsonl\)"):
        training_files(tmp_path)
    with pytest.raises(DataError, match=r"the image folder .*none does not exist"):
        list(read_rows([tmp_path / "a.jsonl"], tmp_path / "none", ALL))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pairs.csv", "says no format of training data; write it as one of .jsonl, .parquet, .tar"),
        ("pairs.txt", "says no format of training data"),
        ("pairs", "says no format of training data"),
        ("pairs.tar.gz", "is compressed; unpack it, and give the plain tar"),
        ("pairs.TGZ", "is compressed; unpack it, and give the plain tar"),
        ("pairs.jsonl.zst", "is compressed; unpack it, and give the plain file"),
        ("pairs.parquet.gz", "is compressed; unpack it, and give the plain file"),
    ],
)
def test_other_endings_are_refused_by_name(tmp_path: Path, name: str, said: str) -> None:
    path = write(tmp_path / name, {"image": "a.jpg", **TEXTS})
    with pytest.raises(UsageError, match=f"{re.escape(name)} .*{re.escape(said)}"):
        training_files(path)
    if name in ("pairs.tar.gz", "pairs.TGZ"):
        with pytest.raises(UsageError, match=f"has no .jsonl.*{re.escape(name)} is compressed"):
            training_files(tmp_path)


def test_endings_are_blind_to_case_and_json_has_several_forms(tmp_path: Path, images: Path) -> None:
    row = {"image": "a.jpg", **TEXTS}
    content = json.dumps(row)
    for name, data in (
        ("A.JSONL", content.encode()),
        ("b.json", content.encode()),
        ("c.json", json.dumps([row]).encode()),
        ("d.Json", json.dumps([row], indent=1).encode()),
        ("e.jsonl.gz", gzip.compress(content.encode())),
        ("f.ndjson", content.encode()),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert [found.texts[0] for found in good(path, images)] == [(TEXTS["caption"],)]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "g.Parquet")
    assert len(good(tmp_path / "g.Parquet", images)) == 1
    (tmp_path / "h.json").write_text(json.dumps([row, 1]))
    bad = list(read_rows([tmp_path / "h.json"], images, ALL))[1]
    assert bad == BadRow("unreadable row", f"{tmp_path / 'h.json'}, row 1: must be an object")


def test_shards_of_any_case(tmp_path: Path, images: Path) -> None:
    with tarfile.open(tmp_path / "00000.TAR", "w") as tar:
        tar.add(images / "a.jpg", "key.jpg")
        content = json.dumps(TEXTS).encode()
        info = tarfile.TarInfo("key.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (row,) = good(tmp_path, None)
    assert row.texts[0] == (TEXTS["caption"],)
    path = write(tmp_path / "pairs.jsonl", {"image": "00000.TAR/key.jpg", **TEXTS})
    assert len(good(path, tmp_path)) == 1


def test_parquet_with_paths_bytes_and_the_structs_of_datasets(tmp_path: Path, images: Path) -> None:
    count = 600  # more than are read at once
    texts = {key: [f"{value} {i}" for i in range(count)] for key, value in TEXTS.items()}
    columns: dict[str, list[Any]] = {
        "paths": ["a.jpg"] * count,
        "bytes": [picture(i % 9) for i in range(count)],
        "structs": [{"bytes": picture(i % 9), "path": f"{i}.png"} for i in range(count)],
    }
    for name, column in columns.items():
        table = pa.table({"image": column, **texts, "embedding": [[0.5] * 9] * count})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        rows = good(tmp_path / f"{name}.parquet", images)
        assert [row.texts[0][0] for row in rows] == texts["caption"]
        red = [row.image.open().getpixel((0, 0))[0] for row in rows if row.image]  # type: ignore[index]
        assert red == ([0] * count if name == "paths" else [i % 9 for i in range(count)])
    whole = (tmp_path / "bytes.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.parquet is not a readable Parquet file"):
        list(read_rows([tmp_path / "cut.parquet"], images, ALL))


def test_webdataset_shards(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for index in range(3):
        members[f"00{index}.jpg"] = picture(40 * index, "JPEG")
        members[f"00{index}.txt"] = f"caption {index}".encode()
        members[f"00{index}.json"] = json.dumps({**TEXTS, "caption": "of the json"}).encode()
    members["sub/004.png"] = picture(7)
    members["sub/004.paraphrase_1.txt"] = b"one"
    members["sub/004.paraphrase_2.txt"] = "zwei \u00e9".encode()
    members["sub/004.caption.txt"] = b"four"
    members["005.txt"] = b"no image"
    path = tars.write(tmp_path / "0000.tar", members)
    rows = list(read_rows([path], None, ALL))
    assert isinstance(rows[4], BadRow)
    assert rows[4].kind == "missing image"
    assert "sample 005" in rows[4].sentence
    kept = [row for row in rows if isinstance(row, TrainingRow)]
    assert [row.id for row in kept] == ["000", "001", "002", "sub/004"]
    assert [row.texts[0][0] for row in kept] == ["caption 0", "caption 1", "caption 2", "four"]
    assert kept[3].texts[1:] == (("one",), ("zwei \u00e9",))
    for row in kept:
        assert row.image is not None
        assert row.image.data is None
        there = pickle.loads(pickle.dumps(row.image))
        assert there.open().tobytes() == row.image.open().tobytes()
    assert kept[3].image is not None
    assert kept[3].image.open().getpixel((0, 0)) == (7, 0, 0)


def test_shards_that_cannot_be_read(tmp_path: Path) -> None:
    members = {"0.jpg": picture(1, "JPEG"), "0.json": json.dumps(TEXTS).encode()}
    compressed = tars.write(tmp_path / "gz.tar", members, "w:gz")
    whole = tars.write(tmp_path / "whole.tar", members).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:700])
    for path in (compressed, tmp_path / "cut.tar"):
        with pytest.raises(DataError, match=f"{path.name} is not a whole, uncompressed tar"):
            list(read_rows([path], None, ALL))
    two = {"1.jpg": members["0.jpg"], "1.json": members["0.json"]}
    broken = tars.write(tmp_path / "broken.tar", {**members, "0.json": b"{", **two})
    first, second = read_rows([broken], None, ALL)
    assert isinstance(first, BadRow)
    assert first.kind == "unreadable row"
    assert "broken.tar, 0.json is not valid" in first.sentence
    assert isinstance(second, TrainingRow)


@pytest.mark.parametrize("ending", [".jpe", ".jfif", ".JPG", ".avif", ".tiff", ""])
def test_an_image_named_without_its_ending_is_found(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"42{ending}").write_bytes(b"x")
    found = find_image(tmp_path, "42", "row 1")
    assert found is not None
    assert found.path == tmp_path / f"42{ending}"


def test_a_damaged_shard_of_images_is_an_error_and_no_missing_image(tmp_path: Path) -> None:
    whole = tars.write(tmp_path / "s.tar", {"0.png": picture(1), "1.png": picture(2)})
    whole.write_bytes(whole.read_bytes()[:700])
    pairs = write(tmp_path / "p.jsonl", {"image": "s.tar/0.png", **TEXTS})
    with pytest.raises(DataError, match=r"s\.tar is not a whole, uncompressed tar"):
        list(read_rows([pairs], tmp_path, ALL))


def test_links_and_endings_in_shards_are_named(tmp_path: Path) -> None:
    members = {"a.jpg": picture(1, "JPEG"), "a.json": json.dumps(TEXTS).encode()}
    members |= {"b.c.jpg": picture(2), "b.json": members["a.json"]}
    members |= {"d.jpg": picture(3), "d.json.gz": gzip.compress(members["a.json"])}
    members |= {"e.json": members["a.json"]}
    shard = tars.write(tmp_path / "s.tar", members)
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo("e.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(info)
    pairs = write(tmp_path / "p.jsonl", {"image": "s.tar/e.jpg", **TEXTS})
    of_shard = list(read_rows([shard], None, ALL))
    assert [type(row) for row in of_shard] == [TrainingRow, BadRow, TrainingRow, TrainingRow]
    assert isinstance(of_shard[1], BadRow)
    assert "'b.c.jpg' has, by WebDataset's rule, the ending 'c.jpg'" in of_shard[1].sentence
    assert of_shard[1].sentence.endswith("it has no image")
    report = RowReport()
    rows = [of_shard[3], *read_rows([pairs], tmp_path, ALL)]
    make_table(rows, lambda text: np.array([1, 0]), 0, tmp_path / "t", report, lambda n: None)
    assert report.counts == {"missing image": 2}
    with pytest.raises(DataError, match=r"s\.tar: 'e\.jpg' is a link; write the shard with"):
        report.refuse(tmp_path / "bad.json")


@pytest.mark.parametrize("key", ["id", "image", "caption", "paraphrase_2"])
def test_a_half_of_a_character_makes_a_bad_row(tmp_path: Path, images: Path, key: str) -> None:
    torn = {"image": "a.jpg", "id": "1", **TEXTS, key: "a \ud800"}
    lines = write(tmp_path / "p.jsonl", {"image": "a.jpg", **TEXTS}, torn)
    listed = write(tmp_path / "p.json", [{"image": "a.jpg", **TEXTS}, torn])
    shard = tars.write(
        tmp_path / "s.tar",
        {"0.jpg": picture(1), "0.json": json.dumps({**torn, "image": "a.jpg"}).encode()},
    )
    for path in (lines, listed, shard):
        *good, bad = read_rows([path], images, ALL)
        if path == shard and key == "image":
            assert isinstance(bad, TrainingRow)
            continue
        assert all(isinstance(row, TrainingRow) for row in good)
        assert isinstance(bad, BadRow)
        assert bad.kind == "unreadable row"
        assert re.search(rf"{path.name}.*'a \\ud800' has a half of a character", bad.sentence)
