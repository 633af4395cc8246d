"""What a service refuses: one question, or all of them; and what that does to the others."""

import json_lines
import pytest


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("".join(f"picture number {i} of many\n" for i in range(60)))
    return path


ARGUMENTS = ("-o", "p.jsonl", "--llm", "tiny")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (402, "the quota is used up (402: Insufficient balance)"),
        (400, "rejects one question after the other (rejected by the service (400: Insuff"),
        (422, "rejects one question after the other"),
        (401, "refuses the key (401: Insufficient balance)"),
    ],
)
@pytest.mark.slow
def test_a_service_that_rejects_all_spoils_nothing(
    captions, command, server, tmp_path, status, said
) -> None:
    refusing = server("--status", str(status))
    done = command(captions, *ARGUMENTS, "--base-url", refusing.url)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert len(refusing.requests()) < 60
    assert not (tmp_path / "p.jsonl").exists()
    # Nothing is kept of it: a service that works is asked everything, with other settings too.
    works = command(
        captions, *ARGUMENTS, "--base-url", server().url, "--extra-body", '{"max_tokens": null}'
    )
    assert works.returncode == 0, works.stderr
    assert len(json_lines.read(tmp_path / "p.jsonl")) == 60


@pytest.mark.slow
def test_errors_with_status_200_pause_the_run(captions, command, server) -> None:
    refusing = server("--status", "200")
    done = command(captions, *ARGUMENTS, "--base-url", refusing.url, "--patience", "1")
    assert done.returncode == 1
    assert (
        "has not worked for 1 s (an answer that cannot be read (Insufficient balance))"
        in (done.stderr.splitlines()[-1])
    )
    assert len(refusing.requests()) < 300


@pytest.mark.slow
def test_questions_that_always_fail_do_not_stop_the_others(
    captions, command, server, tmp_path
) -> None:
    with captions.open("a") as file:
        file.write("one fivehundred\na flagged picture\ntorn picture here\n")
    url = server().url
    arguments = (captions, *ARGUMENTS, "--base-url", url, "--retries", "3")
    for _ in range(2):
        done = command(*arguments)
        assert done.returncode == 1
        assert (
            "questions given up after all retries: 1 (the first: 500: it broke)"
            in (done.stderr.splitlines()[-1])
        )
        rows = json_lines.read(tmp_path / "p.jsonl")
        assert len(rows) == 61
        assert rows[-1]["paraphrase_1"] == "? half one"
        (dropped,) = json_lines.read(tmp_path / "p.jsonl.work" / "dropped.jsonl")
        assert dropped["reasons"] == {"1.0": "rejected by the service (403: moderated)"}
    # They can be asked once more.
    done = command(*arguments, "--ask-rejected")
    assert "1 rejected questions are asked again" in done.stderr


def test_batches_are_of_one_making(captions, command, tmp_path) -> None:
    assert command(captions, *ARGUMENTS, "--batch", "write").returncode == 0
    done = command(captions, *ARGUMENTS[:-1], "other", "--batch", "write")
    assert done.returncode == 2
    assert "begun with another model (tiny)" in done.stderr
