"""One clear sentence for each thing that a user gets wrong, and an exit code that says so."""

import json
import shutil

import pytest

BASE = ("c.jsonl", "-o", "p.jsonl")


@pytest.fixture
def captions(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"caption": "a dog in the snow", "image": "1.jpg"}\n')
    (tmp_path / "bad.txt").write_bytes(b"a dog\nb\xffad line\n")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    (tmp_path / "prompt.txt").write_text("Say it otherwise")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((*BASE, "--llm", "m", "--caption-field", "captio"), 2, "did you mean 'caption'"),
        (("bad.parquet", "-o", "p.jsonl", "--llm", "demo"), 1, "bad.parquet is not a readable Pa"),
        (("bad.txt", "-o", "p.jsonl", "--llm", "demo"), 1, "bad.txt, line 2: not UTF-8"),
        (("words.txt", "-o", "p.jsonl", "--llm", "demo"), 1, "no caption of words.txt is kept"),
        (("none.txt", "-o", "p.jsonl", "--llm", "demo"), 2, "none.txt does not exist"),
        ((*BASE, "--llm", "m"), 2, "no key in the environment variable OPENAI_API_KEY"),
        ((*BASE, "--llm", "m", "--base-url", "localhost:80"), 2, "localhost:80 is not an address"),
        (BASE, 2, "name the model to ask with --llm"),
        (("c.jsonl", "--llm", "demo"), 2, "name the file to write with -o"),
        ((*BASE, "--llm", "m", "--prompt", "1=prompt.txt"), 2, "prompt.txt has no {text}"),
        (
            (*BASE, "--llm", "m", "--prompt", "3=prompt.txt"),
            2,
            "must be 1=FILE, 2=FILE or negation=FILE",
        ),
        (("c.jsonl", "-o", "p.csv", "--llm", "demo"), 2, "p.csv must end in .jsonl or .parquet"),
        (("c.jsonl", "-o", "c.jsonl", "--llm", "demo"), 2, "c.jsonl is among the captions"),
        ((*BASE, "--llm", "m", "--extra-body", "[1]"), 2, "--extra-body must be a JSON object"),
        ((*BASE, "--llm", "m", "--extra-body", '{"n": 2}'), 2, "--extra-body may not set 'n'"),
        ((*BASE, "--llm", "m", "--min-words", "9", "--max-words", "3"), 2, "--min-words 9 is more"),
        ((*BASE, "--llm", "m", "--min-cosine", "0.5"), 2, "--cosine-model belong together"),
        ((*BASE, "--llm", "demo"), 1, "outside the demo world's grammar"),
    ],
)
def test_wrong_input(captions, command, arguments, code, sentence) -> None:
    done = command(*arguments)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "Traceback" not in done.stderr


def test_a_model_or_an_address_that_is_not_there(captions, command, server) -> None:
    url = server().url
    for arguments in (
        ("--llm", "none", "--base-url", url),
        ("--llm", "tiny", "--base-url", url.removesuffix("/v1")),
    ):
        done = command(*BASE, *arguments)
        assert done.returncode == 1
        (last,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
        assert "check --llm and --base-url" in last
        assert "(404: " in last


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--temperature", "0.5"), "another sampling"),
        (("--llm", "other"), "another model (tiny)"),
        (("--prompt", "2=own.txt"), "another prompt of step 2"),
    ],
)
def test_an_output_is_of_one_making(captions, command, server, change, named) -> None:
    (captions / "own.txt").write_text("Sentence to change: {text}")
    url = server().url
    arguments = (*BASE, "--llm", "tiny", "--base-url", url)
    assert command(*arguments).returncode == 0
    before = (captions / "p.jsonl").read_bytes()
    done = command(*arguments, *change)
    assert done.returncode == 2
    assert f"this output was begun with {named}" in done.stderr
    assert (captions / "p.jsonl").read_bytes() == before
    # Without its journal nobody knows how it was made.
    shutil.rmtree(captions / "p.jsonl.work")
    done = command(*arguments)
    assert done.returncode == 2
    assert "has no journal to go on with" in done.stderr


def test_an_input_may_grow_and_chains_may_be_added(captions, command, server) -> None:
    running = server()
    arguments = (*BASE, "--llm", "tiny", "--base-url", running.url)
    assert command(*arguments).returncode == 0
    with (captions / "c.jsonl").open("a") as file:
        file.write(json.dumps({"caption": "two cats on a mat", "image": "2.jpg"}) + "\n")
    assert command(*arguments).returncode == 0
    assert len(running.requests()) == 4
    assert command(*arguments, "--n", "3").returncode == 0
    rows = [json.loads(line) for line in (captions / "p.jsonl").read_text().splitlines()]
    assert [len(row["paraphrase_2"]) for row in rows] == [3, 3]
    assert len(running.requests()) == 12
    assert command(*arguments, "--n", "3").returncode == 0
    assert len(running.requests()) == 12
