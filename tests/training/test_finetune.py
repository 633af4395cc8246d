"""Fine-tuning end to end on a tiny network: what changes, what does not, and going on."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import open_clip
import pytest
import tiny_clip
import torch
from fine_tuning import WEIGHTS, losses, run
from PIL import Image
from safetensors.torch import load_file

from paraclip_bench.api import finetune_job as job_of
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import only_process
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.aliases import seeds_in
from paraclip_bench.models.load import load_model, load_models
from paraclip_bench.models.open_clip import OpenCLIP, linear
from paraclip_bench.models.open_clip.network import save_folder
from paraclip_bench.progress import Progress
from paraclip_bench.training import loop, trainable
from paraclip_bench.training.finetune import finetune as finetune_job
from paraclip_bench.training.finetune import finetune_seeds
from paraclip_bench.training.recipe import Recipe, make_job
from paraclip_bench.workspace import Workspace

RECIPE = """
name = "tiny"
batch_size = 8
steps = 12
learning_rate = 1e-2
warmup_steps = 2
save_every = 5
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_only_text_weights_and_the_logit_scale_change(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    before, after = load_file(base / WEIGHTS), load_file(folder / WEIGHTS)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name])
        assert same == name.startswith("visual."), name
    first, last = losses(folder)[0], losses(folder)[-1]
    assert len(losses(folder)) == 12
    assert last["loss"] < 0.8 * first["loss"]
    assert first["loss"] == pytest.approx(sum(first[term.name] for term in Recipe().loss), abs=1e-5)


