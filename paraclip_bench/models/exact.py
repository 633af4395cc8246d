"""float32 on a GPU means float32."""

from __future__ import annotations

import sys


def exact_products(device: str, dtype: str) -> None:
    """Turn TF32 off, cuDNN's too, where a model runs in float32 on a GPU.

    Results are compared across devices, and by default torch rounds convolutions to 10 bits there.
    """
    torch = sys.modules.get("torch")
    if torch is not None and dtype == "float32" and not device.startswith("cpu"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
