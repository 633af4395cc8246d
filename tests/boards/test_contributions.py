"""What is kept beside a result is exactly what was computed, or is made again."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paraclip_bench.boards.make_board import make_board
from paraclip_bench.metrics.accuracy import macro_mean_of, mean_of
from paraclip_bench.metrics.inference import Contributions, estimates
from paraclip_bench.results.contributions import contributions_path, keep, read_contributions
from paraclip_bench.results.store import outcomes_path

RAW = b'{"a": 1}'


def scores(n: int) -> dict[str, Contributions]:
    rng = np.random.default_rng(n)
    columns = {
        "right": (rng.random(n) < 0.6).astype(float),
        "value": rng.normal(size=n),
        "group": np.array([("a", "b")[i % 2] for i in range(n)], dtype=object),
        "cluster_id": np.arange(n),
    }
    statistics = {
        "rate": mean_of("right"),
        "mean": mean_of("value"),
        "macro": macro_mean_of("value", "group"),
    }
    return estimates(statistics, columns)[1]


def same(one: Contributions, two: Contributions) -> bool:
    arrays = ("shares", "deviations", "sizes")
    plain = ("value", "strata", "n", "digest", "is_rate", "is_mean")
    both = one.right is None or two.right is None
    return (
        all(np.array_equal(getattr(one, a), getattr(two, a)) for a in arrays)
        and all(getattr(one, a) == getattr(two, a) for a in plain)
        and (one.right is two.right if both else np.array_equal(one.right, two.right))
    )


@pytest.mark.parametrize("n", [12, 3000])
def test_what_is_kept_is_read_to_the_bit(tmp_path: Path, n: int) -> None:
    path, found = tmp_path / "r.json", scores(n)
    keep(path, RAW, '{"head": 1}', found, (7, 9))
    kept = read_contributions(path, RAW)
    assert kept is not None
    assert (kept.header, kept.outcomes) == ('{"head": 1}', (7, 9))
    for name, each in found.items():
        read = kept.score(name)
        assert read is not None
        assert same(read, each)
    assert kept.score("other") is None
    assert contributions_path(path).stat().st_size < 40_000
    # Another result, though of the same name.
    assert read_contributions(path, RAW + b" ") is None


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    path, found = tmp_path / "r.json", scores(40)
    keep(path, RAW, "{}", found, None)
    file = contributions_path(path)
    whole, rng = file.read_bytes(), random.Random(1)
    kept = read_contributions(path, RAW)
    assert kept is not None
    before = {name: kept.score(name) for name in found}
    seen = 0
    for _ in range(400):
        bits = bytearray(whole)
        bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
        file.write_bytes(bits)
        kept = read_contributions(path, RAW)
        for name, was in before.items():
            now = None if kept is None else kept.score(name)
            seen += now is None
            assert now is None or same(now, was)
    assert seen > 400


Put = Callable[..., Path]


@pytest.fixture
def two(put: Put) -> list[Path]:
    """Results of two models, with what a first board keeps of them."""
    return [put(name, "sts12", skill) for name, skill in (("clip", 0.2), ("a", 0.6))]


def test_a_board_reads_outcomes_once(two: list[Path], tmp_path: Path) -> None:
    before = make_board(tmp_path)
    assert all(contributions_path(path).is_file() for path in two)
    for path in two:
        file = outcomes_path(path)
        about = file.stat()
        file.write_bytes(b"x" * about.st_size)
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert make_board(tmp_path).rows == before.rows
    # Files that were touched are compared again.
    os.utime(outcomes_path(two[1]))
    (line,) = make_board(tmp_path).left_out
    assert outcomes_path(two[1]).name in line


def test_a_copy_of_a_folder_is_compared_once_and_kept_again(
    two: list[Path], tmp_path: Path
) -> None:
    before = make_board(tmp_path)
    for path in two:
        os.utime(outcomes_path(path), ns=(1, 1))
    assert make_board(tmp_path).rows == before.rows
    for path in two:
        kept = read_contributions(path, path.read_bytes())
        assert kept is not None
        assert kept.outcomes == (outcomes_path(path).stat().st_size, 1)


@pytest.mark.parametrize("damage", ["cut", "empty", "bits", "folder"])
def test_what_is_damaged_is_made_again(two: list[Path], tmp_path: Path, damage: str) -> None:
    before = make_board(tmp_path, all_scores=True)
    file = contributions_path(two[1])
    whole = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        middle = len(whole) - 20
        damaged = {
            "cut": whole[:-9],
            "empty": b"",
            "bits": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        }
        file.write_bytes(damaged[damage])
    assert make_board(tmp_path, all_scores=True).rows == before.rows
    kept = read_contributions(two[1], two[1].read_bytes())
    if damage == "folder":
        assert kept is None
        return
    assert kept is not None
    assert all(kept.score(name) is not None for name in ("spearman", "pearson"))


def test_results_under_older_clusters_are_paired_with_newer_ones(put: Put, tmp_path: Path) -> None:
    """0.1.0 took each pair of sentences as a cluster."""
    rng = np.random.default_rng(0)
    gold = rng.uniform(0, 5, 60)
    ids = np.array([str(i) for i in range(60)], dtype=object)
    shared = np.array([str(i // 4) for i in range(60)], dtype=object)
    columns = {"example_id": ids, "gold": gold}
    old = {**columns, "cluster_id": ids, "cosine": (gold + rng.normal(size=60)).astype("f4")}
    new = {**columns, "cluster_id": shared, "cosine": (gold + rng.normal(size=60)).astype("f4")}
    put("clip", "sts12", 0.2, columns=old, day=1)
    put("a", "sts12", 0.2, columns=new, day=2)
    mixed = make_board(tmp_path).rows[1].cells[0]
    alone = make_board(tmp_path).rows[0].cells[0]
    put("clip", "sts12", 0.2, columns={**old, "cluster_id": shared}, day=3)
    assert mixed is not None
    assert mixed.difference is not None
    assert mixed.difference.p is not None
    later = make_board(tmp_path).rows
    assert mixed == later[1].cells[0]
    # As a run wrote it, until it is measured again.
    assert alone != later[0].cells[0]
