"""`paraclip-bench data build`: a task's data from a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paraclip_bench.cli.options import CaptionFieldOption, ImageFieldOption, JsonOption


def paraphrased_retrieval(
    captions: Annotated[
        Path, typer.Option("--captions", help="Captions with images, in any format of paraphrase.")
    ],
    pairs: Annotated[Path, typer.Option("--pairs", help="What paraphrase made of them.")],
    images: Annotated[Path, typer.Option("--images", help="Folder of the images.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    step: Annotated[
        int, typer.Option("--step", min=1, max=2, help="Which paraphrase is the other query.")
    ] = 2,
    dev_share: Annotated[
        float, typer.Option("--dev-share", min=0, max=0.9, help="Share of images in dev/.")
    ] = 0.2,
    caption_field: CaptionFieldOption = None,
    image_field: ImageFieldOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a paraphrased-retrieval set: OUT/test and OUT/dev for --data-dir, and a card."""
    import json

    from paraclip_bench.paraphrase.captions import Fields, caption_files
    from paraclip_bench.paraphrase.retrieval_set import Source, build
    from paraclip_bench.progress import Progress

    source = Source(
        caption_files(captions), pairs, images, Fields(caption_field, image_field), step
    )
    counts = build(source, output, dev_share=dev_share)
    progress = Progress()
    for split, found in counts.items():
        progress.say(f"{output / split}: {found['queries']} queries on {found['images']} images")
    typer.echo(json.dumps(counts) if as_json else str(output))