def test_plain_open_clip_loads_the_checkpoint(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _, _ = open_clip.create_model_and_transforms(
            f"local-dir:{folder}", require_pretrained=True
        )
    stored = load_file(folder / WEIGHTS)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["base"]["spec"] == f"local-dir:{base}"
    assert provenance["data"]["n"] == 24
    assert provenance["suite"] == "paper"


def test_a_checkpoint_shares_its_base_s_image_side(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    old, new = OpenCLIP(f"local-dir:{base}"), OpenCLIP(f"local-dir:{folder}")
    assert old.image.fingerprint == new.image.fingerprint
    assert old.text.fingerprint != new.text.fingerprint
    assert new.base == f"local-dir:{base}"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folders = [
        run(base, pairs, recipe, tmp_path / f"out{i}", seed=s) for i, s in enumerate((1, 1, 2))
    ]
    bits = [(folder / WEIGHTS).read_bytes() for folder in folders]
    assert bits[0] == bits[1] != bits[2]
    assert losses(folders[0]) == losses(folders[1])


class Killed(BaseException):
    """Stands for a kill: no handler of the product catches it."""


def kill_at_step_8(
    base: Path,
    pairs: tuple[Path, Path],
    recipe: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leave an unfinished run in `out`; its last training state is of step 5."""
    real = loop.batch_rows

    def dying(pairs: int, batch: int, step: int, seed: int) -> object:
        if step == 8:
            raise Killed
        return real(pairs, batch, step, seed)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "batch_rows", dying)
        with pytest.raises(Killed):
            run(base, pairs, recipe, out)


def test_a_killed_run_resumes_to_the_same_bits(
    base: Path,
    pairs: tuple[Path, Path],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(base, pairs, recipe, tmp_path / "whole")
    kill_at_step_8(base, pairs, recipe, tmp_path / "cut", monkeypatch)
    with pytest.raises(UsageError, match="--resume"):
        run(base, pairs, recipe, tmp_path / "cut")
    cut = run(base, pairs, recipe, tmp_path / "cut", resume=True)
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert losses(cut) == losses(whole)
    assert not (cut / "training_state.safetensors").exists()


def test_a_run_goes_on_with_the_kind_of_layer_that_it_began_with(
    base: Path,
    pairs: tuple[Path, Path],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[type] = []
    real = linear.TrainedOneDNN.__init__

    def counted(self: linear.TrainedOneDNN, *arguments: object) -> None:
        made.append(type(self))
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainable, "fastest_to_train", lambda *_: linear.TrainedOneDNN)
    whole = run(base, pairs, recipe, tmp_path / "whole")
    kill_at_step_8(base, pairs, recipe, tmp_path / "cut", monkeypatch)
    # Another timing decides otherwise, on another day or machine.
    monkeypatch.setattr(trainable, "fastest_to_train", lambda *_: linear.Trained)
    monkeypatch.setattr(linear.TrainedOneDNN, "__init__", counted)
    cut = run(base, pairs, recipe, tmp_path / "cut", resume=True)
    assert made
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_a_finished_run_is_not_repeated_and_not_overwritten(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    stamp = (folder / WEIGHTS).stat().st_mtime_ns
    run(base, pairs, recipe, tmp_path / "out")
    assert (folder / WEIGHTS).stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match=r"of another seed \(0\)"):
        run(base, pairs, recipe, tmp_path / "out", seed=9)


def test_two_processes_do_not_write_one_folder(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    with (
        only_process(tmp_path / ".tuned.lock", "busy"),
        pytest.raises(UsageError, match=f"another process fine-tunes into {out}"),
    ):
        run(base, pairs, recipe, out)
    assert not out.exists()
    run(base, pairs, recipe, out)
    assert (out / "provenance.json").is_file()


def test_a_folder_of_something_else_is_left_alone(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="choose another folder"):
        run(base, pairs, recipe, tmp_path / "out")
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_batch_larger_than_the_data_is_named(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE.replace("batch_size = 8", "batch_size = 99"))
    with pytest.raises(DataError, match="24 pairs and a batch takes 99"):
        run(base, pairs, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_resumed_on_other_data_or_another_base(
    base: Path,
    pairs: tuple[Path, Path],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_at_step_8(base, pairs, recipe, tmp_path / "cut", monkeypatch)
    whole = pairs[0].read_text()
    pairs[0].write_text(whole.replace("red", "blue"))
    with pytest.raises(UsageError, match="begun with another data;"):
        run(base, pairs, recipe, tmp_path / "cut", resume=True)
    pairs[0].write_text(whole)
    config = base / "open_clip_config.json"
    config.write_text(config.read_text().replace('"quick_gelu": true', '"quick_gelu": false'))
    with pytest.raises(UsageError, match="begun with another base;"):
        run(base, pairs, recipe, tmp_path / "cut", resume=True)
    config.write_text(config.read_text().replace('"quick_gelu": false', '"quick_gelu": true'))
    run(base, pairs, recipe, tmp_path / "cut", resume=True)
    assert not (tmp_path / "cut" / "begun.json").exists()


def test_weights_that_get_no_gradient_stay_and_the_run_can_go_on(
    pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    """A CoCa has a text decoder that encode_text does not use."""
    torch.manual_seed(0)
    config = {
        **tiny_clip.CONFIG,
        "quick_gelu": False,
        "vision_cfg": {
            **tiny_clip.CONFIG["vision_cfg"],
            "attentional_pool": True,
            "output_tokens": True,
        },
        "text_cfg": {**tiny_clip.CONFIG["text_cfg"], "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
        "custom_text": True,
    }
    built = {key: value for key, value in config.items() if key != "custom_text"}
    model = open_clip.coca_model.CoCa(**copy.deepcopy(built))
    open_clip.model.set_model_preprocess_cfg(
        model, {**open_clip.transform.PreprocessCfg().__dict__, "size": (32, 32)}
    )
    save_folder(tmp_path / "coca", model, config)
    folder = run(tmp_path / "coca", pairs, recipe, tmp_path / "out")
    before, after = load_file(tmp_path / "coca" / WEIGHTS), load_file(folder / WEIGHTS)
    # A weight that CoCa never initialises may be NaN.
    pairs_of = {name: (before[name].nan_to_num(), after[name].nan_to_num()) for name in before}
    changed = {name for name, (old, new) in pairs_of.items() if not torch.equal(old, new)}
    assert changed
    assert all(name.startswith("text.") or name == "logit_scale" for name in changed)


def test_the_demo_steps_aside_for_another_run_of_its_name(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    workspace, progress = Workspace(tmp_path), Progress(quiet=True)

    def go(seed: int, aside: bool) -> Path:
        job = make_job(
            base=f"local-dir:{base}", data=pairs[0], images=pairs[1], recipe=recipe, seed=seed
        )
        return finetune_job(job, workspace, progress, aside=aside)

    assert go(1, False).name == "base-tiny"
    with pytest.raises(UsageError, match=r"another seed \(1\);"):
        go(2, False)
    other = go(2, True)
    assert other.name.startswith("base-tiny-")
    assert go(2, True) == other
    assert go(1, True).name == "base-tiny"


def test_a_folder_that_was_only_claimed_starts_anew(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    for name, content in {"begun.json": "{}", "recipe.toml": "old_key = 1", ".x.tmp": ""}.items():
        folder = tmp_path / f"out-{name}"
        folder.mkdir()
        (folder / name).write_text(content)
        run(base, pairs, recipe, folder, resume=True)
        assert (folder / "provenance.json").is_file()
        assert not (folder / "begun.json").exists()


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"base": 1}'])
def test_a_damaged_provenance_is_named(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path, content: str
) -> None:
    folder = run(base, pairs, recipe, tmp_path / "out")
    (folder / "provenance.json").write_text(content)
    with pytest.raises(UsageError, match=r"provenance\.json is "):
        run(base, pairs, recipe, folder)


def turned(pairs: tuple[Path, Path]) -> None:
    """Give an image an orientation, as a camera does."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(pairs[1] / "0.png") as image:
        image.save(pairs[1] / "0.png", exif=exif)


def test_exif_on_a_finished_run_is_named_where_it_changes_the_images(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    job = job_of(
        base=f"local-dir:{base}", data=pairs[0], images=pairs[1], recipe=recipe_file(tmp_path)
    )
    place, progress, out = Workspace(tmp_path), Progress(quiet=True), tmp_path / "out"
    finetune_job(job, place, progress, out=out)
    # No image has an orientation: --exif turns nothing, and the run is the same.
    assert finetune_job(job, place, progress, out=out, exif=True) == out
    turned(pairs)
    other = tmp_path / "other"
    finetune_job(job, place, progress, out=other)
    with pytest.raises(UsageError, match=r"another data \(it was made without --exif\)"):
        finetune_job(job, place, progress, out=other, exif=True)
    third = tmp_path / "third"
    finetune_job(job, place, progress, out=third, exif=True)
    with pytest.raises(UsageError, match=r"another data \(it was made with --exif\)"):
        finetune_job(job, place, progress, out=third)


def recipe_file(folder: Path) -> Path:
    path = folder / "quick.toml"
    path.write_text("batch_size = 8\nsteps = 1\nwarmup_steps = 1\n")
    return path


def test_a_run_that_is_refused_leaves_no_folder(
    base: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = pairs[1] / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    out = tmp_path / "out"
    with pytest.raises(BenchError, match=r"3\.png"):
        run(base, pairs, recipe_file(tmp_path), out)
    assert not out.exists()
    recipe = "batch_size = 8\nsteps = 2\n[validation]\nshare = 0.5\nevery = 1\n"
    broken.write_bytes(whole)
    with pytest.raises(BenchError, match=r"left to train on|holds out"):
        run(base, pairs, recipe, out)
    assert not out.exists()
    # What is there already is not this run's to delete.
    (out / "mine").mkdir(parents=True)
    with pytest.raises(BenchError):
        run(base, pairs, recipe, out)
    assert (out / "mine").is_dir()


def test_who_forgot_the_data_hears_of_it_before_the_base_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(base=f"local-dir:{tmp_path / 'nowhere'}")
    with pytest.raises(BenchError):
        finetune_job(job, Workspace(tmp_path), Progress())
    assert "demo" in capsys.readouterr().err


def test_a_checkpoint_a_seed_and_what_names_them_all(
    base: Path, pairs: tuple[Path, Path], recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE.replace("steps = 12", "steps = 2"))
    job = job_of(base=f"local-dir:{base}", data=pairs[0], images=pairs[1], recipe=recipe)
    place, quiet = Workspace(tmp_path), Progress(quiet=True)
    folder = finetune_seeds(job, [0, 3], place, quiet)
    assert folder == tmp_path / "checkpoints" / "base-tiny"
    assert [f.name for f in seeds_in(folder)] == ["seed-0", "seed-3"]
    assert losses(folder / "seed-0") != losses(folder / "seed-3")
    stamp = (folder / "seed-0" / "provenance.json").stat().st_mtime_ns
    assert finetune_seeds(job, [0, 3], place, quiet) == folder
    assert (folder / "seed-0" / "provenance.json").stat().st_mtime_ns == stamp
    context = Context("paper", place.checkpoints)
    for spec in ("paraclip", f"paraclip:{folder}"):
        models = load_models(spec, context)
        assert [m.name for m in models] == ["base-tiny/seed-0", "base-tiny/seed-3"]
        assert [m.adapter.seed for m in models] == [0, 3]
        assert len({m.adapter.method for m in models}) == 1
        assert {m.spec for m in models} == {spec}
        with pytest.raises(UsageError, match=f"2 checkpoints.*paraclip:{folder}/seed-0"):
            load_model(spec, context)
    (alone,) = load_models(f"paraclip:{folder}/seed-3", context)
    assert alone.fingerprint == models[1].fingerprint
    # What is not the seed makes another method.
    recipe.write_text(RECIPE.replace("steps = 12", "steps = 3"))
    other = run(base, pairs, recipe, tmp_path / "other")
    (model,) = load_models(f"paraclip:{other}", context)
    assert model.adapter.method not in (None, alone.adapter.method)
    with pytest.raises(UsageError, match="is a checkpoint of one seed"):
        finetune_seeds(job, [0], place, quiet, out=other)
    recipe.write_text(RECIPE.replace("batch_size = 8", "batch_size = 99"))
    large = job_of(base=f"local-dir:{base}", data=pairs[0], images=pairs[1], recipe=recipe)
    with pytest.raises(DataError, match="a batch takes 99"):
        finetune_seeds(large, [0, 1], place, quiet, out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot be written to"):
        finetune_seeds(job, [0], place, quiet, out=tmp_path / "file" / "x")
    provenance = json.loads((other / "provenance.json").read_text())
    provenance["data"]["exif"] = True
    (other / "provenance.json").write_text(json.dumps(provenance))
    (rotated,) = load_models(f"paraclip:{other}", context)
    assert rotated.adapter.method != model.adapter.method
    (folder / "seed-3" / "provenance.json").unlink()
    with pytest.raises(UsageError, match="seed-3 is not a finished checkpoint; run finetune"):
        load_models(f"paraclip:{folder}", context)
