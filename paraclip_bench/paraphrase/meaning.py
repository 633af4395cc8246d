"""How far an answer is from its caption in meaning, by any text model of the registry."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np

from paraclip_bench.errors import UsageError
from paraclip_bench.paraphrase.chains import Chains
from paraclip_bench.paraphrase.job import Meaning
from paraclip_bench.paraphrase.journal import Answer, Journal
from paraclip_bench.progress import Progress
from paraclip_bench.workspace import Workspace

_ROWS = 4096
TOO_FAR = "too far in meaning"


def judge(journal: Journal, chains: Chains, meaning: Meaning, progress: Progress) -> None:
    """Give each answer without another fault the cosine of its vector and its caption's.

    Those below `min_cosine` are unfit. All rows are judged anew, so that a threshold may change.
    Raises `UsageError` for a model without a text side.
    """
    from paraclip_bench.encoding.engine import Embedder
    from paraclip_bench.encoding.spaces import Spaces
    from paraclip_bench.models.base import Context
    from paraclip_bench.models.load import load_model

    model = load_model(meaning.model, Context("paper", Workspace(Path()).checkpoints))
    if model.text is None:
        raise UsageError(f"--cosine-model {meaning.model} has no text side; name one that has")
    model.to(meaning.device, None)
    embed = Embedder(model, Spaces(progress.say), progress)
    rows = journal.rows()
    while part := list(islice(rows, _ROWS)):
        answers, captions = [], []
        for row in part:
            for answer in row.answers.values():
                if answer.text and (answer.reason is None or answer.reason.startswith(TOO_FAR)):
                    answers.append(answer)
                    captions.append(row.caption)
        if not answers:
            continue
        vectors = np.asarray(embed.texts(captions + [answer.text for answer in answers]))
        cosines = (vectors[: len(captions)] * vectors[len(captions) :]).sum(axis=1).tolist()
        journal.judge(
            [_judged(a, cosine, meaning) for a, cosine in zip(answers, cosines, strict=True)]
        )
    model.release()


def _judged(answer: Answer, cosine: float, meaning: Meaning) -> Answer:
    far = cosine < meaning.min_cosine
    reason = f"{TOO_FAR} (cosine {cosine:.2f})" if far else None
    return dataclasses.replace(answer, cosine=cosine, reason=reason)
