"""Any sentence-transformers model as a text-only model of paraclip-bench."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip_bench.plugin import (
    ModelError,
    UsageError,
    digest_cache,
    offline_by,
    once_reachable,
    unreachable,
    without_unusable_variables,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


# Tokens that a tokenizer adds to a text, and some more.
_SPECIAL = 8


class SentenceTransformers:
    """`sentence-transformers:PATH_OR_NAME`, a folder or a name on the hub."""

    def __init__(self, path_or_name: str) -> None:
        self.folder = Path(path_or_name) if Path(path_or_name).is_dir() else None
        if self.folder is None and path_or_name.startswith((".", "/", "~")):
            raise UsageError(f"the model folder {path_or_name} does not exist")
        if self.folder is not None and not (self.folder / "config.json").is_file():
            raise ModelError(
                f"{path_or_name} has no config.json, so it is not a sentence-transformers folder"
            )
        self.path_or_name = path_or_name
        self.name = _folder_name(self.folder) if self.folder else path_or_name
        self.device, self.dtype = "cpu", "float32"
        self._model: SentenceTransformer | None = None

    def to(self, device: str, dtype: str) -> None:
        """Say where and in which precision to load."""
        self.device, self.dtype = device, dtype
        self._model = None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, of the modules and of how a probe sentence is cut into tokens."""
        files = [] if self.folder is None else [f for f in self.folder.rglob("*") if f.is_file()]
        key = f"sentence-transformers-2:{digest_cache.stamp(sorted(files))}"
        known = digest_cache.get(key) if files else None
        if isinstance(known, str):
            return known
        model = self._loaded()
        # Where a text is cut changes its vector; not every version prints it.
        hasher = hashlib.sha256(f"{model}{model.max_seq_length}".encode())
        hasher.update(str(model.tokenizer("A probe: Zoë's 2 cats!")["input_ids"]).encode())
        for name, tensor in sorted(model.state_dict().items()):
            hasher.update(f"\n{name}{tuple(tensor.shape)}".encode())
            values = tensor.float() if tensor.is_floating_point() else tensor
            hasher.update(values.cpu().contiguous().numpy().data)
        if files:
            digest_cache.put(key, hasher.hexdigest())
        return hasher.hexdigest()

    def encode_texts(self, texts: list[str]) -> Any:
        """Vectors [n, d], as the model's own pooling makes them."""
        return self._loaded().encode(
            texts, batch_size=len(texts), show_progress_bar=False, convert_to_tensor=True
        )

    @property
    def context_length(self) -> int | None:
        """The model's max_seq_length; None where it has none."""
        return self._limits[0]

    def cut_texts(self, texts: list[str]) -> list[bool] | None:
        """Which texts, with the prompt that the model puts before them, have more tokens."""
        most, prompt = self._limits
        if most is None:
            return None
        # A token is a character at least, so most texts need no tokenizer.
        room = most - len(prompt) - _SPECIAL
        short = [text.isascii() and len(text) <= room for text in texts]
        if all(short):
            return [False] * len(texts)
        long = [prompt + text for text, is_short in zip(texts, short, strict=True) if not is_short]
        tokens = self._loaded().tokenizer(long, truncation=False, verbose=False)["input_ids"]
        counts = iter(tokens)
        return [not is_short and len(next(counts)) > most for is_short in short]

    @cached_property
    def _limits(self) -> tuple[int | None, str]:
        """max_seq_length and the prompt before each text; remembered, not to load the weights."""
        files = [] if self.folder is None else [f for f in self.folder.rglob("*") if f.is_file()]
        key = f"sentence-transformers-limits:{digest_cache.stamp(sorted(files))}"
        known = digest_cache.get(key) if files else None
        if not isinstance(known, list):
            model = self._loaded()
            prompt = (model.prompts or {}).get(model.default_prompt_name or "", "")
            known = [model.max_seq_length, prompt]
            if files:
                digest_cache.put(key, known)
        return known[0], known[1]

    def release(self) -> None:
        """Drop the weights; they load again when needed."""
        self._model = None

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            if self.folder is None:
                once_reachable()
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            try:
                with without_unusable_variables():
                    self._model = SentenceTransformer(
                        self.path_or_name,
                        device=self.device,
                        local_files_only=self.folder is not None or offline_by() is not None,
                        model_kwargs={"torch_dtype": self.dtype},
                    )
            except Exception as error:
                raise self._explained(error) from error
        return self._model

    def _explained(self, error: Exception) -> Exception:
        if self.folder is None:
            return unreachable(
                f"model sentence-transformers:{self.path_or_name}", error, ModelError
            )
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return ModelError(
            f"{self.path_or_name} cannot be loaded ({type(error).__name__}: {first}); "
            "check that it is a whole sentence-transformers folder"
        )


def _folder_name(folder: Path) -> str:
    """A folder's name; one that says nothing gives way to its parent's."""
    folder = folder.resolve()
    return folder.parent.name if folder.name in ("model", "0_Transformer") else folder.name
