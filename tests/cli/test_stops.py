"""Ctrl-C and SIGTERM: within two seconds, one sentence, nothing lost, nothing left running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.training.checkpoint import STATE

# Two seconds are the promise; two cores that are shared may take somewhat longer.
LIMIT = 2.0 + 2.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
both = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
STOPPED = "stopped; what was finished is kept: "
AGAIN = STOPPED + "run the same command again, it goes on where it was"


def start(*arguments: object, cwd: Path, **env: str) -> "subprocess.Popen[str]":
    """A program in a session of its own, so that it can be sent what a terminal sends."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process: "subprocess.Popen[str]", condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not get so far"
        time.sleep(0.02)


def stopped(process: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Send a signal as a terminal does, or as `kill`; the last line of what is said."""
    begun = time.monotonic()
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < LIMIT, said
    assert process.returncode == CODES[number], said
    assert "Traceback" not in said
    assert said.count(STOPPED) == 1, said
    wait_until_gone(process.pid)
    return said.splitlines()[-1]


def wait_until_gone(group: int) -> None:
    """No process of the group is left, zombies apart, which nobody may collect in a container."""
    deadline = time.monotonic() + 2
    while left := [stat for stat in stats() if stat[2] == str(group) and stat[0] != "Z"]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def stats() -> list[list[str]]:
    """Of each process its state, parent and group (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found.append(path.read_text().rpartition(")")[2].split()[:3])
        except OSError:
            continue
    return found


SCRIPT = """
import hashlib, sys, time
from paraclip_bench import interrupts

def computes():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def swallows():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def defers():
    with interrupts.deferred():
        time.sleep(60)

def saves():
    try:
        time.sleep(60)
    finally:
        with interrupts.keeping("the work"):
            time.sleep(float(sys.argv[2]))
            print("saved", flush=True)

with interrupts.handled():
    interrupts.note("at 7")
    print("begun", flush=True)
    {case}()
"""


def script(tmp_path: Path, case: str, *arguments: object) -> "subprocess.Popen[str]":
    (tmp_path / "script.py").write_text(SCRIPT.replace("{case}", case))
    process = start("script.py", case, *arguments, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.2)
    return process


@both
@pytest.mark.parametrize("case", ["computes", "swallows", "defers"])
def test_what_does_not_end_by_itself_is_ended(tmp_path, case, number):
    assert stopped(script(tmp_path, case), number) == STOPPED + "run the same command again, at 7"


def test_saving_may_take_longer_and_a_second_ctrl_c_does_without(tmp_path):
    process = script(tmp_path, "saves", 3)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "saved\n")
    assert said.splitlines() == [
        "saving the work before the end; ctrl-C again does without",
        STOPPED + "run the same command again, at 7",
    ]
    process = script(tmp_path, "saves", 60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert time.monotonic() - begun < 1
    assert (process.returncode, out) == (130, "")


@pytest.fixture
def training(tmp_path: Path) -> list[object]:
    """The command line of a fine-tuning of some seconds."""
    rng = np.random.default_rng(0)
    tiny_clip.save(tmp_path / "base", tiny_clip.build(quick_gelu=True))
    (tmp_path / "images").mkdir()
    rows = []
    for index in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
        words = [" ".join(rng.choice(["red", "ball", "box", "left", "small"], 5)) for _ in "abc"]
        texts = zip(("caption", "paraphrase_1", "paraphrase_2"), words, strict=True)
        rows.append({"image": f"{index}.png", **dict(texts)})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(
        "batch_size = 8\nsteps = 300\nwarmup_steps = 2\nlearning_rate = 1e-3\nsave_every = 10000\n"
    )
    return [
        *("-m", "paraclip_bench", "finetune", "--base", f"local-dir:{tmp_path / 'base'}"),
        *("--data", "pairs.jsonl", "--images", "images", "--recipe", "recipe.toml", "-o"),
    ]


def steps(folder: Path) -> int:
    path = folder / "losses.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.slow
def test_finetune_saves_its_state_and_goes_on_to_the_same_weights(training, tmp_path):
    cut = tmp_path / "cut"
    for number, least in ((signal.SIGINT, 20), (signal.SIGTERM, 120)):
        process = start(*training, "cut", "--resume", cwd=tmp_path)
        wait_for(process, lambda least=least: steps(cut) > least)
        said = stopped(process, number)
        begin = STOPPED + "run the same command with --resume, and training goes on at step "
        assert said.startswith(begin), said
        step = int(said.removeprefix(begin).partition(",")[0])
        assert step == steps(cut) + 1
        assert step > least
    process = start(*training, "cut", "--resume", cwd=tmp_path)
    _, said = process.communicate(timeout=120)
    assert f"going on after step {step - 1}," in said
    process = start(*training, "whole", cwd=tmp_path)
    assert process.communicate(timeout=120)
    weights = [tmp_path / name / "open_clip_model.safetensors" for name in ("cut", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (cut / STATE).exists()


@pytest.mark.slow
def test_finetune_that_was_stopped_early_takes_no_other_seed_or_recipe(training, tmp_path):
    """There is no state yet, but the folder is this run's."""
    process = start(*training, "early", cwd=tmp_path)
    wait_for(process, (tmp_path / "early" / "begun.json").is_file)
    assert "with --resume, and training " in stopped(process, signal.SIGTERM)
    (tmp_path / "early" / STATE).unlink(missing_ok=True)
    other = (tmp_path / "recipe.toml").read_text().replace("1e-3", "1e-4")
    (tmp_path / "other.toml").write_text(other)
    for options, said in (
        (("--seed", 7), "begun with another seed (0)"),
        (("--recipe", "other.toml"), "begun with another learning_rate (0.001)"),
    ):
        process = start(*training, "early", "--resume", *options, cwd=tmp_path)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 2
        assert said in error


MODEL = '''
import time
from paraclip_bench.encoding import prefetcher
from paraclip_bench.models.open_clip import LocalFolder

prefetcher._WORTH_PROCESSES = 1


class Slow(LocalFolder):
    """The tiny CLIP, resting before each batch of images."""

    def __init__(self, argument):
        super().__init__(argument)
        encode = self.image.encode
        self.image.encode = lambda batch: (time.sleep(0.5), encode(batch))[1]
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "wait"),
    [
        pytest.param(signal.SIGINT, True, id="SIGINT-encoding"),
        pytest.param(signal.SIGINT, False, id="SIGINT-starting", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, id="SIGTERM-encoding", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, id="SIGTERM-starting", marks=pytest.mark.slow),
    ],
)
def test_run_with_workers_for_images(tmp_path, number, wait):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "paraphrased-retrieval"
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(900):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        row = {"query": f"picture {index}", "paraphrase": f"a photo, {index}"}
        rows.append({**row, "image_id": f"{index}.png"})
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "slow.py").write_text(MODEL)
    tiny_clip.save(tmp_path / "tiny")
    process = start(
        *("-m", "paraclip_bench", "run", "-m", f"slow.py:Slow:{tmp_path / 'tiny'}"),
        *("-t", "paraphrased-retrieval", "--data-dir", "data"),
        cwd=tmp_path,
        PARACLIP_WORKERS="2",
        PARACLIP_CACHE=str(tmp_path / "cache"),
    )

    def workers() -> int:
        return sum(stat[1] == str(process.pid) and stat[0] != "Z" for stat in stats())

    # The resource tracker is a child, too.
    wait_for(process, lambda: workers() >= 3)
    if wait:
        time.sleep(6)
        assert process.poll() is None
    assert stopped(process, number) == AGAIN


@both
def test_prefetch_from_a_hub_that_does_not_answer(tmp_path, number):
    with socket.create_server(("127.0.0.1", 0)) as hub:
        process = start(
            *("-m", "paraclip_bench", "data", "prefetch", "sts12"),
            cwd=tmp_path,
            HF_ENDPOINT=f"http://127.0.0.1:{hub.getsockname()[1]}",
            HF_HOME=str(tmp_path / "hub"),
            **dict.fromkeys(("HF_HUB_OFFLINE", "NO_PROXY"), ""),
        )
        hub.settimeout(60)
        hub.accept()[0].close()  # asked whether it can be reached
        with hub.accept()[0]:
            assert stopped(process, number) == AGAIN


@both
@pytest.mark.parametrize(
    "delay",
    [0.3, pytest.param(2.0, marks=pytest.mark.slow), pytest.param(12.0, marks=pytest.mark.slow)],
)
def test_the_demo_wherever_it_is(tmp_path, number, delay):
    process = start("-m", "paraclip_bench", "demo", cwd=tmp_path)
    time.sleep(delay)
    # Before it has begun there is nothing to go on with yet.
    begin = AGAIN if delay > 1 else STOPPED + "run the same command again"
    assert stopped(process, number).startswith(begin)


@both
def test_while_an_object_is_deleted(tmp_path, number):
    """What is raised there is ignored by Python, with a traceback on stderr."""
    code = (
        "import time\nfrom pathlib import Path\nfrom paraclip_bench import interrupts\n"
        "class Slow:\n"
        "    def __del__(self):\n"
        "        Path('begun').touch()\n"
        "        [time.sleep(0.01) for _ in range(200)]\n"
        "with interrupts.handled():\n"
        "    Slow()\n"
        "    [time.sleep(0.01) for _ in range(3000)]\n"
    )
    process = start("-c", code, cwd=tmp_path)
    wait_for(process, lambda: (tmp_path / "begun").exists())
    assert stopped(process, number) == STOPPED + "run the same command again"


@pytest.mark.slow
@both
@pytest.mark.parametrize("delay", [1.5, 6.0, 9.0])
def test_a_sweep_wherever_it_is(tmp_path, number, delay):
    for name in ("one", "two"):
        tiny_clip.save(tmp_path / name, tiny_clip.build())
    alphas = [option for i in range(41) for option in ("--alpha", i / 40)]
    process = start(
        *("-m", "paraclip_bench", "merge", "local-dir:one", "local-dir:two", "--sweep"),
        *(*alphas, "--suite", "demo"),
        cwd=tmp_path,
    )
    time.sleep(delay)
    assert stopped(process, number) == AGAIN


@pytest.mark.slow
@both
def test_all_processes_of_torchrun_end(training, tmp_path, number):
    process = start(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *(*training, "out"),
        cwd=tmp_path,
        OMP_NUM_THREADS="1",
    )
    wait_for(process, lambda: steps(tmp_path / "out") > 20)
    ranks = [stat for stat in stats() if stat[1] == str(process.pid)]
    assert len(ranks) >= 2
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 2 * LIMIT
    assert said.count(STOPPED) == 1, said
    assert "and training goes on at step " in said
    assert (tmp_path / "out" / STATE).is_file()
    for _, _, group in ranks:
        wait_until_gone(int(group))
