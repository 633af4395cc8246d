"""A disk that is full, or a write that stops midway: the last good training state stays."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fine_tuning import WEIGHTS, run
from safetensors import safe_open

from paraclip_bench.errors import BenchError

RECIPE = "batch_size = 8\nsteps = 6\nwarmup_steps = 1\nlearning_rate = 1e-2\nsave_every = 2\n"
STATE = "training_state.safetensors"


@pytest.mark.slow
def test_a_file_too_large_for_the_disk_is_one_sentence_and_the_run_goes_on_later(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    """The kernel refuses to let files grow past a limit, as a full disk or a quota does."""
    wanted = run(base, pairs, RECIPE, tmp_path / "undisturbed")
    (tmp_path / "r.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "paraclip_bench", "finetune", "--base", f"local-dir:{base}"]
    command += ["--data", str(pairs[0]), "--images", str(pairs[1])]
    command += ["--recipe", str(tmp_path / "r.toml"), "-o", str(tmp_path / "out")]

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write() fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    done = subprocess.run(
        command,
        preexec_fn=limit,
        env={**os.environ, "PARACLIP_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert f"{STATE} cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert not any(name.startswith(f".{STATE}") for name in left), left
    made = run(base, pairs, tmp_path / "r.toml", tmp_path / "out", resume=True)
    assert (made / WEIGHTS).read_bytes() == (wanted / WEIGHTS).read_bytes()


def test_a_write_that_stops_midway_leaves_the_state_before_it(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    wanted = run(base, pairs, RECIPE, tmp_path / "undisturbed")
    whole, written = safetensors.torch.save_file, []

    def stop(tensors: object, path: Path, metadata: object = None) -> None:
        written.append(path)
        whole(tensors, path, metadata)  # type: ignore[arg-type]
        if len(written) == 2:  # the state of step 4
            with Path(path).open("r+b") as file:
                file.truncate(1000)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", stop)
    with pytest.raises(BenchError, match=r"No space left on device"):
        run(base, pairs, RECIPE, tmp_path / "out")
    kept = (tmp_path / "out" / STATE).read_bytes()
    monkeypatch.undo()
    assert b'"step":"2"' in kept[:100_000]
    made = run(base, pairs, RECIPE, tmp_path / "out", resume=True)
    assert (made / WEIGHTS).read_bytes() == (wanted / WEIGHTS).read_bytes()


SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from paraclip_bench import finetune

base, data, images, recipe, out = sys.argv[1:]


def stop():
    log = Path(out) / "losses.jsonl"
    while not log.is_file() or log.read_text().count("\\n") < 3:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=stop, daemon=True).start()
try:
    finetune(base=base, data=data, images=images, recipe=recipe, out=out, quiet=True)
except KeyboardInterrupt:
    unblocked = signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("stopped", unblocked and usual)
"""


def test_ctrl_c_in_a_script_of_a_user_s_saves_the_last_whole_step(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Called from Python, the interpreter's own KeyboardInterrupt ends a run."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE.replace("save_every = 2", "save_every = 1000") + 'name = "s"\n')
    recipe.write_text(recipe.read_text().replace("steps = 6", "steps = 200"))
    out = tmp_path / "out"
    files = [f"local-dir:{base}", *map(str, pairs), str(recipe), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files],
        env={**os.environ, "PARACLIP_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout == "stopped True\n", done.stderr
    with safe_open(out / STATE, framework="pt") as state:
        step = int(state.metadata()["step"])
    assert step >= 3
    assert step == (out / "losses.jsonl").read_text().count("\n")
