"""The comparison of two captions against loops, with ties both ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from paraclip_bench.data.images import ImageRef
from paraclip_bench.tasks.base import compare_captions


@pytest.mark.parametrize("tie_is_right", [True, False])
def test_against_loops(given: Callable[..., Any], tie_is_right: bool) -> None:
    rng = np.random.default_rng(2)
    images = [ImageRef(id=f"image {rng.integers(40)}", data=b"") for _ in range(200)]
    true, false = ([f"{word} {i}" for i in rng.integers(0, 60, 200)] for word in "ab")
    embed = given()
    found = compare_captions(images, true, false, embed, tie_is_right=tie_is_right)
    ties = 0
    for i, (image, one, other) in enumerate(zip(images, true, false, strict=True)):
        own, wrong = (np.dot(embed.of_image(image), embed.of_text(text)) for text in (one, other))
        ties += own == wrong
        assert (found["similarity_true"][i], found["similarity_false"][i]) == (own, wrong)
        assert found["tie"][i] == (own == wrong)
        assert found["correct"][i] == (own > wrong or (own == wrong and tie_is_right))
    assert 20 < ties < 180
    assert list(found) == ["similarity_true", "similarity_false", "correct", "tie"]
