"""Services that answer in shapes of their own: one sentence each, and no key to another host."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import json_lines
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.paraphrasing.endpoint import _retry_after, read_completion

KEY = "sk-Very5ecretKey0123"
PAGE = (
    b"<!DOCTYPE html>\n<html><head><style>b{c:d}</style>"
    b"<title>Bad Gateway | cloud</title></head></html>"
)
JSON = {"Content-Type": "application/json"}


def choice(**fields: object) -> dict[str, object]:
    return {"model": "tiny", "choices": [fields]}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"choices": None}, "its choices are to be a list with an answer, and are null or missing"),
        ({"choices": []}, "its choices are to be a list with an answer, and are an empty list"),
        ({"choices": {"a": 1}}, "its choices are to be a list with an answer, and are an object"),
        ({"choices": "A hound"}, "its choices are to be a list with an answer, and are a text"),
        ({}, "its choices are to be a list with an answer, and are null or missing"),
        ({"choices": ["A hound"]}, "a choice is to be an object, and is a text"),
        ({"choices": [None]}, "a choice is to be an object, and is null or missing"),
        (choice(message=None), "a choice's message is to be an object, and is null or missing"),
        (choice(), "a choice's message is to be an object, and is null or missing"),
        (choice(message="A hound"), "a choice's message is to be an object, and is a text"),
        (choice(text=5), "a choice's message is to be an object, and is null or missing"),
        (choice(message={"content": 5}), "a message's content is to be a text, and is a number"),
        (choice(message={"content": [1]}), "a message's content is to be a text, and is a list"),
        (
            choice(message={"content": []}),
            "a message's content is to be a text, and is an empty list",
        ),
        ([1], "it is to be an object, and is a list"),
        (None, "it is to be an object, and is null or missing"),
        ({"error": {"message": "no money"}, "choices": None}, "no money"),
    ],
)
def test_what_was_expected_and_what_came_are_told(found: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        read_completion(found)
    assert str(error.value) == said


def test_content_null_is_an_empty_answer_and_completions_have_a_text() -> None:
    assert read_completion(choice(message={"content": None})).text == ""
    assert read_completion(choice(text="A hound")).text == "A hound"
    assert read_completion(choice(message=None, text="A hound")).text == "A hound"


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NAMES = st.sampled_from(["choices", "message", "content", "text", "usage", "error", "x"])


@given(st.recursive(LEAF, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x)))
def test_any_json_is_an_answer_or_has_a_sentence(found: Any) -> None:
    try:
        read_completion(found)
    except ValueError as error:
        told = str(error)
        assert told  # any other error ends the test


@given(st.text(max_size=40) | st.floats().map(str) | st.dates().map(str))
@pytest.mark.parametrize("date", ["{}", "Fri, 31 Dec {} 23:59:59 GMT"])
def test_a_wait_is_finite_or_none(date: str, value: str) -> None:
    found = _retry_after({"retry-after": date.format(value)})
    assert found is None or 0 <= found <= 366 * 86400


@pytest.mark.parametrize(
    "value",
    ["inf", "nan", "9" * 400, "Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 +99999"],
)
def test_an_absurd_wait_is_as_none(value: str) -> None:
    assert _retry_after({"retry-after": value}) is None


class _Odd(http.server.BaseHTTPRequestHandler):
    """Answers each request in the same way, and keeps what keys it was sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services() -> Iterator[list[Any]]:
    """Two services on two ports."""
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as one,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as two,
    ):
        for each in (one, two):
            each.keys = []  # type: ignore[attr-defined]
            threading.Thread(target=each.serve_forever, daemon=True).start()
        yield [one, two]
        one.shutdown()
        two.shutdown()


@pytest.fixture
def asked(tmp_path, command, services):
    """The last line of a run against the first service."""
    (tmp_path / "c.txt").write_text("a brown dog runs through deep snow\n")

    def ask(answer: tuple[int, dict[str, str], bytes], **env: str) -> str:
        services[0].answer = answer
        url = f"http://127.0.0.1:{services[0].server_port}/v1"
        done = command(
            *("c.txt", "-o", "p.jsonl", "--llm", "tiny", "--base-url", url, "--retries", 0),
            env={"OPENAI_API_KEY": KEY, "NO_PROXY": "*", **env},
        )
        assert KEY not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    return ask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, JSON | {"Content-Encoding": "gzip"}, b"no gzip"), "its compressed body is broken: "),
        (
            (
                200,
                JSON | {"Content-Encoding": "gzip"},
                gzip.compress(json.dumps(choice()).encode()),
            ),
            "a choice's message is to be an object",
        ),
        ((200, {"Content-Type": "text/html"}, PAGE), "it is a web page (Bad Gateway | cloud), not"),
        ((200, JSON, b""), "it is empty"),
        ((200, JSON, b'{"choices": ['), "it is no whole JSON: "),
        ((404, {"Content-Type": "text/html"}, PAGE), "(404: a web page (Bad Gateway | cloud))"),
        ((503, {"Content-Type": "text/html"}, PAGE), "503: a web page (Bad Gateway | cloud)"),
        ((429, JSON | {"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"}, b"{}"), "429: "),
        ((307, {}, b""), "redirects to nowhere that can be followed (307: "),
        ((200, JSON | {"Content-Length": "9" * 20}, b"{}"), "no connection: peer closed"),
    ],
)
def test_odd_answers_are_told_in_one_sentence(asked, answer, said: str) -> None:
    line = asked(answer)
    assert said in line
    assert line.startswith("error: ")
    assert not any(part in line for part in ("unexpected", "<", "NoneType"))


def test_a_redirect_to_another_host_carries_no_key(asked, services, tmp_path) -> None:
    target = f"http://localhost:{services[1].server_port}/v1/chat/completions"
    services[1].answer = (200, JSON, json.dumps(choice(text="A hound in the drifts")).encode())
    asked((307, {"Location": target}, b""))
    assert set(services[0].keys) == {f"Bearer {KEY}"}
    assert services[1].keys
    assert set(services[1].keys) == {None}
    # Both steps got the same, so there is an answer and no pair.
    (row,) = json_lines.read(tmp_path / "p.jsonl.work" / "dropped.jsonl")
    assert row["reasons"] == {"2.0": "equal to its input"}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("is_there", [False, True])
def test_certificates_that_are_none_are_named(command, tmp_path, name: str, is_there: bool) -> None:
    (tmp_path / "c.txt").write_text("a brown dog runs through deep snow\n")
    arguments = ("c.txt", "-o", "p.jsonl", "--llm", "tiny", "--base-url", "https://127.0.0.1:9/v1")
    wrong = str(tmp_path / ("c.txt" if is_there else "none"))
    done = command(*arguments, env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", name: wrong})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the environment variable {name} ({wrong}) names no ")
    assert not (tmp_path / "p.jsonl.work").exists()
