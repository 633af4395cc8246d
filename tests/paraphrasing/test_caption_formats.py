"""Files of captions as their publishers wrote them, and what is only nearly one."""

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import ending
from paraclip_bench.paraphrasing.captions import CaptionFields, caption_files, read_captions

SHARED = Path(os.environ.get("PARACLIP_SHARED", Path(__file__).parents[3] / "shared"))
CAPTIONS = SHARED / "data" / "captions"
A, B = "A child in a pink dress, alone .", "A girl going into a wooden building ."
BOTH = [("1000268201.jpg", A), ("1001773457.jpg", B)]


def read(path: Path, **fields: str) -> list[tuple[str | None, object]]:
    found = list(read_captions(caption_files(path), CaptionFields(**fields)))
    return [(c.image, c.text) for c in found if c.problem is None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.txt", f"image,caption\n1000268201.jpg,{A}\n1001773457.jpg,{B}\n"),
        ("captions.txt", f'image,caption\n1000268201.jpg,"{A}"\n1001773457.jpg,{B}\n'),
        ("captions.txt", f"Image,Caption\r\n1000268201.jpg,{A}\r\n\r\n1001773457.jpg,{B}\r\n"),
        ("captions.txt", f"image\tcaption\n1000268201.jpg\t{A}\n1001773457.jpg\t{B}\n"),
        ("captions.txt", f"image;caption\n1000268201.jpg;{A}\n1001773457.jpg;{B}\n"),
        ("captions.txt", f"caption\timage\n{A}\t1000268201.jpg\n{B}\t1001773457.jpg\n"),
        ("captions.txt", f"file,text\n1000268201.jpg,{A}\n1001773457.jpg,{B}\n"),
        ("captions.txt", f"1000268201.jpg,{A}\n1001773457.jpg,{B}\n"),
        ("captions.txt", f'1000268201.jpg,"{A}"\n1001773457.jpg,{B}\n'),
        ("captions.txt", f"1000268201.jpg {A}\n1001773457.jpg {B}\n"),
        ("captions.txt", f"1000268201.jpg| 0| {A}\n1001773457.jpg| 0| {B}\n"),
        ("Flickr8k.token.txt", f"1000268201.jpg#0\t{A}\n1001773457.jpg#1\t{B}\n"),
        ("results_20130124.token", f"1000268201.jpg#0\t{A}\n1001773457.jpg#1\t{B}\n"),
        (
            "results.csv",
            f"image_name| comment_number| comment\n{BOTH[0][0]}| 0| {A}\n{BOTH[1][0]}| 0| {B}\n",
        ),
        (
            "results.txt",
            f"image_name| comment_number| comment\n{BOTH[0][0]}| 0| {A}\n{BOTH[1][0]}| 1| {B}\n",
        ),
        ("c.csv", f"image;caption\n1000268201.jpg;{A}\n1001773457.jpg;{B}\n"),
        ("c.csv", f"image\tcaption\n1000268201.jpg\t{A}\n1001773457.jpg\t{B}\n"),
        ("c.tsv", f'image,caption\n1000268201.jpg,"{A}"\n1001773457.jpg,{B}\n'),
        ("c.csv", f'sep=;\nimage;caption\n1000268201.jpg;"{A}"\n1001773457.jpg;{B}\n'),
        ("c.csv", f'"sep=,"\r\nimage,caption\r\n1000268201.jpg,"{A}"\r\n1001773457.jpg,{B}'),
        ("c.tsv", f"sep=\t\nimage\tcaption\n1000268201.jpg\t{A}\n1001773457.jpg\t{B}\n"),
        ("c.txt", f"SEP=|\nimage|caption\n1000268201.jpg|{A}\n1001773457.jpg|{B}\n"),
        ("c.csv", f'image,caption_1,caption_2\n1000268201.jpg,"{A}",\n1001773457.jpg,,{B}\n'),
        ("C.CSV", f'image,caption\n1000268201.jpg,"{A}"\n1001773457.jpg,{B}\n'),
        ("C.TSV", f"image\tcaption\n1000268201.jpg\t{A}\n1001773457.jpg\t{B}\n"),
    ],
)
def test_tables_are_read_as_tables(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    found = read(path)
    if content.startswith("file,text"):  # "file" is no usual name, but its column has file names
        assert [text for _, text in found] == [A, B]
    else:
        assert found == BOTH
    packed = tmp_path / f"{name}.gz"
    if ending(packed) not in (".token.gz",):
        packed.write_bytes(gzip.compress(content.encode()))
        assert read(packed) == found


def test_each_caption_of_a_token_file_has_its_own_id(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(f"1.jpg#0\t{A}\n1.jpg#1\t{B}\nbroken line of it\n" + f"2.jpg#0\t{A}\n" * 30)
    found = list(read_captions([path], CaptionFields()))
    assert [c.id for c in found[:2]] == ["1.jpg#0", "1.jpg#1"]
    assert found[2].problem == f"{path}, line 3: no image and caption, as other lines have them"
    path = tmp_path / "results.csv"  # one row of Flickr30k's own is broken so
    path.write_text(
        "image_name| comment_number| comment\n1.jpg| 4   A dog runs .\n2.jpg| 0| A cat, too .\n"
    )
    found = list(read_captions([path], CaptionFields()))
    assert found[0].problem == f"{path}, line 2: 2 fields where the header has 3"
    assert (found[1].image, found[1].text) == ("2.jpg", "A cat, too .")


@pytest.mark.parametrize(
    "lines",
    [
        ["image, caption", "a dog, a cat", "two dogs, one cat"],
        ["a dog, brown", "a cat, black", "a cow, white"],
        ["1, 2, 3, go", "ready, steady, go"],
        ["Title | Site", "Shoes | Shop", "Hats | Shop"],
        ["dogs;cats", "cows;hens"],
        ["photo.jpg of a dog is on the screen", "a cat on a mat", "a cow"],
        ["caption", "a dog"],
        ["image,caption"],
        ["id, text, and other names of columns on a slide", "a dog, which runs", "cats, as ever"],
        ["a\tdog", "a cat on a mat", "a cow"],
        ["image caption", "a dog", "a cat"],
    ],
)
def test_captions_with_delimiters_are_captions(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "c.txt"
    path.write_text("\n".join(lines))
    assert read(path) == [(None, line) for line in lines]


WORDS = [
    *("a", "dog", "cat,", "and;", "runs", "|", "red:", "5", "(two)", "mat."),
    *("image", "text,"),
]
WORDS += ["caption", "1.5,", ""]


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), max_size=12)
)
def test_real_words_are_never_a_table(tmp_path_factory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("words") / "c.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert read(path) == [(None, line) for line in lines]


@pytest.mark.skipif(not CAPTIONS.is_dir(), reason="shared/data/captions is not here")
def test_real_alt_texts_are_never_a_table(tmp_path: Path) -> None:
    lines = (CAPTIONS / "laion400m_alt_text.txt").read_text().rstrip("\n").split("\n")
    commas = [line for line in lines if "," in line]
    pipes = [line for line in lines if "|" in line]
    for several in (lines, commas, pipes, *(commas[i : i + 3] for i in range(0, 900, 3))):
        path = tmp_path / "c.txt"
        path.write_text("\n".join(several) + "\n")
        assert [text for _, text in read(path)] == several


def test_a_table_without_names_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("42\tA dog\n43\tA cat\n")
    with pytest.raises(UsageError, match=r"c\.txt has tabs in its lines.*end in \.tsv"):
        read(path)


COCO = {
    "info": {"year": 2014},
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 70, "image_id": 7, "caption": "a dog"},
        {"id": 71, "image_id": 7, "caption": "one hound"},
        {"id": 90, "image_id": 9, "caption": "a cat"},
    ],
}
EXPECTED = [("a.jpg", "a dog"), ("a.jpg", "one hound"), ("b.jpg", "a cat")]
KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "filename": name,
            "filepath": "val2014",
            "split": "test",
            "sentences": [
                {"raw": text, "sentid": i, "tokens": text.split()} for i, text in several
            ],
        }
        for name, several in (
            ("a.jpg", [(1, "a dog"), (2, "one hound")]),
            ("b.jpg", [(3, "a cat")]),
        )
    ],
}
SEVERAL = [
    {"image": "a.jpg", "captions": ["a dog", "one hound"]},
    {"image": "b.jpg", "captions": ["a cat"]},
]
FLAT = [{"image": image, "caption": text} for image, text in EXPECTED]


