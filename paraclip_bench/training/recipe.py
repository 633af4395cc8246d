"""A fine-tuning run's settings, read from TOML and written beside its checkpoint.

The paper describes the loss; numbers for these settings we could not find. The defaults are this
project's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from paraclip_bench import registry
from paraclip_bench.data.training_rows import TEXTS, text_views, training_files
from paraclip_bench.errors import BenchError, DataError, UsageError
from paraclip_bench.files import ending, parse_toml, regular
from paraclip_bench.training.losses import InfoNCE, LossTerm, Settings, made_term

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
VIEWS = ("image", *TEXTS)
TEXT_VIEWS = TEXTS

_SHIPPED = Path(__file__).parent / "recipes"


def _term(value: Any) -> Any:
    """A table of the recipe as a term of its kind; the error says which of its keys is wrong."""
    if not isinstance(value, dict):
        return value
    try:
        return made_term(value)
    except ValidationError as error:
        first = error.errors()[0]
        said = {"said": _message(first), "key": ".".join(_parts(first["loc"]))}
    except BenchError as error:
        said = {"said": str(error), "key": "kind"}
    raise PydanticCustomError("term", "{said}", said)


Term = Annotated[SerializeAsAny[LossTerm], BeforeValidator(_term)]

_PARACLIP = (
    InfoNCE(views=("image", "paraphrase_2")),
    InfoNCE(views=("caption", "paraphrase_1")),
    InfoNCE(views=("paraphrase_1", "paraphrase_2")),
)


class Validation(Settings):
    """Held-out images whose captions and paraphrases are retrieved every so many steps.

    share is that of the images; the weights that are best by `score` are the checkpoint's. With
    `patience`, that many validations without a better one end the run.
    """

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    every: Positive = 200
    score: Literal["ao@10", "js@10", "recall@1"] = "ao@10"
    patience: Positive | None = None


class Recipe(Settings):
    """Settings of one run.

    batch_size counts pairs, and is that of each process. Give epochs or steps; steps win.
    learning_rate is the peak, reached after warmup_steps; then the schedule lowers it to 0, or
    keeps it. temperature is "learned", "frozen" (the base's) or a number. unlocked_text_layers is
    how many of the text tower's last blocks train, with the norm and projection behind them; all
    of the tower does without it. chunk_tokens is how many tokens have a graph in memory at once (by
    the machine's memory without it). A max_grad_norm of 0 clips nothing. save_every is the number
    of steps between two training states that --resume can start from.
    """

    name: str = Field(default="paraclip", min_length=1)
    base: str | None = None
    batch_size: Annotated[int, Field(ge=2)] = 256
    epochs: Positive = 1
    steps: Positive | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Fraction = 0.9
    beta2: Fraction = 0.98
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    temperature: Literal["learned", "frozen"] | Annotated[float, Field(ge=0.01, le=1e6)] = "learned"
    dtype: Literal["float32", "bfloat16"] = "float32"
    unlocked_text_layers: Annotated[int, Field(ge=0)] | None = None
    chunk_tokens: Annotated[int, Field(ge=128)] | None = None
    save_every: Positive = 500
    seed: Annotated[int, Field(ge=0)] = 0
    loss: Annotated[tuple[Term, ...], Field(min_length=1)] = _PARACLIP
    validation: Validation | None = None

    @model_validator(mode="after")
    def _each_term_once(self) -> Recipe:
        seen: set[tuple[str, frozenset[str]]] = set()
        for term in self.loss:
            # InfoNCE, distance and hinge know no order; two terms of hard negatives with the same
            # views would at least share their name.
            if (known := (term.kind, frozenset(term.views))) in seen:
                raise ValueError(f"the loss has {term.name} twice; give it one weight")
            seen.add(known)
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """The text views that the loss compares, in the order of `text_views`."""
        used = {view for term in self.loss for view in term.views}
        return tuple(view for view in text_views(used) if view in used)

    @property
    def needs_images(self) -> bool:
        """Whether a term of the loss has the image."""
        return any("image" in term.views for term in self.loss)

    @property
    def needed(self) -> frozenset[str]:
        """What each row of the data must have: what the loss compares, and validation measures."""
        used = {view for term in self.loss for view in term.views}
        if self.validation is not None:
            used |= {"image", "caption", "paraphrase_2"}
        return frozenset(used)

    def total_steps(self, pairs: int, world_size: int = 1) -> int:
        """Optimizer steps for a number of pairs; a last batch that is not full is left out."""
        if self.steps is not None:
            return self.steps
        return self.epochs * (pairs // (self.batch_size * world_size))

    def dump(self) -> str:
        """The recipe as TOML; a key without a value is left out."""
        import tomli_w

        values = self.model_dump(exclude_none=True)
        # As recipes were written before there were other kinds.
        for term in values["loss"]:
            if term["kind"] == "info_nce":
                del term["kind"]
        return tomli_w.dumps(values)


def shipped() -> dict[str, Path]:
    """The recipes of this package, by name."""
    return {file.stem: file for file in sorted(_SHIPPED.glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.

    Raises `UsageError` for what is neither.
    """
    known = shipped()
    if name in known:
        return known[name]
    if not (path := regular(Path(name))).is_file():
        if ending(path) == ".toml" or len(path.parts) > 1:
            raise UsageError(f"--recipe {name} does not exist; check the path")
        raise registry.unknown("recipe", name, known)
    return path


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; `DataError` names the key that is wrong."""
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the recipe {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"the recipe {path} is not valid TOML ({error}); fix that line") from error
    try:
        return Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        inner = first.get("ctx", {}).get("key", "") if first["type"] == "term" else ""
        key = ".".join([*_parts(first["loc"]), *([inner] if inner else [])])
        where = f"{key}: " if key else ""
        raise DataError(f"the recipe {path}: {where}{_message(first)}") from error


def _message(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _parts(location: Iterable[int | str]) -> list[str]:
    """Where in the file, without the names that pydantic gives to the branches of a union."""
    branches = ("literal", "constrained", "function")
    return [str(part) for part in location if not str(part).startswith(branches)]


@dataclasses.dataclass(frozen=True)
class FinetuneJob:
    """A base, a recipe, and data: files of rows and the folder that holds their images.

    notice: what a user is told of the data beforehand.
    """

    base: str
    recipe: Recipe
    files: tuple[Path, ...]
    images: Path | None
    suite: str
    data_name: str
    notice: str = ""


def make_job(
    *,
    data: Path,
    base: str | None = None,
    images: Path | None = None,
    recipe: str | Path | None = None,
    seed: int | None = None,
    suite: str = "paper",
    data_name: str | None = None,
    notice: str = "",
) -> FinetuneJob:
    """Settle base, data and recipe; raises `UsageError` for what does not exist.

    `recipe` is a file or the name of a shipped one.
    """
    if images is not None and not images.exists():
        raise UsageError(f"--images {images} does not exist; check the path")
    settings = read_recipe(find_recipe(str(recipe))) if recipe else Recipe()
    files = training_files(data)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    spec = base or settings.base or "clip"
    settings = settings.model_copy(update={"base": spec})
    return FinetuneJob(spec, settings, tuple(files), images, suite, data_name or data.name, notice)
