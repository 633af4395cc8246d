"""Rows in memory, or in a mapped file where they are large."""

import numpy as np
import pytest

from paraclip_bench.encoding import engine
from paraclip_bench.encoding.engine import Rows


@pytest.mark.parametrize("large", [1 << 30, 0])
def test_rows_come_in_the_order_asked(monkeypatch, large):
    monkeypatch.setattr(engine, "_LARGE", large)
    held = Rows(3)
    for index in (2, 0, 1):
        assert not held.filled.all()
        held.put(index, np.full(4, index, dtype=np.float32))
    in_order = held.take(np.arange(3))
    assert in_order[:, 0].tolist() == [0, 1, 2]
    taken = held.take(np.array([2, 2, 0, 1]))
    assert taken[:, 3].tolist() == [2, 2, 0, 1]
    assert taken.dtype == np.float32
    assert isinstance(taken, np.memmap) == (large == 0)


def test_a_row_that_is_missing_is_noticed():
    held = Rows(2)
    held.put(0, np.ones(3, dtype=np.float32))
    with pytest.raises(AssertionError):
        held.take(np.array([0]))
