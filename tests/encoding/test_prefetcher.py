"""Images are prepared ahead, in order and a few at a time, by processes or by threads."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding import prefetcher
from paraclip_bench.encoding.prefetcher import Prefetcher
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.models.open_clip.pixels import Pixels

SETTINGS = {
    "size": 32, "mode": "RGB", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip


class Prepare:
    """An encoder's `prepare` that says which process it ran in."""

    def __init__(self) -> None:
        self.pixels = Pixels(SETTINGS)

    def __call__(self, ref):
        return (self.pixels(ref.open())[0], os.getpid()), 4


@pytest.fixture
def refs(tmp_path: Path) -> list[ImageRef]:
    made = []
    for index in range(70):
        path = tmp_path / f"{index:02}.png"
        Image.new("RGB", (40, 36), (index, 2 * index, 3 * index)).save(path)
        made.append(ImageRef(path.name, path=path))
    return made


def chunks(count: int, size: int = 32) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def run(refs, *, lenient=False, prepare=None, said=None):
    pool = Prefetcher(
        prepare or Prepare(),
        refs,
        len(refs),
        lenient=lenient,
        say=([] if said is None else said).append,
    )
    got = list(pool.chunks(chunks(len(refs))))
    assert [index for chunk, _ in got for index in chunk] == list(range(len(refs)))
    return [item for _, items in got for item in items]


@pytest.mark.slow
def test_processes_and_threads_prepare_the_same_pixels(refs, monkeypatch):
    import torch

    threads = run(refs)
    assert {process for (_, process), _, _ in threads} == {os.getpid()}
    monkeypatch.setattr(prefetcher, "_WORTH_PROCESSES", 1)
    monkeypatch.setenv("PARACLIP_WORKERS", "2")
    processes = run(refs, prepare=Worker())
    others = {process for (_, process), _, _ in processes}
    assert os.getpid() not in others
    for ((ours, _), _, _), ((theirs, _), _, _) in zip(threads, processes, strict=True):
        assert torch.equal(ours, theirs)


class Worker(Prepare):
    """As `Prepare`, found by worker processes under a name that they can import."""

    def __reduce__(self):
        return _made_in_a_worker, ()


def _made_in_a_worker():
    return Worker()


def test_only_two_chunks_are_in_memory(refs):
    prepared = []

    class Counts(Prepare):
        def __call__(self, ref):
            prepared.append(ref.id)
            return super().__call__(ref)

    pool = Prefetcher(Counts(), refs, len(refs), lenient=False, say=print)
    stream = pool.chunks(chunks(len(refs), 10))
    next(stream)
    assert len(prepared) <= 20
    next(stream)
    assert len(prepared) <= 30
    stream.close()


@pytest.mark.parametrize("lenient", [False, True])
def test_a_file_that_is_cut_off(refs, lenient):
    photo = Image.effect_noise((64, 64), 90).convert("RGB")
    whole = refs[3].path
    photo.save(whole, "JPEG")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    if not lenient:
        with pytest.raises(DataError, match=r"03\.png is damaged"):
            run(refs)
        return
    flags = [cut_off for _, _, cut_off in run(refs, lenient=True)]
    assert [index for index, flag in enumerate(flags) if flag] == [3]


def test_what_is_no_image_fails_even_so(refs):
    refs[3].path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"03\.png is not an image"):
        run(refs, lenient=True)


def test_workers_setting(monkeypatch):
    monkeypatch.setenv("PARACLIP_WORKERS", "3")
    assert prefetcher.workers() == 3
    monkeypatch.setenv("PARACLIP_WORKERS", "many")
    with pytest.raises(UsageError, match="PARACLIP_WORKERS is 'many'"):
        prefetcher.workers()


def test_what_cannot_travel_stays_in_this_process(refs, monkeypatch):
    monkeypatch.setattr(prefetcher, "_WORTH_PROCESSES", 1)
    monkeypatch.setenv("PARACLIP_WORKERS", "2")
    here = Prepare()
    here.handle = lambda: None  # no lambda can be pickled
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(here)
    assert {process for (_, process), _, _ in run(refs, prepare=here)} == {os.getpid()}
    heavy = Prepare()
    heavy.weights = bytes(2 << 20)
    assert {process for (_, process), _, _ in run(refs, prepare=heavy)} == {os.getpid()}


@pytest.mark.slow
def test_workers_that_cannot_start_leave_threads(refs, monkeypatch):
    monkeypatch.setattr(prefetcher, "_WORTH_PROCESSES", 1)
    monkeypatch.setenv("PARACLIP_WORKERS", "1")

    said = []
    items = run(refs, prepare=Dies(), said=said)
    assert len(items) == len(refs)
    assert len(said) == 1
    assert "prepared in threads" in said[0]


