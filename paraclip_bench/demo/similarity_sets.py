"""Seven small text similarity sets with gold scores that come from meaning, not from words.

A pair is a scene and a changed copy of it. The score is the share of facts that the two have in
common under the better matching of their things. The sets differ in how the two are worded and in
which changes they prefer, as the real seven differ in their sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from paraclip_bench.demo import grammar
from paraclip_bench.demo.scenes import (
    COLOURS,
    RELATIONS,
    SHAPES,
    SIZES,
    Content,
    Scene,
    Thing,
    contents,
    held_out,
    split_of,
)


@dataclass(frozen=True)
class DemoPair:
    """One row: the gold score, two texts, and the kind of change between them."""

    score: float
    sentence1: str
    sentence2: str
    subset: str


@dataclass(frozen=True)
class _Make:
    """A set's make-up: the two wordings (0 = T, 1 = T', 2 = T'') it draws from, and changes."""

    wordings: tuple[tuple[int, int], ...]
    changes: tuple[str, ...]


_ALL = ("size", "colour", "thing", "relation", "roles")
_MAKES = {
    "STS12": _Make(((0, 0),), _ALL),
    "STS13": _Make(((0, 1),), _ALL),
    "STS14": _Make(((0, 2),), ("size", "colour", "thing")),
    "STS15": _Make(((1, 2),), _ALL),
    "STS16": _Make(((2, 2),), ("relation", "roles", "thing")),
    "STSBenchmark": _Make(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2)), _ALL),
    "SICK-R": _Make(((0, 1), (0, 2), (1, 1)), ("relation", "roles", "size")),
}
NAMES = tuple(_MAKES)


def similarity(one: Content, two: Content) -> float:
    """Return the share of common facts of two full meanings, in 0..1; 1 only where they are equal.

    Six facts are about the things (size, colour, shape of each) and two about the relation: its
    axis, and who plays which role.
    """

    def same(x: Thing, y: Thing) -> int:
        return (x.size == y.size) + (x.colour == y.colour) + (x.shape == y.shape)

    axis = one.relation == two.relation
    straight = same(one.first, two.first) + same(one.second, two.second) + 2 * axis
    # Matched crosswise, the same axis has its roles exchanged.
    crossed = same(one.first, two.second) + same(one.second, two.first) + axis
    return max(straight, crossed) / 8


def pairs(name: str, count: int) -> list[DemoPair]:
    """Make the first `count` pairs of a set; a larger count goes on where a smaller one ends.

    Scores lie in 0..5, those of SICK-R in 1..5. Raises KeyError for an unknown name.
    """
    make = _MAKES[name]
    rng = Random(f"sts/{name}")
    made = []
    for _ in range(count):
        one = rng.choice(contents("test"))
        two, subset = _changed(one, make.changes, rng)
        level = similarity(one, two)
        score = round(1 + 4 * level if name == "SICK-R" else 5 * level, 3)
        first, second = rng.choice(make.wordings)
        if rng.random() < 0.5:
            first, second = second, first
        made.append(DemoPair(score, _text(one, first, rng), _text(two, second, rng), subset))
    return made


def _text(meaning: Content, step: int, rng: Random) -> str:
    text = grammar.caption(Scene(meaning), rng.randrange(2**31), full=True)
    if step >= 1:
        text = grammar.step1(text, rng.randrange(2**31), "test")
    if step >= 2:
        text = grammar.step2(text, rng.randrange(2**31), "test")
    return text


def _changed(one: Content, changes: tuple[str, ...], rng: Random) -> tuple[Content, str]:
    """Return another test meaning and what was done: "same", one change, "several", "unrelated"."""
    draw = rng.random()
    if draw < 0.2:
        return one, "same"
    if draw < 0.35:
        return rng.choice(contents("test")), "unrelated"
    wanted = rng.choice((1, 1, 2, 3, 4))
    two = one
    done: list[str] = []
    while len(done) < wanted:
        kind = rng.choice(changes)
        other = _change(two, kind, rng)
        apart = other.first.colour != other.second.colour
        if apart and other.first.shape != other.second.shape and split_of(other) == "test":
            two = other
            done.append(kind)
    return two, done[0] if wanted == 1 else "several"


def _change(meaning: Content, kind: str, rng: Random) -> Content:
    first, second, relation = meaning.first, meaning.second, meaning.relation
    if kind == "roles":
        return Content(second, first, relation)
    if kind == "relation":
        return Content(first, second, rng.choice([r for r in RELATIONS if r != relation]))
    things = [first, second]
    place = rng.randrange(2)
    old = things[place]
    if kind == "size":
        new = Thing(SIZES[1 - SIZES.index(old.size)], old.colour, old.shape)
    else:
        # A colour alone must stay a held-out combination; "thing" may change the shape with it.
        shapes = (old.shape,) if kind == "colour" else SHAPES
        new = Thing(
            old.size,
            *rng.choice(
                [
                    (colour, shape)
                    for colour in COLOURS
                    for shape in shapes
                    if held_out(colour, shape) and (colour, shape) != (old.colour, old.shape)
                ]
            ),
        )
    things[place] = new
    return Content(things[0], things[1], relation)
