"""What every test shares: a cache of its own, and the real data where it is there."""

import os
import sys
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported: processes side by side have a core each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples each time and no clock: two people share two cores, and CI has fewer.
settings.register_profile("paraclip", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("paraclip")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache; the demo world is built once a session."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    """A test that forbids the hub's libraries the network forbids it to no other test."""
    switches = (
        ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
        ("datasets.config", "HF_HUB_OFFLINE"),
        ("paraclip_bench.data.hub", "_why_offline"),
        ("paraclip_bench.data.hub", "_is_dry"),
    )
    with pytest.MonkeyPatch.context() as patch, unittest.mock.patch.dict(os.environ):
        for module, switch in switches:
            if module in sys.modules:  # set so that it is put back, whoever changes it
                patch.setattr(sys.modules[module], switch, getattr(sys.modules[module], switch))
        yield


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """The path of a file or folder of the real data; skips the test where it is absent."""

    def find(relative: str) -> Path:
        shared = Path(os.environ.get("PARACLIP_SHARED", REPOSITORY.parent / "shared"))
        path = shared / "data" / relative
        if not path.exists():
            pytest.skip(f"real data: {path} is absent (PARACLIP_SHARED names its folder)")
        return path

    return find


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own: nothing is stored yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PARACLIP_CACHE", str(folder))
    return folder
