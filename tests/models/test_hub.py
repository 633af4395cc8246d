"""Is the hub there? Asked once, briefly; what is said where it is not."""

import os
import socket
import subprocess
import sys

import hub_cache
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


_LOAD = """
import os
from paraclip_bench.data import hub
from paraclip_bench.data.data_set import Pin
from paraclip_bench.errors import DataError

before = dict(os.environ)
print(hub.load(Pin("org/cached", "a" * 40))[0]["text"])
try:
    hub.load(Pin("org/absent", "b" * 40))
except DataError as error:
    print(error)
# What is known to be put offline alone; libraries add variables of their own.
ours = {"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"}
changed = {k for k, v in before.items() if k not in ours and os.environ.get(k) != v}
assert not changed, changed
"""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALL_PROXY", "http://host:port", "the environment variable ALL_PROXY (http://host:port)"),
        ("https_proxy", "foo://h:1", "the environment variable https_proxy (foo://h:1)"),
        ("SSL_CERT_FILE", "/nope", "the environment variable SSL_CERT_FILE (/nope)"),
        ("HTTPS_PROXY", "http://127.0.0.1:9", "the proxy http://127.0.0.1:9 of HTTPS_PROXY"),
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE"),
    ],
)
def test_the_cache_serves_a_library_s_user_and_the_environment_stays(tmp_path, name, value, said):
    hub_cache.put(tmp_path, "org/cached", "a" * 40, {"test": [{"text": "a dog in the snow"}]})
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    for other in (*OFFLINE, "HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        environment.pop(other, None)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD],
        env={**environment, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row, error = done.stdout.splitlines()
    assert row == "a dog in the snow"
    assert said in error
