"""Tar files that tests write."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    """A tar of these members in their order; "w:gz" compresses it."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
