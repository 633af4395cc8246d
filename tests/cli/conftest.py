"""The program run in this process, a tiny model and a little data."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
from PIL import Image

from paraclip_bench.cli.app import main


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def fails(self, code: int, *parts: str) -> None:
        """One sentence on stderr, with these parts, and this exit code."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.err
        assert "error: unexpected" not in self.err
        for part in parts:
            assert part in lines[0]


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run the program with these arguments, in an empty working directory, without a network."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:  # put back afterwards, for --offline writes there
            monkeypatch.setattr(sys.modules[name], "HF_HUB_OFFLINE", True)

    def run(*arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", ["paraclip-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return Ended(int(end.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random CLIP; not to be changed."""
    return tiny_clip.save(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A --data-dir: two STS sets of three pairs, a gallery of ten drawn images."""
    root = tmp_path / "data"
    (root / "sts").mkdir(parents=True)
    rows = "score\tsentence1\tsentence2\n5\ta cat\ta cat\n3\ta dog\tthe hound\n0\ta car\train\n"
    for name in ("STS12", "STS13"):
        (root / "sts" / f"{name}.tsv").write_text(rows)
    images = root / "paraphrased-retrieval" / "images"
    images.mkdir(parents=True)
    for index in range(10):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index}.png")
    (images.parent / "queries.jsonl").write_text(
        '{"query": "a cat", "paraphrase": "a feline", "image_id": "3.png"}\n'
        '{"query": "a dog", "paraphrase": "a hound"}\n'
    )
    return root