WITHOUT_IMAGES = {
    "annotations": [
        {"id": i, "image_id": name, "caption": t} for i, (name, t) in enumerate(EXPECTED)
    ]
}


@pytest.mark.parametrize(
    "document",
    [
        *(COCO, WITHOUT_IMAGES, SEVERAL, FLAT, {"data": FLAT}),
        {"0": FLAT[0], "1": FLAT[1], "2": FLAT[2]},
        [{"image": "a.jpg", "caption": ["a dog", "one hound"]}, FLAT[2]],
        [{"filename": "a.jpg", "sentences": [{"raw": "a dog"}, {"raw": "one hound"}]}, FLAT[2]],
        {"a.jpg": ["a dog", "one hound"], "b.jpg": "a cat"},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_documents(tmp_path: Path, document: object, indent: int | None) -> None:
    for name in ("captions_val2014.json", "C.JSON", "c.jsonl"):
        path = tmp_path / name
        path.write_text(json.dumps(document, indent=indent))
        assert read(path) == EXPECTED
    packed = tmp_path / "c.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(document, indent=indent).encode()))
    assert read(packed) == EXPECTED


def test_karpathy_s_file(tmp_path: Path) -> None:
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps(KARPATHY))
    assert read(path) == [(f"val2014/{image}", text) for image, text in EXPECTED]
    assert [c.id for c in read_captions([path], CaptionFields())] == ["1", "2", "3"]


def test_a_long_line_is_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paraclip_bench.data import row_files

    monkeypatch.setattr(row_files, "LINE_BYTES", 200)
    path = tmp_path / "captions_train2014.json"
    path.write_text(json.dumps(COCO))
    assert path.stat().st_size > 200
    assert read(path) == EXPECTED
    monkeypatch.setattr(row_files, "_DOCUMENT_BYTES", 250)
    with pytest.raises(DataError, match="one JSON document of more than 0 GiB; write it as JSON"):
        read(path)


def test_json_lines_stay_json_lines(tmp_path: Path) -> None:
    for name in ("c.json", "c.jsonl", "c.NDJSON"):
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(row) for row in SEVERAL))
        assert read(path) == EXPECTED
        path.write_text('{"cap\n' + "\n".join(json.dumps(row) for row in FLAT))
        assert read(path) == EXPECTED
        path.write_text("[1]\n" + "\n".join(json.dumps(row) for row in FLAT))
        assert read(path) == EXPECTED
        path.write_text(json.dumps(FLAT[0]))
        assert read(path) == EXPECTED[:1]


