"""One gallery in several layouts is one result, and its outcomes show where a model fails."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tars

from paraclip_bench.api import evaluate
from paraclip_bench.results.store import outcomes_path, read_outcomes

TASK = "paraphrased-retrieval"
PAGE = Path(__file__).parents[2] / "docs/tasks.md"


@pytest.fixture
def folder(data: Path) -> Path:
    """The task's folder, of files that are named as COCO's."""
    images = data / TASK / "images"
    for file in images.iterdir():
        file.rename(file.with_name(f"{int(file.stem) + 1:012}.jpg"))
    path = data / TASK / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["image_id"] = int(row["image_id"][:2]) + 1
        row["id"] = f"pair {number}"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path.parent


def run(models: Path, folder: Path, work: Path) -> tuple[Path, Any]:
    report = evaluate(
        [f"{models}:Both"], [TASK], data_dir=folder.parent, workspace=work, quiet=True
    )
    assert report.failures == []
    (found,) = report.results
    return found


def test_a_layout_is_no_part_of_a_result(models: Path, folder: Path, tmp_path: Path) -> None:
    _, first = run(models, folder, tmp_path / "images")
    (folder / "images").rename(folder / "val2017")
    path, second = run(models, folder, tmp_path / "coco")
    files = {file.name: file.read_bytes() for file in (folder / "val2017").iterdir()}
    shutil.rmtree(folder / "val2017")
    for number in range(2):
        tars.write(folder / f"{number}.tar", dict(list(files.items())[number::2]))
    _, third = run(models, folder, tmp_path / "shards")
    assert first.data.sha256 == second.data.sha256 == third.data.sha256
    assert first.scores == second.scores == third.scores
    # The result is known again, whatever the layout.
    assert run(models, folder, tmp_path / "coco")[0] == path
    assert run(models, folder, tmp_path / "coco")[1].provenance == second.provenance


def test_the_docs_find_the_pairs_that_fail(models: Path, folder: Path, tmp_path: Path) -> None:
    queries = folder / "queries.jsonl"
    rows = [json.loads(line) for line in queries.read_text().splitlines()]
    for number in range(200):
        row = {"query": "abcdefgh"[number % 8] * (1 + number // 8), "paraphrase": f"{number:b} bed"}
        rows.append({**row, "image_id": number % 12 + 1, "id": f"more {number}"})
    path_of = {}
    for kind in ("id", "number"):
        told = [{k: v for k, v in row.items() if k != "id" or kind == "id"} for row in rows]
        queries.write_text("\n".join(json.dumps(row) for row in told))
        path_of[kind], _ = run(models, folder, tmp_path / kind)
        (code,) = re.findall(r"```python\n(import json.*?)```", PAGE.read_text(), re.DOTALL)
        names: dict[str, Any] = {}
        exec(code, names)  # the page's own code
        found = names["lost_by_rewording"](outcomes_path(path_of[kind]), queries)
        columns = read_outcomes(path_of[kind])
        lost = np.flatnonzero((columns["rank_query"] <= 10) & (columns["rank_paraphrase"] > 10))
        assert 0 < len(lost) < len(rows)
        assert {pair["query"] + pair["paraphrase"] for pair in found} == {
            rows[i]["query"] + rows[i]["paraphrase"] for i in lost
        }
        shared = [len(set(pair["top_query"]) & set(pair["top_paraphrase"])) for pair in found]
        assert shared == sorted(columns["overlaps"][lost, -1])
