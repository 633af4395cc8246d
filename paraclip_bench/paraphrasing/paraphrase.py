"""The run: open chains, asked by many tasks at once, each answer kept as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from paraclip_bench import interrupts
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import ending, only_process
from paraclip_bench.models.adapter import Context, Model
from paraclip_bench.models.load import load_model
from paraclip_bench.paraphrasing.answers import Chains
from paraclip_bench.paraphrasing.endpoint import ChatCompletions
from paraclip_bench.paraphrasing.export import export, journal_file
from paraclip_bench.paraphrasing.job import ParaphraseJob
from paraclip_bench.paraphrasing.journal import CaptionCounts, CaptionRow, Journal, JournalWriter
from paraclip_bench.paraphrasing.pairs_file import check_format
from paraclip_bench.paraphrasing.prompts import STEPS
from paraclip_bench.paraphrasing.retrying import RetriesExhausted, RetryingClient
from paraclip_bench.paraphrasing.service import (
    REJECTED,
    Endpoint,
    RequestCounts,
    RequestPolicy,
    Service,
)
from paraclip_bench.progress import Advance, Progress
from paraclip_bench.workspace import Workspace

_ROWS = 4096


@dataclass
class OpenOutput:
    """An output that is worked on: its journal, held by this process alone, and its captions."""

    job: ParaphraseJob
    journal: Journal
    selected: CaptionCounts


@contextlib.contextmanager
def open_output(job: ParaphraseJob, progress: Progress) -> Iterator[OpenOutput]:
    """Open the output, check that it was made with the same settings, and read the captions.

    Raises `UsageError` for an output that another process writes, that paraphrase did not make,
    or that was made with other settings.
    """
    check_format(job.output)
    file = journal_file(job.output)
    if job.output.exists() and not file.exists():
        raise UsageError(
            f"{job.output} is there and has no journal to go on with; "
            "choose another output with -o, or delete that one"
        )
    journal = Journal(file)
    busy = f"another process is writing {job.output}; wait for it, or choose another with -o"
    try:
        with only_process(file.with_suffix(".lock"), busy):
            journal.settle(job.settings.identity())
            selected = _select(job, journal, progress)
            yield OpenOutput(job, journal, selected)
    finally:
        journal.close()


def paraphrase(
    job: ParaphraseJob,
    endpoint: Endpoint,
    progress: Progress,
    *,
    ask_rejected: bool = False,
    ask_unfit: bool = False,
) -> dict[str, Any]:
    """Ask for everything that is missing, and write the output; returns the report.

    `ask_rejected` asks once more what the service rejected; `ask_unfit`, with another seed, what
    was answered by something unfit, unless it was asked again before. Raises `BenchError` where the
    service cannot be used; what came until then is kept, and the rows that are done are written.
    """
    # Both are made before any file: without a key, or the model, there is no trace of the run.
    service = _service(job, endpoint)
    model = similarity_model(job)
    with open_output(job, progress) as work:
        if ask_rejected:
            count = work.journal.forget_rejected(REJECTED)
            progress.say(f"{count} rejected questions are asked again")
        if model is not None:
            # Cosines first, because they decide which chains go on.
            measure_cosines(work.journal, model, progress)
        counts = RequestCounts()
        chains = dataclasses.replace(job.chains, again=ask_unfit)
        try:
            asyncio.run(_ask_all(work, chains, service, endpoint.policy, progress, counts))
        except (BenchError, KeyboardInterrupt):
            if work.journal.has_answers(good=True):
                with interrupts.keeping("the rows that are done"):
                    settings, selected = job.settings, work.selected
                    export(work.journal, job.output, settings, job.chains, selected, counts)
            raise
        report = write_output(work, progress, model, counts)
    if counts.given_up:
        report["gave_up"] = {"questions": counts.given_up, "first": counts.first_given_up}
    return report


def write_output(
    work: OpenOutput,
    progress: Progress,
    model: Model | None,
    counts: RequestCounts | None = None,
) -> dict[str, Any]:
    """Write the output; with a model, after it has judged the answers' meaning."""
    job = work.job
    if model is not None:
        measure_cosines(work.journal, model, progress)
    return export(work.journal, job.output, job.settings, job.chains, work.selected, counts)


def _select(job: ParaphraseJob, journal: Journal, progress: Progress) -> CaptionCounts:
    rows = with_image = 0
    with progress.track("reading captions", None) as advance:

        def counted() -> Iterator[Any]:
            nonlocal rows, with_image
            for caption in job.captions():
                advance(1)
                rows += 1
                with_image += caption.image is not None
                yield caption

        selected = journal.take_in(counted(), job.caption_filter, job.digest())
    left = ", ".join(f"{count} {reason}" for reason, count in selected.left_out.most_common())
    progress.say(
        f"captions: {selected.kept} of {selected.rows} kept"
        + (f"; left out: {left}" if left else "")
    )
    if not selected.kept:
        raise DataError(f"no caption of {job.files[0]} is kept{_why(selected)}")
    if rows and not with_image and ending(job.files[0]) not in (".txt", ".txt.gz"):
        progress.say(
            "note: no row names an image, which finetune and data build need; where a field does, "
            "say which with --image-field"
        )
    return selected


