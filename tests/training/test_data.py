"""Rows on their way to the loop: what cannot be trained on, what is sampled, what is kept once."""

import json
from pathlib import Path

import numpy as np
import pytest
from fine_tuning import WEIGHTS, run
from safetensors.torch import load_file

from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.training_rows import BadRow, TrainingRow
from paraclip_bench.errors import DataError
from paraclip_bench.training.table import RowReport, distinct_images, make_table
from paraclip_bench.training.trainable import distinct_texts

RECIPE = "batch_size = 8\nsteps = 3\nwarmup_steps = 1"
WORDS = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}


def tokenize(text: str) -> np.ndarray:
    """Start, a token a letter, end, one padding where there is room for it in eight."""
    tokens = [9, *(WORDS[letter] for letter in text), 8, 0]
    return np.array(tokens[:8], dtype=np.int32)


def row(texts: str, image: bytes = b"1", id: str | None = None) -> TrainingRow:
    caption, *paraphrases = texts.split()
    ref = ImageRef(texts, data=image)
    return TrainingRow(
        ref, ((caption,), *(tuple(p.split(",")) for p in paraphrases)), f"at {texts}", id
    )


def test_a_table_holds_what_can_be_trained_on(tmp_path: Path) -> None:
    rows = [
        row("a b c", b"1", "x"),
        BadRow("missing image", "one"),
        row("d e f", b"2", "y"),
        row("a b c", b"1", "x"),  # the id came before
        row("abcdef b c", b"3"),  # fills the context
        row("abcde b c", b"3"),  # one token short of it
        row("a b,c d,e", b"2"),
    ]
    report = RowReport()
    table = make_table(rows, tokenize, 0, tmp_path / "t", report, lambda _: None)
    assert report.rows == len(table) == 4
    assert report.counts == {"missing image": 1, "duplicated id": 1, "overlong text": 1}
    assert table.image.tolist() == [0, 1, 2, 1]
    assert [ref.data for ref in distinct_images(rows, table)] == [b"1", b"2", b"3"]
    assert table.tokens(int(table.first[2, 0])).tolist() == tokenize("abcde").tolist()
    assert table.choices.tolist() == [[1, 1, 1]] * 3 + [[1, 2, 2]]
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["good"] == 4
    assert written["rows"]["overlong text"] == [
        "at abcdef b c: 'caption' fills the model's context of 8 tokens, so it may be cut off"
    ]
    with pytest.raises(DataError, match=r"3 rows cannot be trained on .*the first: one; .*skip"):
        report.refuse(tmp_path / "bad.json")
    assert (tmp_path / "bad.json").is_file()
    # The digest is the data's: the same for the same rows, another for others.
    again = make_table(rows, tokenize, 0, tmp_path / "u", RowReport(), lambda _: None)
    other = make_table(rows[:5], tokenize, 0, tmp_path / "v", RowReport(), lambda _: None)
    assert again.sha256 == table.sha256 != other.sha256


def test_paraphrases_are_sampled_along_their_chains(tmp_path: Path) -> None:
    rows = [row("a b,c,d d,e,f"), row("a b,c f"), row("a b c")]
    table = make_table(rows, tokenize, 0, tmp_path / "t", RowReport(), lambda _: None)
    chains, mixed = set(), set()
    for step in range(60):
        texts = table.choose(np.array([0, 1, 2]), [7, step])
        letters = [[int(table.tokens(text)[1]) for text in pair] for pair in texts.tolist()]
        chains.add(tuple(letters[0]))
        mixed.add(tuple(letters[1]))
        assert letters[2] == [1, 2, 3]
        assert np.array_equal(texts, table.choose(np.array([0, 1, 2]), [7, step]))
    assert chains == {(1, 2, 4), (1, 3, 5), (1, 4, 6)}
    assert mixed == {(1, 2, 6), (1, 3, 6)}


@pytest.mark.parametrize("by_prefix", [True, False])
def test_a_batch_holds_each_text_once(tmp_path: Path, by_prefix: bool) -> None:
    rows = [row("ab abc b"), row("b ab abcd"), row("c c c")]
    table = make_table(rows, tokenize, 0, tmp_path / "t", RowReport(), lambda _: None)
    texts = distinct_texts(table, table.first, 8, by_prefix=by_prefix)
    assert len(texts.tokens) == 5
    for pair, words in zip(texts.places.tolist(), ("ab abc b", "b ab abcd", "c c c"), strict=True):
        for place, word in zip(pair, words.split(), strict=True):
            wanted = np.pad(tokenize(word), (0, 8 - len(tokenize(word))))
            assert texts.tokens[place].tolist() == wanted.tolist()
            assert texts.lengths[place] == len(tokenize(word))
    if not by_prefix:
        assert texts.lengths.tolist() == sorted(texts.lengths.tolist())


def test_bad_rows_are_fatal_or_left_out(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = [{"image": "none.png", "caption": "x", "paraphrase_1": "y", "paraphrase_2": "z"}, {}]
    lines = pairs[0].read_text().splitlines()
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join([*lines[:5], *map(json.dumps, bad), "{", *lines[5:]]))

    def go(data: Path, out: str, **options: bool) -> Path:
        return run(base, (data, pairs[1]), RECIPE, tmp_path / out, **options)

    with pytest.raises(DataError, match=r"3 rows cannot be trained on \(2 missing image, 1 unrea"):
        go(path, "out")
    assert not (tmp_path / "out").exists()
    named = json.loads((tmp_path / "out.bad-rows.json").read_text())
    lines_of = zip((6, 7), named["rows"]["missing image"], strict=True)
    assert all(sentence.startswith(f"{path}, line {n}: ") for n, sentence in lines_of)
    with_bad, without = go(path, "out", skip_bad=True), go(pairs[0], "clean")
    assert (with_bad / WEIGHTS).read_bytes() == (without / WEIGHTS).read_bytes()
    provenance = json.loads((with_bad / "provenance.json").read_text())
    assert provenance["data"]["left_out"] == {"missing image": 2, "unreadable row": 1}
    assert json.loads((with_bad / "data_report.json").read_text())["good"] == 24
    assert load_file(with_bad / WEIGHTS)


def test_damaged_images_are_fatal_or_left_out(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = (pairs[1] / "3.png").read_bytes()
    (pairs[1] / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"3\.png is damaged .* out with --bad-rows skip$"):
        run(base, pairs, RECIPE, tmp_path / "fatal")
    left_out = run(base, pairs, RECIPE, tmp_path / "left_out", skip_bad=True)
    provenance = json.loads((left_out / "provenance.json").read_text())
    assert provenance["data"]["left_out"] == {"damaged image": 2}
    report = json.loads((left_out / "data_report.json").read_text())
    assert all("3.png" in sentence for sentence in report["rows"]["damaged image"])
    # As if the rows with that image had never been there.
    lines = pairs[0].read_text().splitlines()
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join(line for line in lines if '"3.png"' not in line))
    clean = run(base, (fewer, pairs[1]), RECIPE, tmp_path / "clean")
    assert (left_out / WEIGHTS).read_bytes() == (clean / WEIGHTS).read_bytes()
