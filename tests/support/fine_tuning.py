"""A run of fine-tuning as the tests of it make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WEIGHTS = "open_clip_model.safetensors"


def run(
    base: Path, pairs: tuple[Path, Path], recipe: Path | str, out: Path, **options: Any
) -> Path:
    """Fine-tune an open_clip folder on (pairs.jsonl, images); a recipe may be given as its text."""
    from paraclip_bench.api import finetune

    if isinstance(recipe, str):
        out.with_suffix(".toml").write_text(recipe)
        recipe = out.with_suffix(".toml")
    return finetune(
        base=f"local-dir:{base}",
        data=pairs[0],
        images=pairs[1],
        recipe=recipe,
        out=out,
        quiet=True,
        **options,
    )


def losses(folder: Path) -> list[dict[str, float]]:
    """The lines of losses.jsonl."""
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
