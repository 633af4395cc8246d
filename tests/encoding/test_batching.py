"""Budgets by device."""

import sys
from types import SimpleNamespace

import pytest

from paraclip_bench.encoding import batching
from paraclip_bench.encoding.batching import budget


def test_a_cpu_has_the_size_of_its_caches(monkeypatch):
    monkeypatch.setattr(batching, "memory_of", lambda device: 64 << 30)
    assert (budget("text", "cpu").size, budget("image", "cpu").size) == (4096, 8192)
    monkeypatch.setattr(batching, "memory_of", lambda device: 1 << 30)
    assert budget("image", "cpu").size == 1024
    monkeypatch.setattr(batching, "memory_of", lambda device: None)
    assert budget("text", "cpu").size == 4096


@pytest.mark.parametrize(
    ("gigabytes", "size"), [(2, 4096), (24, 24576), (80, 81920), (999, 131072)]
)
def test_a_gpu_takes_more_with_its_memory(monkeypatch, gigabytes, size):
    properties = SimpleNamespace(total_memory=gigabytes << 30)
    cuda = SimpleNamespace(get_device_properties=lambda device: properties)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert budget("text", "cuda:1").size == size


def test_this_machine_has_memory():
    assert batching.memory_of("cpu") > 1 << 28
