"""What a gated data set gets, from a server that refuses as the hub does."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = """
from paraclip_bench.data.source import HubSource
from paraclip_bench.errors import DataError
from paraclip_bench.tasks.winoground import Winoground

try:
    Winoground().load(HubSource(), "winoground")
except DataError as error:
    print(error)
"""


class Gate(http.server.BaseHTTPRequestHandler):
    status = 401

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to dataset facebook/winoground is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=[401, 403])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (Gate,), {"status": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_the_licence_and_the_token_are_named(endpoint: str, tmp_path: Path) -> None:
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "0")
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **proxies, **offline, **own},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == (
        "data set facebook/winoground @ b400e173 is gated; accept its licence on its page on the "
        "hub, with the account whose token is in HF_TOKEN, or give the files with --data-dir\n"
    )
