"""Where vectors are kept while a run goes on, shared by its tasks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Store:
    """Vectors in memory, by encoder and item; a run's tasks share what they have in common.

    An encoder without a fingerprint gets a space of its own each time, since nobody knows whether
    its vectors still hold.
    """

    def __init__(self) -> None:
        self._spaces: dict[tuple[str, str, str], dict[str, npt.NDArray[np.float32]]] = {}

    def space(
        self, side: str, fingerprint: str | None, dtype: str
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The vectors of one encoder in one precision, by text or by image content."""
        if fingerprint is None:
            return {}
        return self._spaces.setdefault((side, fingerprint, dtype), {})

    def forget(self, side: str) -> None:
        """Drop all vectors of a side: models that come later share no text tower."""
        self._spaces = {key: value for key, value in self._spaces.items() if key[0] != side}