@pytest.mark.slow
def test_workers_that_die_on_the_way_leave_threads(refs, monkeypatch):
    monkeypatch.setattr(prefetcher, "_WORTH_PROCESSES", 1)
    monkeypatch.setenv("PARACLIP_WORKERS", "1")
    said: list[str] = []
    pool = prefetcher.Prefetcher(Prepare(), refs, len(refs), lenient=False, say=said.append)
    found = []
    for chunk, prepared in pool.chunks([[index] for index in range(len(refs))]):
        found += chunk
        assert len(prepared) == 1
        if len(found) == 2:
            for process in list(pool._pool._processes.values()):
                process.kill()
                process.join()
            time.sleep(0.5)  # the pool notices in a thread of its own
    assert found == list(range(len(refs)))
    assert len(said) == 1


@pytest.mark.slow
def test_workers_end_with_a_killed_run(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(WAITS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.kill()
    deadline = time.monotonic() + 20
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its run"
        time.sleep(0.1)


WAITS = """
import os, time
from paraclip_bench.encoding import prefetcher

def prepare(ref):
    return os.getpid(), 1

if __name__ == "__main__":
    os.environ["PARACLIP_WORKERS"] = "1"
    prefetcher._WORTH_PROCESSES = 1
    from paraclip_bench.data.images import ImageRef
    pool = prefetcher.Prefetcher(prepare, [ImageRef("a")], 1, lenient=False, say=print)
    for _, prepared in pool.chunks([[0]]):
        print(prepared[0][0], flush=True)
        time.sleep(60)
"""


SMALL = """
import os, sys
from pathlib import Path
import torch
from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding import prefetcher
from paraclip_bench.models.open_clip.pixels import Pixels

class Prepare:
    def __init__(self):
        self.pixels = Pixels({settings})

    def __call__(self, ref):
        return self.pixels(ref.open())[0], os.getpid()

if __name__ == "__main__":
    prefetcher._WORTH_PROCESSES = 1
    refs = [ImageRef(path.name, path=path) for path in sorted(Path(sys.argv[1]).glob("*.png"))]
    runs = []
    for workers in ("2", "0"):
        os.environ["PARACLIP_WORKERS"] = workers
        pool = prefetcher.Prefetcher(Prepare(), refs, len(refs), lenient=False, say=print)
        chunks = [range(start, min(start + 32, len(refs))) for start in range(0, len(refs), 32)]
        runs.append([item for _, items in pool.chunks(chunks) for item in items])
    there, here = runs
    assert all(torch.equal(a, b) for (a, _, _), (b, _, _) in zip(there, here, strict=True))
    print("in workers" if os.getpid() not in {{pid for _, pid, _ in there}} else "in threads")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("true", "in workers"),
        # Not even the workers' semaphores find room.
        ("head -c 4M /dev/zero > /dev/shm/full; true", "in threads"),
    ],
    ids=["1 MB", "full"],
)
def test_images_travel_where_there_is_hardly_any_shared_memory(refs, tmp_path, before, said):
    """As in a container, which has 64 MB of it: 70 images of 224 x 224 are 42 MB."""
    mount = ["unshare", "-rm", "sh", "-c"]
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    try:
        allowed = subprocess.run([*mount, small], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("a small /dev/shm: this system lets no test mount one (unshare -rm)")
    script = tmp_path / "small.py"
    script.write_text(SMALL.format(settings={**SETTINGS, "size": 224}))
    done = subprocess.run(
        [*mount, f"{small} && {{ {before}; }} && exec {sys.executable} {script} {tmp_path}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == said, done.stdout
    assert ("note: no worker processes here" in done.stdout) == (said == "in threads")


def test_what_a_worker_sends_comes_back_as_it_was():
    """Tensors of every type and form, deep in what a plugin's `prepare` may give."""
    import torch

    view = torch.arange(12.0).reshape(3, 4)[:, 1:3]
    data = {
        "pixels": torch.rand(3, 4, 4),
        "half": torch.rand(3).bfloat16(),
        "view": view,
        "gradient": torch.rand(2, requires_grad=True),
        "nested": [np.arange(3), (torch.tensor(True), None, "text")],
    }
    sent = prefetcher._prepare_there(lambda ref: (data, 1), [ImageRef("a")])
    ((got, size, cut_off),) = pickle.loads(sent)
    assert (size, cut_off) == (1, False)
    for name in ("pixels", "half", "view", "gradient"):
        assert torch.equal(got[name], data[name])
        assert (got[name].dtype, got[name].requires_grad) == (
            data[name].dtype,
            data[name].requires_grad,
        )
    assert got["nested"][0].tolist() == [0, 1, 2]
    assert got["nested"][1] == (torch.tensor(True), None, "text")
    got["pixels"] += 1  # what comes back may be written to


def is_alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


class Dies(Prepare):
    """Ends the process that it is unpickled in."""

    def __reduce__(self):
        return os._exit, (7,)
