"""The prompts: templates in files, each known by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paraclip_bench.data.row_files import read_text
from paraclip_bench.errors import UsageError

PLACEHOLDER = "{text}"
STEPS = (1, 2)
"""Of a chain caption -> T' -> T''."""
NEGATION = 3
"""The step, in journals and batch files, of a caption's negation; it builds on no other step."""


def step_key(step: int) -> str:
    """What a step is called in JSON and by `--prompt`: 1, 2 or negation."""
    return "negation" if step == NEGATION else str(step)


def step_name(step: int) -> str:
    """What a step is called in messages: step 1, step 2 or negation."""
    return "negation" if step == NEGATION else f"step {step}"


@dataclass(frozen=True)
class Prompt:
    """A template in which `{text}` stands for the caption or sentence it is about."""

    template: str

    @property
    def hash(self) -> str:
        """16 hex digits of the template's sha256: which prompt a row was made with."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:16]

    def fill(self, text: str) -> str:
        """The message for one text; braces in the text are plain characters."""
        return self.template.replace(PLACEHOLDER, text)


def prompts(
    files: Mapping[int, Path] | None = None, *, negation: bool = False
) -> dict[int, Prompt]:
    """The prompt of each step, with `negation` of that one too: the shipped one, or a file's.

    Raises `UsageError` for a file without the placeholder, `DataError` for one that cannot be read.
    """
    here = Path(__file__).parent
    shipped = {step: here / f"step_{step}.txt" for step in STEPS}
    if negation:
        shipped[NEGATION] = here / "negation.txt"
    found = {}
    for step, path in {**shipped, **(files or {})}.items():
        template = read_text(path).strip()
        if PLACEHOLDER not in template:
            raise UsageError(
                f"the prompt {path} has no {PLACEHOLDER}; write it where the caption belongs"
            )
        found[step] = Prompt(template)
    return found
