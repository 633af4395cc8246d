"""Every command that writes, on small files, and how two of its outputs are compared."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from compare_results import differences
from hub_stand_in import serve

from paraclip_bench.metrics.inference import estimates
from paraclip_bench.results import store
from paraclip_bench.results.schema import Score
from paraclip_bench.tasks.catalog import load_task

KEPT = Path(__file__).parent / "formats_0_1"
RECIPE = """name = "small"
batch_size = 8
steps = 60
learning_rate = 1e-3
warmup_steps = 1
unlocked_text_layers = 1
save_every = 3
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """Arguments that make `made` in the working directory; `same` compares two of these.

    refuses: whether it does not write over what is there.
    """

    arguments: list[str]
    made: str
    same: Callable[[Path, Path], list[str]]
    refuses: bool = False


def same_files(one: Path, two: Path) -> list[str]:
    """Files that are not the same in two folders, or two files; hidden ones are rests of writes."""
    if one.is_file():
        return [] if one.read_bytes() == two.read_bytes() else [one.name]
    found = [
        {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
        for root in (one, two)
    ]
    kept = [
        {name: bits for name, bits in files.items() if "/." not in f"/{name}"} for files in found
    ]
    return [name for name in {**kept[0], **kept[1]} if kept[0].get(name) != kept[1].get(name)]


def same_checkpoint(one: Path, two: Path) -> list[str]:
    """Weights and losses; times differ."""
    found = []
    if one.joinpath("losses.jsonl").is_file():
        losses = [
            [
                {k: v for k, v in json.loads(line).items() if "second" not in k}
                for line in (folder / "losses.jsonl").read_text().splitlines()
            ]
            for folder in (one, two)
        ]
        found += ["losses.jsonl"] * (losses[0] != losses[1])
    name = "open_clip_model.safetensors"
    return found + [name] * ((one / name).read_bytes() != (two / name).read_bytes())


def same_demo(one: Path, two: Path) -> list[str]:
    """Results, and every checkpoint."""
    found = differences(one / "results", two / "results")
    for folder in sorted((one / "checkpoints").glob("[!.]*")):
        found += same_checkpoint(folder, two / "checkpoints" / folder.name)
    return found


TUNE = ["finetune", "--base", "local-dir:base", "--data", "pairs.jsonl", "--images"]
TUNE += ["data/vg-relation/images", "--recipe", "recipe.toml", "--resume"]
RUN = ["run", "--model", "bags.py:Bags", "--model", "local-dir:base", "--task", "STS12"]
RUN += ["--task", "vg-relation", "--task", "paraphrased-retrieval", "--data-dir", "data"]
BUILD = ["data", "build", "paraphrased-retrieval", "--captions", "pairs.jsonl", "--pairs"]
BUILD += ["pairs.jsonl", "--images", "data/vg-relation/images"]
COMMANDS = {
    "run": Command([*RUN, "--suite", "paper"], "results", differences),
    "finetune": Command([*TUNE, "-o", "tuned"], "tuned", same_checkpoint),
    "merge": Command(
        ["merge", "local-dir:base", "local-dir:checkpoint", "--alpha", "0.5", "-o", "merged"],
        "merged",
        same_checkpoint,
    ),
    "demo": Command(["demo"], ".", same_demo),
    "build": Command([*BUILD, "-o", "set"], "set", same_files, refuses=True),
    "prefetch": Command(["data", "prefetch", "STS16", "--to", "usb"], "usb", same_files),
    "leaderboard": Command(
        ["leaderboard", "--workspace", "old", "-o", "board.json"], "board.json", same_files
    ),
    "export": Command(
        ["results", "export", "--format", "mteb", "--workspace", "old", "-o", "mteb"],
        "mteb",
        same_files,
    ),
    "results merge": Command(["results", "merge", "old", "new", "-o", "both"], "both", same_files),
    "results trec": Command(
        ["results", "export", "--format", "trec", "--workspace", "old", "-o", "trec"],
        "trec",
        same_files,
    ),
    "convert": Command(
        ["paraphrase", "convert", "many.jsonl", "-o", "many.parquet"],
        "many.parquet",
        same_files,
        refuses=True,
    ),
}


def prepare(folder: Path, like: Path | None = None) -> None:
    """What the commands work on; `like`: a folder of an earlier run on this machine.

    A machine measures once how it computes and remembers that; where it is busy it might decide
    otherwise, and the last bits would differ for that reason alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(KEPT, folder, ignore=shutil.ignore_patterns("results", "cache", "unfinished"))
    shutil.copytree(KEPT / "results", folder / "old/results")
    (folder / "recipe.toml").write_text(RECIPE)
    rows = [json.loads(line) for line in (KEPT / "pairs.jsonl").read_text().splitlines()]
    many = [{**row, "id": f"{row['id']}-{i}"} for i in range(300) for row in rows]
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))
    put_whole_set(folder / "old/results/paper/Bags")
    for index in range(40):
        copy_results(KEPT / "results/paper/Bags", folder / "new/results", f"model-{index}")
    if like is not None and (like / "cache/memo.sqlite").is_file():
        (folder / "cache").mkdir(exist_ok=True)
        with contextlib.closing(sqlite3.connect(folder / "cache/memo.sqlite")) as memo, memo:
            memo.execute("ATTACH ? AS earlier", (str(like / "cache/memo.sqlite"),))
            memo.execute("CREATE TABLE memo (key TEXT PRIMARY KEY, value TEXT)")
            memo.execute("INSERT INTO memo SELECT * FROM earlier.memo WHERE key LIKE 'decided:%'")


def copy_results(source: Path, results: Path, name: str) -> None:
    """The results of another model, with the same numbers."""
    for path in sorted(source.glob("*.json")):
        kept = store.read(path)
        model = kept.model.model_copy(update={"name": name, "fingerprint": name})
        about = kept.provenance.dtype, kept.task_version, kept.data.sha256, kept.limit
        target = store.result_path(
            results, "paper", name, kept.task, kept.protocol, store.result_key(name, *about)
        )
        result = kept.model_copy(update={"model": model})
        store.write(target, result, store.read_outcomes(path))


def put_whole_set(folder: Path) -> None:
    """A result on as many pairs as STS12 has, for mteb's format."""
    n, rng = 3108, np.random.default_rng(0)
    gold = rng.uniform(0, 5, n).round(1)
    columns = {
        "example_id": np.array([str(i) for i in range(n)], dtype=object),
        "cluster_id": np.array([str(i) for i in range(n)], dtype=object),
        "cosine": (gold + rng.normal(size=n)).astype(np.float32),
        "gold": gold,
    }
    kept = store.read(next(folder.glob("STS12.all.8*.json")))
    scores = {
        name: Score(**dataclasses.asdict(found))
        for name, found in estimates(load_task("STS12").scores, columns)[0].items()
    }
    data = kept.data.model_copy(update={"sha256": "ab" * 32})
    result = kept.model_copy(update={"n": n, "scores": scores, "details": {}, "data": data})
    key = store.result_key(
        result.model.fingerprint or "", result.provenance.dtype, 1, data.sha256, None
    )
    store.write(folder / f"STS12.all.{key}.json", result, columns)


def start(
    command: Command, folder: Path, hub: str, said: Path | None = None
) -> subprocess.Popen[bytes]:
    """The command in a folder, with a cache of its own; `said` is what it says on stderr."""
    environment = {"PARACLIP_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
    return subprocess.Popen(
        [sys.executable, "-m", "paraclip_bench", *command.arguments],
        cwd=folder,
        env={**os.environ, **environment, "HF_ENDPOINT": hub},
        stdout=subprocess.DEVNULL,
        stderr=(said or folder / "said.txt").open("wb"),
        start_new_session=True,
    )


def drive_each(drives: Iterable[tuple[str, Callable[[Path, str], str]]]) -> bool:
    """Call each drive, named, with a folder and a hub; print its line. Whether one failed."""
    failed = False
    with tempfile.TemporaryDirectory() as folder, hub_of_sts16() as hub:
        for name, drive in drives:
            try:
                print(drive(Path(folder), hub), flush=True)
            except AssertionError as error:
                print(f"{name}: FAILED: {error}", flush=True)
                failed = True
    return failed


@contextlib.contextmanager
def hub_of_sts16() -> Iterator[str]:
    """The address of a hub that has one data set."""
    pin = load_task("STS16").pin
    assert pin is not None
    row = {"sentence1": "a dog " * 200, "sentence2": "the dog", "score": 4.0}
    lines = "".join(json.dumps(row) + "\n" for _ in range(1186)).encode()
    files = {pin.id: (pin.revision, {"test.jsonl": lines, "README.md": b"# STS16"})}
    with serve(files) as (url, _):
        yield url
