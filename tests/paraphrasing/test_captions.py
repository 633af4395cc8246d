"""Captions from every format, and which of them are worth asking about."""

import io
import json
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.paraphrasing.captions import (
    CaptionFields,
    CaptionFilter,
    caption_files,
    normal,
    read_captions,
)
from paraclip_bench.paraphrasing.journal import Journal

ROWS = [
    {"key": "a", "image": "1.jpg", "caption": "a dog in the snow"},
    {"key": "b", "image": "2.jpg", "caption": 'a "quoted", comma\u2019d cat'},
]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"captions.{kind}"
    if kind == "jsonl":
        path.write_text("\ufeff" + "\n".join(map(json.dumps, ROWS)) + "\n\n", encoding="utf-8")
    elif kind == "csv":
        quoted = [[r["key"], r["image"], '"' + r["caption"].replace('"', '""') + '"'] for r in ROWS]
        path.write_text("key,image,caption\n" + "\n".join(map(",".join, quoted)), "utf-8")
    elif kind == "tsv":
        lines = ["key\timage\tcaption", *("\t".join(row.values()) for row in ROWS)]
        path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "raw": b"12"} for row in ROWS]), path)
    else:
        with tarfile.open(path, "w") as tar:
            for row in ROWS:  # as img2dataset writes a sample
                for ending, content in (
                    ("jpg", b"jpeg"),
                    ("txt", row["caption"].encode()),
                    ("json", json.dumps({"caption": row["caption"], "key": row["key"]}).encode()),
                ):
                    info = tarfile.TarInfo(f"{row['key']}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet", "tar"])
def test_every_format_gives_the_same_captions(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    found = list(read_captions(caption_files(path), CaptionFields()))
    assert [c.text for c in found] == [row["caption"] for row in ROWS]
    assert [c.id for c in found] == ["a", "b"]
    images = ["captions.tar/a.jpg", "captions.tar/b.jpg"] if kind == "tar" else ["1.jpg", "2.jpg"]
    assert [c.image for c in found] == images
    assert [c.place for c in found] == [0, 1]


def test_lines_of_a_text_are_rows_the_empty_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes("\ufeffa dog\r\n\n  \nein Hund läuft".encode())
    found = list(read_captions([path], CaptionFields()))
    assert [c.text for c in found] == ["a dog", "", "  ", "ein Hund läuft"]
    (tmp_path / "d.txt").write_bytes(b"good\nb\xffad\n")
    with pytest.raises(DataError, match=r"d\.txt, line 2: not UTF-8; convert"):
        list(read_captions([tmp_path / "d.txt"], CaptionFields()))


def test_fields_are_chosen_or_found(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"TEXT": "a dog", "url": "x"}\n{"TEXT": "a cat", "url": "y"}\n')
    assert [c.text for c in read_captions([path], CaptionFields())] == ["a dog", "a cat"]
    assert [c.image for c in read_captions([path], CaptionFields(None, "url"))] == ["x", "y"]
    with pytest.raises(UsageError, match=r"no field 'TEX' \(it has TEXT, url\), did you mean 'TE"):
        list(read_captions([path], CaptionFields("TEX")))
    path.write_text('{"words": "a dog"}\n')
    with pytest.raises(UsageError, match=r"has no field of a usual name .* --caption-field"):
        list(read_captions([path], CaptionFields()))


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    bad = tmp_path / "c.parquet"
    bad.write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"c\.parquet is not a readable Parquet file"):
        list(read_captions([bad], CaptionFields()))
    (tmp_path / "c.doc").write_text("x")
    with pytest.raises(UsageError, match=r"c\.doc has an ending that says no format"):
        caption_files(tmp_path / "c.doc")
    with pytest.raises(UsageError, match="does not exist"):
        caption_files(tmp_path / "none.txt")
    lines = tmp_path / "c.jsonl"
    lines.write_text('{"caption": "a dog"}\n{"cap\n[1]\n')
    found = list(read_captions([lines], CaptionFields()))
    assert [c.problem is None for c in found] == [True, False, False]


def test_of_a_folder_of_img2dataset_only_the_shards_are_read(tmp_path: Path) -> None:
    write(tmp_path, "tar")
    write(tmp_path, "parquet")
    (tmp_path / "00000_stats.json").write_text('{"count": 2}')
    assert [file.suffix for file in caption_files(tmp_path)] == [".tar"]
    (tmp_path / "captions.tar").unlink()
    with pytest.raises(UsageError, match=r"files of several formats \(\.json, \.parquet\)"):
        caption_files(tmp_path)


