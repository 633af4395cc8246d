"""A proxy that cannot be used, or that is in the way, is named by its environment variable."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.proxies import Proxy, all_proxies, proxy_for, redacted

SECRET = "pa55word"
NAMES = [f"{scheme}_proxy" for scheme in ("http", "https", "all")]
BOTH = [*NAMES, *(name.upper() for name in NAMES)]
MALFORMED = [
    *(f"http://user:{SECRET}@[::1", f"http://user:{SECRET}@host:port"),
    *(f"ftp://user:{SECRET}@host:1", f"http://user:{SECRET}@ho st:1", f"http://user:{SECRET}@"),
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """None of the environment that the tests run in."""
    for name in (*BOTH, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def one_sentence(said: str) -> str:
    lines = said.splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    assert "unexpected" not in lines[0]
    assert SECRET not in said
    return lines[0]


@pytest.fixture
def captions(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "captions.txt").write_text("a dog in the snow\na cat on a mat\n")
    return ("captions.txt", "-o", "p.jsonl", "--llm", "tiny", "--retries", 0, "--patience", 1)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed")
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
def test_a_socks_proxy_without_its_package(captions, command, name):
    """As one who has it set for everything and asks a service of this machine."""
    proxy = {name: f"socks5://user:{SECRET}@127.0.0.1:1080"}
    done = command(*captions, "--base-url", "http://127.0.0.1:9/v1", env=proxy)
    assert done.returncode == 2
    said = one_sentence(done.stderr)
    assert f"the environment variable {name} names a SOCKS proxy (socks5://127.0.0.1:1080)" in said
    assert "pip install socksio" in said


@pytest.mark.parametrize("address", MALFORMED)
def test_an_address_that_is_none(captions, command, address):
    done = command(*(*captions, "--base-url", "http://127.0.0.1:9/v1"), env={"all_proxy": address})
    assert done.returncode == 2
    assert "the environment variable all_proxy (" in one_sentence(done.stderr)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("address", MALFORMED)
def test_every_variable_is_looked_at(monkeypatch, name, address):
    monkeypatch.setenv(name, address)
    (proxy,) = all_proxies().values()
    assert proxy.variable == name
    problem = proxy.problem()
    assert problem is not None
    assert f"the environment variable {name} (" in problem
    assert SECRET not in problem


def test_a_proxy_in_the_way_of_a_local_service(captions, command, server):
    url = server().url
    for name, given_ in (("HTTP_PROXY", "127.0.0.1:9"), ("all_proxy", "http://127.0.0.1:9")):
        proxy = {name: given_.replace("127", f"user:{SECRET}@127", 1)}
        done = command(*captions, "--base-url", url, env=proxy)
        assert done.returncode == 1
        assert (
            f"through the proxy http://127.0.0.1:9 of {name}; set NO_PROXY=127.0.0.1"
            in (done.stderr.splitlines()[-1])
        )
        assert SECRET not in done.stderr + done.stdout
        without = {**proxy, "NO_PROXY": "127.0.0.1"}
        assert command(*captions, "--base-url", url, env=without).returncode == 0
        (Path(done.args[4]).parent / "p.jsonl").unlink(missing_ok=True)
        captions = (*captions[:2], f"{name}.jsonl", *captions[3:])


class _Refuses(http.server.BaseHTTPRequestHandler):
    """A proxy that knows no host of this machine."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.headers.get("Proxy-Authorization", "none").encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.mark.parametrize("status", [403, 404, 407, 502])
def test_a_proxy_that_answers_in_the_place_of_a_local_service(captions, command, refusing, status):
    refusing.status = status  # type: ignore[attr-defined]
    address = f"127.0.0.1:{refusing.server_port}"
    done = command(
        *(*captions, "--base-url", "http://127.0.0.1:9/v1"),
        env={"HTTP_PROXY": f"http://user:{SECRET}@{address}"},
    )
    assert done.returncode == 1
    everything = done.stderr + done.stdout
    assert f"through the proxy http://{address} of HTTP_PROXY; set NO_PROXY=127.0.0.1" in everything
    assert SECRET not in everything
    assert "dXNlcjpwYTU1d29yZA" not in everything  # user:pa55word, as the header has it


def prefetch(tmp_path: Path, **proxy: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "paraclip_bench", "data", "prefetch", "sts12"],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "", **proxy},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return one_sentence(done.stderr)


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("https_proxy", f"http://user:{SECRET}@127.0.0.1:9", "http://127.0.0.1:9 of https_proxy"),
        ("ALL_PROXY", f"http://user:{SECRET}@host:port", "the environment variable ALL_PROXY ("),
        ("HTTPS_PROXY", f"foo://user:{SECRET}@h:1", "the environment variable HTTPS_PROXY ("),
        ("ALL_PROXY", f"socks5://user:{SECRET}@127.0.0.1:9", "ALL_PROXY"),
    ],
)
def test_the_hub_behind_a_proxy(tmp_path, name, address, said):
    assert said in prefetch(tmp_path, **{name: address})


def test_which_requests_go_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "one:1")
    monkeypatch.setenv("all_proxy", "http://all:2")
    monkeypatch.setenv("no_proxy", "localhost, 10.0.0.0/8,.intern")
    for url, variable in {
        "http://example.com": "HTTP_PROXY",
        "https://example.com": "all_proxy",
        "http://localhost:8000/v1": None,
        "http://10.1.2.3/v1": None,
        "http://11.1.2.3/v1": "HTTP_PROXY",
        "http://llm.intern/v1": None,
    }.items():
        proxy = proxy_for(url)
        assert (proxy and proxy.variable) == variable, url
    monkeypatch.setenv("no_proxy", "*")
    assert not all_proxies()


@given(st.text(min_size=2), st.sampled_from(["http", "socks5", "ftp", ""]), st.text(max_size=9))
def test_a_password_is_never_shown(password, scheme, rest):
    address = f"{scheme}://user:{password}@host:80{rest.replace('@', '')}"
    proxy = Proxy("HTTP_PROXY", address)
    assert proxy.shown.startswith(f"{scheme}://host:80")
    marked = Proxy("HTTP_PROXY", address.replace(password, f"5ecret{password}5ecret", 1))
    if password not in "user:http socks5ftp":
        assert "5ecret" not in f"{marked} {marked.problem()}"


def test_foreign_errors_are_redacted(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@host:1")
    said = redacted(f"cannot connect to http://user:{SECRET}@host:1 ({SECRET})")
    assert said == "cannot connect to http://[secret]@host:1 ([secret])"
