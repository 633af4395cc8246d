"""What the machine lacks is a sentence of its own, and not a bug to report."""

import errno
import importlib
import os

import pytest

from paraclip_bench.errors import lack_of, reason_of

app = importlib.import_module("paraclip_bench.cli.app")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y.json"),
            "/x/y.json: the disk is full",
        ),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the disk quota is used up"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: the disk is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: writing or reading is not"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_each_lack_has_its_words(
    error: Exception,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert part in str(lack_of(error))
    assert reason_of(error) == lack_of(error)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", fails)
    monkeypatch.setattr("sys.argv", ["paraclip-bench", "models"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: ")
    assert part in said
    assert "unexpected" not in said


def test_other_errors_stay_unexpected() -> None:
    assert lack_of(OSError(errno.ENOENT, "No such file", "/x")) is None
    assert lack_of(ValueError("x")) is None
    assert reason_of(ValueError("x")) == "ValueError: x"
