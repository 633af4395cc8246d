"""`report serve` and `leaderboard --format html`, as a user runs them."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import measured_words as measured
import pytest


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured.make(tmp_path_factory.mktemp("measured"))


def test_the_page_is_written_by_ending_and_by_name(cli, workspace, tmp_path):
    shown = ["leaderboard", "--workspace", workspace]
    for name in ("board.html", "board.HTM"):
        ended = cli(*shown, "-o", tmp_path / name)
        assert ended.code == 0, ended
        assert (tmp_path / name).read_text().startswith("<!doctype html>")
    ended = cli(*shown, "--format", "html", "-o", tmp_path / "page")
    assert ended.code == 0, ended
    plain = (tmp_path / "page").read_text()
    assert "data:image/jpeg" not in plain
    images = workspace / "data" / "paraphrased-retrieval" / "images"
    assert cli(*shown, "--images", images, "-o", tmp_path / "with.html").code == 0
    assert "data:image/jpeg" in (tmp_path / "with.html").read_text()
    cli(*shown, "--format", "html", "--images", tmp_path / "none").fails(
        2, "--images", "is no folder"
    )


def serving(workspace, port):
    words = ["report", "serve", "--no-open", "--port", port, "--workspace", str(workspace)]
    return [sys.executable, "-m", "paraclip_bench", *words]


def test_a_report_is_served_until_ctrl_c(workspace):
    process = subprocess.Popen(
        serving(workspace, "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), process.communicate()
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.read().startswith(b"<!doctype html>")
    port = address.rpartition(":")[2].strip("/")
    second = subprocess.run(
        serving(workspace, port),
        capture_output=True,
        text=True,
        check=False,
    )
    (said,) = second.stderr.splitlines()
    assert second.returncode == 1
    assert said.startswith(f"error: port {port} of 127.0.0.1 cannot be used")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "stopped; the page is no longer served: run the same command again"
    )
    assert "Traceback" not in said


def test_a_browser_that_is_waited_for_gets_the_page(workspace, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, urllib.request\n"
        f"open({str(tmp_path / 'seen')!r}, 'wb').write("
        "urllib.request.urlopen(sys.argv[1], timeout=30).read(20))\n"
    )
    browser.chmod(0o755)
    words = [word for word in serving(workspace, "0") if word != "--no-open"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "BROWSER": f"{browser} %s"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "seen").exists() or not (tmp_path / "seen").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / "seen").read_bytes().startswith(b"<!doctype html>")
