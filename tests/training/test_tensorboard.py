"""The TensorBoard log, an extra: what is in it is what losses.jsonl has."""

import subprocess
import sys
from pathlib import Path

import pytest
from fine_tuning import losses, run

pytest.importorskip("tensorboard", reason="the extra paraclip-bench[tensorboard] is not installed")

READ = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
for event in events.Scalars("loss"):
    print(event.step, event.value)
"""


def test_the_log_has_each_step_s_loss(base: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = "batch_size = 8\nsteps = 4\nwarmup_steps = 1\n"
    folder = run(base, pairs, recipe, tmp_path / "out", tensorboard=True)
    # In a process of its own, because what it imports warns.
    command = [sys.executable, "-W", "ignore", "-c", READ, str(folder / "tensorboard")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in printed.splitlines()]
    assert [int(step) for step, _ in found] == [1, 2, 3, 4]
    wanted = [line["loss"] for line in losses(folder)]
    assert [float(value) for _, value in found] == pytest.approx(wanted, abs=1e-6)
