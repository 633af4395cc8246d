"""What is measured: one file a task, all through the contract of `paraclip_bench.tasks.base`."""

from paraclip_bench.tasks.base import Embed, Examples, Protocol, Task
from paraclip_bench.tasks.scored_elsewhere import Measured, ScoredElsewhere

__all__ = ["Embed", "Examples", "Measured", "Protocol", "ScoredElsewhere", "Task"]
