"""Readers say which file, which row, and what is wrong."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.data import row_files
from paraclip_bench.errors import DataError
from paraclip_bench.safe_text import is_torn

COLUMNS = ("score", "sentence1", "sentence2")
# What may stand in a field: anything but the two characters that end one.
FIELDS = st.text(st.characters(exclude_characters="\t\n\r", codec="utf-8"), min_size=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text") / "rows"


@given(rows=st.lists(st.tuples(FIELDS, FIELDS, FIELDS)), bom=st.booleans(), crlf=st.booleans())
def test_tsv_round_trip(
    file: Path, rows: list[tuple[str, str, str]], bom: bool, crlf: bool
) -> None:
    end = "\r\n" if crlf else "\n"
    text = "".join("\t".join(row) + end for row in [COLUMNS, *rows])
    file.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    read = list(row_files.read_tsv(file, COLUMNS))
    assert [number for number, _ in read] == list(range(2, len(rows) + 2))
    assert [tuple(row.values()) for _, row in read] == rows


def test_tsv_quotes_and_carriage_returns_are_plain_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'score\tsentence1\tsentence2\n1\t"Then he left.\tan "odd\rone"\n\n2\t"\t""\n')
    assert list(row_files.read_tsv(path, COLUMNS)) == [
        (2, {"score": "1", "sentence1": '"Then he left.', "sentence2": 'an "odd\rone"'}),
        (4, {"score": "2", "sentence1": '"', "sentence2": '""'}),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"score\tsentence1\n1\ta\n", "has no column 'sentence2' (it has score, sentence1)"),
        (
            b"score\tsentence1\tsentence2\n1\ta\tb\n2\ta\n",
            "line 3: 2 fields where the header has 3",
        ),
        (b"score\tsentence1\tsentence2\n1\ta\tb\tc\n", "line 2: 4 fields where the header has 3"),
        ("score\tsentence1\tsentence2\n1\tcafé\tb\n".encode("latin-1"), "line 2: not UTF-8"),
        (b"score\tsentence1\tsentence2\n1\ta\tb\n\n\n1\t\xff\tb\n", "line 5: not UTF-8"),
    ],
)
def test_bad_tsv(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(row_files.read_tsv(path, COLUMNS))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("read", [row_files.read_json_list, row_files.read_text])
def test_missing_file(tmp_path: Path, read: Any) -> None:
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        read(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: not valid JSON"),
        (b'[{"a": 1},\n{"a": ', "line 2: not valid JSON"),
        (b'[\n{"a": "tex', "line 2: not valid JSON"),
        (b'{"a": 1}', "must hold a list of objects"),
        (b'[{"a": 1}, 3]', "case 1: must be an object"),
        (b"[]", "holds no rows"),
        (b'[{"a": "caf\xe9"}]', "line 1: not UTF-8"),
    ],
)
def test_bad_json(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        row_files.read_json_list(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@given(rows=st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none())))
def test_jsonl_round_trip(file: Path, rows: list[dict[str, Any]]) -> None:
    # A line separator of Unicode inside a text does not end the line.
    lines = [json.dumps(row, ensure_ascii=True) for row in rows]
    file.write_text("\n\n".join(lines), encoding="utf-8")
    assert list(row_files.read_jsonl(file)) == [(2 * i + 1, row) for i, row in enumerate(rows)]


def test_jsonl_ends_lines_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "one\u2028two\x85"}\r\n{"a": "b"}\n', encoding="utf-8")
    assert list(row_files.read_jsonl(path)) == [(1, {"a": "one\u2028two\x85"}), (2, {"a": "b"})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": "cut o', "line 2: not valid JSON"),
        (b'{"a": 1}\n\n[1]\n', "line 3: must be an object"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', "line 2: not UTF-8"),
    ],
)
def test_bad_jsonl(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(row_files.read_jsonl(path))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_fields() -> None:
    row = json.loads(
        '{"t": "a", "blank": " ", "i": 3, "w": 4.0, "f": 1.5, "b": true, "n": null,'
        ' "nan": NaN, "inf": Infinity, "s": "7"}'
    )
    assert row_files.text_field(row, "t", "here") == "a"
    for key in ("blank", "i", "n"):
        with pytest.raises(DataError, match=f"^here: '{key}' must be a text"):
            row_files.text_field(row, key, "here")
    with pytest.raises(DataError, match=r"^here: there is no 'zzz'"):
        row_files.text_field(row, "zzz", "here")
    assert [row_files.int_field(row, key, "here") for key in ("i", "w")] == [3, 4]
    for key in ("f", "b", "n", "nan", "inf", "s", "zzz"):
        with pytest.raises(DataError, match=f"^here: '{key}' must be a whole number"):
            row_files.int_field(row, key, "here")


def test_json_rows_come_in_a_list_or_under_keys(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, {"a": 2}]')
    assert row_files.read_json_rows(path) == [("0", {"a": 1}), ("1", {"a": 2})]
    path.write_text('{"x": {"a": 1}, "7": {"a": 2}}')
    assert row_files.read_json_rows(path) == [("x", {"a": 1}), ("7", {"a": 2})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "holds no rows"),
        ("{}", "holds no rows"),
        ("7", "must hold a list of objects, not one int"),
        ('{"x": 1}', "case x: must be an object, not 1"),
        ('[{}, "b"]', "case 1: must be an object, not 'b'"),
        ('{"x": {}, "y": {}, "x": {}}', "the key 'x' comes twice in one object; fix the file"),
        ('[{"a": 1, "a": 1}]', "the key 'a' comes twice in one object; fix the file"),
        ('{"x": {', r"line 1: not valid JSON .*copy it again"),
    ],
)
def test_bad_json_rows(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"rows\.json.*{said}"):
        row_files.read_json_rows(path)


DEEP = b"[" * 100_000


@pytest.mark.parametrize("content", [DEEP, DEEP + b"]" * 100_000, b'{"a":' * 50_000, b"9" * 10_000])
def test_json_that_python_cannot_read_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content + b"\n")
    for read in (
        row_files.read_json,
        row_files.read_json_list,
        row_files.read_json_rows,
        lambda p: list(row_files.read_jsonl(p)),
    ):
        with pytest.raises(DataError, match=r"x\.json"):
            read(path)


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        file.truncate(1 << 32)  # zeros, which take no room on the disk
    found = row_files.read_jsonl(path)
    assert next(found) == (1, {"a": 1})
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: longer than 16,777,216 bytes"):
        next(found)


ROW = {"image": "a.png", "caption": "a dog", "more": [{"x": ["y"]}]}
TORN = {
    "a text": {**ROW, "caption": "a \ud83d dog"},
    "inside": {**ROW, "more": [{"x": ["y", "\udfff"]}]},
    "a key": {**ROW, "\ud800": 1},
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_half_of_a_character_is_named_where_it_is_read(tmp_path: Path, torn: object) -> None:
    said = "has a half of a character"
    pair = {**ROW, "caption": "\U0001f600 \\ud800 is plain text"}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (pair, torn)))
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2.*{said}"):
        list(row_files.read_jsonl(path))
    rows = [row for _, row in row_files.json_rows(path)]
    assert rows[0] == pair
    assert isinstance(rows[1], DataError)
    path.write_text(json.dumps([pair, torn]))
    for read in (row_files.read_json, row_files.read_json_list, row_files.read_json_rows):
        with pytest.raises(DataError, match=rf"a\.jsonl, 1.*{said}"):
            read(path)
    (_, first), (where, second) = row_files.json_rows(path)
    assert (first, where) == (pair, f"{path}, row 1")
    assert isinstance(second, DataError)
    assert said in str(second)


HALVES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"])


@given(text=st.text(st.characters(codec="utf-8") | HALVES), deep=st.integers(0, 4000))
def test_a_text_is_torn_where_utf_8_cannot_hold_it(text: str, deep: int) -> None:
    def fails() -> bool:
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return False

    nested: Any = {"a": text}
    for _ in range(deep):
        nested = [nested]
    assert is_torn(text) is fails()
    if fails():
        with pytest.raises(DataError, match="a half of a character"):
            row_files.refuse_torn(nested, "here")
    else:
        row_files.refuse_torn(nested, "here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1},\n{"a": 2},\n', r"line 1: .*there is a comma behind the object.*drop"),
        ('[\n{"a": 1},\n{"a": 2}\n]\n', r"line 1: .*this is a JSON list.*one object a line"),
        ('[{"a": 1}, {"a": 2}]\n', r"line 1: must be an object; this is a JSON list"),
        ('{"a": 1}\n]\n', r"line 2: .*this is a JSON list"),
        ('{"a": 1\n', r"line 1: .*may be cut off"),
        ('{"caption": {"0": "x", "1": "y"}}\n', r'line 1 is a table .*orient="records"'),
    ],
)
def test_what_is_nearly_json_lines_says_what_is_wrong(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        list(row_files.read_jsonl(path))


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_each_row_with_a_comma_behind_it_is_bad_and_says_so(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text('{"a": 1},\n{"a": 2},\n{"a": 3}\n')
    first, second, third = (row for _, row in row_files.json_rows(path))
    assert third == {"a": 3}
    for row in (first, second):
        assert isinstance(row, DataError)
        assert "there is a comma behind the object" in str(row)


def test_json_lines_where_a_list_is_read_are_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"line 2: there is more .* as in JSON lines; write one"):
        row_files.read_json_list(path)


@pytest.mark.parametrize("orient", ["columns", "split", "values"])
@pytest.mark.parametrize("named", [False, True])
def test_a_table_of_pandas_by_columns_is_refused(tmp_path: Path, orient: Any, named: bool) -> None:
    rows = pd.DataFrame({"image": ["a.png", "b.png"], "caption": ["a dog", "a cat"]})
    path = tmp_path / "a.json"
    (rows.set_index("image", drop=False) if named else rows).to_json(path, orient=orient)
    said = r'a\.json(, line 1)? is a table as pandas.* orient="records", lines=True'
    for read in (row_files.json_rows, row_files.read_json_list, row_files.read_json_rows):
        with pytest.raises(DataError, match=said):
            list(read(path))
    rows.to_json(path, orient="index")
    assert [key for key, _ in row_files.read_json_rows(path)] == ["0", "1"]
