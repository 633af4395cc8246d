"""What a checkpoint was trained on, and how a run on the same texts and images says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fine_tuning import run
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.api import evaluate, leaderboard
from paraclip_bench.errors import DataError
from paraclip_bench.models.training_digests import (
    FILE,
    TrainingDigests,
    image_digest,
    text_digest,
)
from paraclip_bench.training.merge import merge
from paraclip_bench.workspace import Workspace

RECIPE = "batch_size = 8\nsteps = 2\nwarmup_steps = 1"


def rows_of(pairs: tuple[Path, Path]) -> list[dict[str, str]]:
    return [json.loads(line) for line in pairs[0].read_text().splitlines()]


def expected(rows: list[dict[str, str]], images: Path) -> TrainingDigests:
    texts = {text_digest(row[key]) for row in rows for key in row if key != "image"}
    shas = {hashlib.sha256((images / row["image"]).read_bytes()).hexdigest() for row in rows}
    return TrainingDigests(
        np.array(sorted(texts), dtype=np.uint64),
        np.array(sorted(map(image_digest, shas)), dtype=np.uint64),
    )


def same(one: TrainingDigests | None, two: TrainingDigests) -> bool:
    assert one is not None
    return np.array_equal(one.texts, two.texts) and np.array_equal(one.images, two.images)


def test_a_checkpoint_keeps_the_digests_of_what_it_was_trained_on(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = run(base, pairs, RECIPE, tmp_path / "tuned")
    assert same(TrainingDigests.read(folder), expected(rows_of(pairs), pairs[1]))
    # A checkpoint of a checkpoint knows both, and so does a merge.
    rows = rows_of(pairs)
    other = tmp_path / "other.jsonl"
    changed = [{**row, "caption": f"{row['caption']} red"} for row in rows]
    other.write_text("".join(json.dumps(row) + "\n" for row in changed))
    second = run(folder, (other, pairs[1]), RECIPE, tmp_path / "second")
    assert same(TrainingDigests.read(second), expected(rows + changed, pairs[1]))
    merged = merge(f"local-dir:{base}", f"local-dir:{second}", 0.5, Workspace(tmp_path),
                   out=tmp_path / "merged")  # fmt: skip
    assert same(TrainingDigests.read(merged), expected(rows + changed, pairs[1]))
    assert TrainingDigests.read(base) is None


def test_what_is_held_out_was_not_trained_on(base: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rows = []
    for i in range(60):
        draw(images / f"{i}.png", i)
        texts = {k: f"{k} {i} red" for k in ("caption", "paraphrase_1", "paraphrase_2")}
        rows.append({"image": f"{i}.png", **texts})
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = f"{RECIPE}\n[validation]\nshare = 0.5\nevery = 1\n"
    found = TrainingDigests.read(run(base, (data, images), recipe, tmp_path / "tuned"))
    assert found is not None
    assert len(found.images) == 30
    assert len(found.texts) == 90


def draw(path: Path, seed: int) -> None:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_run_on_training_data_says_so(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(base, pairs, RECIPE, tmp_path / "tuned")
    rows = rows_of(pairs)
    root = tmp_path / "data/paraphrased-retrieval"
    shutil.copytree(pairs[1], root / "images")
    for i in range(3):
        draw(root / "images" / f"new{i}.png", 100 + i)
    queries = [
        # The same but for case, spaces and the full stop.
        {"query": f"{row['caption'].upper()} .", "paraphrase": f"ball {i}", "image_id": "new0.png"}
        for i, row in enumerate(rows[:5])
    ]
    (root / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    report = evaluate(
        [f"local-dir:{base}", f"local-dir:{folder}"],
        "paraphrased-retrieval",
        data_dir=tmp_path / "data",
        workspace=tmp_path,
    )
    (_, plain), (_, result) = report.results
    assert "texts_in_training" not in plain.data.notes
    distinct = len({row["caption"] for row in rows[:5]})
    assert result.data.notes["texts_in_training"] == distinct
    assert result.data.notes["images_in_training"] == 12
    said = capsys.readouterr().err
    assert f"was trained on {distinct} of these 10 texts and 12 of these 15 images" in said
    assert said.count("was trained on") == 1
    board = leaderboard(workspace=tmp_path)
    (note,) = [note for note in board.notes if "trained on some" in note]
    assert f"{folder.name} on paraphrased-retrieval ({distinct} texts and 12 images)" in note
    assert base.name not in note.replace(folder.name, "")


def test_a_damaged_file_is_named_and_fails_nothing(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(base, pairs, RECIPE, tmp_path / "tuned")
    (folder / FILE).write_bytes(b"no tensors")
    with pytest.raises(DataError, match="is damaged"):
        TrainingDigests.read(folder)
    file = tmp_path / "data/sts/STS12.tsv"
    file.parent.mkdir(parents=True)
    lines = [f"{i % 5}\tred {i}\tblue {i % 3}" for i in range(20)]
    file.write_text("score\tsentence1\tsentence2\n" + "\n".join(lines) + "\n")
    report = evaluate(
        f"local-dir:{folder}", "STS12", data_dir=tmp_path / "data", workspace=tmp_path
    )
    assert not report.failures
    assert len(report.results) == 1
    assert "training_digests.safetensors is damaged" in capsys.readouterr().err


@given(st.text(max_size=30))
def test_case_space_and_final_punctuation_are_not_told_apart(text: str) -> None:
    assert text_digest(f"  {text}") == text_digest(text)
    assert text_digest(f"a  b {text}") == text_digest(f"A b\t{text} ")
    assert text_digest(f"{text}.") == text_digest(text)
    assert text_digest(f"a {text}b") != text_digest(f"a {text}c")
