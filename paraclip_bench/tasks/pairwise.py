"""Does an image prefer its caption to a false one? The comparison that several benchmarks make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.metrics.similarity import row_dot
from paraclip_bench.tasks.base import Embed


def compare(
    images: Sequence[ImageRef],
    captions: Sequence[str],
    false_captions: Sequence[str],
    embed: Embed,
    *,
    tie_is_right: bool,
) -> dict[str, npt.NDArray[Any]]:
    """Outcome columns of n cases: both similarities [n], float32, and `correct` and `tie` [n]."""
    n = len(images)
    seen = embed.images(images)
    # One request, so that equal captions are one vector and tie.
    texts = embed.texts([*captions, *false_captions])
    true, false = row_dot(seen, texts[:n]), row_dot(seen, texts[n:])
    return {
        "similarity_true": true,
        "similarity_false": false,
        "correct": true >= false if tie_is_right else true > false,
        "tie": true == false,
    }
