"""`clip`: the suite's own baseline."""

from __future__ import annotations

from paraclip_bench.errors import UsageError
from paraclip_bench.models.base import Context


class Baseline:
    """An alias: OpenAI's ViT-B-32 in the paper suite, the embedded base CLIP in the demo suite."""

    label = "clip"

    @classmethod
    def resolve(cls, argument: str | None, context: Context) -> str:
        """The spec that `clip` stands for; it takes no argument."""
        if argument is not None:
            raise UsageError("clip takes no argument; name another model as open_clip:ARCH/TAG")
        if context.suite == "demo":
            from paraclip_bench.demo.store import base_folder

            return f"local-dir:{base_folder()}"
        return "open_clip:ViT-B-32/openai"
