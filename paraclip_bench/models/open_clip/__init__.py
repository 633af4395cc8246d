"""open_clip's models: the adapter, and what loads and runs their networks.

`adapter` is what a spec becomes; `files`, `build`, `weights` and `sides` load a network, `identity`
fingerprints it, `network` runs it; `tower`, `text`, `packed` and `linear` are its text path,
`pixels` and `precision` its image path.
"""

from paraclip_bench.models.open_clip.open_clip_adapter import (
    PROVENANCE,
    HubFolder,
    LocalFolder,
    OpenCLIP,
)

__all__ = ["PROVENANCE", "HubFolder", "LocalFolder", "OpenCLIP"]
