"""What is measured: a file a task or family of tasks, all through the contract of `base`.

`catalog` finds tasks and suites by name; `verify` says whether a task's data are what they must be;
`pairwise` is the comparison of a true with a false caption that several tasks make.
"""

from paraclip_bench.tasks.base import (
    Embed,
    Examples,
    ExternallyMeasured,
    ExternallyScoredTask,
    Protocol,
    Task,
)

__all__ = [
    "Embed",
    "Examples",
    "ExternallyMeasured",
    "ExternallyScoredTask",
    "Protocol",
    "Task",
]
