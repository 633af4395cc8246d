"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", help="Folder of checkpoints/ and results/.", show_default="here"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="paper (real data) or demo (the embedded world).")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 …", show_default="cpu")
]
CaptionFieldOption = Annotated[
    str | None, typer.Option("--caption-field", show_default="caption, text …")
]
ImageFieldOption = Annotated[
    str | None, typer.Option("--image-field", show_default="image, image_id …")
]
