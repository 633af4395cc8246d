"""Runs of real models of the simple form on small data, through the public function."""

import importlib.resources
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from paraclip_bench.api import evaluate
from paraclip_bench.errors import UsageError
from paraclip_bench.evaluation.run import RunReport
from paraclip_bench.reference.published_numbers import published_scores
from paraclip_bench.results.store import outcomes_path, read, read_outcomes

ALL = ["STS12", "vg-relation", "paraphrased-retrieval"]


@pytest.fixture
def go(models: Path, data: Path, work: Path) -> Any:
    def run(name: str, *tasks: str, **options: Any) -> RunReport:
        specs = [f"{models}:{one}" for one in name.split()]
        return evaluate(
            specs, tasks, workspace=work, **{"quiet": True, "data_dir": data, **options}
        )

    return run


def calls(models: Path) -> list[str]:
    """What the model was asked since the last look."""
    file = models.with_suffix(".calls")
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_results_are_written_and_then_found(go: Any, models: Path, work: Path) -> None:
    report = go("Both", *ALL)
    assert (report.failures, report.skipped) == ([], [])
    assert [result.task for _, result in report.results] == ALL
    for path, result in report.results:
        assert path.parent == work / "results" / "paper" / "Both"
        assert read(path) == result
        assert result.model.spec == f"{models}:Both"
        assert result.data.source == "folder"
        assert result.limit is None
        columns = read_outcomes(path)
        assert list(columns)[:2] == ["example_id", "cluster_id"]
        assert {len(values) for values in columns.values()} == {result.n}
        for score in result.scores.values():
            assert score.value is not None
            assert math.isfinite(score.value)
            assert score.low is None or score.low <= score.value <= score.high
    assert calls(models)
    before = {path: path.stat().st_mtime_ns for path, _ in report.results}
    again = go("Both", *ALL)
    assert calls(models) == []
    assert again.results == report.results
    assert {path: path.stat().st_mtime_ns for path, _ in again.results} == before


def test_force_scores_again_from_the_stored_vectors(go: Any, models: Path) -> None:
    ((path, first),) = go("Both", "vg-relation").results
    bits = outcomes_path(path).read_bytes()
    calls(models)
    before = path.stat().st_mtime_ns
    ((again, second),) = go("Both", "vg-relation", force=True).results
    assert calls(models) == []
    assert path.stat().st_mtime_ns > before
    assert (first.provenance.from_store, second.provenance.from_store) == (0, 1)
    assert again == path
    assert second.scores == first.scores
    assert outcomes_path(path).read_bytes() == bits


def test_a_model_that_is_wrong_leaves_the_others_alone(go: Any, models: Path) -> None:
    with models.open("a") as file:
        file.write(
            "\n\nclass BadImage(TextOnly):\n    image = object()\n"
            "\n\nclass Describes(TextOnly):\n    fingerprint = 'describes-1'\n"
            "\n    def describe(self, what):\n        return what\n"
        )
    report = go("BadImage TextOnly Describes", "STS12")
    assert [result.model.name for _, result in report.results] == ["TextOnly", "Describes"]
    (failure,) = report.failures
    assert "BadImage" in failure
    assert "its image encoder lacks prepare or encode" in failure


