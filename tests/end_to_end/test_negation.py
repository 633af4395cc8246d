"""Negated queries by the program, and every new score by open_clip alone.

The rows are SemCLIP's (caption, paraphrased, negation) of SugarCrepe++'s photos where they are at
hand, and generated ones; the images are drawn, so that only the computation is compared.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tiny_clip
import torch
from PIL import Image

import paraclip_bench
from paraclip_bench.results.store import read_outcomes

pytestmark = pytest.mark.slow

BASE = Path(paraclip_bench.__file__).parent / "demo" / "base_clip"
TASK = "paraphrased-retrieval"
NEW = {
    *("query_over_negation", "recall_fall@10", "ao@10/negation"),
    *(f"recall@{k}/negation" for k in (1, 5, 10)),
}
Row = dict[str, str]
Program = Callable[..., subprocess.CompletedProcess[str]]


def semclip(real: Callable[[str], Path]) -> list[Row]:
    """The rows of the first seventy photos, with the fields of queries.jsonl."""
    path = real("semclip/sugarcrepe_pp_paraphrased.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4757
    names = list(dict.fromkeys(row["filename"] for row in rows))[:70]
    columns = {"query": "caption", "paraphrase": "paraphrased", "negation": "negation"}
    return [
        {"image_id": row["filename"], **{ours: row[theirs] for ours, theirs in columns.items()}}
        for row in rows
        if row["filename"] in names
    ]


def generated() -> list[Row]:
    rng = np.random.default_rng(1)
    colours, things = ("red", "blue", "green", "yellow"), ("circle", "square", "star", "ring")
    rows = []
    for i in range(120):
        colour, thing = rng.choice(colours), rng.choice(things)
        rows.append(
            {
                "image_id": f"{i % 40:03}.jpg",
                "query": f"a {colour} {thing} {i}",
                "paraphrase": f"there is a {thing} that is {colour} {i}",
                "negation": f"there is no {colour} {thing} {i}",
            }
        )
    return rows


@pytest.fixture(scope="module", params=["generated", "semclip"])
def rows(request: pytest.FixtureRequest, real: Callable[[str], Path]) -> list[Row]:
    """Some rows lack a negation, some a target, and one negation is its query."""
    found = generated() if request.param == "generated" else semclip(real)
    for i, row in enumerate(found):
        if i % 10 == 3:
            del row["negation"]
        if i % 10 == 6:
            del row["image_id"]
    found[1]["negation"] = found[1]["query"]
    return found


@pytest.fixture(scope="module")
def data(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    images = root / TASK / "images"
    images.mkdir(parents=True)
    for name in {row["image_id"] for row in rows if "image_id" in row}:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        pixels = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(images / name)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / TASK / "queries.jsonl").write_text(lines)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def program(data: Path) -> Program:
    """Calls the program in a folder beside the data."""
    folder = data / "work"
    folder.mkdir()

    def call(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "paraclip_bench", *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    call.folder = folder  # type: ignore[attr-defined]
    return call


@pytest.fixture(scope="module")
def results(program: Program, data: Path, tiny: Path) -> dict[str, Any]:
    """The results of both models by name, with their files."""
    models = ("-m", f"local-dir:{BASE}", "-m", f"local-dir:{tiny}")
    done = program("run", *models, "-t", TASK, "--data-dir", data, "--json")
    found = {}
    for row in json.loads(done.stdout)["results"]:
        path = program.folder / row["file"]  # type: ignore[attr-defined]
        found[row["model"]] = (path, json.loads(path.read_text()))
    assert len(found) == 2
    return found


def alone(folder: Path, rows: list[Row], images: Path) -> dict[str, float]:
    """The new scores from open_clip's own vectors, one text and one image at a time."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)

    def unit(vector: Any) -> np.ndarray:
        found = vector[0].double().numpy()
        return np.asarray(found / np.linalg.norm(found))

    gallery = sorted(images.iterdir(), key=lambda file: file.name.encode())
    names = [file.name for file in gallery]
    with torch.no_grad():
        seen = np.array(
            [unit(model.encode_image(preprocess(Image.open(file))[None])) for file in gallery]
        )

        def scores_of(text: str) -> np.ndarray:
            return np.asarray(seen @ unit(model.encode_text(tokenizer([text]))))

        found: dict[str, list[float]] = {name: [] for name in NEW}
        for row in rows:
            if "negation" not in row:
                continue
            query, negation = scores_of(row["query"]), scores_of(row["negation"])
            first, second = (np.argsort(-each, kind="stable") for each in (query, negation))
            shares = [len({*first[:d]} & {*second[:d]}) / d for d in range(1, 11)]
            found["ao@10/negation"].append(float(np.mean(shares)))
            if "image_id" not in row:
                continue
            target = names.index(row["image_id"])
            found["query_over_negation"].append(query[target] > negation[target])
            by = [list(order).index(target) + 1 for order in (first, second)]
            found["recall_fall@10"].append((by[0] <= 10) - (by[1] <= 10))
            for k in (1, 5, 10):
                found[f"recall@{k}/negation"].append(by[1] <= k)
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_every_new_score_equals_open_clip_alone(
    results: dict[str, Any], rows: list[Row], data: Path, tiny: Path
) -> None:
    for name, (path, result) in results.items():
        folder = BASE if result["model"]["spec"].endswith(str(BASE)) else tiny
        expected = alone(folder, rows, data / TASK / "images")
        scores = result["scores"]
        assert {key: scores[key]["value"] for key in NEW} == pytest.approx(expected, abs=1e-6), name
        assert 0 < expected["recall@10/negation"] < 1
        for key in NEW:
            assert scores[key]["low"] < scores[key]["value"] < scores[key]["high"]
        assert scores["recall_fall@10"]["method"] == "fisher-t"
        without = sum("negation" not in row for row in rows)
        assert result["data"]["notes"]["queries_without_negation"] == without
        assert result["data"]["notes"]["negations_equal"] == 1
        columns = read_outcomes(path)
        assert columns["top_negation"].shape == columns["top_query"].shape
        assert np.isnan(columns["cosine_negation"]).sum() == sum(
            "negation" not in row or "image_id" not in row for row in rows
        )


