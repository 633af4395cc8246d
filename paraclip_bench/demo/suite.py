"""Where the demo world lies: built once into the user's cache, its base CLIP in the package.

The demo world's grammar as a service: no LLM, and never passed off as one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from paraclip_bench.demo import grammar
from paraclip_bench.demo.world import WORLD_VERSION, build
from paraclip_bench.errors import BenchError
from paraclip_bench.paraphrasing.prompts import Prompt
from paraclip_bench.paraphrasing.service import Question, Said
from paraclip_bench.workspace import cache_dir

NOTICE = "This is the demo world: small drawn scenes, not photographs."


def world_folder() -> Path:
    """The folder of the demo world's data, built if it is not there yet (a few seconds).

    It appears whole or not at all; several processes may ask at once.
    """
    folder = cache_dir() / f"demo-world-{WORLD_VERSION}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            build(temporary)
            temporary.chmod(0o755)
            if not folder.is_dir():
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # another process may have been first
            raise BenchError(
                f"the demo world cannot be written to {folder} ({error.strerror}); "
                "set PARACLIP_CACHE to a folder that can be written"
            ) from error
    return folder


def base_folder() -> Path:
    """The open_clip folder of the embedded base CLIP (made by `paraclip_bench.demo.base_model`)."""
    return Path(__file__).parent / "base_clip"


def recipe_file() -> Path:
    """The embedded fine-tuning recipe."""
    return Path(__file__).parent / "recipe.toml"


# In the place of prompts, so that rows say what made them.
PROMPTS = {
    1: Prompt("the demo world's grammar, step1: {text}"),
    2: Prompt("the demo world's grammar, step2: {text}"),
}


class DemoGrammar:
    """Paraphrases captions of the demo world; refuses any other by name."""

    name = "demo"
    rejects_alone = True
    # What rows are marked with.
    MODEL = "demo-grammar (not an LLM)"

    async def ask(self, question: Question) -> Said:
        """The grammar's paraphrase of a text; what it cannot read is rejected."""
        paraphrase = grammar.step1 if question.step == 1 else grammar.step2
        try:
            return Said(paraphrase(question.text, question.seed), self.MODEL)
        except ValueError as error:
            return Said("", self.MODEL, rejected=f"outside the demo world's grammar: {error}")

    async def close(self) -> None:
        """Nothing to let go of."""
