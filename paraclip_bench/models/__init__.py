"""From the spec that a user types to a model.

`adapter` is the contract: all that a model may offer. `load` finds the class of a spec, `aliases`
are `clip` and `paraclip`, `open_clip/` are open_clip's models.
"""

from paraclip_bench.models.adapter import Encoder, Model

__all__ = ["Encoder", "Model"]
