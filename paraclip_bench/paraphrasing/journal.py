"""The rows and answers of one output, in an SQLite file that is synced with every commit.

A kill loses what was not committed; SQLite brings the file back to the last commit by itself. Rows
are known by their content, so the input may grow or be sorted again between runs. Answers that
wait for the disk are committed together, by one thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import parse_json
from paraclip_bench.paraphrasing.captions import Caption, CaptionFilter, normal
from paraclip_bench.paraphrasing.prompts import NEGATION, step_name
from paraclip_bench.safe_text import is_torn

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    key BLOB PRIMARY KEY, place INTEGER, id TEXT, image TEXT, caption TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_place ON rows (place);
CREATE TABLE IF NOT EXISTS answers (
    key BLOB, step INTEGER, chain INTEGER, text TEXT NOT NULL, reason TEXT, model TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, cosine REAL,
    PRIMARY KEY (key, step, chain)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked_again (
    key BLOB, step INTEGER, chain INTEGER, PRIMARY KEY (key, step, chain)
) WITHOUT ROWID;
"""
_ANSWERS = (
    "answers.*, EXISTS (SELECT 1 FROM asked_again AS again WHERE again.key = answers.key "
    "AND again.step = answers.step AND again.chain = answers.chain)"
)
_PAGE = 1000
# So many rows that were left out are named for each reason.
_NAMED = 3


@dataclass(frozen=True)
class Answer:
    """What a service said: chain `chain` of a row at step 1 or 2, or of its negation.

    reason is what is wrong with it by the service's own account; what the answer filter finds is
    told when it is read, so that the filter may change. cosine is that of its vector and the
    caption's, where it was asked for. again: it was asked for twice, because the first answer was
    unfit; is_first: and this is still the first one, because the second was rejected.
    """

    key: bytes
    step: int
    chain: int
    text: str
    reason: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cosine: float | None = None
    again: bool = False
    is_first: bool = False


@dataclass(frozen=True)
class CaptionRow:
    """A caption that is asked about, with its answers by (step, chain)."""

    key: bytes
    place: int
    id: str | None
    image: str | None
    caption: str
    answers: dict[tuple[int, int], Answer] = field(default_factory=dict)

    def take(self, answer: Answer) -> None:
        """Add an answer; a second one to a question ends what was answered to the first."""
        if answer.again:
            for step, chain in list(self.answers):
                if chain == answer.chain and step > answer.step:
                    del self.answers[step, chain]
        self.answers[answer.step, answer.chain] = answer


@dataclass
class CaptionCounts:
    """How many rows the input has, how many are kept, and why the others are not."""

    rows: int = 0
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, where: str) -> None:
        """Count a row, and name the first few of its reason."""
        self.left_out[reason] += 1
        named = self.named.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append(where)


