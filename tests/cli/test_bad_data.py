"""Damaged data: the file, the row and the fix, exit 1."""

import json
import shutil

import pytest
import tars

HEADER = "score\tsentence1\tsentence2\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is empty"]),
        (b"score\tsentence1\n1\ta\n", ["no column 'sentence2'"]),
        ((HEADER + "1\ta\tb\nhigh\ta\tb\n").encode(), ["line 3", "'high' is not a number"]),
        ((HEADER + "1\ta\tb\n5.1\ta\tb\n").encode(), ["line 3", "not within 0 to 5"]),
        ((HEADER + "nan\ta\tb\n").encode(), ["line 2", "not within"]),
        ((HEADER + "2\ta\tb\n2\ta\tc\n").encode(), ["same score 2", "no correlation"]),
        (HEADER.encode(), ["no pairs"]),
        ((HEADER + "1\ta\n").encode(), ["line 2", "2 fields"]),
        ((HEADER + "1\t\tb\n").encode(), ["line 2", "sentence1 is empty"]),
        ((HEADER + "1\tcaf\u00e9\tb\n").encode("latin-1"), ["line 2", "not UTF-8"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_bad_tsv(cli, tiny, data, content, parts):
    path = data / "sts" / "STS12.tsv"
    path.write_bytes(content)
    ended = cli("run", "-m", f"local-dir:{tiny}", "-t", "STS12", "--data-dir", data)
    ended.fails(1, "STS12", *parts)


def test_a_file_that_is_not_there(cli, tiny, data):
    ended = cli("run", "-m", f"local-dir:{tiny}", "-t", "STS14", "--data-dir", data)
    ended.fails(1, str(data / "sts" / "STS14.tsv"), "missing", "docs/data.md")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"query": "a cat", "paraphr', ["line 1", "not valid JSON", "cut off"]),
        ('{"query": "a cat"}', ["line 1", "'paraphrase'"]),
        ('{"query": "a", "paraphrase": "b", "image_id": "x.png"}', ["'x.png' is not in"]),
        ('{"query": 3, "paraphrase": "b"}', ["'query' must be a text"]),
        ("\n", ["holds no queries"]),
    ],
)
def test_bad_queries(cli, tiny, data, content, parts):
    (data / "paraphrased-retrieval" / "queries.jsonl").write_text(content)
    arguments = ("-m", f"local-dir:{tiny}", "-t", "paraphrased-retrieval", "--data-dir", data)
    cli("run", *arguments).fails(1, "queries.jsonl", *parts)


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_gallery_image(cli, tiny, data, damage):
    path = data / "paraphrased-retrieval" / "images" / "5.png"
    path.write_bytes(path.read_bytes()[:200] if damage == "cut" else b"not an image\n")
    arguments = ("-m", f"local-dir:{tiny}", "-t", "paraphrased-retrieval", "--data-dir", data)
    part = "damaged" if damage == "cut" else "is not an image"
    cli("run", *arguments).fails(1, str(path), part, "replace the file")


def test_a_gallery_that_is_not_there(cli, tiny, data):
    shutil.rmtree(data / "paraphrased-retrieval" / "images")
    arguments = ("-m", f"local-dir:{tiny}", "-t", "paraphrased-retrieval", "--data-dir", data)
    cli("run", *arguments).fails(1, "images is missing")


CASE = {
    "image_path": "0.png",
    "true_caption": "the cat is on the mat",
    "false_caption": "the mat is on the cat",
    "relation_name": "on",
    **{"bbox_x": 0, "bbox_y": 0, "bbox_w": 20, "bbox_h": 20},
}


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ({**CASE, "bbox_x": 100}, ["case 0", "outside of 0.png (40x40)"]),
        ({**CASE, "bbox_w": 0}, ["case 0", "is empty"]),
        ({**CASE, "bbox_w": "wide"}, ["case 0", "'bbox_w' must be a whole number"]),
        ({**CASE, "image_path": "x.png"}, ["case 0", "x.png is missing"]),
        ({k: v for k, v in CASE.items() if k != "true_caption"}, ["no 'true_caption'"]),
        (None, ["line 1", "not valid JSON"]),
    ],
)
def test_a_bad_visual_genome_case(cli, tiny, data, case, parts):
    root = data / "vg-relation"
    shutil.copytree(data / "paraphrased-retrieval" / "images", root / "images")
    text = '[{"image_path": "0.png", ' if case is None else json.dumps([case])
    (root / "visual_genome_relation.json").write_text(text)
    ended = cli("run", "-m", f"local-dir:{tiny}", "-t", "vg-relation", "--data-dir", data)
    ended.fails(1, "visual_genome_relation.json", *parts)


def test_a_gallery_in_shards(cli, tiny, data):
    folder = data / "paraphrased-retrieval"
    members = {file.name: file.read_bytes() for file in (folder / "images").iterdir()}
    shard = tars.write(folder / "gallery-000.tar", {**members, "5.png": b"not an image\n"})
    arguments = ("-m", f"local-dir:{tiny}", "-t", "paraphrased-retrieval", "--data-dir", data)
    cli("run", *arguments).fails(1, str(folder), "several galleries (images/, gallery-000.tar)")
    shutil.rmtree(folder / "images")
    cli("run", *arguments).fails(1, f"{shard}, image '5.png' is not an image", "replace the file")
    shard.write_bytes(shard.read_bytes()[:5000])
    cli("run", *arguments).fails(1, str(shard), "write that shard again")
    tars.write(shard, members)
    assert cli("run", *arguments).code == 0


ITEM = {"filename": "0.png", "caption": "a cat", "negative_caption": "a dog"}


@pytest.mark.parametrize(
    ("file", "content", "parts"),
    [
        ("sugarcrepe/add_obj.json", {"0": {**ITEM, "filename": "x.png"}}, ["item 0", "x.png is"]),
        ("sugarcrepe/add_objects.json", {"0": ITEM}, ["has none of add_obj.json"]),
        ("winoground/examples.jsonl", {"id": 0, "image_0": "0"}, ["line 1", "no 'image_1'"]),
        ("colorswap/test.json", [{"image_1": "images/0.png"}], ["example 0", "no 'image_2'"]),
        ("valse/plurals.json", {"a": {"caption": "a", "foil": "b"}}, ["item a", "no 'mturk'"]),
        (
            "whatsup/coco_qa_two_obj.json",
            [[1, "a", "b"]],
            ["case 0", "000000000001.jpg is missing"],
        ),
        (
            "negbench/VOC2007_mcq_llama3.1_rephrased.csv",
            {"image_path": "0.png"},
            ["has no column 'image_path'"],
        ),
        ("coco-order/cases.jsonl", {"image": "0.png", "captions": ["a"]}, ["a list of 5 texts"]),
        ("flickr30k-order/cases.jsonl", {"image": "x.png"}, ["line 1", "a list of 5 texts"]),
    ],
)
def test_bad_compositional_data(cli, tiny, data, file, content, parts):
    task = file.split("/")[0]
    shutil.copytree(data / "paraphrased-retrieval" / "images", data / task / "images")
    (data / file).write_text(json.dumps(content))
    arguments = ("-m", f"local-dir:{tiny}", "-t", task, "--data-dir", data)
    cli("run", *arguments).fails(1, task, *parts)