def test_boards_compare_and_export(results: dict[str, Any], program: Program) -> None:
    board = json.loads(program("leaderboard", "--json").stdout)
    shown = [column["score"] for column in board["columns"]]
    assert shown[-2:] == ["query_over_negation", "recall_fall@10"]
    every = json.loads(program("leaderboard", "--json", "--all").stdout)
    lower = {c["score"] for c in every["columns"] if c["lower_is_better"]}
    assert lower == {name for name in NEW if name.endswith("/negation")}
    deeper = json.loads(program("leaderboard", "--json", "--score", "recall@3/negation").stdout)
    assert [column["lower_is_better"] for column in deeper["columns"]] == [True]

    one, two = results
    score = ("--score", "ao@10/negation", "--show", 3)
    found = json.loads(program("compare", one, two, *score, "--json").stdout)
    (pair,) = found["scores"]
    signs = {"better": -1, "worse": 1}
    change = pair["difference"]
    assert pair["lower_is_better"]
    if change["verdict"] in signs:
        assert np.sign(change["value"]) == signs[change["verdict"]]
    for change in pair["changes"]:
        for tops in change["found"].values():
            assert set(tops) == {"query", "paraphrase", "negation"}
            assert all(names and all(names) for names in tops.values())

    # The page draws no axis of what should be low, and no picture of what was not found.
    program("leaderboard", "--format", "html", "-o", "board.html")
    page = (program.folder / "board.html").read_text()  # type: ignore[attr-defined]
    block = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert block is not None
    told = json.loads(block[1])
    (price,) = told["price"]
    assert not [name for name in (*price["agreement"], *price["recall"]) if "negation" in name]
    lists = [
        set(model["top"])
        for example in told["examples"][0]["examples"]
        for model in example["models"]
    ]
    assert {"query", "paraphrase"} in lists
    assert {"query", "paraphrase", "negation"} in lists

    # Runs and qrels are those of the queries and paraphrases: a negation has no relevant image.
    program("results", "export", "--format", "trec", "-o", "trec")
    files = {f.name.rsplit(".", 2)[-2] for f in (program.folder / "trec").glob("*.run")}  # type: ignore[attr-defined]
    assert files == {"query", "paraphrase"}
    program("results", "export", "--format", "csv", "-o", "scores.csv")
    table = (program.folder / "scores.csv").read_text()  # type: ignore[attr-defined]
    assert all(name in table for name in NEW)
    assert json.loads(program("results", "validate", "--json").stdout)["problems"] == 0


def test_reworded_negations(program: Program, data: Path) -> None:
    """Edits reword the negations too; a file of paraphrases leaves them as they are."""
    run = ("run", "-m", f"local-dir:{BASE}", "-t", TASK, "--data-dir", data, "--json", "--perturb")
    texts = {}
    for name in ("edits", str(data / TASK / "queries.jsonl")):
        (row,) = [r for r in json.loads(program(*run, name).stdout)["results"] if "~" in r["file"]]
        result = json.loads((program.folder / row["file"]).read_text())  # type: ignore[attr-defined]
        for score in NEW:
            assert {score, f"{score}~drop", f"{score}~spread"} <= result["scores"].keys()
        texts[name] = result["perturbation"]
    edits, file = texts.values()
    assert edits["covered"] == edits["texts"] == file["texts"]
    assert file["covered"] < file["texts"] / 2
