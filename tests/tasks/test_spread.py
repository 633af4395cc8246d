"""A limit on rows that come part by part takes from every part."""

import json
from collections import Counter
from pathlib import Path

import compositional
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paraclip_bench.data.source import FolderSource
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.tasks.base import spread
from paraclip_bench.tasks.sugarcrepe import SUBSETS, SugarCrepe
from paraclip_bench.tasks.sugarcrepe_pp import SugarCrepePP


@given(st.lists(st.sampled_from("abcd"), max_size=20), st.integers(1, 25))
def test_parts_take_turns(parts: list[str], n: int) -> None:
    queues = {part: [i for i, own in enumerate(parts) if own == part] for part in parts}
    taken: list[int] = []
    while len(taken) < min(n, len(parts)):
        for queue in queues.values():
            if queue and len(taken) < n:
                taken.append(queue.pop(0))
    assert spread(range(len(parts)), parts, n) == sorted(taken)


def test_every_subset_of_sugarcrepe_is_seen(tmp_path: Path) -> None:
    compositional.sugarcrepe(tmp_path, np.random.default_rng(1))
    rows = read_examples(SugarCrepe(), FolderSource(tmp_path), "sugarcrepe", 15)
    assert Counter(row.subset for row in rows) == {s: 2 + (s == SUBSETS[0]) for s in SUBSETS}
    assert len(read_examples(SugarCrepe(), FolderSource(tmp_path), "mteb", 5)) == 5


def test_every_subset_of_sugarcrepe_pp_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "sugarcrepe-pp"
    folder.mkdir()
    texts = {"filename": "a.jpg", "caption": "a", "caption2": "b", "negative_caption": "c"}
    for subset in ("swap_obj", "swap_att"):
        (folder / f"{subset}.json").write_text(json.dumps([{"id": i, **texts} for i in range(9)]))
    rows = read_examples(SugarCrepePP(), FolderSource(tmp_path), "tot", 6)
    assert Counter(row.subset for row in rows) == {"swap_obj": 3, "swap_att": 3}
