"""The page without a browser: what is in the file, what never is, and how it is served."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.client
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import measured_words as measured
import numpy as np
import pytest

from paraclip_bench.boards import page_examples
from paraclip_bench.boards.formats import as_json
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.page import MODELS, as_html, collect, server
from paraclip_bench.errors import BenchError, UsageError
from paraclip_bench.results.store import list_results, outcomes_path
from paraclip_bench.workspace import Workspace

Put = Callable[..., Path]
MOST = 3_000_000


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured.make(tmp_path_factory.mktemp("measured"))


def page_of(workspace: Path, **options: Any) -> str:
    board = make_board(workspace / "results", baseline="Words")
    return as_html(board, Workspace(workspace), **options)


def data_of(html: str) -> Any:
    return json.loads(html.partition('id="data">')[2].partition("</script>")[0])


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        last = self.tags[-1][0] if self.tags else ""
        if last in self.inside and data.strip():
            self.inside[last].append(data)


def test_names_that_mean_harm_are_data_alone(workspace: Path) -> None:
    html = page_of(workspace)
    tags = Tags(html)
    assert [attributes.get("type") for tag, attributes in tags.tags if tag == "script"] == [
        "application/json",
        None,
    ]
    names = [tag for tag, _ in tags.tags]
    assert (names.count("style"), names.count("img")) == (1, 0)
    assert "alert('" not in html.replace(html.partition('id="data">')[2], "")
    # Neither control characters nor marks that turn text; and nothing that ends the block.
    assert html.isascii() or not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)
    embedded = html.partition('id="data">')[2].partition("</script>")[0]
    assert not set("<>&") & set(embedded)
    data = json.loads(embedded)
    shown = measured.HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown in [model["name"] for model in data["models"]]
    assert measured.HOSTILE_IMAGE in data["images"]
    assert any(measured.HOSTILE_TEXT in str(each) for each in data["examples"])


def test_the_page_loads_nothing_and_its_policy_names_its_own_script(workspace: Path) -> None:
    html = page_of(workspace)
    tags = Tags(html)
    for tag, attributes in tags.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    style, script = tags.inside["style"][0], tags.inside["script"][1]
    assert not re.search(r"url\(|@import|https?://", style)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(", script)
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in tags.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_each_number_says_where_it_is_from(workspace: Path) -> None:
    data = data_of(page_of(workspace))
    results = {p.name: r for p, r in list_results(workspace / "results")[0]}
    found = 0
    for model in data["models"]:
        for index, column in enumerate(data["columns"]):
            estimate, method, _, _ = model["cells"][index]
            for measure in column["measures"]:
                ((file, time, *_),) = model["results"][str(measure)]
                result, about = results[file], data["measures"][measure]
                score = result.scores[column["score"]]
                assert score.value is not None
                assert estimate[0] == pytest.approx(score.value, abs=1e-6)
                assert (data["pool"][method] or None) == score.method
                assert time == result.provenance.time
                assert about["sha256"] == result.data.sha256
                assert about["n"] == result.n
                assert model["fingerprint"] == result.model.fingerprint
                pooled = [data["pool"][i] for i in model["results"][str(measure)][0][4:]]
                assert result.data.id in pooled
                assert result.provenance.versions in pooled
                found += 1
    assert found == 3 * 7


def test_a_board_is_still_plain_data(workspace: Path) -> None:
    board = make_board(workspace / "results", baseline="Words")
    assert len(dataclasses.asdict(board)["entries"]) == len(board.entries) == 6
    assert "entries" not in json.loads(as_json(board))
    # Kept beside the results since the board above, and read from there now.
    again = make_board(workspace / "results", baseline="Words")
    assert any(entry.kept for entry in again.entries.values())
    assert len(dataclasses.asdict(again)["entries"]) == 6


def test_a_curve_is_shown_with_its_own_data_alone(workspace: Path) -> None:
    (price,) = data_of(page_of(workspace))["price"]
    (curve,) = price["curves"]
    assert curve["name"] == "made"
    names = [model["name"] for model in data_of(page_of(workspace))["models"]]
    assert [point["alpha"] for point in curve["points"]] == [0, 0.5, 1]
    assert names[curve["points"][0]["row"]] == "Words"
    assert curve["points"][1]["row"] is None


def test_parts_are_those_of_the_result(workspace: Path) -> None:
    (parts,) = data_of(page_of(workspace))["parts"]
    assert (parts["kind"], parts["scores"]) == ("subset", ["spearman", "pearson"])
    assert {(name, n) for name, n, _ in parts["parts"]} == {("news", 30), ("<b>forum</b>", 30)}
    results = {r.model.name: r for _, r in list_results(workspace / "results", task="STS12")[0]}
    held = {part.name: part for part in results["Words"].details["subset"]}
    for name, _, values in parts["parts"]:
        value = held[name].scores["spearman"].value
        assert value is not None
        assert values[parts["rows"].index(0)][0][0] == pytest.approx(value, abs=1e-6)


def test_examples_have_texts_rankings_and_pictures(workspace: Path) -> None:
    images = workspace / "data" / "paraphrased-retrieval" / "images"
    data = data_of(page_of(workspace, images=images))
    (shown,) = [each for each in data["examples"] if each["score"] == "ao@10"]
    assert shown["all"] == len(shown["examples"]) == 36
    example = next(each for each in shown["examples"] if each["id"] == "q7")
    assert example["texts"] == {
        "query": "a large green square",
        "paraphrase": "one emerald box quite large",
    }
    assert [data["images"][i] for i in example["images"]] == ["07.png"]
    top = example["models"][0]["top"]
    assert {name: len(set(places)) for name, places in top.items()} == {
        "query": 10,
        "paraphrase": 10,
    }
    assert len(data["pictures"]) == 36
    assert all(p.startswith("data:image/jpeg;base64,/9j/") for p in data["pictures"])
    assert str(example["images"][0]) in data["thumbnails"]
    assert data_of(page_of(workspace))["pictures"] == []
    # The largest gain is before all others, and every one says why it is there.
    change = [max(e["values"][1:]) - e["values"][0] for e in shown["examples"]]
    assert change[0] == max(change)
    assert {e["why"] for e in shown["examples"]} <= {"better", "worse", "spread"}


def test_images_must_be_a_folder_and_a_damaged_one_is_left_out(
    workspace: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--images .* is no folder"):
        page_of(workspace, images=tmp_path / "none")
    folder = tmp_path / "images"
    shutil.copytree(workspace / "data" / "paraphrased-retrieval" / "images", folder)
    (folder / "07.png").write_bytes(b"no image")
    data = data_of(page_of(workspace, images=folder))
    assert len(data["pictures"]) == 35
    assert data["about"]["without_picture"] >= 1


def test_damaged_outcomes_are_said_and_stop_nothing(workspace: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(workspace, root)
    board = make_board(root / "results", baseline="Words")
    for path, _ in list_results(root / "results", task="STS12")[0]:
        outcomes_path(path).write_bytes(b"none")
    data = collect(board, Workspace(root))
    assert [each["score"] for each in data["examples"]] == ["ao@10"]
    assert any("STS12: examples are not shown" in note for note in data["about"]["notes"])


def test_of_many_models_few_are_shown_in_detail_and_the_page_stays_small(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(60):
        for task in ("vg-relation", "STS12", "paraphrased-retrieval"):
            put("clip" if index == 7 else f"model {index:02}", task, 0.4 + index / 150)
    read: set[Path] = set()
    monkeypatch.setattr(
        page_examples,
        "read_outcomes",
        lambda path, *rest, real=page_examples.read_outcomes: (read.add(path), real(path, *rest))[
            1
        ],
    )
    board = make_board(tmp_path)
    html = as_html(board, Workspace(tmp_path))
    data = data_of(html)
    detailed = data["about"]["detailed"]
    assert len(detailed) == MODELS
    assert data["models"][detailed[0]]["name"] == "clip"
    assert len(read) == 3 * MODELS
    assert len(html) < 1_000_000 < MOST
    assert all(len(each["examples"]) <= 60 for each in data["examples"])


def test_what_gained_and_lost_most_comes_first() -> None:
    values = np.zeros((2, 300))
    values[1, 40:60] = np.linspace(0.1, 0.5, 20)
    values[1, 100] = -1
    chosen = page_examples._chosen(values, 30)
    whys = [why for _, why in chosen]
    assert chosen[0] == (59, "better")
    assert (whys.count("better"), whys.count("worse"), len(chosen)) == (10, 1, 30)
    assert chosen[10] == (100, "worse")
    assert len(dict(chosen)) == 30
    spread = sorted(i for i, why in chosen if why == "spread")
    assert spread[0] < 20
    assert spread[-1] > 270


@pytest.fixture
def served(workspace: Path) -> Any:
    with server("<p>ü</p>", 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


def ask(port: int, path: str = "/", method: str = "GET", host: str | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_server_gives_the_page_and_nothing_else(served: int) -> None:
    answer, body = ask(served)
    assert (answer.status, body.decode()) == (200, "<p>ü</p>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(body)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(served, method="HEAD")[1] == b""
    for path in ("/results", "/../etc/passwd", "/index.html"):
        assert ask(served, path)[0].status == 404
    assert ask(served, method="POST")[0].status == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:1", 200), ("LOCALHOST:80", 200), ("[::1]:80", 200)]
    + [(name, 403) for name in ("evil.example", "127.0.0.1.evil.example:80", "", "localhost.x")],
)
def test_it_answers_loopback_names_alone(served: int, host: str, status: int) -> None:
    assert ask(served, host=host)[0].status == status


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BenchError, match=rf"port {port} of 127\.0\.0\.1 .*--port 0"):
            server("", port)


def test_a_model_with_nothing_in_the_columns_has_a_row(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "results", tmp_path / "results")
    for path in (tmp_path / "results").glob("*/Words/paraphrased-retrieval*"):
        path.unlink()
    board = make_board(tmp_path / "results", scores=["ao@10"])
    data = data_of(as_html(board, Workspace(tmp_path)))
    assert [model["results"] == {} for model in data["models"]].count(True) == 1
