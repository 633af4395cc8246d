"""`leaderboard --view robustness`: invariance and sensitivity side by side, of real runs."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robustness
from typer.testing import CliRunner

from paraclip_bench import api
from paraclip_bench.boards import formats
from paraclip_bench.boards.board import Board
from paraclip_bench.boards.compare_models import compare_models
from paraclip_bench.boards.content import legend
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.page import as_html, collect
from paraclip_bench.boards.published_rows import published_rows
from paraclip_bench.boards.selection import Column, select
from paraclip_bench.boards.terminal import text
from paraclip_bench.cli.app import app
from paraclip_bench.errors import UsageError
from paraclip_bench.results.contributions import contributions_path, read_contributions
from paraclip_bench.results.schema import Score
from paraclip_bench.results.store import (
    list_results,
    read,
    read_outcomes,
    result_key,
    result_path,
    write,
)
from paraclip_bench.workspace import Workspace

AO, RECALL = "paraphrased-retrieval ao@10", "paraphrased-retrieval recall@10/query"
LOUD = "paraphrased-retrieval ~ loud recall@10/query"
STS, VG = "sts (mean of 7) spearman", "vg-relation (aro) accuracy"
STS_DROP = "sts (mean of 7) ~ loud spearman~drop"
CHEATS = {cheat.__name__ for cheat in robustness.CHEATS}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return robustness.make(tmp_path_factory.mktemp("robustness"))


@pytest.fixture
def work(measured: Path, tmp_path: Path) -> Path:
    """A copy of the results, for a test to change."""
    shutil.copytree(measured / "results", tmp_path / "work" / "results")
    return tmp_path / "work"


def view(workspace: Path, **options: Any) -> Board:
    return make_board(workspace / "results", view="robustness", **{"baseline": "Words", **options})


def name_of(column: Column) -> str:
    return f"{column.title} {column.score}"


def names(board: Board) -> list[str]:
    return [name_of(column) for column in board.columns]


def cells(board: Board, model: str) -> dict[str, Any]:
    row = next(row for row in board.rows if row.name == model)
    return dict(zip(names(board), row.cells, strict=True))


def ranks(board: Board) -> dict[str, dict[str, float | None]]:
    assert board.view is not None
    found = {"": [row.rank for row in board.rows], **board.view.ranks}
    return {
        row.name: {
            family: None if (each := own[i]) is None else each.value
            for family, own in found.items()
        }
        for i, row in enumerate(board.rows)
    }


def copy_as(results: Path, model: str, name: str, **changes: Any) -> None:
    """The results of a model as those of another, with all that is kept beside them."""
    for path, result in list_results(results, model=model)[0]:
        about = result.model.model_copy(
            update={"name": name, "spec": name, "fingerprint": f"weights of {name}", **changes}
        )
        own = result.model_copy(update={"model": about, "digests": None})
        reworded = own.perturbation
        digest, called = (reworded.digest, reworded.name) if reworded else (None, None)
        key = result_key(
            about.fingerprint, own.provenance.dtype, own.task_version, own.data.sha256, None, digest
        )
        place = result_path(results, own.suite, name, own.task, own.protocol, key, called)
        kept = read_contributions(path, path.read_bytes())
        assert kept is not None
        parts = {s: found for s in own.scores if (found := kept.score(s)) is not None}
        write(place, own, None if reworded else read_outcomes(path), parts)


def test_columns_stand_in_their_families(measured: Path) -> None:
    board = view(measured)
    assert names(board) == [
        AO,
        "paraphrased-retrieval js@10",
        "paraphrased-retrieval rbo@10",
        RECALL,
        "paraphrased-retrieval recall@10/paraphrase",
        LOUD,
        f"{LOUD}~drop",
        STS_DROP,
        STS,
        VG,
    ]
    assert list(board.families) == ["invariance", "sensitivity"]
    assert board.families["sensitivity"] == [8, 9]
    lower = [name_of(column) for column in board.columns if column.lower_is_better]
    assert lower == [f"{LOUD}~drop", STS_DROP]


def test_cells_are_those_of_the_results(measured: Path) -> None:
    board = view(measured)
    of_words = cells(board, "Words")
    drops = []
    for _, result in list_results(measured / "results", model="Words")[0]:
        if result.perturbation is None:
            continue
        if result.task == "paraphrased-retrieval":
            for end in ("", "~drop"):
                score = result.scores[f"recall@10/query{end}"]
                found = of_words[LOUD + end].estimate
                assert (found.value, found.low, found.high) == (score.value, score.low, score.high)
                assert score.low is not None
        elif result.task in robustness.STS:
            drops.append(result.scores["spearman~drop"].value)
    assert len(drops) == 7
    assert of_words[STS_DROP].estimate.value == pytest.approx(np.mean(drops))
    assert of_words[STS_DROP].estimate.low is not None


@pytest.mark.parametrize(
    "families", [(), ("paraphrased-retrieval", "vg-relation"), ("paraphrased-retrieval", "sts")]
)
def test_a_model_that_ignores_words_does_not_win(measured: Path, families: tuple[str, ...]) -> None:
    board = view(measured, families=families)
    found = ranks(board)
    # What is to be shown: such models win what invariance alone can show.
    for cheat in ("Constant", "Nearly"):
        own = cells(board, cheat)
        assert own[AO].best
        assert own[AO].estimate.value == 1
        assert own[f"{LOUD}~drop"].estimate.value == 0
    assert found["Nearly"]["invariance"] < found["Words"]["invariance"]
    for cheat in CHEATS:
        assert board.rows[0].name not in CHEATS
        others = [found[model][""] for model in ("Careful", "Synonyms", "Words")]
        assert found[cheat][""] is None or found[cheat][""] > min(others)


@pytest.mark.parametrize("cheat", sorted(CHEATS))
def test_it_does_not_win_against_a_single_other(measured: Path, cheat: str) -> None:
    families = ["paraphrased-retrieval", "vg-relation"]
    board = view(measured, models=[cheat, "Synonyms"], families=families, sort="rank")
    assert board.rows[0].name == "Synonyms"
    found = ranks(board)
    assert found["Synonyms"][""] < found[cheat][""]  # type: ignore[operator]


def test_a_model_without_a_number_in_a_column_is_last_and_named(measured: Path) -> None:
    """Of a constant there is no correlation."""
    board = view(measured)
    assert board.rows[-1].name == "Constant"
    assert board.rows[-1].rank is None
    assert any(note.startswith("without a rank") and "Constant" in note for note in board.notes)


def test_the_rank_is_the_worse_of_two_means(measured: Path) -> None:
    board = view(measured, families=["paraphrased-retrieval", "vg-relation"])
    places: dict[str, dict[str, list[float]]] = {}
    for index, column in enumerate(board.columns):
        sign = 1 if column.lower_is_better else -1
        values = {row.name: sign * row.cells[index].estimate.value for row in board.rows}  # type: ignore[union-attr,operator]
        for model, value in values.items():
            below = sum(other < value for other in values.values())
            equal = sum(other == value for other in values.values())
            places.setdefault(model, {}).setdefault(column.family, []).append(
                below + (equal + 1) / 2
            )
    for row in board.rows:
        means = {family: np.mean(own) for family, own in places[row.name].items()}
        found = ranks(board)[row.name]
        assert {f: found[f] for f in means} == pytest.approx(means)
        assert found[""] == pytest.approx(max(means.values()))
        assert row.rank is not None
        assert row.rank.low <= row.rank.value <= row.rank.high  # type: ignore[operator]
    order = [ranks(board)[row.name][""] for row in board.rows]
    assert order == sorted(order)  # type: ignore[type-var]


def test_a_bigger_drop_is_never_better(measured: Path) -> None:
    board = view(measured, baseline="Careful")
    column = f"{LOUD}~drop"
    own = {row.name: cells(board, row.name)[column] for row in board.rows}
    # Careful loses nothing by capitals and full stops, Synonyms does.
    assert own["Careful"].estimate.value == 0
    assert own["Synonyms"].estimate.value > 0
    assert own["Synonyms"].difference.value > 0
    assert own["Synonyms"].difference.verdict == "worse"
    best = [name for name, cell in own.items() if cell.best]
    least = min(cell.estimate.value for cell in own.values())
    assert best
    assert all(own[name].estimate.value == least for name in best)
    assert not own["Synonyms"].best
    by_drop = view(measured, sort="paraphrased-retrieval ~ loud:recall@10/query~drop")
    drops = [cells(by_drop, row.name)[column].estimate.value for row in by_drop.rows]
    assert drops == sorted(drops)


def test_the_plain_board_and_compare_do_not_change(work: Path) -> None:
    results = work / "results"
    before = make_board(results, baseline="Words")
    said = formats.as_json(before)
    assert "loud" not in said
    assert '"view"' not in said
    pairs = compare_models(results, ["Words", "Careful"]).pairs
    assert not any("~" in pair.column.score + pair.column.title for pair in pairs)
    for path in results.glob("*/*/*~*"):
        path.unlink()
    assert formats.as_json(make_board(results, baseline="Words")) == said


def test_it_works_where_nothing_is_reworded(work: Path) -> None:
    for path in (work / "results").glob("*/*/*~*"):
        path.unlink()
    board = view(work)
    assert not any("~" in name for name in names(board))
    assert board.rows[0].name not in CHEATS
    notes = "\n".join(board.notes)
    command = "--task paraphrased-retrieval --task paraphrase-sets --data-dir DIR --perturb edits`"
    assert f"`paraclip-bench run --model MODEL {command}" in notes
    assert "`paraclip-bench run --model MODEL --task sts --perturb edits`" in notes
    assert "`paraclip-bench run --model MODEL --task sugarcrepe-pp --data-dir DIR`" in notes


def test_without_both_families_there_is_no_order(measured: Path) -> None:
    board = view(measured, families=["invariance"])
    assert list(board.families) == ["invariance"]
    assert board.rows[0].name == "Words"  # the baseline, as on any board
    assert all(row.rank is None for row in board.rows)
    assert "there is none of sensitivity" in " ".join(board.notes)
    with pytest.raises(UsageError, match="no mean rank"):
        view(measured, families=["invariance"], sort="rank")


def test_an_unknown_view_is_a_usage_error(measured: Path) -> None:
    for asked in ("robust", "x"):
        with pytest.raises(UsageError, match="robustness"):
            make_board(measured / "results", view=asked)
        command = ["leaderboard", "--view", asked, "--workspace", str(measured)]
        found = CliRunner().invoke(app, command)
        assert found.exit_code == 2 or isinstance(found.exception, UsageError)
    with pytest.raises(UsageError, match="leave --all and --score out"):
        view(measured, all_scores=True)
    with pytest.raises(UsageError, match="leave --all and --score out"):
        view(measured, scores=["ao@10"])
    with pytest.raises(UsageError, match="there is no model"):
        view(measured, models=["nobody"])


def test_results_of_other_tasks_are_not_of_the_view(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("clip", "sugarcrepe", 0.5)
    with pytest.raises(UsageError, match="no result of suite paper is of view robustness"):
        make_board(tmp_path, view="robustness")


class Louder(robustness.Loud):
    """Another perturbation of the same name."""

    versions = ("upper",)
    version = 2


def test_two_perturbations_of_one_name_share_no_column(work: Path, measured: Path) -> None:
    shutil.copytree(measured / "data", work / "data")
    robustness.run(
        work, robustness.measured.Synonyms(), tasks=("paraphrased-retrieval",), perturb=Louder()
    )
    paths = list((work / "results/paper/Synonyms").glob("paraphrased-retrieval*~loud*.json"))
    assert len({read(path).perturbation.digest for path in paths}) == 2  # type: ignore[union-attr]
    board = view(work)
    assert names(board) == names(view(measured))
    (said,) = [line for line in board.left_out if "another perturbation of the name loud" in line]
    assert said.startswith("Synonyms/paraphrased-retrieval.cheng2024~loud.")
    # The newer one is left out, because most results are of the other.
    for model in ("Synonyms", "Words"):
        one, two = cells(board, model)[LOUD], cells(view(measured), model)[LOUD]
        assert one.estimate == two.estimate


def test_perturbations_of_two_names_are_two_columns(work: Path, measured: Path) -> None:
    class Quiet(robustness.Loud):
        name = "quiet"

    shutil.copytree(measured / "data", work / "data")
    robustness.run(
        work, robustness.measured.Words(), tasks=("paraphrased-retrieval",), perturb=Quiet()
    )
    found = names(view(work))
    assert [name for name in found if name.endswith("recall@10/query")] == [
        RECALL,
        LOUD,
        LOUD.replace("loud", "quiet"),
    ]


def test_what_was_kept_may_be_gone(work: Path) -> None:
    """The intervals are in the result; without the contributions there is no verdict."""
    (path,) = (work / "results/paper/Synonyms").glob("paraphrased-retrieval*~loud*.json")
    contributions_path(path).unlink()
    board = view(work)
    cell = cells(board, "Synonyms")[LOUD]
    assert cell.estimate == cells(view(work), "Synonyms")[LOUD].estimate
    assert cell.estimate.low is not None
    assert cell.difference.verdict == ""
    assert any("what was kept beside them is missing" in note for note in board.notes)
    raw = json.loads(path.read_text())
    raw["scores"]["recall@10/query"]["value"] = 0.999
    path.write_text(json.dumps(raw))
    board = view(work)
    assert cells(board, "Synonyms")[LOUD] is None
    assert any(path.name in line for line in board.left_out)


def test_negated_queries(work: Path) -> None:
    """Recall of negated queries tells nothing alone; how far recall falls does."""
    values = {"Words": (0.5, 0.5), "Synonyms": (0.9, 0.1), "Shuffled": (0.0, 0.1)}
    for model, (negated, fall) in values.items():
        (path,) = (work / f"results/paper/{model}").glob("paraphrased-retrieval.cheng2024.*.json")
        result = read(path)
        scores = {
            **result.scores,
            "recall@10/negation": Score(value=negated, low=0, high=1, method="t"),
            "recall_fall@10": Score(value=fall, low=0, high=1, method="t"),
        }
        write(path, result.model_copy(update={"scores": scores}), read_outcomes(path))
    board = view(work)
    columns = dict(zip(names(board), board.columns, strict=True))
    fall, negated = (f"paraphrased-retrieval {s}" for s in ("recall_fall@10", "recall@10/negation"))
    assert columns[fall].family == columns[negated].family == "sensitivity"
    assert (columns[fall].is_judged, columns[negated].is_judged) == (True, False)
    assert cells(board, "Words")[fall].best
    for model in values:
        cell = cells(board, model)[negated]
        assert not cell.best
        assert not cell.tied
        assert cell.difference is None or cell.difference.verdict == ""
    (row,) = [
        row
        for row in formats.tidy(board)
        if row["model"] == "Words" and row["score"] == "recall@10/negation"
    ]
    assert row["counts"] is False
    assert row["lower_is_better"] is None


def test_models_families_sort_and_baseline(measured: Path) -> None:
    board = view(measured, models=["Synonyms", "Nearly", "Careful"], baseline=None)
    assert [row.name for row in board.rows] == ["Synonyms", "Nearly", "Careful"]
    board = view(measured, models=["Nearly", "Careful"], baseline="Synonyms", sort="rank")
    assert {row.name for row in board.rows} == {"Synonyms", "Nearly", "Careful"}
    assert board.rows[0].name == "Careful"
    assert board.baseline == "Synonyms"
    board = view(measured, families=["sts", "vg-relation"])
    assert names(board) == [STS_DROP, STS, VG]
    board = view(measured, families=["sts", "sensitivity"])
    assert names(board) == [STS]
    # A task's name means its plain results.
    board = view(measured, sort="sts")
    values = [cells(board, row.name)[STS] for row in board.rows]
    known = [cell.estimate.value for cell in values if cell.estimate.value is not None]
    assert known == sorted(known, reverse=True)
    assert view(measured, sort="name").rows[0].name == "Careful"


def test_seeds_are_one_row(work: Path) -> None:
    for seed, model in enumerate(("Synonyms", "Careful")):
        copy_as(work / "results", model, f"tuned/seed-{seed}", method="m", seed=seed, base="Words")
    board = view(work)
    (row,) = [row for row in board.rows if row.seeds == 2]
    assert row.name == "tuned (2 seeds)"
    found = cells(board, row.name)
    for name in (LOUD, f"{LOUD}~drop", STS_DROP, STS):
        pair = [cells(board, model)[name].estimate for model in ("Synonyms", "Careful")]
        estimate = found[name].estimate
        assert estimate.value == pytest.approx(np.mean([each.value for each in pair]))
        assert estimate.low < estimate.value < estimate.high
    assert row.rank is not None
    apart = view(work, each_seed=True)
    assert {"tuned/seed-0", "tuned/seed-1"} <= {row.name for row in apart.rows}


def test_published_numbers_are_of_plain_texts(work: Path) -> None:
    """Of two columns with the same task, protocol, score and size the plain one has them."""
    results = work / "results"
    for path in results.glob("paper/Words/STS13.*.json"):
        result = read(path)
        kept = read_contributions(path, path.read_bytes())
        assert kept is not None
        parts = {name: found for name in result.scores if (found := kept.score(name)) is not None}
        whole = result.model_copy(update={"n": 1500, "digests": None})
        write(path, whole, None, parts)
    selection = select(results, "paper", with_limits=False, reworded=True)
    columns = [
        Column("x", "spearman", (measure,))
        for measure in selection.measures
        if measure.task == "STS13"
    ]
    assert [column.measures[0].perturbation for column in columns] == ["", "loud"]
    rows = published_rows(selection, columns, "all")
    assert rows
    assert all(row.cells[0] is not None and row.cells[1] is None for row in rows)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("models", [(), ("Words", "Synonyms", "Nearly")])
def test_as_text(measured: Path, width: int, models: tuple[str, ...]) -> None:
    board = view(measured, models=models)
    said = text(board, width)
    table = said[: said.index("\nnote:")]
    assert max(map(len, table.splitlines())) <= width
    lines = [line.strip() for line in table.splitlines()]
    assert lines[0] == "Leaderboard, suite paper, view robustness"
    assert lines.index("INVARIANCE") < lines.index("SENSITIVITY")
    flat = " ".join(table.split())
    assert "The rank is the worse of two mean ranks" in flat
    assert "less of it is better" in flat
    for head in ("rank", "invariance rank", "sensitivity rank"):
        assert head in flat
    assert "note: not here:" in said


def test_other_formats(measured: Path) -> None:
    board = view(measured)
    found = ranks(board)
    said = formats.markdown(board)
    assert said.startswith("### Leaderboard, suite paper, view robustness")
    assert (
        "| model | rank | invariance rank | sensitivity rank | paraphrased-retrieval ao@10 |"
        in said
    )
    assert f"| Careful | {found['Careful']['']:.1f} [" in said
    assert "Note: not here: captions of one meaning" in said

    wide = list(csv.DictReader(io.StringIO(formats.as_csv(board))))
    assert float(wide[0]["rank"]) == found[wide[0]["model"]][""]
    assert float(wide[0]["sensitivity rank"]) == found[wide[0]["model"]]["sensitivity"]
    assert wide[-1]["rank"] == ""
    assert f"{LOUD.replace(' recall', '/recall')}~drop/diff" in wide[0]

    tidy = list(csv.DictReader(io.StringIO(formats.tidy_csv(board))))
    assert len({(r["model"], r["task"], r["perturbation"], r["score"]) for r in tidy}) == len(tidy)
    row = next(r for r in tidy if r["model"] == "Words" and r["score"] == "spearman~drop")
    assert (row["family"], row["perturbation"], row["lower_is_better"]) == (
        *("invariance", "loud", "True"),
    )
    assert float(row["sensitivity_rank"]) == found["Words"]["sensitivity"]
    assert list(board.to_frame().columns) == list(tidy[0])

    raw = json.loads(formats.as_json(board))
    assert raw["view"]["name"] == "robustness"
    assert list(raw["view"]["ranks"]) == ["invariance", "sensitivity"]
    assert (
        raw["view"]["ranks"]["invariance"][0]["value"]
        == found[raw["rows"][0]["name"]]["invariance"]
    )
    assert [c["perturbation"] for c in raw["columns"] if c["score"].endswith("drop")] == [
        "loud"
    ] * 2

    latex = formats.latex(board)
    columns = re.search(r"begin\{tabular\}\{(l r*|lr*)\}", latex)
    assert columns is not None
    width = len(columns.group(1))
    assert r"\multicolumn{8}{c}{invariance} & \multicolumn{2}{c}{sensitivity}" in latex
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            spans = re.findall(r"multicolumn\{(\d+)\}", line)
            assert line.count("&") + 1 + sum(map(int, spans)) - len(spans) == width
    assert "The rank is the worse" in latex
    assert "Constant & -- & -- & --" in latex

    notebook = board._repr_html_()
    assert "<th colspan=8>invariance</th><th colspan=2>sensitivity</th>" in notebook
    assert "<th>sensitivity rank</th>" in notebook


def test_the_page_has_the_families_and_ranks(measured: Path) -> None:
    board = view(measured)
    data = collect(board, Workspace(measured))
    assert data["about"]["view"] == "robustness"
    assert data["about"]["ranks"] == ["rank", "invariance rank", "sensitivity rank"]
    assert [c["family"] for c in data["columns"]] == ["invariance"] * 8 + ["sensitivity"] * 2
    assert data["models"][0]["ranks"][0][0] == pytest.approx(ranks(board)["Careful"][""])
    assert data["models"][-1]["ranks"] == [None, None, None]
    assert [m.get("perturbation") for m in data["measures"]].count("loud") == 8
    assert len(data["price"]) == 1
    assert "The rank is the worse" in data["about"]["legend"]
    assert len(as_html(board, Workspace(measured))) > 10_000
    plain = collect(make_board(measured / "results", baseline="Words"), Workspace(measured))
    assert "ranks" not in plain["models"][0]
    assert "family" not in plain["columns"][0]


def test_by_command_and_from_python(measured: Path, tmp_path: Path) -> None:
    board = api.leaderboard(view="robustness", baseline="Words", workspace=measured)
    assert names(board) == names(view(measured))
    command = ["leaderboard", "--view", "robustness", "--workspace", str(measured)]
    for end in ("md", "csv", "tex", "json", "html", "txt"):
        out = tmp_path / f"board.{end}"
        found = CliRunner().invoke(app, [*command, "--baseline", "Words", "-o", str(out)])
        assert found.exit_code == 0, found.output
        assert "invariance" in out.read_text().casefold()
    assert "invariance" in legend(board)
