"""What one call of paraphrase is made of, and what must stay the same when an output goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from paraclip_bench.errors import UsageError
from paraclip_bench.files import ending, parse_json, regular
from paraclip_bench.paraphrasing.answers import AnswerFilter, Chains
from paraclip_bench.paraphrasing.captions import (
    Caption,
    CaptionFields,
    CaptionFilter,
    caption_files,
    read_captions,
)
from paraclip_bench.paraphrasing.prompts import (
    NEGATION,
    STEPS,
    Prompt,
    prompts,
    step_key,
    step_name,
)
from paraclip_bench.paraphrasing.service import EmbeddedService

# As the authors' own script (call_openai.py) samples.
SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512}


@dataclass(frozen=True)
class Settings:
    """The model, the prompt of each step, the sampling parameters and how many chains a caption.

    Captions are negated too where the prompts have that of `NEGATION`.
    """

    llm: str
    prompts: Mapping[int, Prompt]
    sampling: Mapping[str, Any] = field(default_factory=lambda: dict(SAMPLING))
    n: int = 1

    @property
    def negates(self) -> bool:
        """Whether captions are negated too."""
        return NEGATION in self.prompts

    def identity(self) -> dict[str, Any]:
        """What must be the same when an output is gone on with.

        n may change, because chains are added; so may whether captions are negated.
        """
        return {
            "model": self.llm,
            **{f"prompt of {step_name(s)}": prompt.hash for s, prompt in self.prompts.items()},
            "sampling": dict(self.sampling),
        }


_BLOCK = 1 << 20


@dataclass(frozen=True)
class SimilarityFilter:
    """A text model of the registry, and the cosine that an answer must have to its caption."""

    model: str
    min_cosine: float
    device: str | None = None


@dataclass(frozen=True)
class ParaphraseJob:
    """Captions, an output, and how the one becomes the other. `limit` takes the first rows only.

    service: who answers, where that is embedded and not behind an endpoint.
    """

    files: tuple[Path, ...]
    output: Path
    settings: Settings
    fields: CaptionFields = field(default_factory=CaptionFields)
    caption_filter: CaptionFilter = field(default_factory=CaptionFilter)
    growth: float = 2.5
    marks: bool = False
    limit: int | None = None
    similarity_filter: SimilarityFilter | None = None
    service: EmbeddedService | None = None

    @property
    def chains(self) -> Chains:
        """The chains of its rows."""
        answer_filter = AnswerFilter(dict(self.settings.prompts), self.growth)
        cosine = None if self.similarity_filter is None else self.similarity_filter.min_cosine
        return Chains(
            answer_filter, self.settings.n, self.marks, cosine, negates=self.settings.negates
        )

    def captions(self) -> Iterator[Caption]:
        """The rows of the input."""
        return islice(read_captions(self.files, self.fields), self.limit)

    def digest(self) -> str:
        """Stands for the rows of the input and what is selected of them."""
        fields, kept = self.fields, self.caption_filter
        # Written out, because the journals of 0.1.0 know it so.
        known = (
            f"Fields(caption={fields.caption!r}, image={fields.image!r})"
            f"Selection(min_words={kept.min_words!r}, max_words={kept.max_words!r})"
        )
        hasher = hashlib.sha256(f"{known}{self.limit}".encode())
        for file in self.files:
            hasher.update(f"\n{file.name}\n".encode())
            if ending(file) == ".tar":
                # Shards hold images, which would be read for nothing.
                stat = file.stat()
                hasher.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
                continue
            with regular(file).open("rb") as content:
                while block := content.read(_BLOCK):
                    hasher.update(block)
        return hasher.hexdigest()


UNFIT = ("drop", "mark")
ALSO = ("negation",)
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
    also: str | None = None,
    service: EmbeddedService | None = None,
) -> ParaphraseJob:
    """A job whose parts are checked; raises `UsageError` for what does not go together.

    also: "negation" to have captions negated too.
    """
    if also is not None and also not in ALSO:
        raise UsageError(f"--also {also!r} is not known; it takes {' or '.join(ALSO)}")
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
    similarity_filter = None
    if min_cosine is not None and cosine_model is not None:
        similarity_filter = SimilarityFilter(cosine_model, min_cosine, device)
    negates, given = also is not None, _files(prompt_files)
    if NEGATION in given and not negates:
        raise UsageError(
            "--prompt negation=FILE is for --also negation; give that too, or leave the prompt out"
        )
    sent, templates = {**sampling, **_extra(extra_body)}, prompts(given, negation=negates)
    if service is not None:
        # Parameters and prompts of an LLM would only look as if they did something.
        sent, templates = {}, {step: service.prompts[step] for step in templates}
    job = ParaphraseJob(
        files,
        output,
        Settings(llm, templates, sent, n),
        CaptionFields(caption_field, image_field),
        CaptionFilter(min_words, max_words),
        growth,
        unfit == "mark",
        limit,
        similarity_filter,
        service,
    )
    # A wrong file or field is told before anything is asked or written.
    next(job.captions(), None)
    return job


def _extra(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = parse_json(text)
    except ValueError as error:
        raise UsageError(
            f"--extra-body is not JSON ({error}); write it like '{{\"seed\": 1}}'"
        ) from error
    if not isinstance(found, dict) or (taken := [key for key in _OURS if key in found]):
        what = f"may not set {taken[0]!r}" if isinstance(found, dict) else "must be a JSON object"
        raise UsageError(f"--extra-body {what}; give sampling parameters alone")
    return found


def _files(told: Sequence[str]) -> dict[int, Path]:
    """Prompt files by step, of texts such as 1=FILE."""
    steps = {step_key(step): step for step in (*STEPS, NEGATION)}
    files = {}
    for text in told:
        step, equals, name = text.partition("=")
        if not equals or step not in steps:
            raise UsageError(
                f"--prompt {text!r} must be 1=FILE, 2=FILE or negation=FILE, which says its step"
            )
        files[steps[step]] = Path(name)
    return files
