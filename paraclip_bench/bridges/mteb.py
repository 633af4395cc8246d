"""Our models in mteb's own evaluation: `mteb.evaluate(MtebEncoder("clip"), tasks)`.

Items come through the engine and its store: mteb may ask one by one, or for the same texts again
and again, and each distinct one is encoded once.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import importlib_metadata
import numpy as np
import numpy.typing as npt

from paraclip_bench.data.images import ImageRef
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import BenchError, ModelError, reason_of
from paraclip_bench.files import slug
from paraclip_bench.models.adapter import Context, Model
from paraclip_bench.models.load import load_model
from paraclip_bench.progress import Progress
from paraclip_bench.registry import unknown
from paraclip_bench.tasks.base import Embed
from paraclip_bench.workspace import Workspace


def import_mteb(what: str) -> Any:
    """The package mteb; `BenchError` where `what` needs it and its import fails."""
    try:
        import mteb
    except ImportError as error:
        raise BenchError(
            f"{what} needs mteb, which cannot be imported ({reason_of(error)}); "
            "install it again: pip install mteb"
        ) from error
    return mteb


def mteb_version() -> str:
    """The version of the installed mteb."""
    return str(importlib_metadata.version("mteb"))


def find_task(name: str) -> Any:
    """mteb's task of that name (case-blind); `UsageError` with near names for an unknown one."""
    mteb = import_mteb(f"mteb:{name}")
    try:
        return mteb.get_task(name)
    except KeyError:
        tasks = mteb.get_tasks(exclude_superseded=False, exclude_private=False)
        names = {task.metadata.name.casefold(): task.metadata.name for task in tasks}
    if name.casefold() in names:
        return mteb.get_task(names[name.casefold()])
    raise unknown("task", name, names.values(), "in mteb")


Vectors = npt.NDArray[np.float32]
ORGANISATION = "paraclip-bench"
# What mteb calls the revision of a model that nobody knows it of.
NO_REVISION = "no_revision_available"
# So many images are in memory at once, whatever mteb's batches are.
_IMAGES_AT_ONCE = 512
# Modes that a PNG file gives back to the bit.
_KEPT_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")


class EmbedEncoder:
    """mteb's `EncoderProtocol` on `embed`, which gives unit vectors of texts and of images.

    modalities are "text" and "image", as far as `embed` has them.
    """

    def __init__(self, embed: Embed, name: str, revision: str, modalities: Iterable[str]) -> None:
        self._embed = embed
        self._about = name, revision, list(modalities)

    @property
    def mteb_model_meta(self) -> Any:
        """mteb's `ModelMeta`: name, revision and the modalities that the model has."""
        return model_meta(*self._about)

    def encode(
        self,
        inputs: Iterable[Any],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> Vectors:
        """Unit vectors [n, d] of what the batches of `inputs` hold under "text" and "image".

        An item with both has the unit vector of their sum, as CLIP's wrappers in mteb have it.
        Raises `ModelError` for batches with neither, or a side that the model lacks.
        """
        texts: list[str] = []
        images: list[Vectors] = []
        waiting: list[ImageRef] = []
        for batch in inputs:
            texts += batch.get("text") or []
            for image in batch.get("image") or []:
                waiting.append(_ref(image, len(waiting)))
                if len(waiting) == _IMAGES_AT_ONCE:
                    images.append(self._embed.images(waiting))
                    waiting = []
        if waiting:
            images.append(self._embed.images(waiting))
        sides = [np.concatenate(images)] if images else []
        if texts:
            sides.append(np.asarray(self._embed.texts(texts)))
        if not sides:
            raise ModelError("mteb gave neither texts nor images; this task needs another modality")
        if len(sides) == 1:
            return sides[0]
        if len(sides[0]) != len(sides[1]):
            raise BenchError("mteb gave items of which only some have a text or an image")
        fused = sides[0] + sides[1]
        return np.asarray(fused / np.linalg.norm(fused, axis=1, keepdims=True), dtype=np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines [n, m] of vectors [n, d] and [m, d], in float32."""
        import torch

        one, two = (torch.as_tensor(np.asarray(e)).float() for e in (embeddings1, embeddings2))
        return _unit(one) @ _unit(two).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines [n] of vectors [n, d], row by row, in float32."""
        import torch

        one, two = (torch.as_tensor(np.asarray(e)).float() for e in (embeddings1, embeddings2))
        return (_unit(one) * _unit(two)).sum(dim=-1)


class MtebEncoder(EmbedEncoder):
    """mteb's `EncoderProtocol` on a model: a spec, or a `Model`.

    Its name in mteb's results is `organisation`/NAME, its revision the model's fingerprint.
    """

    def __init__(
        self,
        model: str | Model,
        revision: str | None = None,
        *,
        device: str | None = None,
        organisation: str = ORGANISATION,
        suite: str = "paper",
        workspace: str | Path = ".",
        quiet: bool = True,
        **_: Any,
    ) -> None:
        """`revision`, where given, must be the fingerprint: `ModelError` where it is another."""
        if isinstance(model, str):
            model = load_model(model, Context(suite, Workspace(Path(workspace)).checkpoints))
        model.to(device, None)
        fingerprint = model.fingerprint
        if revision is not None and revision != fingerprint:
            raise ModelError(
                f"{model.spec} is of revision {fingerprint}, not {revision}; name the right model"
            )
        self.model = model
        sides = {"text": model.text, "image": model.image}
        super().__init__(
            Embedder(model, Spaces(Progress(quiet=quiet).say), Progress(quiet=quiet)),
            mteb_name(model.name, organisation),
            fingerprint or NO_REVISION,
            [name for name, side in sides.items() if side is not None],
        )


def model_meta(name: str, revision: str, modalities: list[str]) -> Any:
    """mteb's `ModelMeta` of a model whose vectors are compared by cosine."""
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction

    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "modalities": modalities,
            "similarity_fn_name": ScoringFunction.COSINE,
        }
    )


def mteb_name(name: str, organisation: str = ORGANISATION) -> str:
    """What a model of ours is called in mteb's results."""
    return f"{organisation}/{slug(name)}"


def _unit(vectors: Any) -> Any:
    import torch

    return torch.nn.functional.normalize(vectors, dim=-1)


def _ref(image: Any, index: int) -> ImageRef:
    """A decoded image as what the engine takes: encoded bytes, known by their content."""
    kept = image if image.mode in _KEPT_MODES else image.convert("RGB")
    file = io.BytesIO()
    kept.save(file, "PNG", compress_level=1)
    return ImageRef(id=f"mteb-{index}", data=file.getvalue())
