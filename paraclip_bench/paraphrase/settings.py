"""What decides the paraphrases of a run: another of it in the same output is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paraclip_bench.paraphrase.prompts import Prompt

# As the paper's authors sampled, as far as their appendix says (Kim et al. 2024).
SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_p": 0.1, "max_tokens": 512}


@dataclass(frozen=True)
class Settings:
    """The model, the prompt of each step, the sampling parameters and how many chains a caption."""

    llm: str
    prompts: Mapping[int, Prompt]
    sampling: Mapping[str, Any] = field(default_factory=lambda: dict(SAMPLING))
    n: int = 1

    def identity(self) -> dict[str, Any]:
        """What must be the same when an output is gone on with. n may change: chains are added."""
        return {
            "model": self.llm,
            **{f"prompt of step {step}": prompt.hash for step, prompt in self.prompts.items()},
            "sampling": dict(self.sampling),
        }