class Journal:
    """Opened for one output; every method commits before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One thread at a time uses it: the caller sees to that.
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise BenchError(
                f"the journal {path} cannot be used ({error}); "
                "check its folder, or choose another output with -o"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def settle(self, identity: dict[str, Any]) -> None:
        """Keep what the output is made with; `UsageError` where it was begun with another.

        What it was not made with until now is added.
        """
        there = self._meta("identity")
        # Before anything was asked nothing was made with anything.
        if there is None or not (self.has_answers() or self._meta("asked")):
            self._put(identity=identity)
            return
        late = f"prompt of {step_name(NEGATION)}"
        if late in there and not (self._meta("asked_negations") or self.has_answers(step=NEGATION)):
            del there[late]
        new = {name: value for name, value in identity.items() if name not in there}
        other = [n for n in identity if n not in new and _sent(there[n]) != _sent(identity[n])]
        if other:
            told = " and ".join(f"{name} ({there.get(name)})" for name in other)
            raise UsageError(
                f"this output was begun with another {told}; give the same again, "
                "or choose another output with -o"
            )
        if new:
            self._put(identity={**there, **new})

    def take_in(
        self, captions: Iterable[Caption], caption_filter: CaptionFilter, digest: str
    ) -> CaptionCounts:
        """Make the rows those of this input; answers to rows that it has stay.

        digest says which input and selection it is: the same one is not read again.
        """
        known = self._meta("selected")
        if known is not None and known.pop("digest") == digest:
            return CaptionCounts(
                known["rows"], known["kept"], Counter(known["left_out"]), known["named"]
            )
        selected = CaptionCounts()
        with _Commit(self):
            self._db.execute("UPDATE rows SET place = NULL")
            for caption in captions:
                selected.rows += 1
                reason = self._take(caption, caption_filter)
                if reason is None:
                    selected.kept += 1
                else:
                    selected.leave_out(reason, caption.problem or caption.where)
            # A caption that is gone and was never answered leaves nothing behind.
            self._db.execute(
                "DELETE FROM rows WHERE place IS NULL AND key NOT IN (SELECT key FROM answers)"
            )
            self._set(
                selected={
                    "digest": digest,
                    "rows": selected.rows,
                    "kept": selected.kept,
                    "left_out": dict(selected.left_out),
                    "named": selected.named,
                }
            )
        return selected

    def _take(self, caption: Caption, caption_filter: CaptionFilter) -> str | None:
        reason: str | None = "unreadable row" if caption.problem else None
        reason = reason or caption_filter.reason(caption.text)
        if reason is not None:
            return reason
        text = normal(caption.text)
        if is_torn(f"{caption.id}{caption.image}"):
            return "unreadable row"
        found = self._db.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "place = excluded.place, id = excluded.id WHERE rows.place IS NULL",
            (row_key(text, caption.image), caption.place, caption.id, caption.image, text),
        )
        return None if found.rowcount else "duplicate"

    def add(self, answers: Sequence[Answer]) -> int:
        """Keep answers; the first to a question stays, but for one that it was asked again for.

        Such a one takes its place, and what was answered to it is forgotten. Returns how many were
        new.
        """
        if not answers:
            return 0
        rows = [
            (a.key, a.step, a.chain, a.text, a.reason, a.model, a.prompt_tokens,
             a.completion_tokens, a.cosine)
            for a in answers
        ]  # fmt: skip
        again = [(a.key, a.step, a.chain) for a in answers if a.again]
        # What was rejected the second time leaves the first answer, and what followed it.
        replaced = [(a.key, a.step, a.chain) for a in answers if a.again and not a.is_first]
        with _Commit(self):
            for table in ("answers", "asked_again"):
                self._db.executemany(
                    f"DELETE FROM {table} WHERE key = ? AND step >= ? AND chain = ?", replaced
                )
            self._db.executemany(
                "DELETE FROM answers WHERE key = ? AND step = ? AND chain = ?",
                [(a.key, a.step, a.chain) for a in answers if a.is_first],
            )
            self._db.executemany("INSERT OR IGNORE INTO asked_again VALUES (?, ?, ?)", again)
            found = self._db.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
        return found.rowcount

    def add_cosines(self, cosines: Iterable[tuple[Answer, float]]) -> None:
        """Keep the cosines of answers that are there."""
        rows = [(cosine, a.key, a.step, a.chain) for a, cosine in cosines]
        with _Commit(self):
            self._db.executemany(
                "UPDATE answers SET cosine = ? WHERE key = ? AND step = ? AND chain = ?", rows
            )

    def rows(self) -> Iterator[CaptionRow]:
        """The rows of the present input in its order, with their answers; a page at a time."""
        last = -1
        while page := self.page(last):
            yield from page
            last = page[-1].place

    def page(self, after: int) -> list[CaptionRow]:
        """The next rows behind a place, none at the end."""
        with _Told(self):
            found = self._db.execute(
                "SELECT key, place, id, image, caption FROM rows WHERE place > ? "
                "ORDER BY place LIMIT ?",
                (after, _PAGE),
            ).fetchall()
            if not found:
                return []
            answers = self._db.execute(
                f"SELECT {_ANSWERS} FROM rows JOIN answers USING (key) "
                "WHERE rows.place > ? AND rows.place <= ?",
                (after, found[-1][1]),
            ).fetchall()
        rows = {values[0]: CaptionRow(*values) for values in found}
        for values in answers:
            answer = _answer(values)
            rows[answer.key].answers[answer.step, answer.chain] = answer
        return list(rows.values())

    def row(self, key: bytes) -> CaptionRow | None:
        """The row of a key, None where the present input has none."""
        with _Told(self):
            found = self._db.execute(
                "SELECT key, place, id, image, caption FROM rows "
                "WHERE key = ? AND place IS NOT NULL",
                (key,),
            ).fetchone()
            if found is None:
                return None
            answers = self._db.execute(
                f"SELECT {_ANSWERS} FROM answers WHERE key = ?", (key,)
            ).fetchall()
        row = CaptionRow(*found)
        for values in answers:
            answer = _answer(values)
            row.answers[answer.step, answer.chain] = answer
        return row

    def mark_asked(self, *, negations: bool = False) -> None:
        """Questions are under way outside this process: the settings are settled."""
        by: dict[str, Any] = {"by": "batch"}
        self._put(asked=by, **({"asked_negations": by} if negations else {}))

    def has_answers(self, *, good: bool = False, step: int | None = None) -> bool:
        """Whether there is any answer: with `good`, one not rejected; with `step`, of that step."""
        with _Told(self):
            found = self._db.execute(
                "SELECT 1 FROM answers WHERE (text != '' OR NOT ?) AND (step = ? OR ? IS NULL) "
                "LIMIT 1",
                (good, step, step),
            ).fetchone()
        return found is not None

    def repeats_ids(self) -> bool:
        """Whether two rows of the present input have one id."""
        with _Told(self):
            found = self._db.execute(
                "SELECT 1 FROM rows WHERE place IS NOT NULL AND id IS NOT NULL "
                "GROUP BY id HAVING count(*) > 1 LIMIT 1"
            ).fetchone()
        return found is not None

    def forget_rejected(self, prefix: str) -> int:
        """Delete answers whose reason begins so, that they are asked again; returns how many."""
        with _Commit(self):
            found = self._db.execute(
                "DELETE FROM answers WHERE substr(reason, 1, ?) = ?", (len(prefix), prefix)
            )
        return found.rowcount

    def begin_cosines(self, model: str) -> None:
        """Cosines are this model's from now on; those of another are forgotten."""
        if self._meta("cosines") != {"model": model}:
            with _Commit(self):
                self._db.execute("UPDATE answers SET cosine = NULL")
                self._set(cosines={"model": model})

    def _meta(self, name: str) -> dict[str, Any] | None:
        with _Told(self):
            found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        try:
            return None if found is None else dict(parse_json(found[0]))
        except ValueError as error:
            raise DataError(f"the journal {self.path} is damaged ({error})") from error

    def _put(self, **values: Any) -> None:
        with _Commit(self):
            self._set(**values)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))


