"""From the words of a command line, or of a call, to a job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paraclip_bench.errors import UsageError
from paraclip_bench.paraphrase.captions import Fields, caption_files
from paraclip_bench.paraphrase.job import DEMO, Job, Meaning
from paraclip_bench.paraphrase.prompts import STEPS, prompts
from paraclip_bench.paraphrase.selection import Selection
from paraclip_bench.paraphrase.settings import Settings

UNFIT = ("drop", "mark")
# What a request says by itself, so that no parameter may.
_OURS = ("model", "messages", "n", "stream")


def make_job(
    captions: Path,
    output: Path,
    *,
    llm: str,
    sampling: Mapping[str, Any],
    extra_body: str | None = None,
    prompt_files: Sequence[str] = (),
    n: int = 1,
    caption_field: str | None = None,
    image_field: str | None = None,
    min_words: int = 2,
    max_words: int = 15,
    unfit: str = "drop",
    growth: float = 2.5,
    min_cosine: float | None = None,
    cosine_model: str | None = None,
    device: str | None = None,
    limit: int | None = None,
) -> Job:
    """A job whose parts are checked; raises `UsageError` for what does not go together."""
    if unfit not in UNFIT:
        raise UsageError(f"--unfit {unfit!r} is neither of {' and '.join(UNFIT)}")
    if n < 1:
        raise UsageError(f"n is {n}, and a caption needs at least one chain; make it 1 or more")
    if min_words > max_words:
        raise UsageError(f"--min-words {min_words} is more than --max-words {max_words}")
    if (min_cosine is None) != (cosine_model is None):
        raise UsageError("--min-cosine and --cosine-model belong together; give both")
    files = tuple(caption_files(captions))
    if output in files:
        raise UsageError(f"the output {output} is among the captions; choose another with -o")
    meaning = None
    if min_cosine is not None and cosine_model is not None:
        meaning = Meaning(cosine_model, min_cosine, device)
    sent, templates = {**sampling, **_extra(extra_body)}, prompts(_files(prompt_files))
    if llm == DEMO:
        # Parameters and prompts of an LLM would only look as if they did something.
        from paraclip_bench.paraphrase.services.demo import PROMPTS

        sent, templates = {}, PROMPTS
    job = Job(
        files,
        output,
        Settings(llm, templates, sent, n),
        Fields(caption_field, image_field),
        Selection(min_words, max_words),
        growth,
        unfit == "mark",
        limit,
        meaning,
    )
    # A wrong file or field is told before anything is asked or written.
    next(job.captions(), None)
    return job


def _extra(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--extra-body is no JSON ({error}); write it like '{{\"seed\": 1}}'"
        ) from error
    if not isinstance(found, dict) or (taken := [key for key in _OURS if key in found]):
        what = f"may not set {taken[0]!r}" if isinstance(found, dict) else "must be a JSON object"
        raise UsageError(f"--extra-body {what}; give sampling parameters alone")
    return found


def _files(told: Sequence[str]) -> dict[int, Path]:
    """Prompt files by step, of texts such as 1=FILE."""
    files = {}
    for text in told:
        step, equals, name = text.partition("=")
        if not equals or step not in map(str, STEPS):
            raise UsageError(f"--prompt {text!r} must be 1=FILE or 2=FILE, which says its step")
        files[int(step)] = Path(name)
    return files
