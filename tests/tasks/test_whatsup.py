"""What'sUp against loops as the authors' evaluate_scores has them, over their files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pytest

from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.tasks.whatsup import FILES, PAIRS, WhatsUp

TASK = WhatsUp()
Subsets = dict[str, list[Any]]


@pytest.fixture
def subsets(tmp_path: Path) -> Subsets:
    return compositional.whatsup(tmp_path, np.random.default_rng(6), 40)


@pytest.fixture
def embed(given: Callable[..., Any], coarse: Callable[[str], list[float]]) -> Any:
    return given(coarse, lambda image: coarse(image.sha256))


def outcomes(root: Path, embed: Any, limit: int | None = None) -> dict[str, Any]:
    examples = read_examples(TASK, FolderSource(root), "whatsup", limit)
    return dict(TASK.outcomes(examples, embed))


def options_of(root: Path, subset: str, row: Any) -> tuple[Path, list[str]]:
    """The image and the captions of a case, as the authors' __getitem__ finds them."""
    folder = root / "whatsup"
    if subset.startswith("controlled"):
        return folder / row["image_path"].removeprefix("data/"), row["caption_options"]
    if subset.startswith("coco"):
        return folder / f"val2017/{str(row[0]).zfill(12)}.jpg", row[1:]
    return folder / f"vg_images/{row[0]}.jpg", row[1:]


