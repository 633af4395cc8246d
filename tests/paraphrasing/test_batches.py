"""Files for a batch service: both steps, answers in any order, with errors and missing lines."""

import json
import random
from pathlib import Path

import json_lines
import pytest
from llm_server import completion

ARGUMENTS = ("--llm", "tiny", "-o", "p.jsonl")


def answered(path: Path) -> list[dict]:
    """What a service would write for a file of requests."""
    found = []
    for line in path.read_text().splitlines():
        request = json.loads(line)
        assert request["method"] == "POST"
        assert request["url"] == "/v1/chat/completions"
        assert request["body"]["max_tokens"] == 512
        body = completion(request["body"]["messages"][-1]["content"])
        response = {"status_code": 200, "request_id": "r", "body": body}
        found.append({"custom_id": request["custom_id"], "response": response, "error": None})
    return found


def test_two_steps_by_files_give_what_the_endpoint_gives(tmp_path, command, server) -> None:
    captions = tmp_path / "c.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(50)))
    for step in (1, 2):
        done = command(captions, *ARGUMENTS, "--batch", "write", "--batch-size", 20)
        assert done.returncode == 0, done.stderr
        files = [Path(line) for line in done.stdout.splitlines()]
        assert [len((tmp_path / f).read_text().splitlines()) for f in files] == [20, 20, 10]
        assert all(f"step_{step}." in file.name for file in files)
        answers = [answer for file in files for answer in answered(tmp_path / file)]
        random.Random(0).shuffle(answers)
        lost, failed, broken = answers[0], answers[1], answers[2]
        failed |= {"response": {"status_code": 500, "body": {"error": {"message": "it broke"}}}}
        broken["response"]["body"]["choices"] = []
        foreign = {**answers[3], "custom_id": f"{'0' * 32}-1-0"}
        part = json_lines.write(tmp_path / "part.jsonl", [*answers[1:], answers[4], foreign])
        with part.open("a") as file:
            file.write('{"custom_id": "cut')
        done = command(captions, *ARGUMENTS, "--batch", "read", "--answers", part)
        assert done.returncode == 0, done.stderr
        assert "47 new, 1 known before, 3 failed, 1 to no open question" in done.stderr
        assert f"step {step}: 3 questions to send" in done.stderr
        done = command(captions, *ARGUMENTS, "--batch", "write", "--json")
        files = [Path(found["file"]) for found in json.loads(done.stdout)]
        again = [
            a for file in files if f"step_{step}" in str(file) for a in answered(tmp_path / file)
        ]
        assert {a["custom_id"] for a in again} == {a["custom_id"] for a in (lost, failed, broken)}
        rest = json_lines.write(tmp_path / "rest.jsonl", again)
        assert command(captions, *ARGUMENTS, "--batch", "read", "--answers", rest).returncode == 0
    done = command(captions, *ARGUMENTS, "--batch", "write")
    assert "nothing is left to ask" in done.stderr
    running = server()
    online = ("--llm", "tiny", "-o", "online.jsonl", "--base-url", running.url)
    assert command(captions, *online).returncode == 0
    assert json_lines.read(tmp_path / "p.jsonl") == json_lines.read(tmp_path / "online.jsonl")
    assert len(json_lines.read(tmp_path / "p.jsonl")) == 50


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--batch", "read"), "--batch read and --answers FILE belong together"),
        (("--batch", "send"), "--batch 'send' is neither of write and read"),
    ],
)
def test_wrong_calls(tmp_path, command, arguments, sentence) -> None:
    (tmp_path / "c.txt").write_text("a dog runs\n")
    done = command("c.txt", *ARGUMENTS, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_requests_are_no_answers(tmp_path, command) -> None:
    (tmp_path / "c.txt").write_text("a dog runs\n")
    done = command("c.txt", *ARGUMENTS, "--batch", "write")
    (file,) = done.stdout.split()
    done = command("c.txt", *ARGUMENTS, "--batch", "read", "--answers", file)
    assert done.returncode == 2
    assert "holds requests, not answers" in done.stderr
