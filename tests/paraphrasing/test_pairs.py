"""What comes after the answers: the output trains, and is reported, converted, built upon."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import json_lines
import numpy as np
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from paraclip_bench.data.training_rows import TrainingRow, read_rows
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.paraphrasing.captions import CaptionFields
from paraclip_bench.paraphrasing.pairs_file import convert, read_pairs
from paraclip_bench.paraphrasing.pairs_report import overlap, statistics
from paraclip_bench.paraphrasing.retrieval_set import RetrievalSetInput, build

ALL = ("image", "caption", "paraphrase_1", "paraphrase_2")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        pixels = np.full((8, 8, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def captions(tmp_path: Path, images: Path) -> Path:
    rows = [{"id": f"c{i}", "image": f"{i}.png", "caption": f"view {i} of it"} for i in range(20)]
    return json_lines.write(tmp_path / "c.jsonl", rows)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_finetune_reads_the_output(captions, images, command, server, tmp_path, ending, n) -> None:
    output = tmp_path / f"p.{ending}"
    url = server().url
    done = command(captions, "-o", output, "--llm", "tiny", "--base-url", url, "--n", n)
    assert done.returncode == 0, done.stderr
    found = list(read_rows([output], images, ALL))
    assert all(isinstance(row, TrainingRow) for row in found)
    assert [row.id for row in found] == [f"c{i}" for i in range(20)]
    assert found[3].texts == (("view 3 of it",), ("it of 3 view",) * n, ("so it of 3 view",) * n)


def test_images_stay_in_the_shards_that_their_captions_came_from(
    images, command, server, tmp_path
) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in range(2):
        with tarfile.open(shards / f"0000{shard}.tar", "w") as tar:
            for number in range(10 * shard, 10 * shard + 10):
                tar.add(images / f"{number}.png", f"key{number}.png")
                text = f"view {number} of it".encode()
                info = tarfile.TarInfo(f"key{number}.txt")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    url = server().url
    done = command(shards, "-o", "p.jsonl", "--llm", "tiny", "--base-url", url)
    assert done.returncode == 0, done.stderr
    found = list(read_rows([tmp_path / "p.jsonl"], shards, ALL))
    assert len(found) == 20
    for number, row in enumerate(found):
        assert isinstance(row, TrainingRow)
        assert np.asarray(row.image.open())[0, 0, 0] == number
    gone = {**json_lines.read(tmp_path / "p.jsonl")[0], "image": "00001.tar/key99.png"}
    bad = json_lines.write(tmp_path / "bad.jsonl", [gone])
    (problem,) = read_rows([bad], shards, ALL)
    assert problem.kind == "missing image"


def test_unfit_answers_are_dropped_or_marked(tmp_path, command, server) -> None:
    captions = tmp_path / "c.txt"
    # Turned round, a palindrome of words is its own paraphrase.
    captions.write_text("dog and dog\na dog in snow\n")
    common = (captions, "--llm", "tiny", "--base-url", server().url)
    assert command(*common, "-o", "dropped.jsonl").returncode == 0
    (row,) = json_lines.read(tmp_path / "dropped.jsonl")
    assert row["caption"] == "a dog in snow"
    (row,) = json_lines.read(tmp_path / "dropped.jsonl.work" / "dropped.jsonl")
    assert row["reasons"] == {"1.0": "equal to its input"}
    assert command(*common, "-o", "marked.jsonl", "--unfit", "mark").returncode == 0
    rows = json_lines.read(tmp_path / "marked.jsonl")
    assert [row["flags"] for row in rows] == [{"1.0": "equal to its input"}, {}]
    assert rows[0]["paraphrase_2"] == "so dog and dog"


def test_meaning_is_judged_by_any_text_model(tmp_path, command, server) -> None:
    (tmp_path / "letters.py").write_text(
        "import numpy as np\n"
        "class Letters:\n"
        "    fingerprint = 'letters'\n"
        "    def encode_texts(self, texts):\n"
        "        return np.array([[1.0 + t.count('s'), 1.0] for t in texts])\n"
    )
    captions = tmp_path / "c.txt"
    captions.write_text("a dog in mud\na big sassy class passes\n")
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", server().url)
    judged = ("--cosine-model", "letters.py:Letters", "--min-cosine", "0.96")
    env = {"PARACLIP_CACHE": str(tmp_path / "cache")}
    done = command(*arguments, *judged, env=env)
    assert done.returncode == 0, done.stderr
    # "so a dog in mud" has one s where the caption has none: cosine 0.949.
    assert [row["caption"] for row in json_lines.read(tmp_path / "p.jsonl")] == [
        "a big sassy class passes"
    ]
    (row,) = json_lines.read(tmp_path / "p.jsonl.work" / "dropped.jsonl")
    assert row["reasons"] == {"2.0": "too far in meaning (cosine 0.95)"}
    # A lower threshold takes it back, and asks nobody.
    assert command(*arguments, *judged[:3], "0.9", env=env).returncode == 0
    assert len(json_lines.read(tmp_path / "p.jsonl")) == 2


def test_formats_convert_without_a_loss(captions, command, server, tmp_path) -> None:
    first = tmp_path / "p.jsonl"
    url = server().url
    assert command(captions, "-o", first, "--llm", "tiny", "--base-url", url).returncode == 0
    assert convert(first, tmp_path / "p.parquet") == 20
    assert convert(tmp_path / "p.parquet", tmp_path / "back.jsonl") == 20
    assert json_lines.read(tmp_path / "back.jsonl") == json_lines.read(first)
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 20
    with pytest.raises(UsageError, match="is there"):
        convert(first, tmp_path / "p.parquet")
    # The authors' script names images by an id.
    rows = [
        {"image_id": 7, "caption": "a dog", "paraphrase_1": "a hound", "paraphrase_2": "one pooch"}
    ]
    authors = json_lines.write(tmp_path / "authors.jsonl", rows)
    assert convert(authors, tmp_path / "ours.jsonl", image="{image}.jpg") == 1
    assert json_lines.read(tmp_path / "ours.jsonl")[0]["image"] == "7.jpg"
    mixed = [*rows, {**rows[0], "paraphrase_1": ["a hound", "one dog"]}]
    several = json_lines.write(tmp_path / "mixed.jsonl", mixed)
    with pytest.raises(DataError, match="'paraphrase_1' is a text in some rows and several texts"):
        convert(several, tmp_path / "mixed.parquet")
    more = [*rows, {**rows[0], "note": "x", "weight": 1}, {**rows[0], "weight": 0.5}]
    convert(json_lines.write(tmp_path / "more.jsonl", more), tmp_path / "more.parquet")
    assert pq.read_table(tmp_path / "more.parquet")["weight"].to_pylist() == [None, 1.0, 0.5]
    bad = json_lines.write(tmp_path / "bad.jsonl", [{"caption": "a dog"}])
    with pytest.raises(DataError, match=r"bad\.jsonl, line 1: there is no 'paraphrase_1'"):
        convert(bad, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_the_report_counts_as_a_brute_force_does(captions, command, server, tmp_path) -> None:
    pairs = tmp_path / "p.jsonl"
    url = server().url
    assert command(captions, "-o", pairs, "--llm", "tiny", "--base-url", url).returncode == 0
    found = statistics(pairs)
    rows = json_lines.read(pairs)
    assert found.rows == len(rows) == 20
    assert found.mean_length(2) == np.mean([len(r["paraphrase_2"].split()) for r in rows])
    assert found.mean_overlap("T, T''") == pytest.approx(4 / 5)
    assert found.mean_overlap("T, T'") == 1
    assert overlap(["a", "b"], ["b", "c"]) == 1 / 3
    done = command("report", pairs, "-o", tmp_path / "r.html", "--price", 1000, 2000)
    assert done.returncode == 0, done.stderr
    tokens = [sum(r["usage"][f"{k}_tokens"] for r in rows) for k in ("prompt", "completion")]
    assert f"{tokens[0]:,}" in done.stdout
    assert f"{(tokens[0] * 1000 + tokens[1] * 2000) / 1e6:,.2f}" in done.stdout
    page = (tmp_path / "r.html").read_text()
    assert "<svg" in page
    assert "src=" not in page
    assert json.loads(command("report", pairs, "--json").stdout)["rows"] == 20


def test_a_retrieval_set_is_built_and_measured(
    captions, images, command, server, tmp_path, monkeypatch
) -> None:
    pairs = tmp_path / "p.jsonl"
    url = server().url
    assert command(captions, "-o", pairs, "--llm", "tiny", "--base-url", url).returncode == 0
    source = RetrievalSetInput([captions], pairs, images, CaptionFields())
    counts = build(source, tmp_path / "set", dev_share=0.3)
    assert sum(c["queries"] for c in counts.values()) == 20
    names: dict[str, set[str]] = {}
    for split in ("test", "dev"):
        folder = tmp_path / "set" / split / "paraphrased-retrieval"
        queries = json_lines.read(folder / "queries.jsonl")
        assert len(queries) == counts[split]["queries"]
        names[split] = {path.name for path in (folder / "images").iterdir()}
        assert {query["image_id"] for query in queries} == names[split]
    assert not names["test"] & names["dev"]
    # Fewer rows move no image to the other split.
    few = json_lines.write(tmp_path / "few.jsonl", json_lines.read(captions)[:10])
    given = RetrievalSetInput([few], pairs, images, CaptionFields())
    build(given, tmp_path / "fewer", dev_share=0.3)
    for split in names:
        folder = tmp_path / "fewer" / split / "paraphrased-retrieval" / "images"
        assert {path.name for path in folder.iterdir()} <= names[split]
    from paraclip_bench.api import evaluate

    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "grey.py").write_text(
        "import numpy as np\n"
        "class Grey:\n"
        "    def encode_texts(self, texts):\n"
        "        return np.array([[len(t), 1.0] for t in texts])\n"
        "    def encode_images(self, images):\n"
        "        return np.array([[np.asarray(i).mean(), 1.0] for i in images])\n"
    )
    report = evaluate(
        f"{tmp_path / 'grey.py'}:Grey",
        "paraphrased-retrieval",
        data_dir=tmp_path / "set" / "test",
        workspace=tmp_path,
        quiet=True,
    )
    ((_, result),) = report.results
    assert result.n == counts["test"]["queries"]


def test_a_card_shows_foreign_names_literally(captions, images, tmp_path) -> None:
    marked = tmp_path / "_my_ ~set~ $x$ #.jsonl"
    shutil.copyfile(captions, marked)
    # Of each `$` and `~` the other one stands in another name.
    made = {"llm": "_a_ ~b $c", "prompt_1": "d~ e$", "prompt_2": "# *f*", "paraphrase_1": "x y"}
    rows = [{**row, **made, "paraphrase_2": "y x z"} for row in json_lines.read(captions)]
    pairs = json_lines.write(tmp_path / "p.jsonl", rows)
    source = RetrievalSetInput([marked], pairs, images, CaptionFields())
    build(source, tmp_path / "set", dev_share=0.3)
    card = (tmp_path / "set" / "README.md").read_text()
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(card)
    shown = page.replace("<span>$</span>", "$")
    assert f"<h1>Paraphrased retrieval: {marked.name}</h1>" in shown
    assert "by _a_ ~b $c, prompts d~ e$ and # *f*," in " ".join(shown.split())
    assert not set(re.findall("<(em|strong|s)>", page))
    plain = re.sub(r"\\.", "", card)
    assert "~" not in plain
    assert "$" not in plain.replace("<span>$</span>", "")


def test_a_retrieval_set_is_checked(captions, images, tmp_path) -> None:
    rows = [
        {"caption": "view 1 of it", "paraphrase_1": "x", "paraphrase_2": "View 1, of it!"},
        {"caption": "view 2 of it", "paraphrase_1": "x", "paraphrase_2": "scene two"},
    ]
    pairs = json_lines.write(tmp_path / "p.jsonl", rows)
    source = RetrievalSetInput([captions], pairs, images, CaptionFields())
    with pytest.raises(DataError, match="the paraphrase of 'view 1 of it' is the caption itself"):
        build(source, tmp_path / "set", dev_share=0.2)
    (images / "4.png").rename(tmp_path / "4.png")
    (images / "4.png").symlink_to(Path("..") / "4.png")
    flagged = {**rows[1], "caption": "view 3 of it", "flags": {"2.0": "a refusal"}}
    json_lines.write(pairs, [rows[1], flagged])
    build(source, tmp_path / "linked", dev_share=0)
    made = tmp_path / "linked" / "test" / "paraphrased-retrieval"
    assert len(json_lines.read(made / "queries.jsonl")) == 1
    assert (made / "images" / "4.png").is_file()
    assert not (made / "images" / "4.png").is_symlink()
    (images / "5.png").unlink()
    json_lines.write(pairs, rows[1:])
    with pytest.raises(DataError, match=r"c\.jsonl, line 6: the image .*5\.png does not exist"):
        build(source, tmp_path / "set", dev_share=0.2)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("text", [{"a": 1}, 5, [5], ["x", 3], "  ", "\ud800"])
def test_a_paraphrase_that_is_no_text_is_named(text: Any, tmp_path: Path) -> None:
    row = {"caption": "a dog", "paraphrase_1": "a hound", "paraphrase_2": text}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    for read in (lambda p: list(read_pairs(p)), statistics):
        with pytest.raises(DataError, match=r"p\.jsonl, line 1.*'paraphrase_2'"):
            read(tmp_path / "p.jsonl")


@pytest.mark.parametrize("usage", [[1], "free", {"prompt_tokens": "x"}, {"a": {}}, {"a": None}])
def test_odd_usage_and_reports_end_no_command(usage: Any, tmp_path: Path) -> None:
    row = {"caption": "a dog", "paraphrase_1": "a hound", "paraphrase_2": "a canine"}
    (tmp_path / "p.jsonl").write_text(json.dumps({**row, "usage": usage}) + "\n")
    assert statistics(tmp_path / "p.jsonl").rows == 1
    work = tmp_path / "p.jsonl.work"
    work.mkdir()
    for report in ({}, [], [[1, 2]], {"made_with": 1, "input": 2}, {"made_with": {}, "input": {}}):
        (work / "report.json").write_text(json.dumps(report))
        with pytest.raises(DataError, match=r"report\.json is damaged"):
            statistics(tmp_path / "p.jsonl")


@pytest.fixture
def build_set(tmp_path, monkeypatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`data build` of so many images, of which `spoil` is told the folder."""

    def run(count: int, spoil: Callable[[Path], None] = lambda folder: None):
        folder = tmp_path / "photos"
        folder.mkdir()
        rows = []
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i:02}.png")
            text = f"view {i} of it"
            rows.append({"image": f"{i:02}.png", "caption": text, "paraphrase_1": "x"})
            rows[-1]["paraphrase_2"] = f"another {i}"
        spoil(folder)
        pairs = json_lines.write(tmp_path / "made.jsonl", rows)
        program = [sys.executable, "-m", "paraclip_bench", "data", "build", "paraphrased-retrieval"]
        given = ["--captions", pairs, "--pairs", pairs, "--images", folder, "--dev-share", "0"]
        return subprocess.run(
            [*program, *map(str, given), "-o", "new/folder/set"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_all_images_that_stop_a_set_are_told_at_once(build_set, tmp_path, kind) -> None:
    def spoil(folder: Path) -> None:
        for i in range(3, 10):
            path = folder / f"{i:02}.png"
            path.write_bytes(path.read_bytes()[:40]) if kind == "damaged" else path.unlink()

    before = {*tmp_path.iterdir()}
    ended = build_set(12, spoil)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"7 images {'cannot be published' if kind == 'damaged' else 'are missing'}: " in line
    assert [f"{i:02}.png" in line for i in range(12)] == [2 < i < 8 for i in range(12)]
    assert line.endswith("; and 2 more")
    assert {*tmp_path.iterdir()} - before == {tmp_path / "photos", tmp_path / "made.jsonl"}


def test_a_set_of_fewer_images_than_places_are_compared_says_so(build_set) -> None:
    ended = build_set(3)
    assert ended.returncode == 0, ended.stderr
    assert "note: new/folder/set/test cannot be measured" in ended.stderr
    assert "at least 10 images" in ended.stderr


def test_a_set_of_ten_images_is_said_nothing_of(build_set) -> None:
    ended = build_set(10)
    assert ended.returncode == 0, ended.stderr
    assert "note:" not in ended.stderr


def test_all_queries_that_are_their_paraphrase_are_counted(captions, images, tmp_path) -> None:
    rows = [
        {"caption": f"view {i} of it", "paraphrase_1": "x", "paraphrase_2": f"View {i} of it."}
        for i in (1, 2)
    ]
    pairs = json_lines.write(tmp_path / "p.jsonl", rows)
    source = RetrievalSetInput([captions], pairs, images, CaptionFields())
    with pytest.raises(DataError, match=r"2 queries equal .*'view 1 of it'.*'view 2 of it'"):
        build(source, tmp_path / "set", dev_share=0.2)
