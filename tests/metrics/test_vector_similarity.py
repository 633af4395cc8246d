"""Dot products that tie where their rows do."""

import numpy as np
import pytest

from paraclip_bench.metrics.ranking import row_dot


def test_equal_rows_have_equal_products() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(7, 512)).astype(np.float32) for _ in range(2))
    many = row_dot(np.tile(a, (1500, 1)), np.tile(b, (1500, 1)))
    assert np.array_equal(many, np.tile(row_dot(a, b), 1500))
    assert many[:7] == pytest.approx((a * b).sum(axis=1), abs=1e-3)
