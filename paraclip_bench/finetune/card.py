"""The model card of a checkpoint: what it is, from what it was made, what may be done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_CARD = """\
---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags:
- clip
- paraphrase-retrieval
- paraclip-bench
---
# {name}

An open_clip model whose text tower was fine-tuned on paraphrases, its image tower being that of the
base, by [paraclip-bench](https://pypi.org/project/paraclip-bench) in the manner of ParaCLIP (Kim et
al., Findings of EACL 2024, arXiv 2402.15120). It is no checkpoint of that paper's authors.

- **Base**: `{base}` (fingerprint `{fingerprint}`), activation {activation}
- **Data**: {data}, {pairs} pairs, sha256 `{sha256}`
- **Recipe**: {recipe}, {steps} steps, global batch {batch}, seed {seed}; all of it in `recipe.toml`
- **Loss**: {loss}
{validation}
```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH OF THIS FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:PATH OF THIS FOLDER")
```

`paraclip-bench run --model paraclip:PATH --task all` measures it; fine-tuning on paraphrases may
cost some recall of plain captions and zero-shot accuracy, which `paraclip-bench merge` weighs.

## Licence

The base's licence holds for these weights. Texts that a provider's model wrote, and models trained
on them, may be restricted by that provider's terms, and the images and captions by their own; who
shares this folder is to see to both.
"""


def model_card(name: str, provenance: Mapping[str, Any], loss: str, batch: int) -> str:
    """The card (Markdown with the hub's header) of a checkpoint with this provenance."""
    base, data = provenance["base"], provenance["data"]
    found = provenance.get("validation")
    validation = ""
    if found:
        scores = ", ".join(f"{key} {100 * value:.1f}" for key, value in found["scores"].items())
        validation = (
            f"- **Held out** ({found['pairs']} pairs, x 100, step {found['step']}): {scores}\n"
        )
    return _CARD.format(
        name=name,
        base=base["spec"],
        fingerprint=str(base["fingerprint"])[:12],
        activation=base["activation"] or "unknown",
        data=data["id"],
        pairs=f"{data['n']:,}",
        sha256=data["sha256"][:12],
        recipe=json.dumps(provenance["recipe"]),
        steps=provenance["steps"],
        batch=batch,
        seed=provenance["seed"],
        loss=loss,
        validation=validation,
    )
