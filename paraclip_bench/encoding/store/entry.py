"""One stored vector: its key, its bytes and the checksum that ties them together."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

CHECKSUM = 8
"""Bytes of a checksum, which follow the vector's."""


def space_identity(side: str, fingerprint: str, dtype: str) -> bytes:
    """16 bytes that name a space."""
    # JSON keeps the parts apart and takes any string, lone surrogates too.
    return hashlib.sha256(json.dumps([side, fingerprint, dtype]).encode()).digest()[:16]


def key_digest(key: str) -> bytes:
    """16 bytes that name an item; the text itself is never stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]


def pack(identity: bytes, key: bytes, flags: int, vector: npt.NDArray[np.float32]) -> bytes:
    """The stored form of a vector [d]: little-endian float32, then its checksum."""
    data = vector.astype("<f4", copy=False).tobytes()
    return data + _checksum(identity, key, flags, data)


def unpack(identity: bytes, key: bytes, flags: Any, value: Any) -> npt.NDArray[np.float32] | None:
    """The vector [d], float32 and read-only, or None where the checksum does not hold."""
    # A damaged page may give a value of any type that SQLite knows.
    if type(flags) is not int or type(value) is not bytes:
        return None
    data = value[:-CHECKSUM]
    if not data or len(data) % 4 or value[-CHECKSUM:] != _checksum(identity, key, flags, data):
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _checksum(identity: bytes, key: bytes, flags: int, data: bytes) -> bytes:
    head = identity + key + flags.to_bytes(8, "little", signed=True)
    digest = hashlib.blake2b(head, digest_size=CHECKSUM)
    digest.update(data)
    return digest.digest()
