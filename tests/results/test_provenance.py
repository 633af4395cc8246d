"""The digest of examples: what is measured changes it, where it lies does not."""

import dataclasses
import sys
from pathlib import Path

import pytest

from paraclip_bench.data.images import ImageRef
from paraclip_bench.results.provenance import command_line, examples_sha256, versions
from paraclip_bench.tasks.base import Examples


@dataclasses.dataclass(frozen=True)
class Row:
    text: str
    score: float
    image: ImageRef


def image(root: Path, name: str, data: bytes) -> ImageRef:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(data)
    return ImageRef(name, path=root / name)


def test_content_and_order_count_and_paths_do_not(tmp_path: Path) -> None:
    one, two = (image(tmp_path / "a", f"{d}.png", d.encode()) for d in "12")
    rows = [Row("x", 1.0, one), Row("y", 2.0, two)]
    digest = examples_sha256(Examples(rows, shared=[one, two]))
    moved = [image(tmp_path / "b", f"other{d}", d.encode()) for d in "12"]
    again = [Row("x", 1.0, moved[0]), Row("y", 2.0, ImageRef("bytes", data=b"2"))]
    assert examples_sha256(Examples(again, shared=moved, id="elsewhere")) == digest
    mappings = [dataclasses.asdict(row) | {"image": row.image} for row in rows]
    assert examples_sha256(Examples(mappings, shared=[one, two])) == digest

    boxed = dataclasses.replace(one, box=(0, 0, 1, 1))
    others = [
        Examples(rows[::-1], shared=[one, two]),
        Examples(rows, shared=[two, one]),
        Examples(rows, shared=[one]),
        Examples(rows[:1], shared=[one, two]),
        Examples([Row("X", 1.0, one), rows[1]], shared=[one, two]),
        Examples([Row("x", 1.5, one), rows[1]], shared=[one, two]),
        Examples([Row("x", 1.0, two), rows[1]], shared=[one, two]),
        Examples([Row("x", 1.0, boxed), rows[1]], shared=[one, two]),
        Examples([{**mappings[0], "more": None}, mappings[1]], shared=[one, two]),
    ]
    digests = [examples_sha256(examples) for examples in others]
    assert len({digest, *digests}) == len(others) + 1


def test_shared_rows_count_as_rows_do() -> None:
    both = [
        examples_sha256(Examples([{"label": "a"}], shared=[{"label": "a", "prompt": text}]))
        for text in ("a photo of a", "a bad photo of a")
    ]
    assert both[0] != both[1]


def test_a_changed_image_changes_it(tmp_path: Path) -> None:
    before = examples_sha256(Examples([], shared=[image(tmp_path, "a.png", b"one")]))
    after = examples_sha256(Examples([], shared=[image(tmp_path, "a.png", b"other")]))
    assert before != after


def test_versions_name_what_numbers_depend_on() -> None:
    assert {"python", "paraclip-bench", "torch", "numpy", "pillow"} <= set(versions())
    assert all(versions().values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/a/bin/paraclip-bench", "run", "-m", "b c"], "paraclip-bench run -m 'b c'"),
        (["/a/paraclip_bench/__main__.py", "demo"], "paraclip-bench demo"),
        (["/home/me/evaluate.py", "--foo"], "python evaluate.py --foo"),
    ],
)
def test_the_command_is_the_one_that_was_typed(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    assert command_line() == said
