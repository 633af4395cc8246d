"""Wrong names and options of `run`: nothing is computed, exit 2."""

import pytest

STS = ("--task", "STS12")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-m", "clp", *STS], ["no model 'clp'", "did you mean clip"]),
        (["-m", "clip", "-t", "sts99"], ["no task 'sts99'", "did you mean"]),
        (["-m", "clip", *STS, "--suite", "papers"], ["no suite 'papers'", "did you mean paper?"]),
        (["-m", "clip", *STS, "--protocol", "mteb"], ["no protocol", "'mteb'", "known: all"]),
        (["-m", "", *STS], ["the model ''", "NAME:ARGUMENT"]),
        (["-m", "open_clip:", *STS], ["'open_clip:'", "NAME:ARGUMENT"]),
        (["-m", "open_clip", *STS], ["'open_clip'", "needs an argument"]),
        (["-m", "open_clip:ViT-B-32", *STS], ["'ViT-B-32' is not ARCH/TAG"]),
        (["-m", "open_clip:ViT-B-33/openai", *STS], ["'ViT-B-33'", "did you mean ViT-B-32"]),
        (
            ["-m", "open_clip:ViT-B-32/opnai", *STS],
            ["no weights tag 'opnai' of ViT-B-32", "did you mean openai"],
        ),
        (["-m", "open_clip:ViT-B-32@nothing.pt", *STS], ["nothing.pt does not exist"]),
        (["-m", "local-dir:nowhere", *STS], ["folder nowhere does not exist"]),
        (["-m", "clip:x", *STS], ["clip takes no argument"]),
        (["-m", "paraclip", *STS], ["no finished checkpoint", "paraclip-bench finetune"]),
        (["-m", "paraclip:nowhere", *STS], ["nowhere does not exist"]),
        (["-m", "custom.py:Model", *STS], ["custom.py", "does not exist"]),
        (["-m", "custom.py", *STS], ["names no class"]),
        (["-m", "clip", *STS, "--data-dir", "nowhere"], ["--data-dir nowhere is not a folder"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_name_is_one_sentence(cli, arguments, parts):
    cli("run", *arguments).fails(2, *parts)


def test_an_empty_data_dir(cli, tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = cli("run", "-m", f"local-dir:{tiny}", *STS, "--data-dir", tmp_path / "empty")
    ended.fails(2, f"--data-dir {tmp_path / 'empty'} is empty", "docs/data.md")


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--dtype", "float8", "none of float32, bfloat16, float16"),
        ("--device", "warp", "--device 'warp' cannot be used here"),
        ("--device", "cuda:99", "--device 'cuda:99' cannot be used here"),
    ],
)
def test_a_bad_device_or_dtype(cli, tiny, data, option, value, part):
    ended = cli("run", "-m", f"local-dir:{tiny}", *STS, "--data-dir", data, option, value)
    ended.fails(2, part)


def test_a_folder_that_is_no_finished_checkpoint(cli, tiny, data):
    ended = cli("run", "-m", f"paraclip:{tiny}", *STS, "--data-dir", data)
    ended.fails(2, "not a finished checkpoint", "local-dir:")


def test_a_refused_run_leaves_no_folder(cli, tiny, data, tmp_path):
    """Neither where a name is wrong nor where the model or the data is."""
    place = tmp_path / "mine" / "deep"
    where = ("--workspace", place)
    cli("run", "-m", "clp", *STS, *where).fails(2)
    cli("run", "-m", f"local-dir:{tiny}", *STS, "--data-dir", tmp_path / "nowhere", *where).fails(2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    cli("run", "-m", f"local-dir:{tiny}", *STS, "--data-dir", tmp_path / "other", *where).fails(1)
    assert not (tmp_path / "mine").exists()
