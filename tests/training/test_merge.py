"""Between a base and its checkpoint: the weights, the folder, and the curve."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from paraclip_bench.api import load_model
from paraclip_bench.cli.app import app
from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.models.aliases import newest
from paraclip_bench.training.merge import merge
from paraclip_bench.workspace import Workspace

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    """Two networks that differ in the text tower, the second with a provenance."""
    base, tuned = tiny_clip.build(), tiny_clip.build()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if not name.startswith("visual."):
                parameter.add_(0.1 * torch.randn_like(parameter))
    one = tiny_clip.save(tmp_path / "base", base)
    two = tiny_clip.save(tmp_path / "checkpoints" / "tuned", tuned)
    (two / "provenance.json").write_text('{"suite": "paper"}')
    (two / "recipe.toml").write_text("")
    return one, two


def merged(ends: tuple[Path, Path], alpha: float, root: Path, **options: Any) -> Path:
    return merge(f"local-dir:{ends[0]}", f"paraclip:{ends[1]}", alpha, Workspace(root), **options)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_each_weight_lies_between(ends: tuple[Path, Path], alpha: float, tmp_path: Path) -> None:
    folder = merged(ends, alpha, tmp_path)
    assert folder == tmp_path / "checkpoints" / f"tuned-alpha-{alpha:g}"
    one, two, between = (load_file(place / WEIGHTS) for place in (*ends, folder))
    for name, value in between.items():
        wanted = (1 - alpha) * one[name].double() + alpha * two[name].double()
        assert torch.allclose(value.double(), wanted, rtol=1e-6, atol=1e-8), name
        if alpha in (0, 1):
            assert torch.equal(value, (one, two)[int(alpha)][name]), name


def test_a_merge_knows_its_base_and_shares_its_images(
    ends: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = merged(ends, 0.5, tmp_path)
    one, between = load_model(f"local-dir:{ends[0]}"), load_model(f"local-dir:{folder}")
    assert between.adapter.base == f"local-dir:{ends[0]}"
    assert one.image is not None
    assert between.image is not None
    assert one.image.fingerprint == between.image.fingerprint
    assert one.fingerprint != between.fingerprint
    # `paraclip` is what was trained, not what was merged.
    assert newest(tmp_path / "checkpoints") == ends[1]
    assert "WiSE-FT" in (folder / "README.md").read_text()
    stamp = (folder / WEIGHTS).stat().st_mtime_ns
    assert merged(ends, 0.5, tmp_path) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="is there and is another model"):
        merged(ends, 0.25, tmp_path, out=folder)


def test_what_cannot_be_merged(ends: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--alpha 1\.5 is not between"):
        merged(ends, 1.5, tmp_path)
    other = tiny_clip.save(tmp_path / "quick", tiny_clip.build(quick_gelu=True))
    with pytest.raises(ModelError, match=r"has gelu and .* quick_gelu"):
        merge(f"local-dir:{ends[0]}", f"local-dir:{other}", 0.5, Workspace(tmp_path))
    config = {**tiny_clip.CONFIG, "embed_dim": 24}
    import open_clip
    from open_clip.model import set_model_preprocess_cfg

    from paraclip_bench.models.open_clip.network import save_folder

    narrow = open_clip.CLIP(**config)
    set_model_preprocess_cfg(narrow, tiny_clip.PREPROCESS)
    save_folder(tmp_path / "narrow", narrow, config)
    with pytest.raises(ModelError, match="have not the same weights"):
        merge(f"local-dir:{ends[0]}", f"local-dir:{tmp_path / 'narrow'}", 0.5, Workspace(tmp_path))


def test_the_sweep_s_points_are_those_of_run(ends: tuple[Path, Path], tmp_path: Path) -> None:
    from PIL import Image

    data = tmp_path / "data" / "paraphrased-retrieval"
    (data / "images").mkdir(parents=True)
    rows = []
    for index in range(12):
        name = f"{index:02}.png"
        Image.effect_noise((32, 32), 20 + 9 * index).save(data / "images" / name)
        rows.append({"query": f"{index} red", "paraphrase": f"red {index}", "image_id": name})
    (data / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = [f"local-dir:{ends[0]}", "paraclip", "--sweep", "--data-dir", str(data.parent)]
    arguments += ["--alpha", "0", "--alpha", "0.5", "--alpha", "1", "--workspace", str(tmp_path)]
    done = CliRunner().invoke(app, ["merge", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    curve = json.loads(done.stdout)
    assert [row["alpha"] for row in curve] == [0, 0.5, 1]
    stored = tmp_path / "checkpoints" / "tuned-sweep.json"
    assert json.loads(stored.read_text()) == curve
    assert stored.with_suffix(".svg").read_text().rstrip().endswith("</svg>")
    results = [json.loads(file.read_text()) for file in (tmp_path / "results").rglob("*.json")]
    measured = {result["model"]["name"]: result["scores"]["js@10"] for result in results}
    names = ("base", "tuned-alpha-0.5", "tuned")
    assert [row["js@10"] for row in curve] == [measured[name] for name in names]
    # Both files are written, whichever is named; other dots are the name's.
    for out, stem in (("a.svg", "a"), ("b.JSON", "b"), ("c-0.5", "c-0.5")):
        named = ["merge", *arguments, "-o", str(tmp_path / "out" / out)]
        assert CliRunner().invoke(app, named, catch_exceptions=False).exit_code == 0
        for ending in ("json", "svg"):
            assert (tmp_path / "out" / f"{stem}.{ending}").is_file()
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_flags_that_do_not_go_together(ends: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["merge", f"local-dir:{ends[0]}", "paraclip", "--workspace", str(tmp_path)]
    several = CliRunner().invoke(app, [*arguments, "--alpha", "0.2", "--alpha", "0.4"])
    assert isinstance(several.exception, UsageError)
    assert "--sweep" in str(several.exception)
    limited = CliRunner().invoke(app, [*arguments, "--limit", "3"])
    assert "--sweep" in str(limited.exception)


def test_images_are_the_base_s(ends: tuple[Path, Path], tmp_path: Path) -> None:
    """The image tower is equal in both, so its weights are not even touched."""
    one, between = (load_file(p / WEIGHTS) for p in (ends[0], merged(ends, 0.4, tmp_path)))
    visual = [name for name in one if name.startswith("visual.")]
    assert visual
    assert all(torch.equal(one[name], between[name]) for name in visual)


def test_two_that_merge_at_once_get_the_same_folder(
    ends: tuple[Path, Path], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(merged, ends, 0.5, tmp_path) for _ in range(4)]
    assert {one.result() for one in made} == {tmp_path / "checkpoints" / "tuned-alpha-0.5"}
