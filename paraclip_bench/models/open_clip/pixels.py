"""From a decoded image to the pixels that a network takes.

Apart from the adapter, which imports the network: worker processes unpickle `Pixels`, and need not
have torch for that.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class Pixels:
    """From a decoded image to pixels. `settings` is open_clip's preprocess config.

    It pickles as those settings alone; the transform is made where it is first called. Threads
    may call it at once.
    """

    settings: dict[str, Any]

    def __call__(self, image: Any) -> tuple[torch.Tensor, int]:
        """Pixels [3, h, w] float32 of a PIL image, and the size in 16x16 patches."""
        pixels: torch.Tensor = self._transform(image)
        return pixels, max(1, pixels.shape[-1] * pixels.shape[-2] // 256)

    @cached_property
    def _transform(self) -> Any:
        # Here and not above: a process that is handed this object need not have torch yet.
        from open_clip.transform import PreprocessCfg, image_transform_v2

        return image_transform_v2(PreprocessCfg(**self.settings), is_train=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings}