def test_a_depth_that_is_asked_for_in_vain_is_said(
    go: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ((path, result),) = go("Both", "paraphrased-retrieval", "STS12").results[:1]
    assert result.provenance.depth == 100
    capsys.readouterr()
    go("Both", "paraphrased-retrieval", "STS12", depth=50, quiet=False)
    said = capsys.readouterr().err
    note = f"note: {path.name} was measured with depth 100; --force measures it again with 50"
    assert said.count(note) == said.count("note: ") == 1


def test_a_depth_says_how_many_places_the_outcomes_keep(go: Any, data: Path) -> None:
    for i in range(12, 24):
        colour = (10 * i, 255 - 10 * i, 5 * i)
        place = data / "paraphrased-retrieval/images" / f"{i}.png"
        Image.new("RGB", (8, 8), colour).save(place)
    found = {}
    for depth in (None, 11, 10, 1000):
        ((path, result),) = go(
            "Both", "paraphrased-retrieval", depth=depth, force=depth is not None
        ).results
        found[depth] = (path, result.scores, read_outcomes(path))
    whole = found[None][2]
    assert whole["overlaps"].shape[1] == 24
    for depth, kept in {11: 11, 10: 10, 1000: 24}.items():
        path, scores, columns = found[depth]
        # The key is the same, and so are the scores and the first places.
        assert (path, scores) == found[None][:2]
        assert read(path).provenance.depth == 1000  # the last that was run
        for name in ("overlaps", "similarity_query", "similarity_paraphrase"):
            assert (columns[name] == whole[name][:, :kept]).all()
        for name in ("top_query", "top_paraphrase"):
            assert [list(row) for row in columns[name]] == [list(r[:kept]) for r in whole[name]]
    with pytest.raises(UsageError, match="a depth of 9 is too little; keep at least 10 places"):
        go("Both", "paraphrased-retrieval", depth=9)


def test_a_limit_has_its_own_result(go: Any) -> None:
    ((whole, first),) = go("Both", "STS12").results
    ((part, second),) = go("Both", "STS12", limit=10).results
    ((more, third),) = go("Both", "STS12", limit=99).results
    assert len({whole, part, more}) == 3
    assert (first.n, second.n, third.n) == (30, 10, 30)
    assert (first.limit, second.limit, third.limit) == (None, 10, 99)
    assert first.data.sha256 == third.data.sha256 != second.data.sha256
    assert first.scores == third.scores
    assert read(whole) == first


def test_changed_data_are_another_result(go: Any, data: Path) -> None:
    ((old, _),) = go("Both", "STS12").results
    file = data / "sts/STS12.tsv"
    file.write_text(file.read_text().replace("one 3", "uno 3"))
    ((new, _),) = go("Both", "STS12").results
    assert old != new
    assert old.exists()


def test_a_model_without_fingerprint_is_always_run_again(go: Any, models: Path) -> None:
    ((first, result),) = go("Nameless", "STS12").results
    assert result.model.fingerprint is None
    assert calls(models)
    ((second, _),) = go("Nameless", "STS12").results
    assert calls(models)
    assert first == second


def test_two_tasks_share_the_vectors_of_a_run(go: Any, models: Path) -> None:
    report = go("Both", "vg-relation", protocols=("aro", "mteb"))
    assert [result.protocol for _, result in report.results] == ["aro", "mteb"]
    assert report.results[0][1].provenance.from_store == 0
    # The captions are stored by then, the whole images are not.
    assert 0 < report.results[1][1].provenance.from_store < 1
    # The second call is the check that a vector does not depend on its batch.
    assert [line for line in calls(models) if line.startswith("text")] == ["text 15", "text 4"]


def test_text_only_skips_image_tasks_by_name(go: Any) -> None:
    report = go("TextOnly", *ALL)
    assert [result.task for _, result in report.results] == ["STS12"]
    assert report.failures == []
    assert report.skipped == [
        "vg-relation (aro) is skipped: TextOnly has no image encoder",
        "paraphrased-retrieval is skipped: TextOnly has no image encoder",
    ]


def test_one_failure_does_not_stop_the_others(go: Any, data: Path) -> None:
    report = go("Breaks Both", "vg-relation", "STS12")
    assert [(r.model.name, r.task) for _, r in report.results] == [
        ("Breaks", "STS12"),
        ("Both", "vg-relation"),
        ("Both", "STS12"),
    ]
    assert report.failures == ["Breaks on vg-relation (aro) failed: RuntimeError: no images today"]
    with pytest.raises(RuntimeError, match="no images today"):
        go("Breaks", "vg-relation", debug=True)


def test_bad_data_are_named_before_anything_runs(go: Any, data: Path) -> None:
    (data / "sts/STS12.tsv").write_text("score\tsentence1\tsentence2\n1\ta\tb\nx\tc\td\n")
    report = go("Both", *ALL)
    assert [result.task for _, result in report.results] == ALL[1:]
    (failure,) = report.failures
    assert "STS12.tsv, line 3: the score 'x' is not a number" in failure


def test_missing_data_and_models_that_cannot_be_made(go: Any) -> None:
    report = go("CannotBeMade Empty Both", "STS12", "STS13")
    assert [(r.model.name, r.task) for _, r in report.results] == [("Both", "STS12")]
    assert len(report.failures) == 3
    for failure, said in zip(
        report.failures,
        ("no such weights", "neither encode_texts", "STS13.tsv is missing"),
        strict=True,
    ):
        assert said in failure


def test_wrong_usage_is_raised_at_once(go: Any, work: Path) -> None:
    for call in (
        lambda: go("Absent", "STS12"),
        lambda: go("Both", "STS99"),
        lambda: go("Both"),
        lambda: go("Both", "STS12", protocols=("aro",)),
        lambda: go("Both", "STS12", suite="papers"),
        lambda: go("Both", "STS12", dtype="bfloat16"),
        lambda: go("Both", "STS12", data_dir=work / "none"),
    ):
        with pytest.raises(UsageError):
            call()
    assert not (work / "results").exists()


def test_a_damaged_result_is_named_and_force_mends_it(go: Any) -> None:
    ((path, first),) = go("Both", "STS12").results
    path.write_text("{")
    report = go("Both", "STS12")
    assert report.results == []
    assert "is not a result" in report.failures[0]
    ((_, fixed),) = go("Both", "STS12", force=True).results
    assert fixed.scores == first.scores


def test_results_that_cannot_be_written_are_known_before_encoding(
    go: Any, models: Path, work: Path
) -> None:
    from paraclip_bench.errors import BenchError

    (work / "results").write_text("a file is in the way")
    with pytest.raises(BenchError, match="cannot be written"):
        go("Both", "STS12")
    assert calls(models) == []


def test_an_undefined_score_is_null(go: Any) -> None:
    ((path, result),) = go("Both", "STS12", limit=1).results
    assert result.scores["spearman"].value is None
    assert json.loads(path.read_text())["scores"]["spearman"] == {
        "value": None,
        "low": None,
        "high": None,
    }


def test_a_model_named_twice_runs_once(go: Any) -> None:
    assert len(go("Both Both", "sts12", "STS12").results) == 1


def test_what_is_said_goes_to_stderr(go: Any, capsys: pytest.CaptureFixture[str]) -> None:
    go("TextOnly", "STS12", "vg-relation", quiet=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "TextOnly on STS12: spearman" in err
    assert "vg-relation (aro) is skipped" in err


def test_data_that_no_model_can_use_are_not_asked_for(go: Any, data: Path) -> None:
    shutil.rmtree(data / "vg-relation")
    report = go("TextOnly", "STS12", "vg-relation")
    assert [result.task for _, result in report.results] == ["STS12"]
    assert report.failures == []
    assert report.skipped == ["vg-relation (aro) is skipped: TextOnly has no image encoder"]
    # One model that could use them is enough to miss them.
    (failure,) = go("TextOnly Both", "STS12", "vg-relation").failures
    assert "visual_genome_relation.json is missing" in failure


def test_cut_off_images_are_listed_in_the_result(go: Any, data: Path) -> None:
    image = next((data / "paraphrased-retrieval" / "images").glob("*.png"))
    Image.effect_noise((64, 64), 90).convert("RGB").save(image)
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    refused = go("Both", "paraphrased-retrieval")
    assert refused.results == []
    assert f"{image.name} is damaged" in refused.failures[0]
    ((_, result),) = go("Both", "paraphrased-retrieval", allow_truncated=True).results
    assert result.data.notes["truncated_images"] == [image.name]


def test_a_model_is_told_which_sides_a_run_needs(go: Any, models: Path) -> None:
    models.write_text(
        models.read_text()
        + """

class Told(Both):
    fingerprint = "told-1"

    def need(self, sides):
        note("+".join(sorted(sides)), sides)
"""
    )
    go("Told", "STS12")
    assert calls(models)[0] == "text 1"
    # What is already there needs nothing.
    go("Told", "STS12")
    assert calls(models) == []
    go("Told", "STS12", "vg-relation")
    assert calls(models)[0] == "image+text 2"


@pytest.mark.parametrize("content", ["{", None])
def test_damaged_published_numbers_are_a_note_and_no_failure(
    content: str | None,
    data: Path,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "package" / "results" / "reference"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "vl_compo.json").write_text(content)
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path / "package")

    class Named:
        """One of the user's under the name and activation of a model with published numbers."""

        name, activation = "open_clip:ViT-B-32/openai", "quick_gelu"
        fingerprint = "named-1"

        def encode_texts(self, texts: list[str]) -> Any:
            return [[1.0 + text.count(c) for c in "abcdefgh"] for text in texts]

        def encode_images(self, images: list[Any]) -> Any:
            return [[1.0 + image.size[0], *range(7)] for image in images]

    published_scores.cache_clear()
    try:
        report = evaluate([Named()], ALL, data_dir=data, workspace=work)
    finally:
        published_scores.cache_clear()
    assert report.failures == []
    assert [result.task for _, result in report.results] == ALL
    said = capsys.readouterr().err
    assert said.count("note: no result is compared with published numbers") == 1
    assert said.count("install paraclip-bench again") == 1
