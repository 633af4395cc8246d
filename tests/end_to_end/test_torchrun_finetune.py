"""`torchrun … -m paraclip_bench finetune`: N processes train as one with N times the batch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
import torch
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

WEIGHTS = "open_clip_model.safetensors"
WORDS = ["red", "green", "blue", "small", "large", "ball", "box", "cone", "left", "above", "below"]
RECIPE = """
batch_size = {batch}
steps = {steps}
learning_rate = 1e-3
warmup_steps = 2
save_every = 3
chunk_tokens = 128
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pairs on 24 images, and a base whose losses are not all alike."""
    root = tmp_path_factory.mktemp("data")
    model = tiny_clip.build()
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
    tiny_clip.save(root / "base", model)
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    rows = []
    for index in range(48):
        name = f"{index % 24}.png"
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)
        texts = [" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(3)]
        keys = ("caption", "paraphrase_1", "paraphrase_2")
        row = dict(zip(keys, texts, strict=True))
        rows.append({"image": name, **row, "negation": f"not {texts[0]}"})
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


LEARNED = """
[[loss]]
views = ["image", "caption"]
[[loss]]
kind = "hinge"
views = ["caption", "negation"]
projection = 4
learned = true
[[loss]]
kind = "hard_negatives"
views = ["image", "paraphrase_2", "negation"]
"""


def command(data: Path, out: Path, *, batch: int, steps: int = 8, loss: str = "") -> list[str]:
    recipe = out.with_suffix(".toml")
    recipe.write_text(RECIPE.format(batch=batch, steps=steps) + loss)
    return [
        "-m", "paraclip_bench", "finetune", "--base", f"local-dir:{data / 'base'}",
        "--data", str(data / "pairs.jsonl"), "--images", str(data / "images"),
        "--recipe", str(recipe), "-o", str(out),
    ]  # fmt: skip


def environment(out: Path) -> dict[str, str]:
    cache = str(out.with_name(f"{out.name}-cache"))
    return {**os.environ, "PARACLIP_CACHE": cache, "OMP_NUM_THREADS": "1"}


def run(program: list[str], arguments: list[str], out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *arguments],
        env=environment(out),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def torchrun(processes: int, *options: str) -> list[str]:
    count = f"--nproc-per-node={processes}"
    return [sys.executable, "-m", "torch.distributed.run", count, *options]


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("loss", ["", LEARNED])
def test_two_processes_train_as_one_with_twice_the_batch(
    data: Path, tmp_path: Path, loss: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = run([sys.executable], command(data, one, batch=16, loss=loss), one)
    both = run(torchrun(2), command(data, two, batch=8, loss=loss), two)
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert both.stdout.splitlines() == [str(two)]
    assert both.stderr.count("written after") == 1
    assert json.loads((two / "provenance.json").read_text())["world_size"] == 2
    first, second = losses(one), losses(two)
    assert len(first) == len(second) == 8
    for left, right in zip(first, second, strict=True):
        assert right == pytest.approx(left, abs=1e-5)
    assert first[-1]["loss"] < 0.9 * first[0]["loss"]
    weights, same = load_file(one / WEIGHTS), load_file(two / WEIGHTS)
    for name, value in weights.items():
        assert float((value - same[name]).abs().max()) <= 1e-5, name


def test_a_number_of_processes_is_not_changed_on_the_way(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(torchrun(2), command(data, out, batch=8, steps=2), out)
    assert done.returncode == 0, done.stderr
    again = run([sys.executable], command(data, out, batch=8, steps=2), out)
    assert again.returncode == 2
    assert "finished checkpoint of another number of processes (2)" in again.stderr


def killed_once(data: Path, out: Path, wait_for: str, process: subprocess.Popen[bytes]) -> None:
    """kill -9 a run once it has written a file."""
    deadline = time.monotonic() + 120
    while not (out / wait_for).exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_after_a_kill_it_goes_on_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = command(data, cut, batch=16, steps=60)
    done = run([sys.executable], command(data, whole, batch=16, steps=60), whole)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen([sys.executable, *arguments], env=environment(cut))
    killed_once(data, cut, "training_state.safetensors", process)
    assert not (cut / WEIGHTS).exists()
    assert run([sys.executable], arguments, cut).returncode == 2
    resumed = run([sys.executable], [*arguments, "--resume"], cut)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after step" in resumed.stderr
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(cut) == losses(whole)


FAILS = """
import os, runpy, sys
from paraclip_bench.training import loop

real = loop.batch_rows

def failing(pairs, batch, step, seed):
    if step == 5 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
        os._exit(7)
    return real(pairs, batch, step, seed)

loop.batch_rows = failing
sys.argv = ["paraclip-bench", *sys.argv[1:]]
runpy.run_module("paraclip_bench", run_name="__main__")
"""


def test_a_restart_by_torchrun_goes_on(data: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    arguments = command(data, cut, batch=8)[2:]
    done = run(torchrun(2), command(data, whole, batch=8), whole)
    restarted = run(torchrun(2, "--max-restarts=1"), [str(script), *arguments], cut)
    assert (done.returncode, restarted.returncode) == (0, 0), restarted.stderr
    # Of the last state, or of what the other rank saved when torchrun stopped it.
    assert re.search(r"going on after step [3-9]", restarted.stderr)
    assert losses(cut) == losses(whole)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
