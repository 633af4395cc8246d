"""A service that goes wrong in every way: each row is accounted for, none is asked for nothing."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from paraclip_bench.paraphrasing.endpoint import _secrets

SHARED = Path(os.environ.get("PARACLIP_SHARED", Path(__file__).parents[3] / "shared"))
CAPTIONS = SHARED / "data" / "captions"
needs_captions = pytest.mark.skipif(
    not CAPTIONS.is_dir(), reason="shared/data/captions (real captions) is not here"
)


def digest(path: Path) -> str:
    """Of the rows, whatever their order."""
    return hashlib.sha256("\n".join(sorted(path.read_text().splitlines())).encode()).hexdigest()


def report(path: Path) -> dict:
    return json.loads((path.with_name(path.name + ".work") / "report.json").read_text())


def twice(requests: list[tuple[str, str]]) -> int:
    """How many questions were asked again after an answer to them was sent."""
    return sum(count - 1 for count in Counter(d for o, d in requests if o == "ok").values())


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """All 8,000 LAION alt-texts and 2,000 COCO captions, as they come."""
    laion = (CAPTIONS / "laion400m_alt_text.txt").read_text().split("\n")[:8000]
    with (CAPTIONS / "coco_val2014_captions.jsonl").open() as file:
        coco = [json.loads(line) for line in file][:2000]
    path = tmp_path / "captions.jsonl"
    rows = [{"caption": text} for text in laion]
    rows += [{"caption": row["caption"], "image": row["image_id"]} for row in coco]
    assert len(rows) == 10_000
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@needs_captions
@pytest.mark.slow
def test_ten_thousand_real_captions_through_every_fault(captions, server, command, tmp_path):
    calm, faulty = server(), server("--fail", "0.2", "--latency", "0.01")
    common = ("--llm", "tiny", "--concurrency", 64, "--timeout", 1, "--retries", 20)
    for name, running in (("calm", calm), ("faulty", faulty)):
        output = tmp_path / f"{name}.jsonl"
        done = command(captions, "-o", output, "--base-url", running.url, *common)
        assert done.returncode == 0, done.stderr
    outcomes = Counter(outcome for outcome, _ in faulty.requests())
    assert set(outcomes) >= {"ok", "429", "500", "burst", "reset", "truncated", "empty"}
    assert outcomes["ok"] < 0.85 * sum(outcomes.values())
    # None is asked again once it is answered: every answer that was sent is there.
    assert outcomes["ok"] == len(calm.requests()) == report(tmp_path / "calm.jsonl")["answers"]
    found = report(tmp_path / "faulty.jsonl")
    assert found["input"]["rows"] == 10_000
    assert found["input"]["kept"] + sum(found["input"]["left_out"].values()) == 10_000
    assert sum(found["rows"].values()) == found["input"]["kept"]
    assert found["rows"]["unfinished"] == 0
    assert digest(tmp_path / "faulty.jsonl") == digest(tmp_path / "calm.jsonl")


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_file(server, command, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(400)))
    running = server("--latency", "0.02", "--fail", "0.05")
    arguments = (captions, "--base-url", running.url, "--llm", "tiny", "--timeout", 1)
    assert command(*arguments, "-o", "whole.jsonl").returncode == 0
    start = [sys.executable, "-m", "paraclip_bench", "paraphrase", *map(str, arguments)]
    kills = 0
    for delay in (0.9, 1.1, 1.3):
        process = subprocess.Popen(
            [*start, "-o", "killed.jsonl"], cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed.jsonl").exists()
    assert kills == 3
    assert command(*arguments, "-o", "killed.jsonl").returncode == 0
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert killed.read_bytes() == whole.read_bytes()
    assert len(whole.read_text().splitlines()) == 400


def test_what_is_done_is_written_when_a_user_stops_the_run(server, command, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(3000)))
    url = server("--latency", "0.05").url
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "paraclip_bench", "paraphrase", str(captions)),
            *("-o", "p.jsonl", "--base-url", url, "--llm", "tiny"),
        ],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "p.jsonl.work/journal.sqlite"
    begun = 0
    while not begun and process.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(sqlite3.Error):  # being made
            place = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
            with contextlib.closing(place) as reading:
                (begun,) = reading.execute("SELECT count(*) FROM answers WHERE step = 2").fetchone()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped; what was finished is kept" in said
    assert 0 < len((tmp_path / "p.jsonl").read_text().splitlines()) < 3000


@pytest.mark.slow
def test_a_service_that_is_down_pauses_the_run_with_one_message(server, command, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(200)))
    first = server("--latency", "0.01")
    port = str(first.port)
    arguments = (captions, "-o", "p.jsonl", "--base-url", first.url, "--llm", "tiny")
    first.stop()
    gone = command(*arguments, "--patience", 2)
    assert gone.returncode == 1
    lines = gone.stderr.splitlines()
    assert sum("does not work" in line for line in lines) == 1, gone.stderr
    assert "has not worked for 2 s" in lines[-1]
    assert "Traceback" not in gone.stderr
    # It comes back while the run waits.
    process = subprocess.Popen(
        [sys.executable, "-m", "paraclip_bench", "paraphrase", *map(str, arguments)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    time.sleep(2.5)
    again = server("--latency", "0.01", "--port", port)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.count("does not work") == said.count("works again") == 1
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 200
    assert twice(again.requests()) == 0


def test_the_key_is_written_nowhere(server, command, tmp_path):
    key = "sk-proj-Very5ecretAndLong0123456789"
    captions = tmp_path / "captions.txt"
    captions.write_text("a dog in the snow\na cat on a mat\n")
    running = server("--key", key)
    address = running.url.replace("//", "//user:pass5ecret@")
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny")
    wrong = command(*arguments, "--base-url", running.url, env={"OPENAI_API_KEY": key + "x"})
    assert wrong.returncode == 1
    assert "refuses the key (401" in wrong.stderr
    assert "Incorrect API key provided: [key]" in wrong.stderr
    done = command(*arguments, "--base-url", running.url, env={"OPENAI_API_KEY": key})
    assert done.returncode == 0, done.stderr
    named = command(*arguments, "--base-url", address, env={"OPENAI_API_KEY": key})
    again = ("--debug", *arguments, "-o", "debug.jsonl", "--base-url", running.url)
    debug = command(*again, env={"OPENAI_API_KEY": key + "x"})
    assert "Traceback" in debug.stderr
    bare = command(*arguments, "--base-url", "user:pass5ecret@host/v1")
    query = command(*arguments, "--base-url", running.url + "/none?key=pass5ecret")
    runs = (wrong, done, named, debug, bare, query)
    said = "".join(run.stdout + run.stderr for run in runs)
    texts = [said.encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    assert len(texts) > 4
    for secret in (key.encode(), b"pass5ecret"):
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize("form", ["Basic {}", "basic {}", "got {}=="])
def test_an_echo_of_the_request_s_headers_is_without_its_secrets(form):
    address = urlsplit("https://us%20er:pass5ecret%3F@host/v1?token=tok5ecret")
    key = "sk-Very5ecret"
    secrets = _secrets(key, address)
    for sent in ("us er:pass5ecret?", key, "pass5ecret?", "tok5ecret"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            said = form.format(encode(sent.encode()).decode().rstrip("="))
            hidden = [secret for secret in secrets if secret in said]
            assert hidden or sent == "tok5ecret", sent
