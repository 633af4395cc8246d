"""Without a terminal a long job says every few seconds how far it is, on stderr."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.progress import Count, Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_has_count_rate_and_time_left():
    clock = Clock()
    count = Count("clip: images", 8000, clock)
    count.advance(6000)  # stored before: no measure of speed
    clock.now += 1
    count.sample()
    count.advance(400)
    clock.now += 4
    assert count.line() == "clip: images: 6,400 of 8,000 (80%), 100/s, 16 s left"
    clock.now += 10
    count.advance(1600)
    assert count.line() == "clip: images: 8,000 of 8,000 (100%), 143/s, 0 s left"


@pytest.mark.parametrize(
    ("total", "done", "line"),
    [
        (10, 0, "job: 0 of 10 (0%)"),
        (10, 1, "job: 1 of 10 (10%), 1.2/min, 7 min 30 s left"),
        (1_000_000, 100, "job: 100 of 1,000,000 (0%), 2.0/s, 138 h 52 min left"),
        (0, 0, "job: 0 of 0 (100%)"),
        (None, 0, "job: 50 s so far"),
        (None, 5000, "job: 5,000 so far, 100/s"),
    ],
)
def test_lines_of_other_jobs(total, done, line):
    clock = Clock()
    count = Count("job", total, clock)
    clock.now += 50
    count.advance(done)
    assert count.line() == line


def test_lines_come_also_while_nothing_advances_and_end_with_the_job(capsys):
    progress = Progress(first=0.2, every=0.2)
    with progress.track("a\x1b[2Jjob", 3) as advance:
        time.sleep(0.9)
        advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert set(lines) == {"a\\x1b[2Jjob: 0 of 3 (0%)"}
    with Progress(first=0.1, every=0.1, quiet=True).track("job", 3):
        time.sleep(0.3)
    with Progress().track("short", 3):
        time.sleep(0.3)
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


# Each batch of images takes its time, as a large model's on a CPU.
SLOW = """
import sys, time

from paraclip_bench.cli import main
from paraclip_bench.encoding.batching import OutOfMemoryFallback

real = OutOfMemoryFallback.encode
OutOfMemoryFallback.encode = lambda self, batch: (time.sleep(0.6), real(self, batch))[1]
sys.argv = ["paraclip-bench", *sys.argv[1:]]
main()
"""


def slow(tmp_path: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "slow.py").write_text(SLOW)
    return subprocess.run(
        [sys.executable, "slow.py", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PARACLIP_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    folder = tmp_path / "data" / "paraphrased-retrieval" / "images"
    folder.mkdir(parents=True)
    tiny_clip.save(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    for index in range(700):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [f"{index}.png" for index in range(700)]


LINE = re.compile(r"tiny: images: \d+ of 700 \(\d+%\)(, [\d.,]+/(s|min), .* left)?")


@pytest.mark.slow
def test_finetune_says_how_far_its_images_are(images, tmp_path):
    texts = {name: f"{name} text" for name in ("caption", "paraphrase_1", "paraphrase_2")}
    rows = [{"image": name, **{k: f"{v} {name}" for k, v in texts.items()}} for name in images]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text("batch_size = 8\nsteps = 2\nwarmup_steps = 1\n")
    done = slow(
        *(tmp_path, "finetune", "--base", f"local-dir:{tmp_path / 'tiny'}", "-o", "out"),
        *("--data", "pairs.jsonl", "--recipe", "recipe.toml"),
        *("--images", "data/paraphrased-retrieval/images"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    assert [line for line in done.stderr.splitlines() if LINE.fullmatch(line)], done.stderr


@pytest.mark.slow
def test_run_says_it_on_stderr_and_json_stays_json(images, tmp_path):
    rows = [{"query": name, "paraphrase": f"a {name}", "image_id": name} for name in images]
    queries = tmp_path / "data" / "paraphrased-retrieval" / "queries.jsonl"
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = slow(
        *(tmp_path, "run", "-m", f"local-dir:{tmp_path / 'tiny'}", "--data-dir", "data", "--json"),
        *("-t", "paraphrased-retrieval"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] == []
    assert [line for line in done.stderr.splitlines() if LINE.fullmatch(line)], done.stderr
