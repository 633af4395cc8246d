"""`data build paraphrased-retrieval` without an LLM: paraphrases are captions of the same image."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import json_lines
import numpy as np
import pytest
from PIL import Image

from paraclip_bench.data.source import FolderSource
from paraclip_bench.errors import DataError
from paraclip_bench.paraphrasing.captions import CaptionFields
from paraclip_bench.paraphrasing.retrieval_set import RetrievalSetInput, build
from paraclip_bench.tasks.paraphrased_retrieval import ParaphrasedRetrieval

# Three captions of each photo, but for one with a repeated caption, one with one, one with two.
CAPTIONS = {
    f"{i:02}.png": [f"a view {i}, of it", f"scene no. {i}", f"what is {i}"] for i in range(12)
}
CAPTIONS["04.png"] = ["A dog runs", "one hound", "a dog runs."]
CAPTIONS["05.png"] = ["a cat sits"]
CAPTIONS["06.png"] = ["a cat sits", "some cat"]
PAIRS = sum(len(own) for own in CAPTIONS.values()) - 2


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        pixels = np.full((8, 8, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def _jsonl(path: Path) -> Path:
    rows = [{"image": name, "captions": own} for name, own in CAPTIONS.items()]
    return json_lines.write(path / "c.jsonl", rows)


def _csv(path: Path) -> Path:
    """A row a caption, the captions of an image apart from one another."""
    rows = [(n, own[k]) for k in range(3) for n, own in CAPTIONS.items() if k < len(own)]
    with (path / "c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    return path / "c.csv"


def _token(path: Path) -> Path:
    """As Flickr8k's own file has it."""
    lines = [f"{n}#{k}\t{text}" for n, own in CAPTIONS.items() for k, text in enumerate(own)]
    (path / "c.token").write_text("\n".join(lines) + "\n")
    return path / "c.token"


def _columns(path: Path) -> Path:
    rows = [
        {"image": n, **{f"caption_{k}": text for k, text in enumerate(own)}}
        for n, own in CAPTIONS.items()
    ]
    return json_lines.write(path / "c.jsonl", rows)


def _coco(path: Path) -> Path:
    whole = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(CAPTIONS)],
        "annotations": [
            {"id": 10 * i + k, "image_id": i, "caption": text}
            for i, own in enumerate(CAPTIONS.values())
            for k, text in enumerate(own)
        ],
    }
    (path / "captions.json").write_text(json.dumps(whole))
    return path / "captions.json"


def _karpathy(path: Path) -> Path:
    entries = [
        {"filename": n, "split": "test", "sentences": [{"raw": text} for text in own]}
        for n, own in CAPTIONS.items()
    ]
    (path / "dataset.json").write_text(json.dumps({"images": entries}))
    return path / "dataset.json"


