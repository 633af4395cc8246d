"""Crisscrossed Captions against scipy and loops: scores, intervals, the paper's samples."""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from paraclip_bench.api import evaluate
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.data.source import FolderSource, HubSource
from paraclip_bench.errors import DataError, MissingData
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.evaluation.scoring import details
from paraclip_bench.metrics.inference import estimate, point
from paraclip_bench.results.checks import check, find_results
from paraclip_bench.results.provenance import examples_sha256
from paraclip_bench.tasks.crisscrossed_captions import SAMPLES, CxcSITS, CxcSTS

PREFIX = "COCO_val2014:sentid:"
Rows = list[tuple[str, str, str, str]]


def vector(key: str) -> list[float]:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    one = np.random.default_rng(seed).normal(size=8)
    return [float(v) for v in one / np.linalg.norm(one)]


class World:
    """Photos with five captions each, in a layout of --data-dir; some captions are equal."""

    def __init__(self, root: Path, photos: int, first: int = 100) -> None:
        self.root, self.folder = root, root / "cxc"
        (self.folder / "images/val2014").mkdir(parents=True)
        self.photos = [f"COCO_val2014_{7 * i:012}.jpg" for i in range(photos)]
        self.text: dict[str, str] = {}
        self.photo: dict[str, str] = {}
        entries = []
        for i, name in enumerate(self.photos):
            place = "val2014/" if i % 2 else ""
            (self.folder / "images" / f"{place}{name}").write_bytes(name.encode())
            sentences = []
            for k in range(5):
                number = first + 5 * i + k
                self.text[f"{PREFIX}{number}"] = f"words {(5 * i + k) % (5 * photos - 3)}"
                self.photo[f"{PREFIX}{number}"] = name
                sentences.append({"raw": self.text[f"{PREFIX}{number}"], "sentid": number})
            entries.append({"filename": name, "split": "test", "sentences": sentences})
        self.entries: list[Any] = entries
        self.put_captions()

    def put_captions(self) -> None:
        (self.folder / "dataset_coco.json").write_text(json.dumps({"images": self.entries}))

    def put(self, file: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> FolderSource:
        with (self.folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows([[*header, "sampling_method"], *rows])
        return FolderSource(self.root)

    def sts(self, rows: Sequence[Sequence[str]], part: str = "test") -> FolderSource:
        return self.put(f"sts_{part}.csv", ("caption1", "caption2", "agg_score"), rows)

    def sits(self, rows: Sequence[Sequence[str]], part: str = "test") -> FolderSource:
        return self.put(f"sits_{part}.csv", ("caption", "image", "agg_score"), rows)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "data", 24)


def some_pairs(world: World, kind: str) -> Rows:
    """The captions of a photo with one another (or with it), and pairs of different photos."""
    rng = np.random.default_rng(5)
    ids = list(world.text)
    rows: dict[tuple[str, str], tuple[str, str]] = {}
    for i, one in enumerate(ids):
        other = ids[i - i % 5 + (i + 1) % 5] if kind == "sts" else world.photo[one]
        gold = f"{rng.uniform(3, 5):.2f}"
        rows[one, other] = (gold, "c2c_cocaption" if kind == "sts" else "c2i_original")
    for _ in range(150):
        one = ids[rng.integers(len(ids))]
        other = ids[rng.integers(len(ids))] if kind == "sts" else str(rng.choice(world.photos))
        if one != other:
            rows.setdefault((one, other), (f"{rng.uniform(0, 4):.1f}", "isim"))
    return [(one, other, *rest) for (one, other), rest in rows.items()]


def cosines(world: World, rows: Rows, kind: str) -> np.ndarray:
    said = (lambda id: world.text[id]) if kind == "sts" else (lambda name: f"image {name}")
    pairs = [(vector(world.text[one]), vector(said(other))) for one, other, *_ in rows]
    return np.array([float(np.dot(a, b)) for a, b in pairs])


def photos_of(world: World, row: Sequence[str]) -> set[str]:
    one, other, *_ = row
    return {world.photo[one], world.photo.get(other, other)}


def samples(queries: Sequence[str], cosine: np.ndarray, gold: np.ndarray) -> Iterator[float]:
    """The paper's samples, query by query, with the draws that the docs give."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, query in enumerate(queries):
        rows[query].append(index)
    names = sorted(rows)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        order = rng.permutation(len(names))[: len(names) // 2]
        numbers = rng.random(len(order))
        pick = [
            rows[names[place]][int(number * len(rows[names[place]]))]
            for place, number in zip(order, numbers, strict=True)
        ]
        yield float(stats.spearmanr(cosine[pick], gold[pick])[0])


TASKS = {"sts": CxcSTS(), "sits": CxcSITS()}


def measured(
    task: Any, source: FolderSource, given: Callable[..., Any], part: str = "test"
) -> dict[str, np.ndarray]:
    known: dict[str, list[float]] = {}
    of = lambda key: known.setdefault(key, vector(key))  # noqa: E731
    examples = read_examples(task, source, part, None)
    embed = given(of, lambda image: of(f"image {image.id}"))
    return {name: np.asarray(v) for name, v in task.outcomes(examples, embed).items()}


@pytest.mark.parametrize("kind", TASKS)
def test_scores_are_scipys(kind: str, world: World, given: Callable[..., Any]) -> None:
    task, rows = TASKS[kind], some_pairs(world, kind)
    columns = measured(task, getattr(world, kind)(rows), given)
    cosine, gold = cosines(world, rows, kind), np.array([float(row[2]) for row in rows])
    assert columns["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert columns["gold"].tolist() == gold.tolist()
    found = {name: point(score, columns) for name, score in task.scores.items()}
    assert found["spearman"] == pytest.approx(stats.spearmanr(cosine, gold)[0], abs=1e-6)
    assert found["pearson"] == pytest.approx(stats.pearsonr(cosine, gold)[0], abs=1e-6)
    drawn = list(samples([row[0] for row in rows], columns["cosine"], gold))
    assert len(drawn) == SAMPLES
    assert found["spearman_resampled"] == pytest.approx(np.mean(drawn), abs=1e-6)
    assert found["spearman_resampled_sd"] == pytest.approx(np.std(drawn), abs=1e-6)
    # It has its own spread in place of an interval.
    assert estimate(task.scores["spearman_resampled"], columns).low is None
    for part in details(task, columns)["sampling_method"]:
        own = [i for i, row in enumerate(rows) if row[3] == part.name]
        expected = stats.spearmanr(cosine[own], gold[own])[0]
        assert part.scores["spearman"].value == pytest.approx(expected, abs=1e-6)
        assert part.n == len(own)


@pytest.mark.parametrize("kind", TASKS)
def test_a_pair_varies_with_each_of_its_photos(
    kind: str, world: World, given: Callable[..., Any]
) -> None:
    """The jackknife over photos, by hand: without a photo are all pairs left that lack it."""
    task, rows = TASKS[kind], some_pairs(world, kind)
    columns = measured(task, getattr(world, kind)(rows), given)
    clusters = [set(row) for row in columns["cluster_id"].tolist()]
    assert clusters == [photos_of(world, row) for row in rows]
    value, without = stats.spearmanr(columns["cosine"], columns["gold"])[0], []
    for photo in world.photos:
        left = [i for i, row in enumerate(rows) if photo not in photos_of(world, row)]
        assert len(left) < len(rows)
        without.append(stats.spearmanr(columns["cosine"][left], columns["gold"][left])[0])
    g = len(world.photos)
    variance = (g - 1) / g * np.sum((np.array(without) - np.mean(without)) ** 2)
    reach = stats.t.ppf(0.975, g - 1) * np.sqrt(variance) / (1 - value**2)
    found = estimate(task.scores["spearman"], columns)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.low == pytest.approx(np.tanh(np.arctanh(value) - reach), abs=1e-9)
    assert found.high == pytest.approx(np.tanh(np.arctanh(value) + reach), abs=1e-9)


def captions_for(world_root: Path, files: Sequence[Path]) -> World:
    """Karpathy's file with generated captions for all ids of the real files; images are empty."""
    photo: dict[str, str] = {}
    for file in files:
        with file.open() as opened:
            for row in csv.DictReader(opened):
                if row["sampling_method"] == "c2i_original":
                    photo[row["caption"]] = row["image"]
    world = World(world_root, 2)
    world.photo, world.photos = photo, sorted(set(photo.values()))
    world.text = {id: f"words {index % 24_000}" for index, id in enumerate(photo)}
    own: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for id, text in world.text.items():
        own[photo[id]].append({"raw": text, "sentid": int(id.removeprefix(PREFIX))})
    world.entries = [{"filename": n, "split": "val", "sentences": own[n]} for n in world.photos]
    for name in world.photos:
        (world.folder / "images" / name).write_bytes(b"")
    world.put_captions()
    return world


@pytest.mark.slow
def test_the_published_val_files(
    tmp_path: Path, real: Callable[[str], Path], given: Callable[..., Any]
) -> None:
    folder = real("cxc")
    world = captions_for(tmp_path, [folder / "sits_val.csv"])
    assert (len(world.text), len(world.photos)) == (25_000, 5_000)
    for kind, task in TASKS.items():
        path = folder / f"{kind}_val.csv"
        (world.folder / path.name).write_bytes(path.read_bytes())
        with path.open() as opened:
            rows = [tuple(row) for row in csv.reader(opened)][1:]
        columns = measured(task, FolderSource(tmp_path), given, "val")
        assert len(rows) == task.whole_size("val") == len(columns["gold"])
        gold = np.array([float(row[2]) for row in rows])
        cosine = cosines(world, rows, kind)  # type: ignore[arg-type]
        assert columns["cosine"] == pytest.approx(cosine, abs=1e-6)
        cosine = columns["cosine"]
        found = {name: point(score, columns) for name, score in task.scores.items()}
        assert found["spearman"] == pytest.approx(stats.spearmanr(cosine, gold)[0], abs=1e-6)
        assert found["pearson"] == pytest.approx(stats.pearsonr(cosine, gold)[0], abs=1e-6)
        drawn = list(samples([row[0] for row in rows], cosine, gold))
        assert found["spearman_resampled"] == pytest.approx(np.mean(drawn), abs=1e-6)
        assert found["spearman_resampled_sd"] == pytest.approx(np.std(drawn), abs=1e-6)
        clusters = [set(row) for row in columns["cluster_id"].tolist()]
        assert clusters == [photos_of(world, row) for row in rows]
        assert len({photo for pair in clusters for photo in pair}) == 5_000
        interval = estimate(task.scores["spearman"], columns)
        assert interval.low is not None
        assert interval.low < found["spearman"] < interval.high  # type: ignore[operator]


WORDS = """
import numpy as np


class Words:
    fingerprint = "words-1"

    def encode_texts(self, texts):
        return np.array([[1.0, *((int(t[6:]) * p) % 7 for p in (1, 2, 3, 5))] for t in texts])

    def encode_images(self, images):
        return np.array([[*np.asarray(i.resize((1, 1)), float).ravel(), 1, 2] for i in images])
"""


def test_results_are_kept_checked_and_shown(world: World, tmp_path: Path) -> None:
    """Through files: a cluster column of two survives, and a board tells two models apart."""
    for kind in TASKS:
        getattr(world, kind)(some_pairs(world, kind))
    for index, name in enumerate(world.photos):
        place = "val2014/" if index % 2 else ""
        image = Image.new("RGB", (4, 4), (9 * index % 256, 40 * index % 256, 90))
        image.save(world.folder / "images" / f"{place}{name}", "PNG")
    (tmp_path / "words.py").write_text(WORDS)
    other = WORDS.replace("(1, 2, 3, 5)", "(1, 4, 2, 6)").replace("words-1", "words-2")
    (tmp_path / "others.py").write_text(other)
    specs = [f"{tmp_path / name}:Words" for name in ("words.py", "others.py")]
    report = evaluate(specs, ["cxc"], data_dir=world.root, workspace=tmp_path, quiet=True)
    assert not report.failures
    assert [result.n for _, result in report.results] == 2 * [
        len(some_pairs(world, "sits")),
        len(some_pairs(world, "sts")),
    ]
    for place in find_results(tmp_path / "results"):
        assert check(place).problems == []
    board = make_board(tmp_path / "results", baseline=report.results[0][1].model.name)
    shown = {(column.title, column.score) for column in board.columns}
    assert shown == {
        (f"cxc-{kind} (test)", score)
        for kind in TASKS
        for score in ("spearman", "spearman_resampled")
    }
    (row,) = [row for row in board.rows if row.name != board.baseline]
    for column, cell in zip(board.columns, row.cells, strict=True):
        assert cell is not None
        assert cell.difference is not None
        assert (cell.difference.low is not None) == (column.score == "spearman")
    assert any("train2017 has most of these photos" in note for note in board.notes)


def test_a_limit_takes_of_each_way_of_sampling(world: World) -> None:
    source = world.sts(some_pairs(world, "sts"))
    examples = read_examples(CxcSTS(), source, "test", 4)
    assert [row.sampling_method for row in examples] == [*["c2c_cocaption"] * 2, *["isim"] * 2]


def test_the_digest_is_of_what_the_scores_are_of(world: World) -> None:
    rows = some_pairs(world, "sts")
    digest = lambda: examples_sha256(CxcSTS().load(FolderSource(world.root), "test"))  # noqa: E731
    world.sts(rows)
    first = digest()
    hasher = hashlib.sha256()
    for one, other, gold, method in rows:
        fields = {"caption1": world.text[one], "caption2": world.text[other]}
        fields |= {"photo1": world.photo[one], "photo2": world.photo[other], "query": one}
        whole = {**fields, "sampling_method": method, "score": float(gold)}
        hasher.update(json.dumps(whole, sort_keys=True).encode() + b"\n")
    assert first == hasher.hexdigest()
    world.entries[3]["filename"] = "other.jpg"  # its captions are of another photo
    world.put_captions()
    assert digest() != first


# --- bad input ---------------------------------------------------------------------------------

GOOD = [(f"{PREFIX}100", f"{PREFIX}105", "1.5", "x"), (f"{PREFIX}101", f"{PREFIX}110", "4", "x")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [*GOOD, (f"{PREFIX}100", f"{PREFIX}99", "1", "x")],
            f"line 4: the caption {PREFIX}99 is not in DIR/dataset_coco.json; give Karpathy's own",
        ),
        (
            [(f"{PREFIX}1", f"{PREFIX}2", "1", "x"), *GOOD, (f"{PREFIX}3", f"{PREFIX}1", "1", "x")],
            f"line 2: the caption {PREFIX}1 is not in DIR/dataset_coco.json, nor 2 others; give",
        ),
        ([*GOOD, (f"{PREFIX}x", "y", "1", "x")], f"line 4: '{PREFIX}x' is no id of a caption"),
        ([*GOOD, (f"{PREFIX}102", "", "1", "x")], "line 4: '' is no id of a caption"),
        ([*GOOD, GOOD[0]], "line 4: the pair of line 2 comes again; drop one of them"),
        ([*GOOD, (*GOOD[0][:1], *GOOD[0][:1], "?", "x")], "line 4: the score '?' is not a number"),
        ([*GOOD, (*GOOD[0][:1], *GOOD[0][:1], "5.1", "x")], "the score 5.1 is not within 0 to 5"),
        ([*GOOD, (*GOOD[0][:1], *GOOD[0][:1], "nan", "x")], "the score nan is not within 0 to 5"),
        ([*GOOD, GOOD[0][:3]], "line 4: 3 fields where the header has 4; fix that line"),
        (GOOD[:1], "has the same score 1.5 in every row, so no correlation exists"),
        ([], "has no pairs, so no correlation exists; give the whole set"),
    ],
)
def test_bad_pairs(world: World, rows: Any, said: str) -> None:
    source = world.sts(rows)
    with pytest.raises(DataError) as caught:
        CxcSTS().load(source, "test")
    assert said.replace("DIR", str(world.folder)) in str(caught.value)
    assert "sts_test.csv" in str(caught.value)