def _why(selected: CaptionCounts) -> str:
    """Why no caption is kept, and what can be done about the reason of most."""
    if not selected.left_out:
        return ": it has no rows"
    reason, count = selected.left_out.most_common(1)[0]
    first = selected.named[reason][0]
    if reason == "unreadable row":
        return f" (unreadable rows: {count}); the first: {first}"
    if reason in ("too few words", "too many words"):
        return f" ({reason}: {count}, the first: {first}); see --min-words and --max-words"
    return f" ({reason}: {count}, the first: {first}); --caption-field names the field to take"


async def _ask_all(
    work: OpenOutput,
    chains: Chains,
    service: Service,
    policy: RequestPolicy,
    progress: Progress,
    counts: RequestCounts,
) -> None:
    prompts = work.job.settings.prompts
    client = RetryingClient(
        service,
        policy,
        progress.say,
        trusted=work.journal.has_answers(good=True),
        prompt_characters=lambda question: len(prompts[question.step].fill(question.text)),
        counts=counts,
    )
    writer = JournalWriter(work.journal)
    total = work.selected.kept * sum(len(chains.steps(chain)) for chain in chains.all)
    # The tasks take turns at it: an asynchronous generator serves one at a time.
    turn = asyncio.Lock()

    async def work_off(source: AsyncIterator[_OpenChain], advance: Advance) -> None:
        while True:
            async with turn:
                found = await anext(source, None)
            if found is None:
                return
            row, chain = found
            steps = chains.steps(chain)
            known = _answered(row, chain, steps)
            try:
                await _follow(row, chain, chains, client, writer)
            except RetriesExhausted as error:
                counts.give_up(str(error))
            # Questions that never come, too: the chain ended before its last step.
            advance(len(steps) - known)

    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None

    def cancel() -> None:
        loop.call_soon_threadsafe(this.cancel)

    # An exception in the loop's own code could lose what is under way: a stop cancels instead.
    with interrupts.deferred(cancel):
        try:
            with progress.track("paraphrasing", total) as advance:
                source = _open_chains(writer, chains, advance)
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(policy.concurrency):
                        tasks.create_task(work_off(source, advance))
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            await writer.close()
            await service.close()


_OpenChain = tuple[CaptionRow, int]


def _answered(row: CaptionRow, chain: int, steps: Sequence[int]) -> int:
    return sum((step, chain) in row.answers for step in steps)


async def _open_chains(
    writer: JournalWriter, chains: Chains, advance: Advance
) -> AsyncIterator[_OpenChain]:
    """Chains that have a question left, a page of rows at a time; the others are done."""
    last = -1
    while page := await writer.call(functools.partial(Journal.page, after=last)):
        for row in page:
            for chain in chains.all:
                steps = chains.steps(chain)
                is_open = chains.next(row, chain) is not None
                # The questions of an open chain count when it ends.
                advance(_answered(row, chain, steps) if is_open else len(steps))
                if is_open:
                    yield row, chain
        last = page[-1].place


async def _follow(
    row: CaptionRow, chain: int, chains: Chains, client: RetryingClient, writer: JournalWriter
) -> None:
    """Ask one question after the other until the chain is at its end."""
    while (question := chains.next(row, chain)) is not None:
        said = await client.ask(question)
        answer = chains.answer(row, chain, question, said)
        await writer.add(answer)
        row.take(answer)
        if question.again:
            client.counts.asked_again += 1
            client.counts.fit_now += chains.reason(row, answer) is None


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The one to tell of several that ended a run: ours before a stranger's."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += error.exceptions
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, BenchError)), flat[0])


def similarity_model(job: ParaphraseJob) -> Model | None:
    """The text model of the similarity filter; None where none is asked for.

    Raises `UsageError` for a model without a text side.
    """
    if job.similarity_filter is None:
        return None
    asked = job.similarity_filter
    model = load_model(asked.model, Context("paper", Workspace(Path()).checkpoints))
    if model.text is None:
        raise UsageError(f"--cosine-model {asked.model} has no text side; name one that has")
    model.to(asked.device, None)
    return model


def measure_cosines(journal: Journal, model: Model, progress: Progress) -> None:
    """Give each paraphrase without one the cosine of its vector and its caption's.

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
            if answer.text and answer.cosine is None and answer.step in STEPS
        ]
        if not found:
            continue
        texts = [caption for caption, _ in found] + [answer.text for _, answer in found]
        vectors = np.asarray(embed.texts(texts))
        cosines = (vectors[: len(found)] * vectors[len(found) :]).sum(axis=1).tolist()
        answers = [answer for _, answer in found]
        journal.add_cosines(zip(answers, cosines, strict=True))
    model.adapter.release()


def _service(job: ParaphraseJob, endpoint: Endpoint) -> Service:
    """Who answers: the job's own service, else the model behind the endpoint."""
    if job.service is not None:
        if endpoint.base_url is not None:
            raise UsageError(
                f"--llm {job.settings.llm} is embedded and has no --base-url; leave it out"
            )
        return job.service
    return ChatCompletions(
        job.settings,
        base_url=endpoint.base_url,
        key_variable=endpoint.key_variable,
        timeout=endpoint.timeout,
    )
