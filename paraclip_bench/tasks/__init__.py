"""What is measured: one file a task, all through the contract of `paraclip_bench.tasks.base`."""

from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task

__all__ = ["Embed", "Examples", "Protocol", "Task"]
