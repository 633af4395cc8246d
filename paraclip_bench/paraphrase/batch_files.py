"""Requests as files for a provider's batch service, and the answers that come back.

The format is the OpenAI Batch API's, which `vllm run-batch` reads and writes too: a line a request
(custom_id, method, url, body), a line an answer (custom_id, response, error), in any order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraclip_bench.data.text_files import json_object, lines
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import atomic
from paraclip_bench.paraphrase.chains import Chains
from paraclip_bench.paraphrase.export import work_folder
from paraclip_bench.paraphrase.journal import Answer, Journal, Row
from paraclip_bench.paraphrase.prompts import STEPS
from paraclip_bench.paraphrase.services.base import Question
from paraclip_bench.paraphrase.services.endpoint import body, read_completion
from paraclip_bench.paraphrase.settings import Settings

# What OpenAI takes in a file (its Batch API guide, 2025): requests, and bytes with some room left.
MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
_URL = "/v1/chat/completions"
_KEPT_AT_ONCE = 2000
_NAMED = 3


def write_requests(
    journal: Journal,
    settings: Settings,
    chains: Chains,
    output: Path,
    *,
    max_requests: int = MAX_REQUESTS,
    max_bytes: int = MAX_BYTES,
) -> list[tuple[Path, int]]:
    """Write every open question to files of one step each; returns them with their numbers.

    Files of an earlier call that are still there are deleted: what they asked is asked again here,
    unless it was answered.
    """
    folder = work_folder(output) / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("step_?.requests.*.jsonl"):
        old.unlink()
    written: list[tuple[Path, int]] = []
    for step in STEPS:
        requests = _lines(_open(journal, chains, step), settings)
        waiting = next(requests, None)
        number = 0
        while waiting is not None:
            number += 1
            path = folder / f"step_{step}.requests.{number:04d}.jsonl"
            count = size = 0
            with atomic(path) as temporary, temporary.open("wb") as file:
                while waiting is not None:
                    full = count == max_requests or size + len(waiting) > max_bytes
                    if full and count:
                        break
                    file.write(waiting)
                    count, size = count + 1, size + len(waiting)
                    waiting = next(requests, None)
            written.append((path, count))
    return written


def _open(journal: Journal, chains: Chains, step: int) -> Iterator[tuple[str, Question]]:
    for row in journal.rows():
        for chain in chains.open(row):
            question = chains.next(row, chain)
            if question is not None and question.step == step:
                yield f"{row.key.hex()}-{step}-{chain}", question


def _lines(questions: Iterator[tuple[str, Question]], settings: Settings) -> Iterator[bytes]:
    for name, question in questions:
        request = {
            "custom_id": name,
            "method": "POST",
            "url": _URL,
            "body": body(settings, question),
        }
        yield json.dumps(request, ensure_ascii=False).encode() + b"\n"


@dataclass
class Read:
    """What came of files of answers: kept, known before, of no row here, failed and why."""

    kept: int = 0
    known: int = 0
    foreign: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def read_answers(journal: Journal, chains: Chains, files: Sequence[Path]) -> Read:
    """Take answers in, in any order; what failed or is missing stays open.

    Raises `UsageError` for a file of requests given as answers, `DataError` for one that cannot be
    read.
    """
    read = Read()
    waiting: list[Answer] = []
    for file in files:
        for number, line in lines(file):
            where = f"{file}, line {number}"
            try:
                found = json_object(line, where)
            except DataError as error:
                _unreadable(read, str(error))
                continue
            if "body" in found and "response" not in found:
                raise UsageError(
                    f"{file} holds requests, not answers; give the file that the service wrote"
                )
            answer = _answer(journal, chains, found, where, read)
            if answer is not None:
                waiting.append(answer)
            if len(waiting) == _KEPT_AT_ONCE:
                _keep(journal, waiting, read)
    _keep(journal, waiting, read)
    return read


def _keep(journal: Journal, waiting: list[Answer], read: Read) -> None:
    kept = journal.add(waiting)
    read.kept += kept
    read.known += len(waiting) - kept
    waiting.clear()


def _answer(
    journal: Journal, chains: Chains, found: dict[str, Any], where: str, read: Read
) -> Answer | None:
    place = _place(journal, str(found.get("custom_id")))
    if place is None:
        read.foreign += 1
        return None
    row, step, chain = place
    if (step, chain) in row.answers:
        read.known += 1
        return None
    response = found.get("response") or {}
    error = found.get("error") or (response.get("body") or {}).get("error")
    status = response.get("status_code", 200)
    if error or status != 200:
        said = error.get("message") or error.get("code") if isinstance(error, dict) else error
        read.failed[" ".join(str(said or f"status {status}").split())[:120]] += 1
        return None
    question = chains.next(row, chain)
    if question is None or question.step != step:
        read.foreign += 1  # an answer to a question that is not open
        return None
    try:
        said = read_completion(response.get("body"))
    except (ValueError, KeyError, TypeError) as problem:
        _unreadable(read, f"{where}: the answer cannot be read ({problem})")
        return None
    return chains.answer(row, chain, question, said)


def _place(journal: Journal, name: str) -> tuple[Row, int, int] | None:
    key, _, rest = name.partition("-")
    step, _, chain = rest.partition("-")
    try:
        row = journal.row(bytes.fromhex(key))
        return None if row is None else (row, int(step), int(chain))
    except ValueError:
        return None


def _unreadable(read: Read, sentence: str) -> None:
    read.failed["unreadable answer"] += 1
    if len(read.unreadable) < _NAMED:
        read.unreadable.append(sentence)
