"""Is the hub there? Asked once, briefly; what is said where it is not."""

import os
import socket
import sys

import pytest

from paraclip_bench.data import hub
from paraclip_bench.errors import DataError

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Nothing of the caller's network settings."""
    for name in OFFLINE:
        monkeypatch.setenv(name, "0")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "HF_HUB_OFFLINE", False)


@pytest.fixture
def port():
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ask():
    return hub.once_reachable.__wrapped__()


def test_a_hub_that_answers(monkeypatch, port):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert ask() is True
    assert os.environ["HF_HUB_OFFLINE"] == "0"


def test_a_hub_behind_a_proxy(monkeypatch, port):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    assert ask() is True


@pytest.mark.parametrize("endpoint", ["https://hub.invalid", "http://127.0.0.1:1"])
def test_a_hub_that_does_not_answer_puts_its_libraries_offline(monkeypatch, endpoint):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert ask() is False
    assert {os.environ[name] for name in OFFLINE} == {"1"}
    assert huggingface_hub.constants.HF_HUB_OFFLINE is True
    said = str(hub.unreachable("set X", ConnectionError("no"), DataError, local="files"))
    host = endpoint.split("//")[1].split(":")[0]
    assert said == (
        f"set X cannot be had: not in the local cache, and {host} cannot be reached; "
        "fetch it once with the network, or give files"
    )


def test_a_hub_that_answers_with_an_error_is_told_with_it():
    said = str(hub.unreachable("set X", ValueError("no such\nset"), DataError))
    assert "from the hub (ValueError: no such)" in said
    assert "check its name and the network" in said


def test_a_gated_repository_wants_its_licence_accepted():
    """The libraries' own words for it."""
    for text in (
        "Dataset 'a/b' is a gated dataset on the Hub. You must be authenticated to access it.",
        "403 Client Error.\n\nCannot access gated repo for url https://hub.invalid/a/b.",
        "You are trying to access a gated repo.\nMake sure to have access to it.",
    ):
        said = str(hub.unreachable("set X", OSError(text), DataError, local="files"))
        assert said == (
            "set X is gated; accept its licence on its page on the hub, with the account whose "
            "token is in HF_TOKEN, or give files"
        )


@pytest.mark.parametrize("word", ["1", "true", "ON", "Yes"])
def test_whoever_forbids_the_network_is_named(monkeypatch, word):
    """As huggingface_hub reads them: the first that is set decides."""
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", word)
    assert hub.offline_by() is None
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert hub.offline_by() == "TRANSFORMERS_OFFLINE"
    assert ask() is False
    said = str(hub.unreachable("set X", FileNotFoundError("gone"), DataError))
    assert "not in the local cache, and TRANSFORMERS_OFFLINE is set" in said
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    assert hub.offline_by() == "HF_HUB_OFFLINE"


def test_offline_says_so():
    hub.go_offline()
    assert ask() is False
    said = str(hub.unreachable("set X", FileNotFoundError("gone"), DataError))
    assert "--offline forbids the network" in said


def test_a_dry_run_says_what_a_run_would_fetch():
    hub.go_offline(dry=True)
    error = hub.unreachable("set X", FileNotFoundError("gone"), DataError)
    assert str(error) == "set X is not in the local cache; a run fetches it from the hub"
    assert error.fetchable
    hub.go_offline()
    assert not hub.unreachable("set X", FileNotFoundError("gone"), DataError).fetchable