def test_images_that_are_missing(world: World) -> None:
    rows = [(f"{PREFIX}{100 + i}", name, f"{i % 5}", "x") for i, name in enumerate(world.photos)]
    source = world.sits(rows)
    for name in world.photos[3:6:2]:
        (world.folder / "images/val2014" / name).unlink()
    with pytest.raises(DataError) as caught:
        CxcSITS().load(source, "test")
    assert str(caught.value) == (
        f"{world.folder / 'sits_test.csv'}, line 5: the image {world.photos[3]!r} is not in "
        f"{world.folder / 'images'} nor in its val2014/, nor 1 other; put val2014 there"
    )
    with pytest.raises(DataError, match="leads outside of"):
        CxcSITS().load(world.sits([(f"{PREFIX}100", "../x.jpg", "1", "x")]), "test")


def test_files_that_are_missing_or_others(world: World, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"cxc/sts_val\.csv is missing; put it there"):
        CxcSTS().load(world.sts(GOOD), "val")
    for task in TASKS.values():
        with pytest.raises(DataError, match=r"give cxc/s(i?)ts_test\.csv with --data-dir"):
            task.load(HubSource(), "test")
    source = world.put("sts_test.csv", ("caption1", "caption2", "score"), [])
    with pytest.raises(DataError, match=r"has no column 'agg_score' \(it has caption1, caption2"):
        CxcSTS().load(source, "test")
    (world.folder / "sts_test.csv").write_text('caption1,caption2,agg_score\n"a,b,1\n')
    with pytest.raises(DataError, match=r"sts_test\.csv, line 2: .*; fix that line"):
        CxcSTS().load(source, "test")
    world.sts(GOOD)
    for wrong, said in (
        ({"sentid": 100, "raw": " "}, "'raw' must be a text"),
        ({"sentid": 105, "raw": "again"}, "the sentid 105 came before; fix the file"),
        ({"sentid": [100], "raw": "x"}, f"the caption {PREFIX}100 is not in"),
    ):
        before = world.entries[0]["sentences"][0]
        world.entries[0]["sentences"][0] = wrong
        world.put_captions()
        with pytest.raises(DataError) as caught:
            CxcSTS().load(source, "test")
        assert said in str(caught.value)
        world.entries[0]["sentences"][0] = before
    (world.folder / "dataset_coco.json").write_text("[]")
    with pytest.raises(DataError, match=r"has no list 'images'; give Karpathy's own file"):
        CxcSTS().load(source, "test")
