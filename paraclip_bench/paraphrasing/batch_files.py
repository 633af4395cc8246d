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

from paraclip_bench.data.row_files import json_object, lines
from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.files import atomic
from paraclip_bench.paraphrasing.answers import Chains
from paraclip_bench.paraphrasing.endpoint import (
    UNREADABLE,
    error_sentence,
    read_completion,
    readable,
    request_body,
)
from paraclip_bench.paraphrasing.export import work_folder
from paraclip_bench.paraphrasing.job import Settings
from paraclip_bench.paraphrasing.journal import Answer, CaptionRow, Journal
from paraclip_bench.paraphrasing.prompts import NEGATION, STEPS, step_name
from paraclip_bench.paraphrasing.service import REJECTED, Question, Reply

# What OpenAI takes in a file (its Batch API guide, 2025): requests, and bytes with some room left.
MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
_URL = "/v1/chat/completions"
_KEPT_AT_ONCE = 2000
_NAMED = 3
# Statuses by which a service says that this request will never be answered.
_REJECTING = frozenset({400, 403, 413, 422})


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
    journal.mark_asked(negations=chains.negates)
    folder = work_folder(output) / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    written: list[tuple[Path, int]] = []
    for step in (*STEPS, NEGATION):
        name = step_name(step).replace(" ", "_")
        for old in folder.glob(f"{name}.requests.*.jsonl"):
            old.unlink()
        requests = _lines(_open(journal, chains, step), settings)
        waiting = next(requests, None)
        number = 0
        while waiting is not None:
            number += 1
            path = folder / f"{name}.requests.{number:04d}.jsonl"
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
            "body": request_body(settings, question),
        }
        yield json.dumps(request, ensure_ascii=False).encode() + b"\n"


@dataclass
class BatchAnswers:
    """What came of files of answers: kept, known before, of no row here, failed and why."""

    kept: int = 0
    known: int = 0
    foreign: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def read_answers(journal: Journal, chains: Chains, files: Sequence[Path]) -> BatchAnswers:
    """Take answers in, in any order; what failed or is missing stays open.

    Raises `UsageError` for a file of requests given as answers, `DataError` for one that cannot be
    read.
    """
    read = BatchAnswers()
    # Answers of step 2 need those of step 1, which may stand behind them or in another file.
    for steps in ((STEPS[0], NEGATION), STEPS[1:]):
        waiting: list[Answer] = []
        rejected: list[Answer] = []
        for where, found in _answers(files, read if STEPS[0] in steps else BatchAnswers()):
            # A name that is not ours counts once, in the first pass.
            if (_step(found) or STEPS[0]) not in steps:
                continue
            answer = _answer(journal, chains, found, where, read)
            if answer is not None:
                (waiting if answer.text else rejected).append(answer)
            if len(waiting) == _KEPT_AT_ONCE:
                _keep(journal, waiting, read)
        _keep(journal, waiting, read)
        # What the service rejects is about its question only where it answers others.
        if journal.has_answers(good=True):
            _keep(journal, rejected, read)
        for answer in rejected:
            read.failed[str(answer.reason)] += 1
    return read


def _answers(files: Sequence[Path], read: BatchAnswers) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of all files that can be read; the others are noted."""
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
            yield where, found


def _step(found: dict[str, Any]) -> int | None:
    """The step that an answer's name says; None where it is not a name of ours."""
    # In front of the chain's number may stand a minus.
    parts = str(found.get("custom_id")).split("-", 2)
    known = map(str, (*STEPS, NEGATION))
    return int(parts[1]) if len(parts) == 3 and parts[1] in known else None


def _keep(journal: Journal, waiting: list[Answer], read: BatchAnswers) -> None:
    kept = journal.add(waiting)
    read.kept += kept
    read.known += len(waiting) - kept
    waiting.clear()


def _answer(
    journal: Journal, chains: Chains, found: dict[str, Any], where: str, read: BatchAnswers
) -> Answer | None:
    place = _place(journal, str(found.get("custom_id")))
    if place is None:
        read.foreign += 1
        return None
    row, step, chain = place
    if (step, chain) in row.answers:
        read.known += 1
        return None
    question = chains.next(row, chain)
    if question is None or question.step != step:
        read.foreign += 1  # an answer to a question that is not open
        return None
    response = found.get("response")
    response = response if isinstance(response, dict) else {}
    body, status = response.get("body"), response.get("status_code", 200)
    error = error_sentence({"error": found.get("error")}) or error_sentence(
        {"error": body.get("error") if isinstance(body, dict) else body}
    )
    if error is not None or status != 200:
        said = readable(" ".join((error or "no reason given").split())[:200])
        if status in _REJECTING:
            return chains.answer(
                row, chain, question, Reply("", "", rejected=f"{REJECTED} ({status}: {said})")
            )
        read.failed[said if error is not None else f"status {status}"] += 1
        return None
    try:
        return chains.answer(row, chain, question, read_completion(body))
    except UNREADABLE as problem:
        _unreadable(read, f"{where}: the answer cannot be read ({problem})")
        return None


def _place(journal: Journal, name: str) -> tuple[CaptionRow, int, int] | None:
    key, _, rest = name.partition("-")
    step, _, chain = rest.partition("-")
    try:
        row = journal.row(bytes.fromhex(key))
        return None if row is None else (row, int(step), int(chain))
    except ValueError:
        return None


def _unreadable(read: BatchAnswers, sentence: str) -> None:
    read.failed["unreadable answer"] += 1
    if len(read.unreadable) < _NAMED:
        read.unreadable.append(sentence)
