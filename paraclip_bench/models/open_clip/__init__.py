"""open_clip's models: the adapter, and what loads and runs their networks.

In the order in which it happens: `open_clip_adapter` is what a spec becomes, `model_files` finds
config and weights, `build` makes the network, `network` fingerprints and runs it. Texts go through
`text_tower` or `packed` with the linear layers of `linear`, images through `pixels`; `autotune`
measures which way is fastest on this machine.
"""

from paraclip_bench.models.open_clip.open_clip_adapter import (
    PROVENANCE,
    SEED,
    HubFolder,
    LocalFolder,
    OpenCLIP,
)

__all__ = ["PROVENANCE", "SEED", "HubFolder", "LocalFolder", "OpenCLIP"]
