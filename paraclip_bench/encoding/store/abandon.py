"""Handles that this process must never close.

A forked child that closes its parent's database or lock may take locks and files from those who use
them.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_kept: list[Any] = []


def abandon(handle: object) -> None:
    """Keep a handle open until the system takes it back with the process."""
    _kept.append(handle)
    # Python closes what a module holds when it ends; one reference too many prevents that.
    if sys.implementation.name == "cpython":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
