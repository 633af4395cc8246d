"""A paraphrased-retrieval set from captions with images.

Their paraphrases are an LLM's, those of the same table, or the other captions of the same image.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paraclip_bench import safe_text
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.training_rows import find_image
from paraclip_bench.errors import DataError, UsageError, check_name
from paraclip_bench.files import write_text
from paraclip_bench.paraphrasing.captions import CaptionFields, normal, read_captions
from paraclip_bench.paraphrasing.pairs_file import first_text, read_pairs
from paraclip_bench.paraphrasing.wording import words
from paraclip_bench.safe_text import counted
from paraclip_bench.tasks.paraphrased_retrieval import next_captions

_FOLDER = "paraphrased-retrieval"


@dataclass(frozen=True)
class RetrievalQuery:
    """A caption as a query, its paraphrase, the name of the image that it is of, its negation."""

    query: str
    paraphrase: str
    image: str
    negation: str | None = None


@dataclass(frozen=True)
class _Given:
    """A caption with an image, and the paraphrase and the negation that its row has."""

    where: str
    image: str
    text: str
    paraphrase: str | None = None
    negation: str | None = None


@dataclass
class _Queries:
    """The queries in order, and how many rows are left out.

    kind says where the paraphrases are from: "pairs", "table" or "image". equal names those that
    are their query.
    """

    kind: str
    queries: list[RetrievalQuery] = field(default_factory=list)
    left_out: int = 0
    equal: list[str] = field(default_factory=list)

    def split(self, name: str, dev_share: float) -> list[RetrievalQuery]:
        """The queries whose images are in a split."""
        return [query for query in self.queries if _split(query.image, dev_share) == name]


@dataclass(frozen=True)
class RetrievalSetInput:
    """Captions with images, paraphrases of captions, and the folder of the images.

    step says which paraphrase is the other query: 1 (near the caption) or 2 (in other words).
    pairs: None where the paraphrase of a caption is that of its own row or, where no row has one,
    the next caption of its image; written_by then says on the card who wrote these.
    """

    captions: Sequence[Path]
    pairs: Path | None
    images: Path
    fields: CaptionFields
    step: int = 2
    written_by: str = ""


def build(
    source: RetrievalSetInput,
    out: Path,
    *,
    dev_share: float,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Write OUT/test and OUT/dev, each a folder for --data-dir, and a card; returns the counts.

    An image is in dev or in test by a digest of its name, whatever else is in the set. Every image
    of a caption is in its split's gallery, also where its caption has no paraphrase. `advance` is
    told of each image that is written. Raises
    `UsageError` for a folder in the way, `DataError` for images that are not there or damaged and
    for a query that equals its paraphrase, with all of them counted and the first few named.
    """
    check_name(out, "the folder")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"{out} is there and not empty; choose another folder with -o")
    if not source.images.is_dir():
        raise UsageError(f"--images {source.images} is not a folder; check the path")
    gallery, found = _queries(source)
    if not found.queries and source.pairs is not None:
        raise DataError(
            f"no caption has a paraphrase in {source.pairs}; "
            "both must be of the same captions: give paraphrase the file of --captions"
        )
    if not found.queries and found.kind == "table":
        raise DataError(
            f"no caption of {_named(source)} has a paraphrase that differs from it; give a table "
            "with such paraphrases, or --pairs"
        )
    if not found.queries:
        raise DataError(
            f"no image has two captions that differ in {_named(source)}, and without --pairs a "
            "paraphrase is another caption of the same image; give several captions an image, or "
            "--pairs"
        )
    new = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        counts = {}
        damaged: list[str] = []
        for split in ("test", "dev"):
            of_split = found.split(split, dev_share)
            images = {n: ref for n, ref in gallery.items() if _split(n, dev_share) == split}
            if of_split:
                damaged += _write(temporary / split / _FOLDER, of_split, images, advance)
                counts[split] = {"queries": len(of_split), "images": len(images)}
                if any(query.negation for query in found.queries):
                    counts[split]["negations"] = sum(bool(q.negation) for q in of_split)
        _refuse(damaged, "images cannot be published")
        write_text(temporary / "README.md", _card(source, counts, dev_share, found))
        temporary.chmod(0o755)
        try:
            if out.exists():
                out.rmdir()
            temporary.rename(out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
            raise UsageError(
                f"{out} was written by another process meanwhile; look at it, or choose another "
                "folder with -o"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not out.exists():
            for parent in new:
                # Somebody else may have put something there meanwhile.
                with contextlib.suppress(OSError):
                    parent.rmdir()
    return counts


# So many of the rows or images that stop a set are named.
_NAMED = 5


def _refuse(problems: Sequence[str], what: str) -> None:
    """Raise `DataError` where there are problems; each is a sentence that says what to do."""
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        rest = len(problems) - _NAMED
        more = f"; and {rest} more" if rest > 0 else ""
        raise DataError(f"{len(problems)} {what}: " + "; ".join(problems[:_NAMED]) + more)


def _queries(source: RetrievalSetInput) -> tuple[dict[str, ImageRef], _Queries]:
    """The images of all captions by name, and the captions that have a paraphrase."""
    gallery: dict[str, ImageRef] = {}
    came: dict[str, str] = {}
    captions: list[_Given] = []
    missing: dict[str, str] = {}
    for given in _with_images(source):
        where, told = given.where, given.image
        ref = find_image(source.images, told, where)
        if ref is None:
            missing.setdefault(
                told,
                f"{where}: the image {source.images / told} does not exist; check --images",
            )
            continue
        name = Path(ref.id).name
        place = ref.id if ref.path is None else str(ref.path)
        if came.setdefault(name, place) != place:
            raise DataError(
                f"{where}: two images are called {name}, {came[name]} and {place}; "
                "a gallery is one folder, so rename one"
            )
        gallery[name] = ref
        captions.append(replace(given, image=name))
    if source.pairs is not None:
        found = _of_an_llm(captions, source.pairs, source.step)
    elif any(given.paraphrase for given in captions):
        found = _of_the_table(captions)
    else:
        found = _of_the_image(captions)
    _refuse(list(missing.values()), "images are missing")
    _refuse(found.equal, "queries equal their paraphrase")
    return gallery, found


def _query(given: _Given, paraphrase: str, negation: str | None) -> RetrievalQuery:
    """A query without a negation that is the query or its paraphrase."""
    negation = None if negation is None else normal(negation)
    if negation is not None and words(negation) in (words(given.text), words(paraphrase)):
        negation = None
    return RetrievalQuery(given.text, paraphrase, given.image, negation)


def _of_the_image(captions: Sequence[_Given]) -> _Queries:
    """Each caption with the next of its image, equal ones (case and punctuation aside) once."""
    of_image: dict[str, dict[tuple[str, ...], _Given]] = {}
    for given in captions:
        of_image.setdefault(given.image, {}).setdefault(tuple(words(given.text)), given)
    found = _Queries("image", left_out=len(captions) - sum(map(len, of_image.values())))
    for several in of_image.values():
        by_text = {given.text: given for given in several.values()}
        for text, paraphrase in next_captions([*by_text]):
            found.queries.append(_query(by_text[text], paraphrase, by_text[text].negation))
    return found


def _of_the_table(captions: Sequence[_Given]) -> _Queries:
    """Each caption with the paraphrase of its row; left out are rows without one, with one that is
    the caption, or with the caption and paraphrase of an earlier row of their image."""
    kept: dict[tuple[str, ...], RetrievalQuery] = {}
    for given in captions:
        paraphrase = None if given.paraphrase is None else normal(given.paraphrase)
        if paraphrase is None or words(paraphrase) == words(given.text):
            continue
        key = (given.image, " ".join(words(given.text)), " ".join(words(paraphrase)))
        kept.setdefault(key, _query(given, paraphrase, given.negation))
    return _Queries("table", [*kept.values()], len(captions) - len(kept))


def _of_an_llm(captions: Sequence[_Given], pairs: Path, step: int) -> _Queries:
    """The captions that a file of pairs has; left out are its rows that are marked as unfit."""
    of_caption: dict[str, tuple[str, str | None]] = {}
    found = _Queries("pairs")
    for row in read_pairs(pairs):
        flags = row.get("flags")
        negation = first_text(row["negation"]) if row.get("negation") else None
        if isinstance(flags, dict) and "negation" in flags:
            # Of such a row the paraphrases may be fit.
            flags, negation = {k: v for k, v in flags.items() if k != "negation"}, None
        if flags:
            found.left_out += 1
            continue
        text = normal(first_text(row["caption"]))
        paraphrase = normal(first_text(row[f"paraphrase_{step}"]))
        of_caption.setdefault(text, (paraphrase, negation))
    queries: dict[tuple[str, str], RetrievalQuery] = {}
    for given in captions:
        if given.text not in of_caption:
            continue
        paraphrase, negation = of_caption[given.text]
        if words(paraphrase) == words(given.text):
            told = f"{given.where}: the paraphrase of {given.text!r} is the caption itself; drop it"
            found.equal.append(told)
            continue
        queries.setdefault((given.text, given.image), _query(given, paraphrase, negation))
    found.queries = [*queries.values()]
    return found


def _with_images(source: RetrievalSetInput) -> Iterator[_Given]:
    for caption in read_captions(source.captions, source.fields):
        if caption.problem is not None:
            raise DataError(caption.problem)
        if not isinstance(caption.text, str) or not caption.text.strip():
            continue
        if caption.image is None:
            raise DataError(
                f"{caption.where}: the caption names no image; "
                "say which field does with --image-field"
            )
        yield _Given(
            caption.where,
            caption.image,
            normal(caption.text),
            caption.paraphrase,
            caption.negation,
        )


def _split(name: str, dev_share: float) -> str:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return "dev" if number < dev_share * 2**64 else "test"


def _write(
    folder: Path,
    queries: Sequence[RetrievalQuery],
    images: Mapping[str, ImageRef],
    advance: Callable[[int], None],
) -> list[str]:
    """Write a split; what is wrong with images that cannot be decoded, in their order."""
    (folder / "images").mkdir(parents=True)

    def copy(name: str) -> str | None:
        # What is published is known to be an image, and stays what it is now: never a link.
        try:
            images[name].open()
            content = images[name].encoded()
        except DataError as error:
            return str(error)
        (folder / "images" / name).write_bytes(content)
        return None

    damaged = []
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        for problem in pool.map(copy, images):
            damaged += [problem] if problem is not None else []
            advance(1)
    finally:
        # After an error, or a stop, the others need not be copied.
        pool.shutdown(cancel_futures=True)
    rows = [
        {
            "query": q.query,
            "paraphrase": q.paraphrase,
            **({} if q.negation is None else {"negation": q.negation}),
            "image_id": q.image,
        }
        for q in queries
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / "queries.jsonl", text)
    return damaged


def _negations(source: RetrievalSetInput, found: _Queries, who: str) -> str:
    """The card's line on the negations; nothing where there are none."""
    count = sum(query.negation is not None for query in found.queries)
    if not count:
        return ""
    if source.pairs is not None:
        made = next(row for row in read_pairs(source.pairs) if row.get("negation"))
        llm, prompt = (str(made.get(k, "unknown")) for k in ("llm", "prompt_negation"))
        who = safe_text.markdown(f"{llm}, prompt {prompt}")
    return (
        f"\n- Negation: of {count:,} of {len(found.queries):,} queries, by {who},\n"
        "  not checked by this command but that it is neither the query nor the paraphrase."
    )


def _named(source: RetrievalSetInput) -> str:
    return ", ".join(path.name for path in source.captions)


def _card(
    source: RetrievalSetInput, counts: dict[str, Any], dev_share: float, found: _Queries
) -> str:
    rows = "\n".join(
        f"| {split} | {c['queries']:,} | {c['images']:,} |" for split, c in counts.items()
    )
    name = safe_text.markdown(_named(source))
    who = safe_text.markdown(source.written_by) or f"whoever wrote {name}"
    left_out = found.left_out
    if found.kind == "table":
        paraphrase = f"that of the caption's row, by {who},\n  not checked by this command"
        unfit = (
            f"{counted(left_out, 'row')} without a paraphrase, with the caption as its paraphrase, "
            "or\n  with caption and paraphrase of another row of the image"
        )
    elif found.kind == "image":
        paraphrase = (
            f"another caption of the same image, by {who}; none is by an LLM of\n"
            "  this command. Each caption is a query once, and the next one of its image its "
            "paraphrase, that of\n  the last one the first"
        )
        unfit = f"{counted(left_out, 'caption')} that another of the same image repeats"
    else:
        assert source.pairs is not None
        made = next(read_pairs(source.pairs))
        llm, first, second = (str(made.get(k, "unknown")) for k in ("llm", "prompt_1", "prompt_2"))
        # Together, because a mark in one of them and its like in another are a pair.
        origin = safe_text.markdown(f"{llm}, prompts {first} and {second}")
        near = "near the caption" if source.step == 1 else "in other words"
        paraphrase = f"step {source.step} of two\n  ({near}), by {origin},\n  not checked by people"
        unfit = f"{counted(left_out, 'row')} whose paraphrases are marked as unfit"
    return f"""# Paraphrased retrieval: {name}

Made by `paraclip-bench data build paraphrased-retrieval`. A stand-in for the set of Cheng et al.
(2024): the same task on other captions and other paraphrases, so its numbers are not comparable
with theirs.

| split | queries | images |
|---|---|---|
{rows}

- Query: the caption. Paraphrase: {paraphrase}.{_negations(source, found, who)}
- Split: an image is in dev where the first 8 bytes of the sha256 of its file name, as a fraction of
  2^64, are below {dev_share}; so it stays where it is when the set grows.
- Left out: {unfit}.
- Checked: no query equals its paraphrase (case and punctuation aside), every image is there.
- Gallery: all images of the captions, also those whose caption has no paraphrase.
- Licence: that of the images and captions; texts made with a provider's model may have conditions
  of their own.

Measure with `paraclip-bench run --model SPEC --task paraphrased-retrieval --data-dir test`,
in this folder.
"""
