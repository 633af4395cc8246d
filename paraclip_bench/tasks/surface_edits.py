"""Edits of a text's surface that leave its meaning: how much does a model care how one types?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from paraclip_bench.tasks.perturbation import Perturbation

Edit = Callable[[str], str | None]

_CONTRACTED = {
    "is not": "isn't",
    "are not": "aren't",
    "was not": "wasn't",
    "were not": "weren't",
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "has not": "hasn't",
    "have not": "haven't",
    "will not": "won't",
    "would not": "wouldn't",
    "could not": "couldn't",
    "should not": "shouldn't",
    "cannot": "can't",
    "it is": "it's",
    "that is": "that's",
    "there is": "there's",
    "he is": "he's",
    "she is": "she's",
    "they are": "they're",
    "we are": "we're",
    "you are": "you're",
    "i am": "i'm",
}
_SPELLED = {
    "color": "colour",
    "colors": "colours",
    "colored": "coloured",
    "colorful": "colourful",
    "gray": "grey",
    "center": "centre",
    "theater": "theatre",
    "fiber": "fibre",
    "meter": "metre",
    "meters": "metres",
    "neighbor": "neighbour",
    "neighbors": "neighbours",
    "neighborhood": "neighbourhood",
    "harbor": "harbour",
    "labor": "labour",
    "flavor": "flavour",
    "flavors": "flavours",
    "favorite": "favourite",
    "behavior": "behaviour",
    "humor": "humour",
    "armor": "armour",
    "parlor": "parlour",
    "odor": "odour",
    "vapor": "vapour",
    "traveler": "traveller",
    "travelers": "travellers",
    "traveling": "travelling",
    "canceled": "cancelled",
    "jewelry": "jewellery",
    "pajamas": "pyjamas",
    "plow": "plough",
    "mustache": "moustache",
    "airplane": "aeroplane",
    "airplanes": "aeroplanes",
    "aluminum": "aluminium",
    "tire": "tyre",
    "tires": "tyres",
    "curb": "kerb",
    "organized": "organised",
    "organize": "organise",
    "realize": "realise",
    "recognize": "recognise",
    "skeptical": "sceptical",
    "catalog": "catalogue",
    "dialog": "dialogue",
    "defense": "defence",
    "license": "licence",
    "molding": "moulding",
    "yogurt": "yoghurt",
    "donut": "doughnut",
    "donuts": "doughnuts",
}
# Letters beside each letter on a keyboard of the common layout (QWERTY), in its own row.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    letter: row[max(i - 1, 0) : i] + row[i + 1 : i + 2]
    for row in _ROWS
    for i, letter in enumerate(row)
}
_ARTICLE = re.compile(r"(a|an|the)\s+(?=\S)", re.IGNORECASE)


def _swapper(pairs: Mapping[str, str]) -> Edit:
    """Each phrase by its other form, both ways; capitals at the start stay."""
    both = {**{v: k for k, v in pairs.items()}, **pairs}
    both |= {word.replace("'", "’"): other for word, other in both.items()}
    long_first = sorted(both, key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, long_first))})(?!\w)", re.IGNORECASE)

    def swap(found: re.Match[str]) -> str:
        other = both[found[0].lower()]
        if found[0].isupper() and len(found[0]) > 1:
            return other.upper()
        return other[0].upper() + other[1:] if found[0][0].isupper() else other

    return lambda text: pattern.sub(swap, text)


def _full_stop(text: str) -> str | None:
    body = text.rstrip()
    if body.endswith("."):
        return body.rstrip(".")
    return None if body[-1:] in tuple("!?…:;,") else f"{body}."


def _article(text: str) -> str | None:
    """Without its leading article; a text that has none gets "the"."""
    if found := _ARTICLE.match(text):
        rest = text[found.end() :]
        return rest[0].upper() + rest[1:] if text[0].isupper() else rest
    return f"{'The' if text[:1].isupper() else 'the'} {_lowered(text)}"


def _lowered(text: str) -> str:
    """With a small first letter; a first word with capitals within is a name and stays."""
    within = text.partition(" ")[0][1:]
    return text[:1].lower() + text[1:] if not within or within.islower() else text


def _double_spaces(text: str) -> str | None:
    return re.sub(r"(?<=\S) (?=\S)", "  ", text)


def _typing_slip(text: str) -> str | None:
    """One letter of one longer word by the key beside it; which one follows from the text alone."""
    places = [
        place
        for word in re.finditer(r"[A-Za-z]{4,}", text)
        for place in range(word.start() + 1, word.end())
    ]
    if not places:
        return None
    seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    place = places[int.from_bytes(seed[:8], "big") % len(places)]
    keys = _BESIDE[text[place].lower()]
    key = keys[seed[8] % len(keys)]
    return text[:place] + (key.upper() if text[place].isupper() else key) + text[place + 1 :]


def _a_photo_of(text: str) -> str | None:
    if text.lower().startswith(("a photo of", "a picture of", "an image of")):
        return None
    return f"a photo of {_lowered(text)}"


_EDITS: dict[str, Edit] = {
    "lower case": str.lower,
    "upper case": str.upper,
    "full stop": _full_stop,
    "leading article": _article,
    "double spaces": _double_spaces,
    "contractions": _swapper(_CONTRACTED),
    "typing slip": _typing_slip,
    "a photo of": _a_photo_of,
    "spelling": _swapper(_SPELLED),
}


class SurfaceEdits(Perturbation):
    """Nine edits, a version each: case, punctuation, spaces, short forms, a slip, spelling.

    Edits that a text can undergo both ways are a switch: the full stop, the article, the short form
    or the British spelling comes where it was not, and goes where it was.
    """

    name = "edits"
    about = "Case, final full stop, leading article, spaces, contractions, slips, spelling."

    @property
    def versions(self) -> Sequence[str]:
        """The names of the edits."""
        return list(_EDITS)

    def reworded(self, version: str, text: str) -> str | None:
        """The edited text; None where the edit changes nothing, or leaves nothing."""
        edited = _EDITS[version](text)
        return edited if edited and edited.strip() and edited != text else None
