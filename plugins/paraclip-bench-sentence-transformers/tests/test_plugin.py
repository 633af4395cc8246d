"""The plugin through paraclip-bench's own door, on a tiny random BERT that the test makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

from paraclip_bench.api import evaluate, load_model
from paraclip_bench.errors import UsageError

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["a", "the", "dog", "cat", "runs", "sleeps", "red", "blue"],
]
PAIRS = [(0.5, "a dog", "a cat"), (5, "the dog runs", "the dog runs"), (2, "red cat", "blue dog")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bert")
    (root / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(root / "vocab.txt")).save_pretrained(root / "bert")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(root / "bert")
    tower = Transformer(str(root / "bert"))
    SentenceTransformer(modules=[tower, Pooling(16)]).save(str(root / "tiny-bert"))
    return root / "tiny-bert"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/sts").mkdir(parents=True)
    rows = ["score\tsentence1\tsentence2", *("\t".join(map(str, pair)) for pair in PAIRS)]
    (tmp_path / "data/sts/STS12.tsv").write_text("\n".join(rows))
    return tmp_path / "data"


def test_scores_are_those_of_sentence_transformers(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    report = evaluate(
        [f"sentence-transformers:{folder}"],
        ["STS12", "vg-relation"],
        data_dir=data,
        workspace=tmp_path,
        quiet=True,
    )
    ((_, result),) = report.results
    model = SentenceTransformer(str(folder))
    a, b = (model.encode([p[i] for p in PAIRS], normalize_embeddings=True) for i in (1, 2))
    expected = np.corrcoef((a * b).sum(1), [p[0] for p in PAIRS])[0, 1]
    assert result.scores["pearson"].value == pytest.approx(expected, abs=1e-5)
    assert result.model.name == "tiny-bert"


def test_texts_that_are_cut_are_counted(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(folder))
    model.max_seq_length = 6  # two of them begin and end the text
    model.save(str(folder.with_name("short")))
    (tmp_path / "data/sts").mkdir(parents=True)
    rows = ["a dog runs the", "a dog runs the cat", "a dog", "the dog runs the cat", "a cat"]
    pairs = [f"{i}\t{rows[i]}\t{rows[i + 1]}" for i in range(4)]
    table = "\n".join(["score\tsentence1\tsentence2", *pairs])
    (tmp_path / "data/sts/STS12.tsv").write_text(table)
    spec = f"sentence-transformers:{folder.with_name('short')}"
    assert load_model(spec).adapter.context_length == 6
    for force in (False, True):  # the second time all vectors are stored
        report = evaluate(
            spec, "STS12", data_dir=tmp_path / "data", workspace=tmp_path, quiet=True, force=force
        )
        ((_, result),) = report.results
        assert result.data.notes["texts_cut"] == 2
        assert result.provenance.from_store == float(force)


def test_the_fingerprint_is_of_the_weights(folder: Path) -> None:
    first = load_model(f"sentence-transformers:{folder}").fingerprint
    assert first == load_model(f"sentence-transformers:{folder}").fingerprint
    model = SentenceTransformer(str(folder))
    next(model.parameters()).data[0, 0] += 1
    model.save(str(folder.with_name("other")))
    assert load_model(f"sentence-transformers:{folder.with_name('other')}").fingerprint != first


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-folder does not exist"):
        load_model("sentence-transformers:./no-such-folder")


def test_it_is_listed() -> None:
    command = [sys.executable, "-m", "paraclip_bench", "models", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "paraclip-bench-sentence-transformers 0.1.0" in [row["from"] for row in listed]
