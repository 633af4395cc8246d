"""A device without room gets a batch in parts."""

import numpy as np
import pytest

from paraclip_bench.encoding.batching import OutOfMemoryFallback, is_out_of_memory


class Small:
    """An encoder that takes `most` items at once."""

    fingerprint = None

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error = most, error
        self.sizes: list[int] = []

    def prepare(self, item):
        return item, 1

    def encode(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise self.error
        return np.array([[item, 1.0] for item in batch])


def out_of_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    "error",
    [out_of_memory(), MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't "
     "allocate memory: you tried to allocate 99 bytes")],
)  # fmt: skip
def test_halves_until_it_fits_and_remembers(error):
    encoder = Small(3, error)
    memory = OutOfMemoryFallback(encoder)
    assert memory.encode(list(range(10))).tolist() == [[i, 1] for i in range(10)]
    assert encoder.sizes == [10, 5, 3, 3, 3, 1]
    assert memory.pieces == 4
    encoder.sizes.clear()
    memory.encode(list(range(8)))
    assert encoder.sizes == [2, 2, 2, 2]


def test_one_item_that_is_too_much_fails():
    encoder = Small(0, MemoryError())
    with pytest.raises(MemoryError):
        OutOfMemoryFallback(encoder).encode([1, 2, 3])
    assert encoder.sizes == [3, 2, 1]


def test_another_error_is_not_retried():
    encoder = Small(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        OutOfMemoryFallback(encoder).encode([1, 2])
    assert encoder.sizes == [2]
    assert not is_out_of_memory(ValueError("out of memory"))
