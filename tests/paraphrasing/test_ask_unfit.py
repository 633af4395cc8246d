"""What a run counts, and unfit answers that are asked once more."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import json_lines
import pytest

from paraclip_bench.paraphrasing.journal import Answer, Journal


def report(path: Path) -> dict:
    return json.loads((path.with_name(path.name + ".work") / "report.json").read_text())


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "c.txt"
    path.write_text("a good dog\na moody cat\na stubborn cow\na flagged hen\n")
    return path


def test_unfit_answers_are_asked_once_more_with_another_seed(
    captions, command, server, tmp_path
) -> None:
    running = server()
    output = tmp_path / "p.jsonl"
    arguments = (captions, "-o", output, "--llm", "tiny", "--base-url", running.url)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert [row["caption"] for row in json_lines.read(output)] == ["a good dog"]
    assert report(output)["unfit_answers"]["step 1: a refusal"] == 2
    asked = len(running.requests())
    done = command(*arguments, "--ask-unfit")
    assert done.returncode == 0, done.stderr
    # Step 1 of the moody one, then its step 2 twice: that is another question; the stubborn one.
    seeds = [outcome for outcome, _ in running.requests()[asked:]]
    assert len(seeds) == 4
    assert Counter(seeds)["seed=None"] == 1
    assert len({seed for seed in seeds if seed != "seed=None"}) >= 2
    rows = json_lines.read(output)
    assert [row["caption"] for row in rows] == ["a good dog", "a moody cat"]
    assert rows[1]["paraphrase_2"] == "so cat moody a"
    # Both answers of both steps were paid for.
    single = rows[0]["usage"]["completion_tokens"]
    assert rows[1]["usage"]["completion_tokens"] == 2 * single
    assert "3 unfit answers asked once more, 2 fit now" in done.stderr
    dropped = json_lines.read(tmp_path / "p.jsonl.work" / "dropped.jsonl")
    assert {row["caption"]: next(iter(row["reasons"].values())) for row in dropped} == {
        "a stubborn cow": "a refusal",
        "a flagged hen": "rejected by the service (403: moderated)",
    }
    # What is unfit again stays unfit.
    before, content = len(running.requests()), output.read_bytes()
    assert command(*arguments, "--ask-unfit").returncode == 0
    assert command(*arguments).returncode == 0
    assert len(running.requests()) == before
    assert output.read_bytes() == content


def test_a_seed_of_the_user_s_is_varied_and_null_sends_none(
    captions, command, server, tmp_path
) -> None:
    running = server()
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", running.url)
    assert command(*arguments, "--extra-body", '{"seed": 5}').returncode == 0
    assert command(*arguments, "--extra-body", '{"seed": 5}', "--ask-unfit").returncode == 0
    several: dict[str, list[str]] = {}
    for outcome, digest in running.requests():
        if outcome.startswith("seed="):
            several.setdefault(digest, []).append(outcome)
    assert sorted(map(len, several.values())) == [2, 2, 2]
    assert all(len(set(seeds)) == 2 and "seed=None" not in seeds for seeds in several.values())
    # Without one at first, "seed": null keeps it so, and is no other sampling.
    other = (captions, "-o", "q.jsonl", "--llm", "tiny", "--base-url", running.url)
    assert command(*other).returncode == 0
    count = len(running.requests())
    done = command(*other, "--ask-unfit", "--extra-body", '{"seed": null}')
    assert done.returncode == 0, done.stderr
    assert {outcome for outcome, _ in running.requests()[count:]} == {"seed=None"}


def test_marked_answers_are_asked_again_and_what_followed_them(
    captions, command, server, tmp_path
) -> None:
    url = server().url
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", url, "--unfit", "mark")
    assert command(*arguments).returncode == 0
    rows = {row["caption"]: row for row in json_lines.read(tmp_path / "p.jsonl")}
    assert rows["a moody cat"]["flags"] == {"1.0": "a refusal"}
    assert rows["a moody cat"]["paraphrase_2"].startswith("so I'm sorry")
    assert command(*arguments, "--ask-unfit").returncode == 0
    rows = {row["caption"]: row for row in json_lines.read(tmp_path / "p.jsonl")}
    assert rows["a moody cat"]["flags"] == {}
    assert rows["a moody cat"]["paraphrase_1"] == "cat moody a"
    assert rows["a moody cat"]["paraphrase_2"] == "so cat moody a"
    assert rows["a stubborn cow"]["flags"] == {"1.0": "a refusal"}


def test_batches_say_that_they_cannot(captions, command) -> None:
    done = command(captions, "-o", "p.jsonl", "--llm", "tiny", "--batch", "write", "--ask-unfit")
    assert done.returncode == 2
    assert "--ask-unfit asks an endpoint, which --batch does not; leave --batch out" in done.stderr


@pytest.mark.slow
def test_killed_while_asking_again_nothing_is_lost_or_asked_three_times(
    command, server, tmp_path
) -> None:
    captions = tmp_path / "c.txt"
    kinds = ("good", "moody", "stubborn")
    captions.write_text("".join(f"a {kinds[i % 3]} picture {i}\n" for i in range(300)))
    running = server("--latency", "0.03")
    arguments = (captions, "--llm", "tiny", "--base-url", running.url, "--concurrency", 4)
    for name in ("whole.jsonl", "killed.jsonl"):
        assert command(*arguments, "-o", name).returncode == 0
    assert command(*arguments, "-o", "whole.jsonl", "--ask-unfit").returncode == 0
    before = len(running.requests())
    start = [sys.executable, "-m", "paraclip_bench", "paraphrase", *map(str, arguments)]
    kills = 0
    for delay in (1.0, 1.4, 1.8):
        process = subprocess.Popen(
            [*start, "-o", "killed.jsonl", "--ask-unfit"], cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == 3
    # What was answered before is still written by a run that does not ask again.
    assert command(*arguments, "-o", "killed.jsonl").returncode == 0
    assert len(json_lines.read(tmp_path / "killed.jsonl")) >= 100
    assert command(*arguments, "-o", "killed.jsonl", "--ask-unfit").returncode == 0
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert len(json_lines.read(whole)) == 200
    rows = [{**row, "usage": None} for row in json_lines.read(killed)]
    assert rows == [{**row, "usage": None} for row in json_lines.read(whole)]
    # A kill may lose what was in flight, four at a time; nothing else is asked again.
    again = Counter(running.requests()[before:])
    assert sum(count - 1 for count in again.values()) <= 3 * 4


def test_journals_of_before_are_gone_on_with(tmp_path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.add([Answer(b"k", 1, 0, "one"), Answer(b"k", 2, 0, "two")])
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE asked_again")
    journal = Journal(path)
    journal.add([Answer(b"k", 1, 0, "new", again=True)])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT step, text FROM answers").fetchall() == [(1, "new")]
    journal.close()


@pytest.mark.slow
def test_retries_and_failures_are_counted(command, server, tmp_path) -> None:
    captions = tmp_path / "c.txt"
    captions.write_text(
        "".join(f"picture number {i} of many\n" for i in range(100))
        + "one fivehundred\na flagged picture\n"
    )
    running = server("--fail", "0.15")
    done = command(
        *(captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", running.url),
        *("--timeout", 1, "--retries", 9),
    )
    assert done.returncode == 1
    found = report(tmp_path / "p.jsonl")["requests"]
    assert found["given_up"] == 1
    assert found["rejected"] == 1
    assert found["failures"]["500"] >= 10
    failures = sum(found["failures"].values())
    assert found["retries"] == failures - found["given_up"]
    # 100 rows of two answers, one rejection, and every failure.
    assert found["sent"] == 201 + failures
    line = next(x for x in done.stderr.splitlines() if x.startswith("p.jsonl: 100 rows"))
    assert f"; {found['sent']} requests, {found['retries']} retries (failures: " in line
    assert ", 1 rejected, 1 given up (p.jsonl.work/report.json)" in line
    told = command("report", "p.jsonl").stdout
    assert f"of the last run: retries{found['retries']:,}".replace(" ", "") in told.replace(" ", "")
