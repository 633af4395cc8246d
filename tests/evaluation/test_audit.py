"""`audit`: how stable a search is, against rankings by hand; its page and its errors."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.boards.audit_page import as_data, as_page
from paraclip_bench.cli.app import main
from paraclip_bench.errors import DataError, ModelError, UsageError
from paraclip_bench.evaluation.audit import Audit, audit, images_below, read_queries
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.progress import Progress
from paraclip_bench.tasks.perturbation import Perturbation

QUERIES = ["abc", "a hedge", "hhh", "dead beef", "a cab", "fade", "gag", "", "bad head", "abc"]


class Letters(Perturbation):
    """Letters more; nothing for what begins with an h."""

    name = "letters"
    versions: Sequence[str] = ("few", "many")

    def reworded(self, version: str, text: str) -> str | None:
        more = "abcdefgh"[len(text) % 8] * (1 if version == "few" else 6)
        return None if text.startswith("h") else f"{text} {more}"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(24):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        Image.new("RGB", (8, 8), colour).save(folder / ("sub" if i % 2 else "") / f"{i:02}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image either")
    return folder


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(QUERIES) + "\n")
    return path


@pytest.fixture
def made(models: Path, images: Path, queries: Path) -> Callable[..., Audit]:
    def run(perturbation: Perturbation | None = None, k: int = 10) -> Audit:
        model = load_model(f"{models}:Both", Context("paper", models.parent))
        return audit(
            model,
            images_below(images, k),
            read_queries(queries),
            perturbation or Letters(),
            Progress(quiet=True),
            k=k,
        )

    return run


def ranking(models: Path, images: Path, text: str, k: int) -> list[str]:
    """By the model itself: cosine, ties in order of the names' bytes."""
    spec = importlib.util.spec_from_file_location("own", models)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Both()
    names = sorted(str(p.relative_to(images)) for p in images.rglob("*.png") if p.name[0] != ".")
    vectors = model.encode_images([Image.open(images / name) for name in names])
    query = model.encode_texts([text])[0]
    similarities = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    order = np.argsort(-similarities.astype(np.float32), kind="stable")
    return [names[i] for i in order[:k]]


def ao(one: list[str], two: list[str]) -> float:
    return float(np.mean([len({*one[:d]} & {*two[:d]}) / d for d in range(1, len(one) + 1)]))


@pytest.mark.parametrize("k", [3, 10])
def test_it_is_what_rankings_by_hand_say(
    made: Callable[..., Audit], models: Path, images: Path, k: int
) -> None:
    found = made(k=k)
    data = as_data([found])["audits"][0]
    distinct = list(dict.fromkeys(query for query in QUERIES if query))
    assert found.uncovered == 1
    by_query = {each["query"]: each for each in data["queries"]}
    assert by_query.keys() == {*distinct} - {"hhh"}
    for query, each in by_query.items():
        own = ranking(models, images, query, k)
        others = {v: ranking(models, images, Letters().reworded(v, query) or "", k)
                  for v in Letters.versions}  # fmt: skip
        assert each["images"] == own
        values = {version: ao(own, other) for version, other in others.items()}
        assert each[f"ao@{k}"] == pytest.approx(np.mean(list(values.values())), abs=1e-9)
        js = [len({*own} & {*o}) / len({*own} | {*o}) for o in others.values()]
        assert each[f"js@{k}"] == pytest.approx(np.mean(js), abs=1e-9)
        assert each["same_first"] == np.mean([own[0] == o[0] for o in others.values()])
        worst = each["worst"]
        assert worst[f"ao@{k}"] == pytest.approx(min(values.values()), abs=1e-9)
        assert worst["images"] == others[worst["version"]]
    order = [each[f"ao@{k}"] for each in data["queries"]]
    assert order == sorted(order)
    assert order[0] < order[-1]
    assert data[f"ao@{k}"]["value"] == pytest.approx(np.mean(order))
    for row in data["versions"]:
        own = [ao(ranking(models, images, q, k),
                  ranking(models, images, Letters().reworded(row["version"], q) or "", k))
               for q in by_query]  # fmt: skip
        assert row[f"ao@{k}"] == pytest.approx(np.mean(own), abs=1e-9)
        assert row["queries"] == len(by_query)


def test_an_interval_lies_within_the_range(made: Callable[..., Audit], queries: Path) -> None:
    queries.write_text("".join(f"a {'abcdefgh'[i % 8] * (i % 5 + 1)}\n" for i in range(40)))
    found = made()
    for each in (found.ao, found.js, found.same_first):
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert 0 <= each.low < each.value < each.high <= 1


def test_what_cannot_be_audited(
    made: Callable[..., Audit], models: Path, images: Path, queries: Path, tmp_path: Path
) -> None:
    class Nothing(Letters):
        def reworded(self, version: str, text: str) -> str | None:
            return None

    with pytest.raises(DataError, match="another wording of none of the 8 queries"):
        made(Nothing())
    with pytest.raises(DataError, match="24 images, and a top 30 needs 30"):
        made(k=30)
    with pytest.raises(UsageError, match="is no folder"):
        images_below(tmp_path / "nowhere", 10)
    queries.write_text(" \n\n")
    with pytest.raises(DataError, match="holds no queries"):
        read_queries(queries)
    model = load_model(f"{models}:TextOnly", Context("paper", tmp_path))
    with pytest.raises(ModelError, match="has no image encoder"):
        audit(model, [], ["a"], Letters(), Progress(quiet=True))


def test_the_command_and_its_page(
    models: Path, images: Path, queries: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def run(*more: str) -> tuple[int, str, str]:
        line = ["audit", "--model", f"{models}:Both", "--images", str(images)]
        line += ["--queries", str(queries), *more]
        monkeypatch.setattr("sys.argv", ["paraclip-bench", *line])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    pairs = tmp_path / "pairs.jsonl"
    texts = {"text": "abc", "paraphrases": ["<script>alert(1)</script> hh", "g\x1b[31mg"]}
    pairs.write_text(json.dumps(texts) + "\n")
    page = tmp_path / "page.html"
    code, out, err = run("--paraphrases", str(pairs), "-o", str(page), "--show", "2")
    assert (code, "page.html written" in err) == (0, True)
    assert "the least stable (1 of 1 query)" in out
    assert "\x1b" not in out
    assert all(len(line) <= 100 for line in out.splitlines())
    written = page.read_text()
    assert "<script" not in written
    assert "\x1b" not in written
    assert written.count("<img ") == 20
    assert "http" not in written.replace("http-equiv", "")
    code, out, _ = run("--json")
    data: dict[str, Any] = json.loads(out)
    assert code == 0
    (found,) = data["audits"]
    assert found["perturbation"] == "edits"
    assert {row["version"] for row in found["versions"]} >= {"upper case", "typing slip"}
    for more, said in (
        (("--paraphrases", str(pairs), "--perturb", "edits"), "give one of them"),
        (("-o", "page.txt"), "a page is an .html file"),
        (("--perturb", "edit"), "did you mean edits"),
    ):
        code, _, err = run(*more)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1


def test_several_models_stand_below_each_other(made: Callable[..., Audit]) -> None:
    found = made()
    page = as_page([found, found], 1)
    assert page.count("<h2>") == 2
    assert page.count("<article>") == 2
