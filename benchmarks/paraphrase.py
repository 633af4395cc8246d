"""Paraphrasing against a server with 200 ms latency: one after the other, and ours.

    python benchmarks/paraphrase.py [--quick] [--captions FILE]

The usual way: the official client, one request after the other. Ours: `paraclip-bench paraphrase`
at concurrency 64, every answer synced to the disk. Then the peak memory of 10,000 and of 200,000
captions, against a server without latency. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import openai

from paraclip_bench.paraphrasing.job import SAMPLING
from paraclip_bench.paraphrasing.prompts import STEPS, prompts

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests/support/llm_server.py"
LATENCY = 0.2
CONCURRENCY = 64


def main() -> None:
    """Measure rows a second, processor time and memory; end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared" / "data" / "captions" / "coco_val2014_captions.jsonl"
    parser.add_argument("--captions", type=Path, default=shared)
    parser.add_argument("--quick", action="store_true", help="fewer rows, and 20,000 of memory")
    options = parser.parse_args()
    texts = [json.loads(line)["caption"] for line in options.captions.open(encoding="utf-8")]
    texts = [text for text in texts if 2 <= len(text.split()) <= 15]
    serial_rows, our_rows = (10, 500) if options.quick else (50, 2500)
    figures: dict[str, Any] = {}
    with server(LATENCY) as url:
        start = time.perf_counter()
        serial(url, texts[:serial_rows])
        figures["rows_per_second_serial"] = serial_rows / (time.perf_counter() - start)
        found = ours(url, texts[:our_rows], 0)
        figures["rows_per_second"] = our_rows / found["seconds"]
        figures["processor_cores"] = found["processor_seconds"] / found["seconds"]
    figures["ratio"] = figures["rows_per_second"] / figures["rows_per_second_serial"]
    print({name: round(value, 3) for name, value in figures.items()}, flush=True)
    with server(0.0) as url:
        for rows in (1000, 20_000) if options.quick else (10_000, 200_000):
            found = ours(url, texts, rows)
            figures[f"peak_mb_{rows}"] = found["peak_mb"]
            figures[f"rows_per_second_{rows}_without_latency"] = rows / found["seconds"]
            print(rows, found, flush=True)
    # Imported last: a child's peak counts what this process had when it was made.
    import machine

    print(json.dumps({"benchmark": "paraphrase", **figures, "machine": machine.describe()}))


def serial(url: str, texts: list[str]) -> None:
    """Both steps of each caption, one request after the other, as a script would."""
    client = openai.OpenAI(base_url=url, api_key="none")
    templates = prompts()
    for text in texts:
        for step in STEPS:
            answer = client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": templates[step].fill(text)}],
                **SAMPLING,
            )
            text = answer.choices[0].message.content or ""


def ours(url: str, texts: list[str], rows: int) -> dict[str, float]:
    """The command in a process of its own: seconds, processor seconds, peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        captions = Path(folder) / "captions.jsonl"
        with captions.open("w", encoding="utf-8") as file:
            for number, text in enumerate(islice(cycle(texts), rows or len(texts))):
                print(json.dumps({"caption": text, "image": str(number)}), file=file)
        command = [sys.executable, "-m", "paraclip_bench", "paraphrase", str(captions)]
        command += ["-o", f"{folder}/pairs.jsonl", "--llm", "tiny", "--base-url", url]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--concurrency", str(CONCURRENCY)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        assert os.waitstatus_to_exitcode(status) == 0
        written = sum(1 for _ in (Path(folder) / "pairs.jsonl").open("rb"))
        assert written == (rows or len(texts)), written
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
    }


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The tests' server in a process of its own; gives its address."""
    command = [sys.executable, str(SERVER), "--log", os.devnull, "--latency", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
