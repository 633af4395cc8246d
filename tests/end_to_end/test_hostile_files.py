"""Files that lead outside of their folder, or that no reader can read: one sentence each."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import json_lines
import pytest
import tiny_clip
from PIL import Image
from readers import READERS

from paraclip_bench.cli.results import result_text
from paraclip_bench.data.source import FolderSource
from paraclip_bench.data.training_rows import BadRow, read_rows
from paraclip_bench.errors import BenchError, DataError
from paraclip_bench.files import parse_json
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.paraphrasing.captions import CaptionFields
from paraclip_bench.paraphrasing.endpoint import UNREADABLE, read_completion
from paraclip_bench.paraphrasing.pairs_report import statistics
from paraclip_bench.paraphrasing.retrieval_set import RetrievalSetInput, build
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.results.store import list_results
from paraclip_bench.tasks.base import Examples
from paraclip_bench.tasks.catalog import load_task
from paraclip_bench.training.recipe import read_recipe

KEPT = Path(__file__).parents[1] / "support/formats_0_1"
BOX = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4}
CAPTIONS = {"true_caption": "a on b", "false_caption": "b on a"}
CASES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "vg-relation": (
        "aro",
        "visual_genome_relation.json",
        lambda name: [{"image_path": name, **BOX, **CAPTIONS, "relation_name": "on"}],
    ),
    "vg-attribution": (
        "aro",
        "visual_genome_attribution.json",
        lambda name: [{"image_path": name, **BOX, **CAPTIONS, "attributes": ["red", "blue"]}],
    ),
    "sugarcrepe": (
        "sugarcrepe",
        "add_obj.json",
        lambda name: {"0": {"filename": name, "caption": "a", "negative_caption": "b"}},
    ),
    "sugarcrepe-pp": (
        "itt",
        "swap_obj.json",
        lambda name: [
            {"id": 0, "filename": name, "caption": "a", "caption2": "c", "negative_caption": "b"}
        ],
    ),
    "winoground": (
        "winoground",
        "examples.jsonl",
        lambda name: {"caption_0": "a", "caption_1": "b", "image_0": name, "image_1": "a.png"},
    ),
    "colorswap": (
        "colorswap",
        "test.json",
        lambda name: [{"caption_1": "a", "caption_2": "b", "image_1": name, "image_2": "a.png"}],
    ),
    "valse": (
        "valse",
        "plurals.json",
        lambda name: {
            "a": {"image_file": name, "caption": "a", "foil": "b", "mturk": {"caption": 3}}
        },
    ),
    "whatsup": (
        "whatsup",
        "controlled_clevr_dataset.json",
        lambda name: [{"image_path": name, "caption_options": ["a behind b", "c", "d", "e"]}],
    ),
    "coco-order": ("aro", "cases.jsonl", lambda name: {"image": name, "captions": list("abcde")}),
    "coco-karpathy": (
        "karpathy",
        "captions.jsonl",
        lambda name: {"image": name, "captions": ["a"]},
    ),
    "flickr30k-karpathy": (
        "karpathy",
        "dataset_flickr30k.json",
        lambda name: {"images": [{"filename": name, "split": "test", "sentences": [{"raw": "a"}]}]},
    ),
    "paraphrased-retrieval": (
        "cheng2024",
        "queries.jsonl",
        lambda name: {"query": "a", "paraphrase": "b", "image_id": name},
    ),
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(path)
    return path


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("form", ["../../../secret.png", "absolute", "x/../../../../secret.png"])
def test_no_task_reads_outside_of_its_folder_of_images(
    task: str, form: str, secret: Path, tmp_path: Path
) -> None:
    protocol, file, rows = CASES[task]
    folder = tmp_path / "data" / task
    (folder / "images").mkdir(parents=True)
    for i in range(10):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(folder / f"images/{'abcdefghij'[i]}.png")
    name = str(secret) if form == "absolute" else form
    (folder / file).write_text(json.dumps(rows(name)))
    with pytest.raises(DataError, match=r"leads outside of|is not in") as caught:
        load_task(task).load(FolderSource(tmp_path / "data"), protocol)
    assert file in str(caught.value)


@pytest.mark.parametrize("form", ["../secret.png", "absolute", "../secret", "../out.tar/a.png"])
def test_no_training_row_and_no_set_that_is_published_does(
    form: str, secret: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    name = str(secret) if form == "absolute" else form
    row = {"image": name, "caption": "a b", "paraphrase_1": "c d", "paraphrase_2": "e f"}
    pairs = json_lines.write(tmp_path / "pairs.jsonl", [row])
    (bad,) = read_rows([pairs], images, {"image", "caption"})
    assert isinstance(bad, BadRow)
    assert bad.kind == "missing image"
    assert "leads outside of" in bad.sentence
    given = RetrievalSetInput([pairs], pairs, images, CaptionFields())
    with pytest.raises(DataError, match="leads outside of"):
        build(given, tmp_path / "set", dev_share=0)
    assert not (tmp_path / "set").exists()


def test_what_is_published_is_an_image_and_a_copy(secret: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (9, 9), "blue").save(images / "a.png")
    (images / "b.png").symlink_to(secret)  # a link that whoever made the folder put there
    rows = [
        {"image": name, "caption": f"a {name}", "paraphrase_1": "c", "paraphrase_2": f"one {name}"}
        for name in ("a.png", "b.png")
    ]
    pairs = json_lines.write(tmp_path / "pairs.jsonl", rows)
    given = RetrievalSetInput([pairs], pairs, images, CaptionFields())
    build(given, tmp_path / "set", dev_share=0)
    made = tmp_path / "set/test/paraphrased-retrieval/images"
    for name in ("a.png", "b.png"):
        assert not (made / name).is_symlink()
        assert (made / name).stat().st_nlink == 1
        assert (made / name).read_bytes() == (images / name).read_bytes()
    (images / "b.png").unlink()
    (images / "b.png").write_text("root:x:0:0")
    with pytest.raises(DataError, match=r"b\.png is not an image"):
        build(given, tmp_path / "other", dev_share=0)
    assert not (tmp_path / "other").exists()


DEEP = "[" * 100_000
UNREADABLE_JSON = [
    DEEP,
    DEEP + "]" * 100_000,
    '{"a":' * 100_000,
    "9" * 10_000,
    '{"n": ' + "9" * 9000,
]


@pytest.mark.parametrize("content", UNREADABLE_JSON, ids=["open", "closed", "keys", "digits", "n"])
def test_json_that_cannot_be_read_is_a_sentence_of_every_reader(
    content: str, tmp_path: Path
) -> None:
    # A result among others is left out by name.
    folder = shutil.copytree(KEPT / "results", tmp_path / "results") / "paper/x"
    before, _ = list_results(tmp_path / "results")
    folder.mkdir()
    (folder / "STS12.all.00000000.json").write_text(content)
    found, damaged = list_results(tmp_path / "results")
    assert found == before
    assert len(damaged) == 1
    assert "is not a result of run" in damaged[0]
    # A model's config, a checkpoint's provenance.
    model = tiny_clip.save(tmp_path / "model")
    context = Context("paper", tmp_path)
    (model / "provenance.json").write_text(content)
    with pytest.raises(BenchError, match=r"provenance\.json is damaged"):
        load_model(f"local-dir:{model}", context)
    (model / "provenance.json").unlink()
    (model / "open_clip_config.json").write_text(content)
    with pytest.raises(BenchError, match=r"open_clip_config\.json"):
        load_model(f"local-dir:{model}", context).adapter.check()
    # Rows to train on: one bad row, the others stand.
    row = json.dumps({"caption": "a b"})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(f"{row}\n{content}\n{row}\n")
    rows = list(read_rows([pairs], None, {"caption"}))
    assert [isinstance(found, BadRow) for found in rows] == [False, True, False]
    # What a service answers, and the report beside pairs.
    with pytest.raises(UNREADABLE):
        read_completion(json.loads('{"choices": []}'))
    good = json.dumps({"caption": "a b", "paraphrase_1": "c", "paraphrase_2": "d"})
    pairs.write_text(f"{good}\n")
    work = tmp_path / "pairs.jsonl.work"
    work.mkdir()
    (work / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report\.json is damaged"):
        statistics(pairs)


@pytest.mark.parametrize("place", ["mean", "std", "n"])
def test_a_number_beyond_floats_is_a_sentence(place: str, tmp_path: Path) -> None:
    """Arithmetic with a whole number of 400 digits raises OverflowError."""
    model = tiny_clip.save(tmp_path / "model")
    file = model / "open_clip_config.json"
    config = json.loads(file.read_text())
    huge = 10**400
    if place == "n":
        config["model_cfg"]["vision_cfg"]["layers"] = huge
    else:
        config["preprocess_cfg"] = {**config.get("preprocess_cfg", {}), place: [huge, 0.5, 0.5]}
    file.write_text(json.dumps(config))
    with pytest.raises(BenchError, match=r"open_clip_config\.json"):
        load_model(f"local-dir:{model}", Context("paper", tmp_path)).adapter.check()
    assert parse_json(f'{{"a": [{huge}, -{huge}, 12, "{huge}"]}}') == {
        "a": [math.inf, -math.inf, 12, str(huge)]
    }
    assert parse_json(str(huge).encode()) == math.inf
    (tmp_path / "r.toml").write_text(f"steps = {huge}")
    with pytest.raises(DataError, match=r"r\.toml"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize("content", ["a = " + DEEP, "a = " + "9" * 10_000, "[" + "a." * 50_000])
def test_toml_that_cannot_be_read_is_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(content)
    with pytest.raises(DataError, match=r"r\.toml"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10**400, "completion_tokens": -5},
        {"prompt_tokens": "many", "completion_tokens": None},
        {"prompt_tokens": True, "completion_tokens": 1.5},
        {"prompt_tokens": [1], "completion_tokens": {}},
        [],
        "none",
        7,
    ],
)
def test_absurd_counts_of_a_service_are_none(usage: Any) -> None:
    found = {"choices": [{"message": {"content": "a dog"}}], "usage": usage}
    reply = read_completion(found)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("a dog", None, None)


def test_a_result_s_foreign_text_is_safe_in_a_terminal(tmp_path: Path) -> None:
    found, _ = list_results(KEPT / "results")
    path, result = found[0]
    model = result.model.model_copy(update={"name": "\x1b[31mred\u202e"})
    shown = result_text(path, result.model_copy(update={"model": model}))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def torn(value: Any, at: int) -> tuple[Any, int]:
    """The value with its text number `at` torn, and how many texts are left to count."""
    if isinstance(value, str):
        return (f"{value}\ud800" if at == 0 else value), at - 1
    if isinstance(value, list):
        several = []
        for item in value:
            item, at = torn(item, at)
            several.append(item)
        return several, at
    if isinstance(value, dict):
        fields = {}
        for key, item in value.items():
            item, at = torn(item, at)
            fields[key] = item
        return fields, at
    return value, at


OF_JSON = [
    name
    for name in READERS
    if re.search(r"^((?!training|captions).*: .*\.jsonl?|results/.*\.json)$", name)
]


@pytest.mark.parametrize("name", OF_JSON)
def test_a_half_of_a_character_in_any_text_is_bad_data(name: str, tmp_path: Path) -> None:
    path = READERS[name].make(tmp_path)
    whole = path.read_text()
    lines = path.suffix == ".jsonl"
    document = [json.loads(line) for line in whole.splitlines()] if lines else json.loads(whole)
    for at in range(40):
        bad, left = torn(document, at)
        if left >= 0:
            assert at > 0
            return
        path.write_text("\n".join(map(json.dumps, bad)) if lines else json.dumps(bad))
        with pytest.raises(DataError, match=rf"{path.name}, .*has a half of a character"):
            READERS[name].read(path)


def test_a_half_of_a_character_in_a_plugin_s_rows_is_bad_data() -> None:
    examples = Examples([{"text": "a"}, {"text": "\U0001f600 \ud800"}], id="mine")
    with pytest.raises(DataError, match=r"example 1 of mine, 'text': .* a half of a character"):
        examples_sha256(examples)
    assert examples_sha256(Examples([{"text": "\U0001f600 \\ud800"}]))