def test_each_row_has_its_own_fields(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    rows = [{"title": "a dog"}, {"caption": "a cat", "title": "x", "image": 7}, {"other": 1}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = list(read_captions([path], CaptionFields()))
    assert [(c.text, c.image) for c in found] == [("a dog", None), ("a cat", "7"), (None, None)]


def test_columns_of_parquet_in_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    table = pa.table(
        {
            "caption": pa.array(["a dog", "a dog"]).dictionary_encode(),
            "image": pa.array([{"bytes": b"1", "path": "1.jpg"}, {"bytes": b"2", "path": "2.jpg"}]),
        }
    )
    pq.write_table(table, path)
    found = list(read_captions([path], CaptionFields()))
    assert [(c.text, c.image) for c in found] == [("a dog", "1.jpg"), ("a dog", "2.jpg")]


def test_odd_tables(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_bytes(b'caption\timage\na \rdog\t1\nonly one\n"a cat\t2\n')
    found = list(read_captions([path], CaptionFields()))
    assert [c.text for c in found] == ["a \rdog", None, '"a cat']
    assert "1 fields where the header has 2" in str(found[1].problem)
    path = tmp_path / "c.csv"
    path.write_text('caption,image\n"two\nlines",1\na dog,2\n')
    assert [c.text for c in read_captions([path], CaptionFields())] == ["two\nlines", "a dog"]
    path.write_text('caption,image\n"never closed,1\na dog,2\n')
    with pytest.raises(DataError, match=r"c\.csv, line 3: unexpected end of data; fix"):
        list(read_captions([path], CaptionFields()))


def test_shards_of_a_folder_come_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(f"of {name}\n")
    for path in (tmp_path, tmp_path / "*.txt"):
        found = list(read_captions(caption_files(path), CaptionFields()))
        assert [(c.place, c.text) for c in found] == [(0, "of a.txt"), (1, "of b.txt")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a dog", None),
        ("ein großer Hund", None),
        ("犬 が 走る", None),
        ("dog", "too few words"),
        (" ".join(["word"] * 16), "too many words"),
        (" ".join(["word"] * 15), None),
        ("", "empty"),
        (" \t ", "empty"),
        (None, "empty"),
        (7, "not a text"),
        ("a torn \ud83d text", "not a text"),
        ("12 - 34 :)", "not a text"),
        ("<a href='x'>see</a> it", "not a text"),
        ("see https://example.org now", "not a text"),
        ("a heart <3 of gold", None),
    ],
)
def test_selection(text: object, reason: str | None) -> None:
    assert CaptionFilter().reason(text) == reason


@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from([None, "1", "2"])), max_size=30))
def test_every_row_is_counted_once(tmp_path_factory, given_rows) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "c.jsonl"
    path.write_text(
        "".join(json.dumps({"caption": text, "image": image}) + "\n" for text, image in given_rows)
    )
    journal = Journal(folder / "j.sqlite")
    caption_filter = CaptionFilter(1, 3)
    found = journal.take_in(read_captions([path], CaptionFields()), caption_filter, "x")
    assert found.rows == len(given_rows) == found.kept + sum(found.left_out.values())
    good = {(normal(t), i) for t, i in given_rows if caption_filter.reason(t) is None}
    rows = list(journal.rows())
    assert {(row.caption, row.image) for row in rows} == good
    assert len(rows) == found.kept
    assert [row.place for row in rows] == sorted(row.place for row in rows)
    journal.close()


@pytest.mark.parametrize("key", ["id", "image"])
def test_a_half_of_a_character_in_a_name_says_so(tmp_path: Path, key: str) -> None:
    path = tmp_path / "c.jsonl"
    row = {"id": "1", "image": "a.jpg", "caption": "a dog"}
    path.write_text("".join(json.dumps(r) + "\n" for r in (row, {**row, key: "x\ud800"})))
    good, bad = read_captions([path], CaptionFields())
    assert good.problem is None
    assert bad.problem is not None
    assert re.search(r"c\.jsonl, line 2.*has a half of a character", bad.problem)
