"""Foreign text: what it cannot do to a terminal, a page, a table or a spreadsheet."""

from __future__ import annotations

import csv
import html
import io
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from paraclip_bench import safe_text
from paraclip_bench.errors import BenchError, DataError, reason_of

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31mred",
    "a\rb\nc\td\x00\x7f\x08",
    "a\u2028b\u2029c\x85d",
    "abc\u202egnp.exe",
    "\u2066a\u2069 \u200fb",
    "lone \udcff half",
    "<script>alert(1)</script>",
    "![x](https://a.example/y.png) [z](javascript:alert(1)) <https://a.example>",
    "**b** *i* `c` ~~s~~ | d \\| e \\",
    "&lt; &amp; &#60;",
    "# head",
    "## head ##",
    "_e_ __s__ a_b_c _ (_x_) ~s~ ~~~ $x$ $$y$$ US$5",
    "~~~",
    "1. item",
    "2) item",
    "+ item",
    "---",
    "- - -",
    "===",
    "$`x`$",
    "- item",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "émoji 👩‍💻 हिन्दी 日本語",
    "",
]
ANY = st.one_of(
    st.text(max_size=40), st.sampled_from(HOSTILE), st.text("<>&|*`[]!()\\_~#=$-+1. a", max_size=20)
)


@given(ANY)
def test_a_terminal_gets_one_line_of_text(text: str) -> None:
    shown = safe_text.line(text)
    assert len(shown.splitlines()) <= 1
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["plain", "émoji 👩‍💻", "हिन्दी", "日本語", "a 'b' \"c\" [d]"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert safe_text.line(text) == safe_text.sentence(text) == text


GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| head |\n|---|\n| ", " |\n"),
        ("# ", "\n"),
        ("- ", "\n"),
        ("", "\n"),
        ("before\n", "\nafter\n"),
        ("- by ", ", and\n  more\n"),
    ],
    ids=["cell", "heading", "item", "paragraph", "line", "between"],
)
@given(text=ANY)
def test_markdown_shows_the_text_and_nothing_else(before: str, after: str, text: str) -> None:
    """The very same page as of a word, with the text in the word's place."""
    page = GITHUB.render(f"{before}word{after}")
    shown = GITHUB.render(f"{before}{safe_text.markdown(text)}{after}")
    expected = " ".join(safe_text.line(text).split())
    if not expected and before in ("# ", "- ", "", "before\n"):
        return  # an item or a paragraph of nothing
    start, end = page.split("word")
    said = shown.replace("<span>$</span>", "$")
    assert said.startswith(start)
    assert said.endswith(end)
    cell = said[len(start) : len(said) - len(end)]
    assert "<" not in cell
    assert html.unescape(cell) == expected


@given(ANY)
def test_markdown_has_no_formula_and_no_line_through(text: str) -> None:
    """GitHub's own: a pair of `$`, or of one or two `~`, of which one touches a text."""
    raw = safe_text.markdown(text).replace("<span>$</span>", "x")
    raw = re.sub(r"\\.", "x", raw)
    for mark in (r"\$", "~+"):
        active = re.findall(rf"(?<=[^\s~$]){mark}|{mark}(?=[^\s~$])", raw)
        assert len(active) < 2


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("my_model_v2", "my_model_v2"),
        ("_my model_", r"\_my model\_"),
        ("__init__.py", r"\_\_init\_\_.py"),
        ("a_ b", r"a\_ b"),
        ("ü_日_1", "ü_日_1"),
        ("aro~edits", "aro~edits"),
        ("~5 of ~9", r"\~5 of \~9"),
        ("a ~ b ~ c", "a ~ b ~ c"),
        ("~~~ x", r"\~~~ x"),
        ("~~old~~", r"\~\~old\~\~"),
        ("US$5", "US$5"),
        ("$x$", "<span>$</span>x<span>$</span>"),
        ("clip #a1b2c3", "clip #a1b2c3"),
        ("# head", r"\# head"),
        ("C #", r"C \#"),
        ("C#", "C#"),
        ("- item", r"\- item"),
        ("-1.5", "-1.5"),
        ("12. of May", r"12\. of May"),
        ("ViT-B/32 (openai)", "ViT-B/32 (openai)"),
        ("[a](b) `c` *d* | \\", r"\[a\](b) \`c\` \*d\* \| \\"),
        ("<b> & c", "&lt;b&gt; &amp; c"),
    ],
)
def test_raw_markdown_stays_readable(text: str, raw: str) -> None:
    assert safe_text.markdown(text) == raw


@given(ANY)
def test_a_code_span_is_one(text: str) -> None:
    shown = MarkdownIt("commonmark").render(f"a {safe_text.code_span('x' + text + 'x')} b")
    assert re.fullmatch(r"<p>a <code>[^<]*</code> b</p>\n", shown)


@given(ANY)
def test_html_has_no_tag_and_ends_no_attribute(text: str) -> None:
    shown = safe_text.html(text)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(shown) == safe_text.line(text)


@given(ANY)
def test_no_cell_is_a_formula(text: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([safe_text.csv_cell(text), "end"])
    ((cell, end),) = csv.reader(io.StringIO(buffer.getvalue()))
    assert end == "end"
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert cell.removeprefix("'") == safe_text.line(text) or cell == safe_text.line(text)


def test_long_values_are_cut_in_the_middle() -> None:
    error = DataError(f"a.json: the field {'x' * 10_000!r} is wrong; fix it")
    assert str(error).startswith("a.json: the field 'xxx")
    assert str(error).endswith("xxx' is wrong; fix it")
    assert "…" in str(error)
    assert len(str(error)) < 300
    assert len(str(DataError("word " * 10_000))) == 2000
    # Two apostrophes are not a quotation.
    said = f"the tower's {'word ' * 60}of the model's own"
    assert str(BenchError(said)) == said


def test_an_error_is_one_safe_line_whoever_made_it() -> None:
    assert str(DataError("a\nb\x1b[31m")) == "a b\\x1b[31m"
    assert reason_of(ValueError("\x1b[31mred\nmore")) == "ValueError: \\x1b[31mred"
    assert len(reason_of(ValueError("x " * 10_000))) < 2100


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_narrow_encoding_replaces_and_never_ends_a_command(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts/STS12.tsv").write_text("score\tsentence1\tsentence2\n日本\ta\tb\n", "utf-8")
    for line in (["models"], ["run", "-m", "日本", "-t", "STS12", "--data-dir", str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *line],
            env={"PYTHONIOENCODING": encoding, "PATH": "", "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert b"unexpected" not in done.stderr
        assert done.returncode == (0 if line == ["models"] else 2), done.stderr


def test_a_number_and_what_is_counted():
    counted = safe_text.counted
    assert [counted(n, "pair") for n in (0, 1, 2, 2000)] == [
        "0 pairs",
        "1 pair",
        "2 pairs",
        "2,000 pairs",
    ]
    assert counted(1, "query", "queries") == "1 query"
    assert counted(3, "query", "queries") == "3 queries"
