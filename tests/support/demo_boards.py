"""The boards of results/demo, in every format, from the results that lie there.

python tests/support/demo_boards.py     # writes them again
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from paraclip_bench.boards import formats, page
from paraclip_bench.boards.make_board import make_board
from paraclip_bench.boards.terminal import text
from paraclip_bench.workspace import Workspace

FOLDER = Path(__file__).parents[2] / "results" / "demo"


def boards() -> dict[str, str]:
    """By file name: what each format makes of the results, of a copy of them."""
    with tempfile.TemporaryDirectory() as temporary:
        # A board keeps files beside its results.
        place = Workspace(Path(temporary))
        shutil.copytree(FOLDER / "workspace" / "results", place.results)
        board = make_board(place.results, suite="demo", caption="The demo world, one run.")
        return {
            "board.txt": text(board, 80),
            "board.md": formats.markdown(board),
            "board.csv": formats.as_csv(board),
            "board-tidy.csv": formats.tidy_csv(board),
            "board.tex": formats.latex(board),
            "board.json": formats.as_json(board),
            "board.html": page.as_html(board, place),
        }


def data_of(html: str) -> dict[str, object]:
    """What a page shows, but for when and by what it was made, and its pictures."""
    (embedded,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S)
    data: dict[str, object] = json.loads(embedded)
    about = data["about"]
    assert isinstance(about, dict)
    for name in ("made", "command", "version"):
        del about[name]
    for name in ("pictures", "thumbnails"):
        del data[name]
    return data


if __name__ == "__main__":
    for name, content in boards().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
