"""What is measured: one file a task, all through the contract of `paraclip_bench.tasks.base`."""

from paraclip_bench.tasks.base import Embed, Examples, Measured, Protocol, ScoredElsewhere, Task

__all__ = ["Embed", "Examples", "Measured", "Protocol", "ScoredElsewhere", "Task"]
