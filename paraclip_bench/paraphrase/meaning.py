"""How far an answer is from its caption in meaning, by any text model of the registry."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from paraclip_bench.errors import UsageError
from paraclip_bench.models.base import Context, Model
from paraclip_bench.models.load import load_model
from paraclip_bench.paraphrase.job import Meaning
from paraclip_bench.paraphrase.journal import Journal
from paraclip_bench.progress import Progress
from paraclip_bench.workspace import Workspace

_ROWS = 4096


def text_model(meaning: Meaning) -> Model:
    """The model, checked to have a text side; `UsageError` where it has none."""
    model = load_model(meaning.model, Context("paper", Workspace(Path()).checkpoints))
    if model.text is None:
        raise UsageError(f"--cosine-model {meaning.model} has no text side; name one that has")
    model.to(meaning.device, None)
    return model


def measure(journal: Journal, model: Model, progress: Progress) -> None:
    """Give each answer without one the cosine of its vector and its caption's.

    Cosines of another model are replaced. What they must be is not decided here.
    """
    from paraclip_bench.encoding.engine import Embedder
    from paraclip_bench.encoding.spaces import Spaces

    journal.begin_cosines(model.fingerprint or model.spec)
    embed = Embedder(model, Spaces(progress.say), progress)
    rows = journal.rows()
    while part := list(islice(rows, _ROWS)):
        found = [
            (row.caption, answer)
            for row in part
            for answer in row.answers.values()
            if answer.text and answer.cosine is None
        ]
        if not found:
            continue
        texts = [caption for caption, _ in found] + [answer.text for _, answer in found]
        vectors = np.asarray(embed.texts(texts))
        cosines = (vectors[: len(found)] * vectors[len(found) :]).sum(axis=1).tolist()
        answers = [answer for _, answer in found]
        journal.add_cosines(zip(answers, cosines, strict=True))
    model.release()