def test_tables_and_parquet_with_several_captions(tmp_path: Path) -> None:
    path = tmp_path / "flickr_annotations_30k.csv"
    path.write_text('raw,filename\n"[""a dog"", ""one hound""]",a.jpg\n"[""a cat""]",b.jpg\n')
    assert read(path) == EXPECTED
    path = tmp_path / "c.PARQUET"
    pq.write_table(pa.Table.from_pylist(SEVERAL), path)
    assert read(path) == EXPECTED
    rows = [
        {"filename": r["image"], "sentences": [{"raw": t} for t in r["captions"]]} for r in SEVERAL
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read(path) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.json", json.dumps(COCO)[:-40], "not valid JSON"),
        ("c.json", json.dumps(COCO, indent=1)[:-40], "not valid JSON"),
        ("c.json.gz", "not gzip", "is not a whole gzip file"),
        ("c.tar.gz", "x", "is compressed; unpack it, and give the plain tar"),
        ("c.zip", "x", "is compressed; unpack it, and give the plain file"),
        ("c.jsonl.zst", "x", "is compressed; unpack it"),
        ("c.xlsx", "x", "has an ending that says no format of captions; write it as one of .txt"),
        ("c.json", '{"annotations": [{"id": 1, "bbox": [1, 2]}]}', "no field of a usual name"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(BenchError) as error:
        read(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_gzip_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    whole = gzip.compress(
        "".join(
            json.dumps({**row, "x": os.urandom(500).hex()}) + "\n" for row in FLAT * 50
        ).encode()
    )
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"c\.jsonl\.gz is not a whole gzip file"):
        read(path)


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    for name in ("c.txt", "c.csv", "c.tsv"):
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(b"image,caption\n")
            file.truncate(1 << 33)
        with pytest.raises(DataError, match="longer than 16,777,216 bytes"):
            read(path)


def test_the_first_unreadable_row_says_why(tmp_path: Path, command) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"caption": "a dog\n{"caption": \n')
    done = command(path, "-o", "p.jsonl", "--llm", "m", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "(unreadable rows: 2); the first: " in done.stderr
    assert "c.jsonl, line 1: not valid JSON" in done.stderr
    assert "--min-words" not in done.stderr
    path.write_text('{"caption": "dog"}\n')
    done = command(path, "-o", "p.jsonl", "--llm", "m", "--base-url", "http://127.0.0.1:9/v1")
    assert "(too few words: 1, the first: " in done.stderr
    assert "see --min-words" in done.stderr
    path.write_text('{"caption": ["", null], "image": "a.jpg"}\n')
    done = command(path, "-o", "p.jsonl", "--llm", "m", "--base-url", "http://127.0.0.1:9/v1")
    assert "(empty: 2, the first: " in done.stderr


def test_usual_fields_are_known_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("Image,Caption\na.jpg,a dog runs\n")
    (row,) = read_captions(caption_files(tmp_path / "c.csv"), CaptionFields())
    assert (row.text, row.image) == ("a dog runs", "a.jpg")


@pytest.mark.parametrize(
    ("lines", "image"),
    [
        (['"1.jpg","A dog runs"', '"2.jpg","A cat, asleep"'], "1.jpg"),
        (["img_001.jpg: A dog runs", "img_002.jpg: A cat sits"], "img_001.jpg"),
        (["COCO_val2014_000000391895 A dog runs"] * 2, "COCO_val2014_000000391895"),
        (["1000268201_693b08cb0e A dog runs"] * 2, "1000268201_693b08cb0e"),
    ],
)
def test_an_image_in_front_of_each_line_is_none_of_its_words(
    tmp_path: Path, lines: list[str], image: str
) -> None:
    (tmp_path / "c.txt").write_text("\n".join(lines))
    first = next(read_captions(caption_files(tmp_path / "c.txt"), CaptionFields()))
    assert (first.image, first.text) == (image, "A dog runs")


def test_an_image_behind_each_line_and_ends_of_old_macs_are_refused(tmp_path: Path) -> None:
    for content, said in (
        ("A dog runs,1.jpg\nA cat, asleep,2.jpg\n", "at the end of its lines"),
        ("A dog runs\rA cat sits\rA bird flies", "carriage returns"),
    ):
        (tmp_path / "c.txt").write_bytes(content.encode())
        with pytest.raises(BenchError, match=said):
            list(read_captions(caption_files(tmp_path / "c.txt"), CaptionFields()))


def test_numbered_columns_are_several_captions(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("image,Caption 1,caption_2,paraphrase_1\nx.jpg,A red dog,A cat,A hound\n")
    assert read(path) == [("x.jpg", "A red dog"), ("x.jpg", "A cat")]
    assert read(path, caption="caption_2") == [("x.jpg", "A cat")]


def test_the_line_of_a_row_behind_sep_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("sep=;\nimage;caption\nx.jpg\n")
    (row,) = read_captions([path], CaptionFields())
    assert row.problem == f"{path}, line 3: 1 fields where the header has 2"


def test_captions_behind_a_tab_are_captions(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    for content in (f"\t{A}\n\t{B}\n\t{A}\n", f"{A}\t\n{B}\t\n\t{A}\n"):
        path.write_text(content)
        assert [str(text).strip() for _, text in read(path)] == [A, B, A]


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.txt", "c.jsonl", "c.json", "c.csv.gz"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be"])
def test_another_encoding_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    text = "image,caption\nx.jpg,Un caf\xe9 noir\n"
    if "json" in name:
        text = json.dumps({"image": "x.jpg", "caption": "Un caf\xe9"}, ensure_ascii=False) + "\n"
    bom = b"\xfe\xff" if encoding == "utf-16-be" else b""
    content = bom + text.encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    said = "cp1252" if encoding == "cp1252" else "is UTF-16"
    with pytest.raises(DataError, match=rf"{name}.*{said}.*iconv -f {encoding[:6].upper()}"):
        read(path)


def test_a_table_by_columns_of_pandas_says_how_to_write_it(tmp_path: Path) -> None:
    rows = pd.DataFrame({"image": ["x.jpg", "y.jpg"], "caption": [A, B]})
    path = tmp_path / "c.json"
    for frame in (rows, rows.set_index(pd.Index([3, 5])), rows.set_index("image", drop=False)):
        for orient in ("columns", "split", "values"):
            frame.to_json(path, orient=orient)
            with pytest.raises(DataError, match=r'c\.json .*orient="records", lines=True'):
                read(path)
    rows.to_json(path, orient="records", lines=True)
    assert len(read(path)) == 2
    for orient in ("records", "table", "index"):
        rows.to_json(path, orient=orient)
        assert read(path) == [("x.jpg", A), ("y.jpg", B)]
