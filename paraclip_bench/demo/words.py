"""The demo world's vocabulary: each meaning's words, and the frames that captions come in.

The first word of a row is the only one that web-like captions, and so the base model, ever use.
The others appear in paraphrases alone. Frames come in three groups: `CAPTION` for web-like
captions, `FIRST` for step 1 and `SECOND` for step 2; no group shares a content word with another,
so a step 2 frame always avoids the frame of step 1.
"""

from __future__ import annotations

SIZE_WORDS = {
    "small": ("small", "little", "tiny", "compact"),
    "large": ("large", "big", "huge", "giant"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet", "ruby"),
    "blue": ("blue", "azure", "cobalt", "sapphire"),
    "green": ("green", "emerald", "jade", "olive"),
    "yellow": ("yellow", "golden", "lemon", "amber"),
    "purple": ("purple", "violet", "mauve", "lilac"),
    "orange": ("orange", "tangerine", "apricot", "peach"),
    "black": ("black", "ebony", "jet", "inky"),
    "white": ("white", "ivory", "snowy", "pearl"),
}
SHAPE_WORDS = {
    "ball": ("ball", "sphere", "orb", "globe"),
    "box": ("box", "cube", "block", "crate"),
    "cone": ("cone", "triangle", "pyramid", "wedge"),
    "star": ("star", "starburst", "pentagram", "asterisk"),
    "ring": ("ring", "hoop", "donut", "loop"),
    "diamond": ("diamond", "rhombus", "lozenge", "kite"),
}
DIRECTION_WORDS = {
    "left": ("to the left of", "on the left side of", "left of", "leftward of"),
    "right": ("to the right of", "on the right side of", "right of", "rightward of"),
    "above": ("above", "over", "higher than", "atop"),
    "below": ("below", "under", "lower than", "beneath"),
    "front": ("in front of", "before", "ahead of", "nearer than"),
    "behind": ("behind", "at the back of", "in back of", "farther than"),
}

#: {a} and {b} are the things in the order of the direction {r}: {a} is {r} {b}.
CAPTION = ("{a} {r} {b}", "a photo of {a} {r} {b}", "{a} is {r} {b}")
FIRST = (
    "a picture of {a} {r} {b}",
    "{a} that is seen {r} {b}",
    "there is {a} {r} {b}",
    "an image of {a} {r} {b}",
    "{a} lies {r} {b}",
    "a shot of {a} {r} {b}",
)
SECOND = (
    "{a} sits {r} {b}",
    "{r} {b} sits {a}",
    "{a} placed {r} {b}",
    "{r} {b} one finds {a}",
    "{a} appears {r} {b}",
    "{a} positioned {r} {b}",
)
#: The same groups for captions that tell no relation.
CAPTION_PAIR = ("{a} and {b}", "a photo of {a} and {b}")
FIRST_PAIR = (
    "a picture of {a} and {b}",
    "there is {a} and {b}",
    "an image of {a} and {b}",
    "{a} and also {b}",
)
SECOND_PAIR = (
    "{a} together with {b}",
    "{a} accompanied with {b}",
    "{a} along with {b}",
    "{a} sits with {b}",
)

#: Words that carry no meaning of their own: step 2 may repeat them.
FUNCTION_WORDS = frozenset(
    ("a", "an", "the", "of", "to", "in", "on", "at", "is", "that", "than", "with", "side")
)