def made_of(texts: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """The pairs by the rule, written down again."""
    pairs = []
    for name, own in texts.items():
        kept: list[str] = []
        for text in own:
            plain = "".join(c for c in text.lower() if c.isalnum())
            if plain not in ["".join(c for c in k.lower() if c.isalnum()) for k in kept]:
                kept.append(text)
        pairs += [
            (name, kept[i], kept[(i + 1) % len(kept)]) for i in range(len(kept)) if len(kept) > 1
        ]
    return pairs


@pytest.mark.parametrize("write", [_jsonl, _csv, _token, _columns, _coco, _karpathy])
def test_any_table_of_captions_makes_a_set(
    write: Callable[[Path], Path], images: Path, tmp_path: Path
) -> None:
    file = write(tmp_path)
    source = RetrievalSetInput([file], None, images, CaptionFields(), written_by="five students")
    counts = build(source, tmp_path / "set", dev_share=0)
    assert counts == {"test": {"queries": PAIRS, "images": 12}}
    rows = json_lines.read(tmp_path / "set/test/paraphrased-retrieval/queries.jsonl")
    found = [(row["image_id"], row["query"], row["paraphrase"]) for row in rows]
    assert found == made_of(CAPTIONS)
    card = (tmp_path / "set/README.md").read_text()
    assert "another caption of the same image, by five students; none is by an LLM" in card
    assert "Left out: 1 caption that another of the same image repeats." in card
    examples = ParaphrasedRetrieval().load(FolderSource(tmp_path / "set/test"), "cheng2024")
    assert len(examples) == PAIRS
    assert not examples.notes


def test_a_card_without_a_name_says_whose_file_it_is(images: Path, tmp_path: Path) -> None:
    build(
        RetrievalSetInput([_csv(tmp_path)], None, images, CaptionFields()),
        tmp_path / "set",
        dev_share=0.4,
    )
    assert "by whoever wrote c.csv; none is by an LLM" in (tmp_path / "set/README.md").read_text()
    rows = [
        row
        for split in ("test", "dev")
        for row in json_lines.read(tmp_path / "set" / split / "paraphrased-retrieval/queries.jsonl")
    ]
    assert len(rows) == PAIRS


def test_captions_that_do_not_differ_make_no_set(images: Path, tmp_path: Path) -> None:
    rows = [{"image": n, "captions": ["a dog", "A dog!"]} for n in CAPTIONS]
    file = json_lines.write(tmp_path / "same.jsonl", rows)
    with pytest.raises(DataError, match=r"no image has two captions that differ in same\.jsonl"):
        build(
            RetrievalSetInput([file], None, images, CaptionFields()), tmp_path / "set", dev_share=0
        )
    assert not (tmp_path / "set").exists()


def _build(tmp_path: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "paraclip_bench", "data", "build", "paraphrased-retrieval"]
    return subprocess.run(
        [*program, *map(str, arguments), "-o", "set"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )


def test_the_command(images: Path, tmp_path: Path) -> None:
    given = ("--captions", _csv(tmp_path), "--images", images)
    for more, said in (
        (("--step", 1), "--step is for --pairs, which is not given"),
        (("--pairs", tmp_path / "c.csv", "--written-by", "us"), "--written-by is for captions al"),
    ):
        ended = _build(tmp_path, *given, *more)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert said in line
    ended = _build(tmp_path, *given, "--dev-share", 0, "--written-by", "us [and] you", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"test": {"queries": PAIRS, "images": 12}}
    assert r"by us \[and\] you;" in (tmp_path / "set/README.md").read_text()


def test_real_captions_of_photographs(real: Callable[[str], Path], tmp_path: Path) -> None:
    """The five captions each of Flickr8k's photographs, counted again from the file."""
    flickr = real("flickr8k")
    source = RetrievalSetInput([flickr / "captions.tsv"], None, flickr / "images", CaptionFields())
    counts = build(source, tmp_path / "set", dev_share=0)
    texts: dict[str, list[str]] = {}
    with (flickr / "captions.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            texts.setdefault(row["image"], []).append(" ".join(row["caption"].split()))
    assert counts["test"]["images"] == len(texts) == 500
    rows = json_lines.read(tmp_path / "set/test/paraphrased-retrieval/queries.jsonl")
    assert [(r["image_id"], r["query"], r["paraphrase"]) for r in rows] == made_of(texts)
    assert 2400 < len(rows) <= 2500


# Of SemCLIP's names. The last two are the caption itself, and a row again.
TABLE = [
    ("00.png", "a dog on a mat", "on a mat lies a dog", "a dog not on a mat"),
    ("00.png", "a dog on a mat", "a mat with a dog", "a dog under a mat"),
    ("01.png", "a cat", "one cat", "A cat."),
    ("02.png", "a red car", "a car in red", ""),
    ("03.png", "a cow", "A cow.", "no cow"),
    ("04.png", "a hen", "", "no hen"),
    ("00.png", "A dog on a mat.", "On a mat lies a dog", "no dog on a mat"),
]
OF_TABLE = [
    ("00.png", "a dog on a mat", "on a mat lies a dog", "a dog not on a mat"),
    ("00.png", "a dog on a mat", "a mat with a dog", "a dog under a mat"),
    ("01.png", "a cat", "one cat", None),
    ("02.png", "a red car", "a car in red", None),
]


def _rows(path: Path) -> list[tuple[str, str, str, str | None]]:
    rows = json_lines.read(path / "test/paraphrased-retrieval/queries.jsonl")
    return [(r["image_id"], r["query"], r["paraphrase"], r.get("negation")) for r in rows]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_table_has_its_own_paraphrases_and_negations(
    images: Path, tmp_path: Path, ending: str
) -> None:
    table = tmp_path / f"t.{ending}"
    if ending == "csv":
        with table.open("w", newline="") as file:
            names = ("filename", "caption", "paraphrased", "negation")
            csv.writer(file).writerows([names, *TABLE])
    else:
        names = ("image", "caption", "paraphrase", "negation")
        json_lines.write(table, [dict(zip(names, row, strict=True)) for row in TABLE])
    given = ("--captions", table, "--images", images, "--dev-share", 0, "--written-by", "an LLM")
    ended = _build(tmp_path, *given)
    assert ended.returncode == 0, ended.stderr
    assert "set/test: 4 queries on 5 images, 2 negations" in ended.stderr
    assert _rows(tmp_path / "set") == OF_TABLE
    card = " ".join((tmp_path / "set/README.md").read_text().split())
    assert "Paraphrase: that of the caption's row, by an LLM, not checked by this command." in card
    assert "- Negation: of 2 of 4 queries, by an LLM, not checked by this command but that" in card
    assert "- Left out: 3 rows without a paraphrase, with the caption as its paraphrase" in card


def test_negations_of_captions_without_paraphrases_are_taken(images: Path, tmp_path: Path) -> None:
    rows = [{"image": "00.png", "caption": text} for text in ("a dog", "one hound")]
    rows[1]["negation"] = "no hound"
    file = json_lines.write(tmp_path / "c.jsonl", rows)
    build(RetrievalSetInput([file], None, images, CaptionFields()), tmp_path / "set", dev_share=0)
    assert _rows(tmp_path / "set") == [
        ("00.png", "a dog", "one hound", None),
        ("00.png", "one hound", "a dog", "no hound"),
    ]
    card = (tmp_path / "set/README.md").read_text()
    assert "- Negation: of 1 of 2 queries, by whoever wrote c.jsonl,\n" in card


def test_a_table_whose_paraphrases_are_its_captions_makes_no_set(
    images: Path, tmp_path: Path
) -> None:
    rows = [{"image": "00.png", "caption": "a dog", "paraphrase": "A dog."}]
    file = json_lines.write(tmp_path / "c.jsonl", rows)
    source = RetrievalSetInput([file], None, images, CaptionFields())
    with pytest.raises(DataError, match=r"no caption of c\.jsonl has a paraphrase that differs"):
        build(source, tmp_path / "set", dev_share=0)


def test_negations_of_pairs_are_in_the_queries(images: Path, tmp_path: Path) -> None:
    made = {"llm": "m1", "prompt_negation": "abc", "paraphrase_1": "x"}
    rows: list[dict[str, Any]] = [
        {"image": f"{i:02}.png", "caption": f"view {i}", "paraphrase_2": f"look {i}", **made}
        for i in range(4)
    ]
    rows[1] |= {"negation": "no view 1", "flags": {}}
    # Marked for its negation alone: the paraphrase is fit. Marked for its paraphrase: neither is.
    rows[2] |= {"negation": "a scene 2", "flags": {"negation": "does not negate"}}
    rows[3] |= {"negation": "no view 3", "flags": {"2.0": "a refusal"}}
    pairs = json_lines.write(tmp_path / "p.jsonl", rows)
    counts = build(
        RetrievalSetInput([pairs], pairs, images, CaptionFields()), tmp_path / "set", dev_share=0
    )
    assert counts == {"test": {"queries": 3, "images": 4, "negations": 1}}
    assert _rows(tmp_path / "set") == [
        ("00.png", "view 0", "look 0", None),
        ("01.png", "view 1", "look 1", "no view 1"),
        ("02.png", "view 2", "look 2", None),
    ]
    card = (tmp_path / "set/README.md").read_text()
    assert "- Negation: of 1 of 3 queries, by m1, prompt abc,\n" in card
    assert "- Left out: 1 row whose paraphrases are marked as unfit." in card


def test_semclip_s_table_on_images_of_its_names(
    real: Callable[[str], Path], tmp_path: Path
) -> None:
    """The texts are the published ones; the images are drawn, because they are not here."""
    table = real("semclip/sugarcrepe_pp_paraphrased.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder = tmp_path / "val2017"
    folder.mkdir()
    for name in {row["filename"] for row in rows}:
        Image.new("RGB", (2, 2)).save(folder / name)
    source = RetrievalSetInput([table], None, folder, CaptionFields(), written_by="an LLM")
    counts = build(source, tmp_path / "set", dev_share=0)
    expected: dict[tuple[str, str, str], tuple[str, str, str, str | None]] = {}
    for row in rows:
        name, *texts = (" ".join(row[key].split()) for key in row)
        query, paraphrase, negation = texts
        plain = ["".join(c if c.isalnum() else " " for c in t.lower()).split() for t in texts]
        if plain[0] == plain[1]:
            continue
        key = (name, " ".join(plain[0]), " ".join(plain[1]))
        kept = negation if plain[2] not in plain[:2] else None
        expected.setdefault(key, (name, query, paraphrase, kept))
    assert _rows(tmp_path / "set") == list(expected.values())
    assert counts["test"]["images"] == len({row["filename"] for row in rows}) == 1542
    assert counts["test"]["queries"] == len(expected) > 4500
