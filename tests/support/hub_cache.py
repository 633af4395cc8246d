"""The hub's cache as a fetch with the network leaves it, so that --offline finds data there."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_stand_in import write_cache

from paraclip_bench.data.data_set import Pin

# In a process of its own: the libraries read where their cache is when they are imported.
_PREPARE = """
import sys
import datasets

datasets.disable_progress_bars()
datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
"""


def put(
    home: Path, name: str, revision: str, splits: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Put a data set of that name and revision into the caches of HF_HOME=`home`.

    Into both: that of huggingface_hub, with the files, and that of `datasets`, with their rows.
    """
    namespace, short = name.split("/")
    folder = home / "made" / short
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{split}.jsonl").write_text(lines + "\n", encoding="utf-8")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_cache(home / "hub", Pin(name, revision), files)
    cache = home / "datasets"
    subprocess.run([sys.executable, "-c", _PREPARE, str(folder), str(cache)], check=True)
    (there,) = (cache / short).glob("default*/*/*/")
    target = cache / f"{namespace}___{short}" / "default" / "0.0.0" / revision
    target.parent.mkdir(parents=True)
    there.rename(target)
