"""A real server of the ecosystem: `transformers serve` with a tiny random Llama on loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import json_lines
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("uvicorn", reason="transformers serve needs uvicorn and fastapi")
pytest.importorskip("fastapi", reason="transformers serve needs uvicorn and fastapi")

WORDS = ["a", "an", "the", "dog", "cat", "snow", "mat", "red", "blue", "runs", "sits", "on", "old"]
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}<s>"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it: 16 words, random weights."""
    folder = tmp_path_factory.mktemp("served") / "tiny-llama"
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("log") / "serve.log").open("w+")
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("transformers")),
            "serve",
            *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=model.parent,
    )
    try:
        for _ in range(240):
            assert process.poll() is None, Path(log.name).read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.mark.slow
def test_both_steps_through_a_real_server(address, model, command, tmp_path) -> None:
    captions = tmp_path / "c.txt"
    captions.write_text("the red dog runs in snow\nan old cat sits on a mat\na young dog\n")
    arguments = (captions, "-o", "p.jsonl", "--llm", model, "--base-url", address)
    done = command(*arguments, "--unfit", "mark", "--max-tokens", 6, "--concurrency", 2)
    assert done.returncode == 0, done.stderr
    rows = json_lines.read(tmp_path / "p.jsonl")
    assert [row["caption"] for row in rows] == captions.read_text().splitlines()
    for row in rows:
        for step in (1, 2):
            said = row[f"paraphrase_{step}"]
            assert set(re.findall(r"\w+", said)) <= set(WORDS), said
        assert row["usage"]["completion_tokens"] > 0
    # A second run has nothing to ask and gives the same file.
    before = (tmp_path / "p.jsonl").read_bytes()
    assert command(*arguments, "--unfit", "mark", "--max-tokens", 6).returncode == 0
    assert (tmp_path / "p.jsonl").read_bytes() == before
