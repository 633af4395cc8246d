"""The page in a real browser, without a network: Debian's Chromium, by mouse and by keyboard."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measured_words as measured
import pytest
import robustness
from PIL import Image

from paraclip_bench.boards.audit_page import as_page
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.page import as_html
from paraclip_bench.data.images import ImageRef
from paraclip_bench.evaluation.audit import Audit, AuditedQuery
from paraclip_bench.metrics.inference import Estimate
from paraclip_bench.workspace import Workspace

playwright = pytest.importorskip("playwright.sync_api")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
SHOWN = measured.HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = measured.make(tmp_path_factory.mktemp("measured"))
    images = root / "data" / "paraphrased-retrieval" / "images"
    board = make_board(root / "results", baseline="Words")
    (root / "board.html").write_text(as_html(board, Workspace(root), images=images))
    return (root / "board.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield found
        found.close()


@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (390, "dark")])
def test_axe_finds_nothing_on_an_audit(
    browser: Any, tmp_path: Path, width: int, theme: str
) -> None:
    refs = []
    for i in range(12):
        Image.new("RGB", (20, 10), (20 * i, 0, 99)).save(tmp_path / f"{i}.png")
        refs.append(ImageRef(id=f"{i}.png", path=tmp_path / f"{i}.png"))
    first, other = tuple(range(10)), (*range(1, 10), 11)
    query = AuditedQuery("<b>a dog", 0.5, 0.4, 0.0, "a hound", "1", 0.3, first, other)
    known, none = Estimate(0.5, 0.4, 0.6, "t"), Estimate(0.5, None, None)
    found = Audit("m", "p", 10, tuple(refs), (query,), 1, known, known, none, (("1", 0.5, 1),))
    (tmp_path / "audit.html").write_text(as_page([found], 5))
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": 900}, color_scheme=theme
    )
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url))
    page.goto((tmp_path / "audit.html").as_uri())
    assert page.locator("article img").count() == 20
    assert page.locator("li.out").all_inner_texts() == ["0.png (left)"]
    assert page.locator("li.in").all_inner_texts() == ["11.png (came)"]
    assert page.get_by_role("heading", name="<b>a dog").is_visible()
    assert axe_playwright.Axe().run(page).response["violations"] == []
    assert [url for url in said if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.fixture(scope="module")
def view_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = robustness.make(tmp_path_factory.mktemp("robustness"))
    board = make_board(root / "results", baseline="Words", view="robustness")
    (root / "view.html").write_text(as_html(board, Workspace(root)))
    return (root / "view.html").as_uri()


@pytest.mark.parametrize(
    ("width", "theme"), [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")]
)
def test_a_view_has_its_families_and_ranks(
    browser: Any, view_file: str, width: int, theme: str
) -> None:
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": 900}, color_scheme=theme
    )
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(view_file)
    rows = page.locator("#table-region thead tr")
    assert rows.count() == 3
    assert rows.nth(0).locator("th.group").all_inner_texts() == ["invariance", "sensitivity"]
    heads = rows.nth(0).locator("button").all_inner_texts()
    assert [head.strip("↕ ") for head in heads] == [
        *("model", "rank", "invariance rank", "sensitivity rank"),
    ]
    assert names(page)[0] == "Careful"
    page.locator("[data-sort=rank-1]").click()
    # Alone in the family of invariance such a model does well.
    assert names(page).index("Nearly") < names(page).index("Words")
    page.select_option("#only-family", "sensitivity")
    assert page.locator("#table-region thead th.group").first.inner_text() == "sensitivity"
    page.select_option("#forest-by", "model")
    families = page.locator("#forest-region tr.family th").all_inner_texts()
    assert families == ["invariance", "sensitivity"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe_playwright.Axe().run(page).response["violations"] == []
    assert said == []
    context.close()


@pytest.fixture
def open_page(browser: Any, file: str) -> Iterator[Callable[..., Any]]:
    """Open the page without a network; a line on the console or a request fails the test."""
    said: list[str] = []
    contexts = []

    def opened(width: int = 1400, theme: str = "light") -> Any:
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 900}, color_scheme=theme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else said.append(r.url),
        )
        page.goto(file)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def names(page: Any) -> list[str]:
    return page.locator("#table-region tbody th[scope=row] button").all_text_contents()


def test_it_shows_every_section_and_hostile_names_as_text(open_page: Any) -> None:
    page = open_page()
    assert page.title() == "paraclip-bench leaderboard, suite paper"
    assert page.locator("main > section:visible").count() == 7
    assert page.locator("nav a").count() == 7
    assert SHOWN in names(page)
    page.get_by_label("Find in the texts").fill("onerror")
    assert page.locator("#example .texts").inner_text().count("onerror=alert('text')") == 1
    assert page.locator("#example [onerror], #example script").count() == 0
    assert page.locator("main img").count() > 0
    # All pictures are there: none is broken.
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")


def test_a_press_on_a_head_sorts_and_says_so(open_page: Any) -> None:
    page = open_page()
    head = page.locator("#table-region thead th", has_text="js@10")
    assert head.get_attribute("aria-sort") == "none"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page)[-1] == "Words"
    page.keyboard.press("Enter")  # the button has kept the focus
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page)[0] == "Words"
    page.locator("#table-region thead th", has_text="model").get_by_role("button").click()
    assert names(page) == sorted(names(page), key=str.lower)


def test_models_tasks_and_verdicts_filter(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("Find a model").fill("SYNO")
    assert names(page) == ["Synonyms"]
    assert page.locator("#table-count").inner_text().startswith("1 of 3 models, 7 of 7 scores")
    page.get_by_label("Find a model").fill("")
    page.locator("#only-task").select_option("STS12")
    assert page.locator("#table-region thead tr:last-child th").all_inner_texts() == ["spearman↕"]
    page.locator("#only-task").select_option("")
    page.locator("#only-verdict").select_option("worse")
    assert names(page) == ["Words"]
    page.locator("#only-verdict").select_option("better")
    assert set(names(page)) == {"Words", "Synonyms", SHOWN}
    page.get_by_label("differences", exact=True).uncheck()
    assert page.locator("#table-region .verdict").count() == 0


def test_differences_curve_and_parts_are_drawn(open_page: Any) -> None:
    page = open_page()
    assert page.locator("#forest tbody tr").count() == 2
    assert page.locator("#forest .verdict").first.inner_text() == "▲ better"
    page.locator("#forest-by").select_option("model")
    assert page.locator("#forest tbody tr").count() == 7
    assert page.locator("#price polyline.curve").count() == 1
    assert "α = 0.5" in page.locator("#price-plot").inner_text()
    page.locator("#price-agreement").select_option("ao@10")
    assert "↑ ao@10" in page.locator("#price-plot").inner_text()
    assert page.locator("#parts tbody th").all_inner_texts() == ["<b>forum</b>", "news"]


def test_an_example_and_a_number_open_by_keyboard_alone(open_page: Any) -> None:
    page = open_page()

    def tab_to(selector: str, most: int = 120) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(selector)

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("#table-region .name")
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    assert page.locator("#dialog-title").inner_text() == "Words"
    tab_to("#dialog summary")
    page.keyboard.press("Enter")
    inside = page.locator("#dialog details[open]").inner_text()
    for part in ("data sha256", "STS12, version", "60", "numpy", "file"):
        assert part in inside
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    tab_to(".pick")
    page.keyboard.press("Tab")
    second = page.evaluate("document.activeElement.querySelector('.text').textContent")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "example-title"
    assert page.locator("#example .texts dd").first.inner_text() == second
    assert page.locator("#example .model").count() == 3
    assert page.locator("#example .ranking").count() == 6
    tiles = page.locator("#example .model").nth(1).locator(".tile.both")
    heading = page.locator("#example .model").nth(1).locator("h5").first.inner_text()
    assert f": {tiles.count() // 2} of the first 10" in heading
    before = page.locator("#example-title").inner_text()
    tab_to("#example .buttons button:last-child", 3)
    page.keyboard.press("Enter")
    assert page.locator("#example-title").inner_text() != before


def test_the_data_are_there_for_download(open_page: Any) -> None:
    page = open_page()
    with page.expect_download() as kept:
        page.get_by_role("link", name="CSV").click()
    assert kept.value.suggested_filename == "leaderboard-paper.csv"
    rows = list(csv.DictReader(io.StringIO(Path(kept.value.path()).read_text())))
    assert len(rows) == 3 * 7
    assert {row["seeds"] for row in rows} == {"1"}
    assert {row["model"] for row in rows} == {"Words", "Synonyms", SHOWN}
    assert all(len(row["data_sha256"]) == 64 and row["file"].endswith(".json") for row in rows)
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())
    with page.expect_download() as kept:
        page.get_by_role("link", name="JSON").click()
    assert len(json.loads(Path(kept.value.path()).read_text())["models"]) == 3


@pytest.mark.parametrize(
    ("width", "theme"), [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")]
)
def test_axe_finds_nothing(open_page: Any, width: int, theme: str) -> None:
    page = open_page(width, theme)
    for details in page.locator("details").all():
        details.evaluate("(node) => { node.open = true; }")
    found = [axe_playwright.Axe().run(page).response["violations"]]
    page.locator("#table-region .name").first.click()
    page.locator("#dialog summary").first.click()
    found.append(axe_playwright.Axe().run(page).response["violations"])
    assert [
        (each["id"], node["target"], node["failureSummary"])
        for violations in found
        for each in violations
        for node in each["nodes"]
    ] == []
    # Tables are wider than a phone; the page is not.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_theme_can_be_chosen(open_page: Any) -> None:
    page = open_page()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark
    page.get_by_label("Theme").select_option("")
    assert page.evaluate(colour) == light