class _Told:
    """What SQLite raises, as one sentence."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sqlite3.Error):
            raise BenchError(
                f"the journal {self.journal.path} cannot be used ({error}); what it holds is kept: "
                "check the space on the disk and run the same command again"
            ) from error


class _Commit(_Told):
    """One transaction: all of it or nothing."""

    def __enter__(self) -> None:
        with _Told(self.journal):
            self.journal._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with _Told(self.journal):
            if error is None:
                self.journal._db.execute("COMMIT")
            elif self.journal._db.in_transaction:
                self.journal._db.execute("ROLLBACK")
        super().__exit__(kind, error, trace)


def _answer(values: Sequence[Any]) -> Answer:
    *told, again = values
    return dataclasses.replace(Answer(*told), again=bool(again))


def _sent(value: Any) -> Any:
    """Parameters without those that are not sent."""
    if isinstance(value, dict):
        return {name: given for name, given in value.items() if given is not None}
    return value


def row_key(caption: str, image: str | None) -> bytes:
    """16 bytes that stand for a row: its caption, as it is asked about, and its image."""
    return hashlib.sha256(json.dumps([image, caption]).encode()).digest()[:16]


T = TypeVar("T")


class JournalWriter:
    """Uses a journal from one thread, so that syncing the disk does not stop the questions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[tuple[Answer, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def add(self, answer: Answer) -> None:
        """Return when the answer is on the disk."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, kept))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await kept

    async def call(self, use: Callable[[Journal], T]) -> T:
        """What a function of the journal gives, called in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, use, self._journal)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            answers = [answer for answer, _ in batch]
            try:
                await self.call(functools.partial(Journal.add, answers=answers))
            except Exception as error:
                for _, kept in batch:
                    if not kept.done():
                        kept.set_exception(error)
            else:
                for _, kept in batch:
                    if not kept.done():
                        kept.set_result(None)

    async def close(self) -> None:
        """Commit what is waiting; ends the thread."""
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown()
