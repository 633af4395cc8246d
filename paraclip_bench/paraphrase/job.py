"""What one call of paraphrase is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from paraclip_bench.paraphrase.captions import Caption, Fields, read_captions
from paraclip_bench.paraphrase.chains import Chains
from paraclip_bench.paraphrase.gate import Gate
from paraclip_bench.paraphrase.selection import Selection
from paraclip_bench.paraphrase.settings import Settings

if TYPE_CHECKING:
    from paraclip_bench.paraphrase.asking import Manners

DEMO = "demo"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Meaning:
    """A text model of the registry, and the cosine that an answer must have to its caption."""

    model: str
    min_cosine: float
    device: str | None = None


@dataclass(frozen=True)
class Job:
    """Captions, an output, and how the one becomes the other. `limit` takes the first rows only."""

    files: tuple[Path, ...]
    output: Path
    settings: Settings
    fields: Fields = field(default_factory=Fields)
    selection: Selection = field(default_factory=Selection)
    growth: float = 2.5
    marks: bool = False
    limit: int | None = None
    meaning: Meaning | None = None

    @property
    def chains(self) -> Chains:
        """The chains of its rows."""
        gate = Gate(dict(self.settings.prompts), self.growth)
        cosine = None if self.meaning is None else self.meaning.min_cosine
        return Chains(gate, self.settings.n, self.marks, cosine)

    @property
    def is_demo(self) -> bool:
        """Whether the demo world's grammar answers, and no LLM."""
        return self.settings.llm == DEMO

    def captions(self) -> Iterator[Caption]:
        """The rows of the input."""
        return islice(read_captions(self.files, self.fields), self.limit)

    def digest(self) -> str:
        """Stands for the rows of the input and what is selected of them."""
        hasher = hashlib.sha256(f"{self.fields}{self.selection}{self.limit}".encode())
        for file in self.files:
            hasher.update(f"\n{file.name}\n".encode())
            if file.suffix == ".tar":
                # Shards hold images, which would be read for nothing.
                stat = file.stat()
                hasher.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
                continue
            with file.open("rb") as content:
                while block := content.read(_BLOCK):
                    hasher.update(block)
        return hasher.hexdigest()


@dataclass(frozen=True)
class Access:
    """How a service is reached."""

    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    manners: Manners | None = None
