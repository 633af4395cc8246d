"""Texts that a model cuts are counted, exactly, whether their vectors were stored or not."""

import json
import shutil
import time

import pytest
import tiny_clip

from paraclip_bench.api import evaluate
from paraclip_bench.models.load import load_model
from paraclip_bench.models.open_clip.network import texts_cut

CONTEXT = 16  # of the tiny CLIP; two of them begin and end a text


def words(count):
    return " ".join(["dog"] * count)


@pytest.fixture
def spec(tmp_path):
    return f"local-dir:{tiny_clip.save(tmp_path / 'tiny')}"


@pytest.fixture
def data(tmp_path):
    """50 distinct texts, 20 of which are too long; pairs of these differ behind the cut alone."""
    folder = tmp_path / "data" / "sts"
    folder.mkdir(parents=True)
    long = [
        f"{words(13)} {word} {'red' if n % 2 else 'blue'}" for n, word in enumerate(["cat"] * 2)
    ]
    long += [f"{words(14)} {chr(97 + n)}" for n in range(18)]
    fitting = [f"{words(13)} {chr(97 + n)}" for n in range(26)] + ["a", "b", "c", words(14)]
    texts = long + fitting
    assert len(set(texts)) == 50
    pairs = [f"{n % 6}\t{texts[2 * n]}\t{texts[2 * n + 1]}" for n in range(25)]
    pairs.append(f"1\t{long[0]}\t{fitting[0]}")  # what comes again counts once
    (folder / "STS12.tsv").write_text("\n".join(["score\tsentence1\tsentence2", *pairs]))
    return folder.parent


def test_the_result_and_the_run_say_how_many_were_cut(spec, data, tmp_path, own_store, capfd):
    for force in (False, True):
        report = evaluate(spec, "STS12", data_dir=data, workspace=tmp_path, force=force)
        ((path, result),) = report.results
        assert result.provenance.from_store == float(force)
        assert json.loads(path.read_text())["data"]["notes"]["texts_cut"] == 20
        said = "note: 20 of 50 texts are longer than the model's context of 16 tokens and were cut"
        assert capfd.readouterr().err.splitlines().count(said) == 1


def test_stored_vectors_are_counted_without_the_weights(spec, data, tmp_path, own_store, context):
    evaluate(spec, "STS12", data_dir=data, workspace=tmp_path, quiet=True)
    model = load_model(spec, context)
    ((_, result),) = evaluate(
        [model], "STS12", data_dir=data, workspace=tmp_path, quiet=True, force=True
    ).results
    assert result.data.notes["texts_cut"] == 20
    assert model.adapter.loaded is None


@pytest.fixture
def context(tmp_path):
    from paraclip_bench.models.adapter import Context

    return Context(suite="paper", checkpoints=tmp_path)


def test_what_exactly_fits_is_not_cut(spec, context):
    adapter = load_model(spec, context).adapter
    assert adapter.context_length == CONTEXT
    exact, over, dense = words(CONTEXT - 2), words(CONTEXT - 1), "!" * 400
    html = "&NotEqualTilde;" * 9  # an entity becomes several bytes
    assert adapter.cut_texts([exact, over, "", dense, "x", html]) == [
        False,
        True,
        False,
        len(adapter.network().tokenizer.encode(dense)) > CONTEXT - 2,
        False,
        True,
    ]


@pytest.mark.parametrize("kind", ["pads with its end", "has an end", "has none"])
def test_any_tokenizer_of_open_clip_s_kind(kind):
    import torch

    class Tokenizer:
        """Tokens are letters, from 5 on; padding is 1 or 0."""

        context_length = 6

        def __call__(self, texts, context_length=None):
            most = context_length or self.context_length
            pad = 1 if kind == "pads with its end" else 0
            rows = []
            for text in texts:
                tokens = [5 + ord(letter) for letter in text]
                if kind != "has none":
                    tokens = [*tokens[: most - 1], 1 if pad else 2]
                rows.append([*tokens[:most], *[pad] * (most - len(tokens))])
            return torch.tensor(rows)

    fits = 6 if kind == "has none" else 5
    texts = ["a" * count for count in range(1, 12)]
    assert texts_cut(Tokenizer(), texts) == [len(text) > fits for text in texts]


class Simple:
    """A model that cannot say."""

    def encode_texts(self, texts):
        return [[1.0, len(text)] for text in texts]


class Says(Simple):
    context_length = 20

    def cut_texts(self, texts):
        return [len(text) > 20 for text in texts]


class Wrong(Simple):
    def cut_texts(self, texts):
        return [True]


class Raises(Simple):
    def cut_texts(self, texts):
        raise KeyError("vocab")


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        (Simple, None, None),
        (Says, 47, "47 of 50 texts are longer than the model's context of 20 tokens and were cut"),
        (Wrong, None, "Wrong cannot say which texts it cuts (ValueError: cut_texts gave 1 answer"),
        (Raises, None, "Raises cannot say which texts it cuts (KeyError: 'vocab')"),
    ],
)
def test_a_model_of_one_s_own(data, tmp_path, capfd, kind, count, said):
    ((_, result),) = evaluate(kind(), "STS12", data_dir=data, workspace=tmp_path).results
    assert result.data.notes.get("texts_cut") == count
    notes = [line for line in capfd.readouterr().err.splitlines() if "cut" in line]
    assert len(notes) == (said is not None)
    assert said is None or notes[0].startswith(f"note: {said}")


def test_counting_costs_little(spec, context):
    texts = [f"a photo of {n} dogs that run in the snow near a red house" for n in range(20_000)]
    adapter = load_model(spec, context).adapter
    adapter.cut_texts(texts[:1])
    start = time.perf_counter()
    adapter.cut_texts(texts)
    assert time.perf_counter() - start < 10
    shutil.rmtree(spec.removeprefix("local-dir:"))
