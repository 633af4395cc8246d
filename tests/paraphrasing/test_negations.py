"""`--also negation`: a negated caption beside T' and T'', by every way of asking."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import json_lines
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_server import completion

from paraclip_bench import api
from paraclip_bench.demo.grammar import negation
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.paraphrasing.pairs_file import convert, read_pairs
from paraclip_bench.paraphrasing.pairs_report import statistics
from paraclip_bench.paraphrasing.wording import negates, negation_count

ALSO = ("--also", "negation")
# What the server answers to each is in `negated` of tests/support/llm_server.py.
FIT = {"a good dog": "no a good dog", "a labelled goose": "no a labelled goose"}
UNFIT = {
    "an antonym cat": "does not negate",
    "an offtopic pig": "does not negate",
    "a parroted cow": "equal to its input",
    "a mirrored hen": "equal to a paraphrase",
    "a foreign duck": "another script than its input",
}


def report(path: Path) -> dict[str, Any]:
    return json.loads((path.with_name(path.name + ".work") / "report.json").read_text())


def requests_since(server: Any, before: int) -> int:
    return len(server.requests()) - before


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """The unfit ones first: the first row of the output has no negation."""
    path = tmp_path / "c.txt"
    path.write_text("".join(f"{text}\n" for text in [*UNFIT, *FIT, "a flagged ox"]))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rows_have_a_negation_or_are_counted(captions, command, server, tmp_path, ending) -> None:
    output = tmp_path / f"p.{ending}"
    url = server().url
    done = command(captions, "-o", output, "--llm", "tiny", "--base-url", url, *ALSO)
    assert done.returncode == 0, done.stderr
    rows = {row["caption"]: row for row in read_pairs(output)}
    assert list(rows) == [*UNFIT, *FIT]
    assert {text: row["negation"] for text, row in rows.items() if "negation" in row} == FIT
    assert rows["a mirrored hen"]["paraphrase_2"] == "so hen mirrored a"
    found = report(output)
    assert found["rows"] == {"written": 7, "dropped": 1, "unfinished": 0}
    assert found["rows_with_a_negation"] == 2
    assert found["answers"] == 7 * 3 + 2
    expected = Counter(f"negation: {reason}" for reason in UNFIT.values())
    expected.update(f"{step}: rejected by the service" for step in ("step 1", "negation"))
    assert found["unfit_answers"] == expected
    prompt = found["made_with"]["prompt_hashes"]["negation"]
    assert {r.get("prompt_negation") for r in rows.values()} == {prompt, None}
    assert f"p.{ending}: 7 rows; 1 dropped, 0 not finished, 2 with a negation; " in done.stderr
    assert "note: unfit answers, negation: does not negate: 2" in done.stderr
    if ending == "parquet":
        assert pq.read_schema(output).field("negation").type == "string"
    # It converts to the other format and back.
    other = tmp_path / f"other.{'parquet' if ending == 'jsonl' else 'jsonl'}"
    assert convert(output, other) == 7
    assert [r.get("negation") for r in read_pairs(other)] == [
        r.get("negation") for r in rows.values()
    ]


def test_without_it_nothing_is_another(captions, command, server, tmp_path) -> None:
    """Not the row, not the report, not what the journal knows the run by."""
    running = server()
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", running.url)
    output = tmp_path / "p.jsonl"
    assert command(*arguments).returncode == 0
    first, before = output.read_bytes(), len(running.requests())
    row = json.loads(first.splitlines()[0])
    assert list(row) == [
        *("id", "caption", "paraphrase_1", "paraphrase_2", "prompt_1", "prompt_2"),
        *("llm", "sampling", "usage"),
    ]
    assert (row["prompt_1"], row["prompt_2"]) == ("a404587bbfd1fa34", "e11ae2c449efb32b")
    told = report(output)
    assert "rows_with_a_negation" not in told
    assert list(told["made_with"]["prompts"]) == ["1", "2"]
    # With it, and without it again: the negations that are there change nothing.
    assert command(*arguments, *ALSO).returncode == 0
    assert output.read_bytes() != first
    asked = len(running.requests())
    assert asked > before
    assert command(*arguments).returncode == 0
    assert output.read_bytes() == first
    again = report(output)
    assert {**again, "requests": None} == {**told, "requests": None}
    assert len(running.requests()) == asked


def test_a_finished_run_is_gone_on_with_and_only_negations_are_asked(
    captions, command, server, tmp_path
) -> None:
    running = server()
    arguments = (captions, "--llm", "tiny", "--base-url", running.url)
    assert command(*arguments, "-o", "p.jsonl").returncode == 0
    before = len(running.requests())
    done = command(*arguments, "-o", "p.jsonl", *ALSO)
    assert done.returncode == 0, done.stderr
    assert requests_since(running, before) == len(UNFIT) + len(FIT) + 1
    # As if it had been asked for at once.
    assert command(*arguments, "-o", "q.jsonl", *ALSO).returncode == 0
    assert (tmp_path / "p.jsonl").read_bytes() == (tmp_path / "q.jsonl").read_bytes()
    # A second call asks nothing; another prompt is another output.
    before = len(running.requests())
    assert command(*arguments, "-o", "p.jsonl", *ALSO).returncode == 0
    assert requests_since(running, before) == 0
    (tmp_path / "mine.txt").write_text("Negate this, please: {text}")
    done = command(*arguments, "-o", "p.jsonl", *ALSO, "--prompt", "negation=mine.txt")
    assert done.returncode == 2
    assert "this output was begun with another prompt of negation (" in done.stderr


def test_several_chains_have_one_negation(captions, command, server, tmp_path) -> None:
    running = server()
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", running.url, *ALSO)
    assert command(*arguments).returncode == 0
    before = len(running.requests())
    assert command(*arguments, "--n", 2).returncode == 0
    # Two steps more of each; the flagged one has one question more.
    assert requests_since(running, before) == 2 * (len(UNFIT) + len(FIT)) + 1
    rows = {row["caption"]: row for row in json_lines.read(tmp_path / "p.jsonl")}
    assert rows["a good dog"]["paraphrase_1"] == ["dog good a"] * 2
    assert rows["a good dog"]["negation"] == "no a good dog"


def test_unfit_negations_are_asked_once_more(command, server, tmp_path) -> None:
    (tmp_path / "c.txt").write_text("a good dog\na moody cat\na stubborn cow\n")
    running = server()
    arguments = ("c.txt", "-o", "p.jsonl", "--llm", "tiny", "--base-url", running.url, *ALSO)
    assert command(*arguments).returncode == 0
    assert report(tmp_path / "p.jsonl")["unfit_answers"]["negation: a refusal"] == 2
    before = len(running.requests())
    done = command(*arguments, "--ask-unfit")
    assert done.returncode == 0, done.stderr
    # Of the moody one steps 1 and 2 (its first answer, then with another seed) and the negation;
    # of the stubborn one step 1 and the negation.
    assert requests_since(running, before) == 6
    assert "5 unfit answers asked once more, 3 fit now" in done.stderr
    rows = {row["caption"]: row for row in json_lines.read(tmp_path / "p.jsonl")}
    assert rows["a moody cat"]["negation"] == "no a moody cat"
    assert rows["a moody cat"]["paraphrase_2"] == "so cat moody a"
    before = len(running.requests())
    assert command(*arguments, "--ask-unfit").returncode == 0
    assert requests_since(running, before) == 0


def test_marked_rows_keep_an_unfit_negation(captions, command, server, tmp_path) -> None:
    url = server().url
    done = command(
        captions, "-o", "p.jsonl", "--llm", "tiny", "--base-url", url, *ALSO, "--unfit", "mark"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["caption"]: row for row in json_lines.read(tmp_path / "p.jsonl")}
    assert {t: row["flags"] for t, row in rows.items()} == {
        **{text: {"negation": reason} for text, reason in UNFIT.items()},
        **{text: {} for text in FIT},
    }
    assert rows["an antonym cat"]["negation"] == "the opposite of an antonym cat"


def test_a_negation_is_not_judged_by_its_cosine(command, server, tmp_path) -> None:
    (tmp_path / "letters.py").write_text(
        "import numpy as np\n"
        "class Letters:\n"
        "    fingerprint = 'letters'\n"
        "    def encode_texts(self, texts):\n"
        "        return np.array([[1.0, 9.0 * t.startswith('no ')] for t in texts])\n"
    )
    (tmp_path / "c.txt").write_text("a good dog\n")
    done = command(
        *("c.txt", "-o", "p.jsonl", "--llm", "tiny", "--base-url", server().url, *ALSO),
        *("--cosine-model", "letters.py:Letters", "--min-cosine", "0.9"),
        env={"PARACLIP_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert json_lines.read(tmp_path / "p.jsonl")[0]["negation"] == "no a good dog"


def _answered(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        request = json.loads(line)
        body = completion(request["body"]["messages"][-1]["content"])
        response = {"status_code": 200, "request_id": "r", "body": body}
        found.append({"custom_id": request["custom_id"], "response": response, "error": None})
    return found


def test_batch_files_take_two_rounds(command, server, tmp_path) -> None:
    captions = tmp_path / "c.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(20)))
    arguments = (captions, "--llm", "tiny", "-o", "p.jsonl", *ALSO)
    for names in (("step_1", "negation"), ("step_2",)):
        done = command(*arguments, "--batch", "write", "--batch-size", 15)
        assert done.returncode == 0, done.stderr
        files = [tmp_path / line for line in done.stdout.splitlines()]
        assert [file.name for file in files] == [
            f"{name}.requests.000{i}.jsonl" for name in names for i in (1, 2)
        ]
        answers = [answer for file in files for answer in _answered(file)]
        random.Random(0).shuffle(answers)
        lost = next(a for a in answers if "-1-0" in a["custom_id"] or "-2-0" in a["custom_id"])
        part = json_lines.write(tmp_path / "part.jsonl", [a for a in answers if a is not lost])
        done = command(*arguments, "--batch", "read", "--answers", part, "--json")
        assert done.returncode in (0, 1), done.stderr
        count = 20 * len(names) - 1
        assert f"answers: {count} new, 0 known before, 0 failed, 0 to no open" in done.stderr
        to_send = json.loads(done.stdout)["batch"]["to_send"]
        assert to_send["negation"] == 0
        assert to_send["1"] + to_send["2"] == 20 if "step_1" in names else 1
        rest = json_lines.write(tmp_path / "rest.jsonl", [lost])
        command(*arguments, "--batch", "read", "--answers", rest)
    # Without --also the negations are answers to nothing that is asked.
    again = json_lines.write(tmp_path / "all.jsonl", [{**lost, "custom_id": "00-3--1"}, lost])
    done = command(*arguments[:-2], "--batch", "read", "--answers", again)
    assert "answers: 0 new, 1 known before, 0 failed, 1 to no open question" in done.stderr
    assert command(*arguments, "--batch", "write").returncode == 0
    online = ("--llm", "tiny", "-o", "online.jsonl", "--base-url", server().url, *ALSO)
    assert command(captions, *online).returncode == 0
    rows = json_lines.read(tmp_path / "p.jsonl")
    assert rows == json_lines.read(tmp_path / "online.jsonl")
    assert [row["negation"] for row in rows] == [
        f"no picture number {i} of many" for i in range(20)
    ]


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_file(server, command, tmp_path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("".join(f"picture number {i} of many\n" for i in range(400)))
    running = server("--latency", "0.02", "--fail", "0.05")
    arguments = (captions, "--base-url", running.url, "--llm", "tiny", "--timeout", 1)
    assert command(*arguments, "-o", "whole.jsonl", *ALSO).returncode == 0
    # The first half of the way without negations.
    assert command(*arguments, "-o", "killed.jsonl").returncode == 0
    before = len(running.requests())
    start = [sys.executable, "-m", "paraclip_bench", "paraphrase", *map(str, arguments)]
    kills = 0
    for delay in (1.0, 1.2, 1.4):
        process = subprocess.Popen(
            [*start, "-o", "killed.jsonl", *ALSO], cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == 3
    assert command(*arguments, "-o", "killed.jsonl", *ALSO).returncode == 0
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert killed.read_bytes() == whole.read_bytes()
    rows = json_lines.read(killed)
    assert [row["negation"] for row in rows] == [
        f"no picture number {i} of many" for i in range(400)
    ]
    # A kill may lose what was in flight; nothing else is asked twice, no T' and no T'' at all.
    asked = Counter(d for o, d in running.requests()[before:] if o == "ok")
    assert len(asked) == 400
    assert sum(count - 1 for count in asked.values()) <= 3 * 16


def test_what_is_not_negated_yet_is_not_finished(command, server, tmp_path) -> None:
    (tmp_path / "c.txt").write_text("a good dog\nan alarm\none fivehundred\n")
    (tmp_path / "ask.txt").write_text("Negate fivehundred: {text}")
    arguments = ("c.txt", "-o", "p.jsonl", "--llm", "tiny", "--base-url", server().url)
    given = (*arguments, *ALSO, "--prompt", "negation=ask.txt", "--retries", 0, "--patience", 0)
    assert command(*given).returncode == 1
    # Nothing was negated, so another prompt is no other output.
    done = command(*arguments, *ALSO, "--retries", 0, "--patience", 1)
    assert done.returncode == 1
    assert "questions given up after all retries: " in done.stderr
    assert report(tmp_path / "p.jsonl")["rows"]["unfinished"] == 1
    assert [r["negation"] for r in json_lines.read(tmp_path / "p.jsonl")] == [
        "no a good dog",
        "no an alarm",
    ]


def test_a_dry_run_counts_it(captions, command, tmp_path) -> None:
    arguments = (captions, "-o", "p.jsonl", "--llm", "tiny", "--n", 2, "--dry-run", "--json")
    plain = json.loads(command(*arguments).stdout)
    also = json.loads(command(*arguments, *ALSO).stdout)
    assert (plain["questions"], also["questions"]) == (8 * 4, 8 * 5)
    assert also["prompt_tokens_about"] > plain["prompt_tokens_about"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--also", "opposite"), "--also 'opposite' is not known; it takes negation"),
        (("--prompt", "negation=x"), "--prompt negation=FILE is for --also negation"),
        ((*ALSO, "--prompt", "negation=empty.txt"), "the prompt empty.txt has no {text}"),
    ],
)
def test_wrong_calls(captions, command, tmp_path, arguments, sentence) -> None:
    (tmp_path / "empty.txt").write_text("Negate it.\n")
    done = command(captions, "-o", "p.jsonl", "--llm", "tiny", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert sentence in line


def test_the_report_shows_negations(command, tmp_path) -> None:
    rows = [
        {"caption": "a dog on grass", "paraphrase_1": "x", "paraphrase_2": "y"},
        {
            **{"caption": "a cat on a mat", "paraphrase_1": "z", "paraphrase_2": "w"},
            "negation": "a cat not on a mat",
        },
    ]
    pairs = json_lines.write(tmp_path / "p.jsonl", rows)
    found = statistics(pairs)
    assert (found.negations, found.negation_words, found.negation_changes) == (1, 6, 1)
    assert sorted(texts[3] for texts in found.examples) == ["", "a cat not on a mat"]
    told = " ".join(command("report", pairs, "-o", tmp_path / "r.html").stdout.split())
    assert "rows with a negation 1" in told
    assert "not T a cat not on a mat" in told
    assert "<th>not T</th>" in (tmp_path / "r.html").read_text()
    assert json.loads(command("report", pairs, "--json").stdout)["rows_with_a_negation"] == 1
    bad = json_lines.write(tmp_path / "bad.jsonl", [{**rows[1], "negation": 3}])
    with pytest.raises(DataError, match=r"line 1: 'negation' must be a text that is not empty"):
        list(read_pairs(bad))


def test_the_demo_grammar_negates_from_python(tmp_path) -> None:
    texts = ["the red ball is above the blue box", "a photo of a ball and a box"]
    (tmp_path / "c.txt").write_text("\n".join(texts))
    out = tmp_path / "p.jsonl"
    told = api.paraphrase(tmp_path / "c.txt", out, llm="demo", also="negation", quiet=True)
    assert told["rows_with_a_negation"] == 2
    assert [row["negation"] for row in json_lines.read(out)] == [
        "the red ball is not above the blue box",
        "a photo of a ball without a box",
    ]
    assert all(negates(text, negation(text)) for text in texts)
    with pytest.raises(UsageError, match="--also 'no' is not known"):
        api.paraphrase(tmp_path / "c.txt", out, llm="demo", also="no", quiet=True)


@pytest.mark.parametrize(
    ("caption", "answer", "is_negation"),
    [
        ("a dog runs", "a dog does not run", True),
        ("a dog runs", "A dog isn\u2019t running", True),
        ("a dog runs", "A dog doesnt run", True),
        ("a dog runs", "No dogs, no dog", True),
        ("a room with chairs", "a room without chairs", True),
        ("a room with chairs", "a room lacking chairs", True),
        ("a man and a dog", "neither a man nor a dog", True),
        ("ein Hund l\u00e4uft", "kein Hund l\u00e4uft", True),
        ("\u72d7\u5728\u5ba4\u5185", "\u72d7\u4e0d\u5728\u5ba4\u5185", True),
        ("it is what it is", "it is not what it is", True),
        # Antonyms, other prepositions: what no check can tell from another caption.
        ("a dog on a mat", "a dog under a mat", False),
        ("a dog runs", "a dog sleeps", False),
        # As many as the caption has.
        ("a man without a hat", "a man with no hat", False),
        ("a man without a hat", "a man with a hat", False),
        ("a man without a hat", "a man not without a hat", True),
        # Of something else.
        ("a dog runs", "nobody is here", False),
        # Letters of such words inside others.
        ("a dog runs", "a dog by a knot, a note, a tenant and a notice", False),
    ],
)
def test_what_negates(caption: str, answer: str, is_negation: bool) -> None:
    assert negates(caption, answer) is is_negation


@given(st.text(), st.text())
def test_negations_are_counted_in_any_text(one: str, two: str) -> None:
    assert not negates(one, one)
    assert not (negates(one, two) and negates(two, one))
    assert negation_count(f"{one} not {two}") >= 1 + negation_count(one)
