"""Names of files and folders on the command line: given once, and in UTF-8."""

import json
import os
import typing
from pathlib import Path

import json_lines
import pytest
from typer.models import OptionInfo

from paraclip_bench.cli import app
from paraclip_bench.cli.shared import PATHS

RUN = ("run", "-t", "STS12", "-m")


def path_options() -> set[str]:
    """The names of all options that are a path, by the commands' annotations."""
    found = set()
    for group in (app.app, app.rewording, app.kept, app.stored, app.building):
        for command in group.registered_commands:
            assert command.callback is not None
            for hint in typing.get_type_hints(command.callback, include_extras=True).values():
                if typing.get_origin(hint) is not typing.Annotated:
                    continue
                kind, option = typing.get_args(hint)
                is_path = Path in (kind, *typing.get_args(kind))
                if is_path and isinstance(option, OptionInfo):
                    names = {str(option.default), *option.param_decls}
                    found |= {each for each in names if each.startswith("--")}
    return found


def test_every_option_that_is_a_path_is_known() -> None:
    assert path_options() == set(PATHS)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("run -m clip -t all --data-dir a --data-dir=b", "--data-dir"),
        ("merge clip paraclip --sweep --data-dir a --data-dir b", "--data-dir"),
        ("data verify --data-dir a --data-dir b", "--data-dir"),
        ("data path STS12 --data-dir a --data-dir b", "--data-dir"),
        ("finetune --data a --data b", "--data"),
        ("finetune --images a --data b --images c", "--images"),
        ("finetune -o a --output b", "--output"),
        ("paraphrase c.txt -o a -o b", "--output"),
        ("leaderboard --reference -o a.md -o b.md", "--output"),
        ("audit -m clip --images a --queries b --queries c", "--queries"),
        ("results show --workspace a --workspace b", "--workspace"),
        (
            "data build paraphrased-retrieval --captions a --captions b --pairs c --images d -o e",
            "--captions",
        ),
    ],
)
def test_a_path_that_is_given_twice_is_refused(cli, line, option):
    several = "names several files" if option in ("--data", "--captions") else "give it once"
    cli(*line.split()).fails(2, f"{option} is given 2 times", several)


def test_of_other_options_the_last_wins(cli, tiny, data):
    line = (*RUN, f"local-dir:{tiny}", "--data-dir", data, "--limit", 1, "--limit", 3, "--json")
    ended = cli(*line)
    assert json.loads(ended.out)["results"][0]["n"] == 3


BYTES = os.fsdecode(b"caf\xe9")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = tmp_path / BYTES
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this disk takes names in UTF-8 alone")
    return folder


def not_started(tmp_path: Path) -> None:
    written = [f for f in (tmp_path / "workspace").rglob("*") if f.is_file()]
    assert written == []


@pytest.mark.parametrize("where", ["model", "data", "link", "workspace", "here"])
def test_a_name_of_bytes_is_refused_before_anything_is_computed(
    cli, tiny, data, odd, tmp_path, monkeypatch, where
):
    model, root, workspace = f"local-dir:{tiny}", data, "."
    if where == "model":
        (odd / "tiny").symlink_to(tiny)
        model = f"local-dir:{odd / 'tiny'}"
    elif where == "data":
        (odd / "data").symlink_to(data)
        root = odd / "data"
        root.unlink()
        data.rename(root)
    elif where == "link":
        data.rename(odd / "data")
        root = tmp_path / "linked"
        root.symlink_to(odd / "data")
    elif where == "workspace":
        workspace = odd
    else:
        monkeypatch.chdir(odd)
    ended = cli(*RUN, model, "--data-dir", root, "--workspace", workspace)
    ended.fails(2, "caf\\udce9", "is not UTF-8; rename that file or folder")
    not_started(tmp_path)


def test_a_checkpoint_or_shard_with_a_name_of_bytes_is_refused(cli, tmp_path, odd):
    row = {"image": "a.png", "caption": "a", "paraphrase_1": "b", "paraphrase_2": "c"}
    (tmp_path / "data").mkdir()
    json_lines.write(tmp_path / "data" / f"{BYTES}.jsonl", [row])
    ended = cli("finetune", "--data", tmp_path / "data", "--images", tmp_path)
    ended.fails(2, "caf\\udce9.jsonl", "is not UTF-8; rename that file")
    ended = cli("paraphrase", tmp_path / "data", "-o", "x.jsonl", "--llm", "demo")
    ended.fails(2, "caf\\udce9.jsonl", "is not UTF-8; rename that file")
    not_started(tmp_path)