def authors(root: Path, subsets: Subsets, similarity: Callable[[Path, str], float]) -> Any:
    """Their scores: an argmax over the options, sets and pairs by the names of the files."""
    found: dict[str, float] = {}
    every: list[bool] = []
    ties: list[bool] = []
    for subset, rows in subsets.items():
        right = []
        for row in rows:
            image, options = options_of(root, subset, row)
            scores = np.array([similarity(image, caption) for caption in options])
            right.append(bool(np.argmax(scores) == 0))
            ties.append(bool(scores[0] == scores[1:].max()))
        every += right
        found[f"accuracy/{subset}"] = float(np.mean(right))
        if not subset.startswith("controlled"):
            continue
        sets: dict[tuple[str, str], dict[str, bool]] = {}
        for row, correct in zip(rows, right, strict=True):
            name = row["image_path"].split("/")[-1]
            objects = (name.split("_")[0], name.split("_")[-1][:-5])
            sets.setdefault(objects, {})[name.split("_")[1]] = correct
        other = ("on", "under") if subset == "controlled_a" else ("in-front", "behind")
        pairs = sum(
            each[one] and each[two]
            for each in sets.values()
            for one, two in (("left", "right"), other)
        )
        found[f"pair_accuracy/{subset}"] = pairs / (len(rows) / 2)
        wholes = sum(sum(each.values()) == 4 for each in sets.values())
        found[f"set_accuracy/{subset}"] = wholes / (len(rows) / 4)
    means = [value for name, value in found.items() if name.startswith("accuracy/")]
    return {
        "accuracy": float(np.mean(means)),
        "accuracy_micro": float(np.mean(every)),
        **found,
        "tie_rate": float(np.mean(ties)),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scores(columns: dict[str, Any]) -> dict[str, float]:
    return {name: point(score, columns) for name, score in TASK.scores.items()}


def test_a_folder_against_the_authors_loops(
    tmp_path: Path, subsets: Subsets, embed: Any, coarse: Callable[[str], list[float]]
) -> None:
    expected = authors(
        tmp_path, subsets, lambda image, text: float(np.dot(coarse(digest(image)), coarse(text)))
    )
    assert set(subsets) == set(FILES)
    assert 0.1 < expected["tie_rate"] < 0.9
    for subset in ("controlled_a", "controlled_b"):
        one, pair, whole = (expected[f"{k}{subset}"] for k in _KINDS)
        assert 1 > one > pair >= whole
    columns = outcomes(tmp_path, embed)
    assert scores(columns) == pytest.approx(expected)


_KINDS = ("accuracy/", "pair_accuracy/", "set_accuracy/")


def test_a_perfect_model_and_one_that_mixes_left_and_right_up(
    tmp_path: Path, subsets: Subsets, given: Callable[..., Any]
) -> None:
    """The first tells all apart; the second takes left for right, so half of the pairs are lost."""
    truth: dict[tuple[str, str], bool] = {}
    for subset, rows in subsets.items():
        for row in rows:
            image, options = options_of(tmp_path, subset, row)
            truth[digest(image), options[0]] = True
    axis = {key: i for i, key in enumerate({*(k for k, _ in truth), *(t for _, t in truth)})}
    size = len(axis)

    def text(caption: str) -> np.ndarray:
        vector = np.zeros(size)
        for image, true in truth:
            if true == caption:
                vector[axis[image]] = 1
        return vector

    def image(ref: Any) -> np.ndarray:
        return np.eye(size)[axis[ref.sha256]]

    found = scores(outcomes(tmp_path, given(text, image)))
    for subset in ("controlled_a", "controlled_b"):
        assert {found[f"{kind}{subset}"] for kind in _KINDS} == {1.0}
    mirror = {"left": "right", "right": "left"}
    turned = given(lambda t: text(" ".join(mirror.get(w, w) for w in t.split())), image)
    found = scores(outcomes(tmp_path, turned))
    for subset in ("controlled_a", "controlled_b"):
        assert found[f"accuracy/{subset}"] == 0.5
        assert found[f"pair_accuracy/{subset}"] == 0.5
        assert found[f"set_accuracy/{subset}"] == 0


def test_one_that_hears_no_difference_and_a_random_one(
    tmp_path: Path, subsets: Subsets, given: Callable[..., Any]
) -> None:
    alike = given(lambda text: [1.0, 0.0], lambda image: [1.0, 0.0])
    assert set(scores(outcomes(tmp_path, alike)).values()) == {1.0}  # ties are right, and counted
    rng = np.random.default_rng(0)
    guessed = given(lambda text: rng.normal(size=8), lambda image: rng.normal(size=8))
    found = scores(outcomes(tmp_path, guessed))
    for subset, rows in subsets.items():
        chance = 1 / 4 if subset.startswith("controlled") else 1 / 2
        error = 4 * np.sqrt(chance * (1 - chance) / len(rows))
        assert abs(found[f"accuracy/{subset}"] - chance) < error
    assert found["pair_accuracy/controlled_a"] < 0.2
    assert found["tie_rate"] == 0


def test_clusters_are_sets_of_photographs_and_images(
    tmp_path: Path, subsets: Subsets, embed: Any
) -> None:
    columns = outcomes(tmp_path, embed)
    for subset, count in (("controlled_a", 40), ("controlled_b", 41)):
        inside = columns["subset"] == subset
        clusters, sizes = np.unique(columns["cluster_id"][inside].astype(str), return_counts=True)
        assert len(clusters) == count
        assert set(sizes) == {4}
        value = estimate(TASK.scores[f"pair_accuracy/{subset}"], columns)
        assert value.low < value.value < value.high  # type: ignore[operator]
    spatial = ~np.isin(columns["subset"].astype(str), ("controlled_a", "controlled_b"))
    assert len(set(columns["cluster_id"][spatial])) == 8  # images, of COCO and of Visual Genome
    names = {part.name for part in details(TASK, columns)["relation"]}
    assert names == {
        *(f"controlled_a/{r}" for r in ("left", "right", "on", "under")),
        *(f"controlled_b/{r}" for r in ("left", "right", "front", "behind")),
        *(f"{s}/{r}" for s in list(FILES)[2:] for r in ("left", "right")),
    }
    assert set(PAIRS) == {name.split("/")[1] for name in names}


def test_some_subsets_alone_and_sets_that_a_limit_cut(
    tmp_path: Path, subsets: Subsets, embed: Any
) -> None:
    for subset in ("controlled_b", "gqa_two"):
        (tmp_path / "whatsup" / FILES[subset]).unlink()
    notes = TASK.load(FolderSource(tmp_path), "whatsup").notes
    assert notes == {"subsets_missing": "controlled_b, gqa_two"}
    columns = outcomes(tmp_path, embed, limit=4 * 40)
    assert estimate(TASK.scores["set_accuracy/controlled_b"], columns).value is None
    whole = columns["set_of"] != ""
    sets = columns["cluster_id"][columns["subset"] == "controlled_a"].tolist()
    assert {sets.count(cluster) for cluster in columns["cluster_id"][whole]} <= {4}
    few = outcomes(tmp_path, embed, limit=8)
    assert estimate(TASK.scores["set_accuracy/controlled_a"], few).value is None
    assert estimate(TASK.scores["accuracy/controlled_a"], few).value is not None


def case(**changes: Any) -> dict[str, Any]:
    options = ["A x on a y", "A x under a y", "A x to the left of a y", "A x to the right of a y"]
    return {"image_path": "data/val2017/000000000000.jpg", "caption_options": options, **changes}


SHORT = ["A x on a y", "A x under a y"]


@pytest.mark.parametrize(
    ("subset", "content", "said"),
    [
        ("controlled_a", [], r"controlled_images_dataset\.json holds no rows"),
        ("controlled_a", {}, r"must hold a list of objects, not one dict"),
        ("controlled_a", [case(image_path=3)], r"case 0: 'image_path' must be a text"),
        ("controlled_a", [case(image_path="data/x.jpg")], r"case 0: the image .*x\.jpg is missing"),
        ("controlled_a", [case(caption_options=SHORT)], r"'caption_options' must be a list of 4"),
        ("controlled_a", [case(caption_options=None)], r"'caption_options' must be a list of 4"),
        ("controlled_a", [case(caption_options=[*SHORT, " ", 4])], r"'caption 2' must be a text"),
        ("controlled_a", [case(), case()], r"case 1: its set has a photograph of 'on' before"),
        (
            "controlled_a",
            [case(caption_options=["A x by a y", *case()["caption_options"][1:]])],
            r"case 0: the caption 'A x by a y' must have one of left, right, on, ",
        ),
        ("coco_one", {}, r"coco_qa_one_obj\.json must hold a list of cases; give the authors' own"),
        ("coco_one", [], r"coco_qa_one_obj\.json must hold a list of cases"),
        ("coco_one", [[0, "a"]], r"case 0: must be a list of an image's number and two captions"),
        ("gqa_two", [{"0": 1}], r"vg_qa_two_obj\.json, case 0: must be a list of an image's numb"),
        ("gqa_two", [[True, "a", "b"]], r"the image's number must be one, not True"),
        ("gqa_two", [[None, "a", "b"]], r"the image's number must be one, not None"),
        ("gqa_two", [["../../x", "a", "b"]], r"case 0: the file name .* leads outside of"),
        ("coco_two", [[99, "a", "b"]], r"the image .*val2017/000000000099\.jpg is missing; put it"),
        ("coco_two", [[0, "a", ""]], r"case 0: 'caption 1' must be a text that is not empty"),
    ],
)
def test_bad_files(tmp_path: Path, subsets: Subsets, subset: str, content: Any, said: str) -> None:
    (tmp_path / "whatsup" / FILES[subset]).write_text(json.dumps(content))
    with pytest.raises(DataError, match=said) as caught:
        TASK.load(FolderSource(tmp_path), "whatsup")
    assert "\n" not in str(caught.value)


def test_a_folder_without_any_and_no_hub(tmp_path: Path) -> None:
    (tmp_path / "whatsup").mkdir()
    with pytest.raises(DataError, match=r"whatsup has none of controlled_images_dataset\.json, "):
        TASK.load(FolderSource(tmp_path), "whatsup")
    with pytest.raises(DataError, match=r"whatsup: no copy on the hub .*--data-dir"):
        TASK.load(HubSource(), "whatsup")
