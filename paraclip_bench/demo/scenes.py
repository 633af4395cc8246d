"""What can be seen: two things and one spatial relation, and which split a scene belongs to.

A scene is its meaning. "a left of b" and "b right of a" are the same scene, because only three
relations are stored (left, above, front) and the order of the things says who plays which role.

The splits are decided by the scene alone, so they can be checked without a list. A third of the
colour-shape combinations is held out. A scene with two such things is a test scene, one with a
single such thing is for the base model, and one with none is for fine-tuning or for the base
model. So fine-tuning never meets an attribute-object combination of the test scenes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from random import Random
from typing import Literal

SIZES = ("small", "large")
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "black", "white")
SHAPES = ("ball", "box", "cone", "star", "ring", "diamond")
RELATIONS = ("left", "above", "front")

#: A direction as captions say it -> the stored relation, and whether the things change places.
DIRECTIONS = {
    "left": ("left", False),
    "right": ("left", True),
    "above": ("above", False),
    "below": ("above", True),
    "front": ("front", False),
    "behind": ("front", True),
}
#: The direction that says the same with the things named in the other order.
OPPOSITE = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "front": "behind",
    "behind": "front",
}

Split = Literal["base", "train", "test"]
SPLITS: tuple[Split, ...] = ("base", "train", "test")


@dataclass(frozen=True, order=True)
class Thing:
    """One object; an empty size or colour means that a caption does not tell it."""

    size: str
    colour: str
    shape: str


@dataclass(frozen=True)
class Content:
    """A meaning: `first` stands in `relation` to `second` ("" where no relation is told).

    Make one with `content`, which brings turned-round relations to the stored one, so that equal
    meanings are equal objects.
    """

    first: Thing
    second: Thing
    relation: str


@dataclass(frozen=True)
class Scene:
    """A full meaning and the seed of its position jitter, which does not make it another scene."""

    content: Content
    seed: int = field(default=0, compare=False)


def content(first: Thing, second: Thing, direction: str) -> Content:
    """Return the meaning of `first` being `direction` (a key of DIRECTIONS or "") of `second`.

    Raises KeyError for an unknown direction.
    """
    if not direction:
        # Without a relation the order of naming means nothing.
        first, second = sorted((first, second))
        return Content(first, second, "")
    relation, turned = DIRECTIONS[direction]
    return Content(second, first, relation) if turned else Content(first, second, relation)


def held_out(colour: str, shape: str) -> bool:
    """Say whether a colour-shape combination is kept for test scenes and base training."""
    return (COLOURS.index(colour) + SHAPES.index(shape)) % 3 == 0


def split_of(meaning: Content) -> Split:
    """Return the split of a full scene; raises ValueError where colours or relation are missing."""
    things = (meaning.first, meaning.second)
    if not meaning.relation or not all(thing.colour and thing.size for thing in things):
        raise ValueError(f"a split needs a full scene, and this one has gaps: {meaning}")
    count = sum(held_out(thing.colour, thing.shape) for thing in things)
    if count == 2:
        return "test"
    if count == 1:
        return "base"
    # A checksum of the words: the same on every machine and Python, unlike hash().
    words = "/".join((*_words(meaning.first), *_words(meaning.second), meaning.relation))
    return "train" if zlib.crc32(words.encode()) % 2 else "base"


def _words(thing: Thing) -> tuple[str, str, str]:
    return thing.size, thing.colour, thing.shape


def _every() -> Iterator[Content]:
    things = [Thing(*words) for words in product(SIZES, COLOURS, SHAPES)]
    for first, second, relation in product(things, things, RELATIONS):
        # Different colours and shapes, so that "the ball" and "the red one" are never ambiguous.
        if first.colour != second.colour and first.shape != second.shape:
            yield Content(first, second, relation)


@lru_cache(maxsize=len(SPLITS))
def contents(split: Split) -> tuple[Content, ...]:
    """Return every full meaning of a split, in a fixed order; raises ValueError for its name."""
    if split not in SPLITS:
        raise ValueError(f"'{split}' is not a split of the demo world; it has {', '.join(SPLITS)}")
    return tuple(meaning for meaning in _every() if split_of(meaning) == split)


def sample(split: Split, count: int, seed: int) -> list[Scene]:
    """Draw `count` different scenes of a split; raises ValueError if it has fewer."""
    pool = contents(split)
    if count > len(pool):
        raise ValueError(f"split '{split}' has {len(pool)} scenes, fewer than {count}")
    rng = Random(f"scenes/{split}/{seed}")
    return [Scene(meaning, rng.randrange(2**31)) for meaning in rng.sample(pool, count)]
