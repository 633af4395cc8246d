"""A pipe in the place of a file: whoever reads it names it, and waits for nobody."""

import os
import signal
import threading
from pathlib import Path

import pytest

from paraclip_bench.cli.app import main
from paraclip_bench.data import digest_cache, row_files, tar_files
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.source import folder_source
from paraclip_bench.errors import DataError
from paraclip_bench.files import regular, write_text
from paraclip_bench.paraphrasing.pairs_file import read_pairs
from paraclip_bench.results import store
from paraclip_bench.training.recipe import find_recipe


@pytest.fixture(autouse=True)
def alarm():
    """A reader that waits for the other end of a pipe would wait for ever."""

    def waited(*_):
        raise AssertionError("it waits for the pipe's other end")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


READERS = {
    "text": ("a.txt", row_files.read_text),
    "table": ("a.tsv", lambda path: list(row_files.read_tsv(path, ["score"]))),
    "JSON": ("a.json", row_files.read_json),
    "lines": ("a.jsonl", lambda path: list(row_files.read_jsonl(path))),
    "packed lines": ("a.jsonl.gz", lambda path: list(row_files.json_rows(path))),
    "Parquet": ("a.parquet", lambda path: list(row_files.parquet_rows(path, 8))),
    "shard": ("a.tar", lambda path: list(tar_files.samples(path))),
    "image": ("a.jpg", lambda path: ImageRef("a", path=path).open()),
    "image's size": ("a.jpg", lambda path: ImageRef("a", path=path).size()),
    "image's bytes": ("a.jpg", lambda path: ImageRef("a", path=path).sha256),
    "digest": ("a.bin", digest_cache.file_sha256),
    "pairs": ("a.jsonl", lambda path: list(read_pairs(path))),
    "recipe": ("a.toml", lambda path: find_recipe(str(path))),
    "result": ("a.json", store.read),
    "a task's file": ("a.tsv", lambda path: folder_source(path.parent).file("a.tsv")),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_pipe_is_named(tmp_path, kind):
    name, reader = READERS[kind]
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} is a pipe and not a file; write its content"):
        reader(tmp_path / name)


@pytest.mark.parametrize("line", [["paraphrase", "{}", "-o", "o.jsonl", "--llm", "demo"]])
def test_a_command_that_is_given_a_pipe(tmp_path, monkeypatch, capsys, line):
    os.mkfifo(tmp_path / "captions.txt")
    monkeypatch.chdir(tmp_path)
    words = [word.format(tmp_path / "captions.txt") for word in line]
    monkeypatch.setattr("sys.argv", ["paraclip-bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "captions.txt is a pipe and not a file" in capsys.readouterr().err


def test_devices_and_folders():
    with pytest.raises(DataError, match="/dev/null is a device"):
        regular(Path("/dev/null"))
    assert regular(Path("/")) == Path("/")


def test_an_output_that_is_no_file_gets_the_content_and_stays(tmp_path):
    """`-o /dev/null` of an administrator must not make a file of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "a board")
    reader.join(timeout=30)
    assert got == ["a board"]
    assert pipe.is_fifo()
    assert [f.name for f in tmp_path.iterdir()] == ["pipe"]


def test_an_output_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("real/there", "real/new"):
        link = tmp_path / f"to-{name[5:]}"
        link.symlink_to(name)
        if name == "real/there":
            (tmp_path / name).write_text("old")
        write_text(link, "now")
        assert link.is_symlink()
        assert (tmp_path / name).read_text() == "now"


def test_what_a_shell_pipes_in_is_read_once():
    """`--prompt 1=<(command)`: a pipe whose other end is there."""
    ours, theirs = os.pipe()
    threading.Thread(target=lambda: (os.write(theirs, b"Say {text}"), os.close(theirs))).start()
    assert row_files.read_text(Path(f"/dev/fd/{ours}")) == "Say {text}"
    os.close(ours)
